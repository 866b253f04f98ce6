//! Counters of one worker: written by that worker alone, read by a scrape.
//!
//! No look-up either: tables are indexed by enum, and the worker's own table of a team hangs on the team's entry
//! in the snapshot.

use super::refusal::Refusal;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Operation};
use crate::counters::{Count, CreditCount, Durations};
use crate::salesforce::call::UpstreamName;

/// How a priced request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Settled as measured.
    Measured,
    /// Broke off; at least the base.
    Partial,
    /// Broke off; the estimate or more.
    Uncertain,
    /// Given back.
    Void,
    /// Refused.
    Refused,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [
        Self::Measured,
        Self::Partial,
        Self::Uncertain,
        Self::Void,
        Self::Refused,
    ];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Partial => "partial",
            Self::Uncertain => "uncertain",
            Self::Void => "void",
            Self::Refused => "refused",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

const OPERATIONS: usize = Operation::ALL.len();
const CLASSES: usize = Class::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();
const REFUSALS: usize = Refusal::ALL.len();

/// One worker's counters of one team.
#[derive(Debug, Default)]
#[repr(align(128))] // no other worker's line
pub struct TeamCounters {
    requests: [[[Count; OUTCOMES]; CLASSES]; OPERATIONS],
    credits: [[CreditCount; CLASSES]; OPERATIONS],
    refusals: [[Count; REFUSALS]; CLASSES],
    shadow_refusals: [[Count; REFUSALS]; CLASSES],
    /// Turns charged that an event-stream client had sent before.
    pub reposted: Count,
}

#[expect(
    clippy::indexing_slicing,
    reason = "tables are as long as the enums that index them"
)]
impl TeamCounters {
    /// A priced request ended.
    pub fn ended(
        &self,
        operation: Operation,
        class: Class,
        outcome: Outcome,
        credits: MicroCredits,
    ) {
        self.requests[operation.index()][class.index()][outcome.index()].add(1);
        self.credits[operation.index()][class.index()].add(credits);
    }

    /// A priced request was refused before anything was reserved for it.
    pub fn not_admitted(&self, operation: Operation, class: Class) {
        self.requests[operation.index()][class.index()][Outcome::Refused.index()].add(1);
    }

    /// A request was refused, or would have been.
    pub fn refused(&self, refusal: Refusal, class: Class, shadow: bool) {
        let table = if shadow {
            &self.shadow_refusals
        } else {
            &self.refusals
        };
        table[class.index()][refusal.index()].add(1);
    }

    /// Requests that ended so.
    pub fn requests(&self, operation: Operation, class: Class, outcome: Outcome) -> u64 {
        self.requests[operation.index()][class.index()][outcome.index()].get()
    }

    /// Credits settled.
    pub fn credits(&self, operation: Operation, class: Class) -> MicroCredits {
        self.credits[operation.index()][class.index()].get()
    }

    /// Requests refused so.
    pub fn refusals(&self, refusal: Refusal, class: Class, shadow: bool) -> u64 {
        let table = if shadow {
            &self.shadow_refusals
        } else {
            &self.refusals
        };
        table[class.index()][refusal.index()].get()
    }
}

/// The labels of `unpriced_requests_total`.
pub const UNPRICED_SERVICES: [&str; 7] = [
    "agentforce",
    "prompt_builder",
    "einstein",
    "search",
    "data_cloud",
    "models",
    "org",
];

/// Labels of `upstream_responses_total`.
pub const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// One worker's counters that belong to no team.
#[derive(Debug, Default)]
#[repr(align(128))] // no other worker's line
pub struct WorkerCounters {
    /// Client connections open.
    pub connections: Count,
    /// Requests in flight.
    pub in_flight: Count,
    /// Upstream connections open.
    pub upstream_connections: [Count; UpstreamName::ALL.len()],
    /// From a request's head to the end of its answer.
    pub request_duration: Durations,
    /// From a request's head to its sending, without waiting for the client's bytes.
    pub overhead: Durations,
    /// From the end of the request to the upstream's head.
    pub upstream_duration: Durations,
    upstream_responses: [[Count; STATUS_CLASSES.len()]; UpstreamName::ALL.len()],
    unpriced: [Count; UNPRICED_SERVICES.len()],
    refusals: [Count; REFUSALS],
    shadow_refusals: [Count; REFUSALS],
}

#[expect(
    clippy::indexing_slicing,
    reason = "tables are as long as the enums that index them"
)]
impl WorkerCounters {
    /// An upstream answered.
    pub fn answered(&self, upstream: UpstreamName, status: http::StatusCode) {
        let class = usize::from(status.as_u16())
            .div_euclid(100)
            .saturating_sub(1);
        self.upstream_responses[upstream.index()][class.min(STATUS_CLASSES.len() - 1)].add(1);
    }

    /// Answers of one status class.
    pub fn upstream_responses(&self, upstream: UpstreamName, status_class: usize) -> u64 {
        self.upstream_responses[upstream.index()]
            .get(status_class)
            .map_or(0, Count::get)
    }

    /// A call without a price.
    pub fn unpriced(&self, service: &str) {
        let last = UNPRICED_SERVICES.len() - 1;
        let at = UNPRICED_SERVICES
            .iter()
            .position(|known| *known == service)
            .unwrap_or(last);
        self.unpriced[at].add(1);
    }

    /// Calls without a price, by position in [`UNPRICED_SERVICES`].
    pub fn unpriced_requests(&self, at: usize) -> u64 {
        self.unpriced.get(at).map_or(0, Count::get)
    }

    /// A request was refused, or would have been, and no team is known.
    pub fn refused(&self, refusal: Refusal, shadow: bool) {
        let table = if shadow {
            &self.shadow_refusals
        } else {
            &self.refusals
        };
        table[refusal.index()].add(1);
    }

    /// Requests without a known team, refused so.
    pub fn refusals(&self, refusal: Refusal, shadow: bool) -> u64 {
        let table = if shadow {
            &self.shadow_refusals
        } else {
            &self.refusals
        };
        table[refusal.index()].get()
    }

    /// An upstream connection opened or closed.
    pub fn upstream_connection(&self, upstream: UpstreamName) -> &Count {
        &self.upstream_connections[upstream.index()]
    }
}
