//! Everything breakerbox itself says no with. Upstream errors are no refusals: they pass untouched.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use super::fuses::FuseBlown;
use crate::budget::admission::{BudgetRefusal, View};
use crate::budget::operation::Class;

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:ident;)+) => {
        /// Why a call was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Refusal { $($(#[$doc])* $variant,)+ }

        impl Refusal {
            /// Every refusal, in the order of the docs.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in body, header, metric label, log and docs. Renaming one is a breaking change.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The status it is answered with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// The position in [`Self::ALL`].
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

refusals! {
    /// The team's trip point is reached for this class.
    TeamBreakerOpen = "team_breaker_open", TOO_MANY_REQUESTS;
    /// The team's allocation is used up.
    TeamExhausted = "team_exhausted", TOO_MANY_REQUESTS;
    /// The pool's trip point is reached.
    PoolBreakerOpen = "pool_breaker_open", TOO_MANY_REQUESTS;
    /// The month's pool or the contract year is used up.
    PoolExhausted = "pool_exhausted", TOO_MANY_REQUESTS;
    /// No throttle slot is free.
    Throttled = "throttled", TOO_MANY_REQUESTS;
    /// More than the fuse allows in a request or an hour.
    FuseBlown = "fuse_blown", TOO_MANY_REQUESTS;
    /// Nobody is known to pay.
    Unattributed = "unattributed", FORBIDDEN;
    /// Key and named agent belong to different teams.
    TeamMismatch = "team_mismatch", FORBIDDEN;
    /// The key is not configured, has expired, or two different ones were given.
    UnknownKey = "unknown_key", FORBIDDEN;
    /// No price is known for the call.
    Unpriced = "unpriced", FORBIDDEN;
    /// The same request was made before.
    DuplicateRequest = "duplicate_request", CONFLICT;
    /// The session has a turn in flight.
    TurnInFlight = "turn_in_flight", LOCKED;
    /// The same idempotency key with another payload.
    IdempotencyMismatch = "idempotency_mismatch", UNPROCESSABLE_ENTITY;
    /// The request cannot be understood or routed.
    BadRequest = "bad_request", BAD_REQUEST;
    /// The request could mean two things.
    AmbiguousRequest = "ambiguous_request", BAD_REQUEST;
    /// The head is over `head_bytes`.
    HeadTooLarge = "head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// The body is over `body_bytes`.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE;
    /// Too much at once.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE;
    /// The process is about to stop.
    Draining = "draining", SERVICE_UNAVAILABLE;
    /// The ledger cannot write down what this would spend.
    LedgerUnavailable = "ledger_unavailable", SERVICE_UNAVAILABLE;
    /// No connection to the upstream.
    UpstreamUnreachable = "upstream_unreachable", BAD_GATEWAY;
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout", GATEWAY_TIMEOUT;
}

impl Refusal {
    /// Whether shadow mode only notes it: budget and identity, but never what has no price.
    pub const fn shadowed(self) -> bool {
        self.is_budget()
            || matches!(
                self,
                Self::Unattributed | Self::TeamMismatch | Self::UnknownKey
            )
    }

    /// Whether the connection is closed after the answer: its framing cannot be trusted.
    pub const fn closes(self) -> bool {
        matches!(self, Self::BadRequest | Self::AmbiguousRequest)
    }

    /// Whether the budget said no: what changes it is time, or more allocation.
    pub const fn is_budget(self) -> bool {
        matches!(
            self,
            Self::TeamBreakerOpen
                | Self::TeamExhausted
                | Self::PoolBreakerOpen
                | Self::PoolExhausted
                | Self::Throttled
                | Self::FuseBlown
        )
    }
}

impl From<BudgetRefusal> for Refusal {
    fn from(refusal: BudgetRefusal) -> Self {
        match refusal {
            BudgetRefusal::TeamBreakerOpen => Self::TeamBreakerOpen,
            BudgetRefusal::TeamExhausted => Self::TeamExhausted,
            BudgetRefusal::PoolBreakerOpen => Self::PoolBreakerOpen,
            BudgetRefusal::PoolExhausted => Self::PoolExhausted,
            BudgetRefusal::Throttled => Self::Throttled,
            BudgetRefusal::FuseBlown => Self::FuseBlown,
        }
    }
}

/// A refusal with what is known about it, for the answer and its decision record.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// What this call in particular did wrong, or what to do next.
    pub detail: Cow<'static, str>,
    /// Who would have paid: the position in the snapshot.
    pub team: Option<usize>,
    /// How much it mattered.
    pub class: Option<Class>,
    /// When to try again, where that is not derived from the budget.
    pub retry_after: Option<Duration>,
    /// The numbers compared.
    pub view: Option<View>,
    /// The fuse that said no.
    pub fuse: Option<FuseBlown>,
    /// It was admitted, and ended so: its ticket counts it.
    pub was_admitted: bool,
}

impl Refused {
    /// A refusal that concerns no team.
    pub fn new(refusal: Refusal, detail: impl Into<Cow<'static, str>>) -> Box<Self> {
        Box::new(Self {
            refusal,
            detail: detail.into(),
            team: None,
            class: None,
            retry_after: None,
            view: None,
            fuse: None,
            was_admitted: false,
        })
    }
}
