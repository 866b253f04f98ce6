//! An explanation, as told: every line in words, and the figures beside them. Credits are exact decimals.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::super::admit;
use super::super::decision::{self, Compared as Binding};
use super::super::fuses::InForce;
use super::super::identify::{self, Because, Claims, Payer, StatedBy};
use super::super::refusal::Refused;
use super::super::snapshot::Snapshot;
use super::super::ticket;
use super::Ended;
use crate::budget::admission::{Compared, Rule, View};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Class;
use crate::budget::settlement::Charge;
use crate::budget::usage::Usage;
use crate::rates::quote::Terms;
use crate::rates::quote::lines::PriceLine;
use crate::salesforce::call::{Call, Price};

/// How a request would be priced and judged.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// `admit`, `refuse`, or `would_refuse` where refusals are only noted and it passes.
    pub verdict: &'static str,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'static str>,
    /// With which status.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// What it does wrong, or what to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    /// When what refuses it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<CallTold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payer: Option<PayerTold>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) price: Option<PriceTold>,
    /// Every comparison, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    admission: Vec<RuleTold>,
    /// What would fund it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<&'static str>,
    /// The limit that says no, and the numbers compared, as in the decision record.
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Binding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) settlement: Option<Settled>,
    /// What only a request itself can find out.
    not_judged: [&'static str; 3],
    /// The state it was judged by.
    pub judged_by: String,
    at: String,
    period: String,
    config_hash: Arc<str>,
}

impl Explained {
    pub(super) fn new(snapshot: &Snapshot, now: Timestamp) -> Self {
        Self {
            verdict: "admit",
            refusal: None,
            status: None,
            detail: None,
            retry_after_seconds: None,
            ends: None,
            call: None,
            payer: None,
            price: None,
            admission: Vec::new(),
            source: None,
            compared: None,
            settlement: None,
            not_judged: [
                "whether [limits] in_flight has room",
                "whether the same message or Idempotency-Key was sent before",
                "whether the ledger's grant covers the bound within 250 ms",
            ],
            judged_by: String::new(),
            at: format!("{now:.3}"),
            period: snapshot.live.books.period.name.to_string(),
            config_hash: Arc::clone(&snapshot.config_hash),
        }
    }

    /// Whether it would be forwarded.
    pub fn passes(&self) -> bool {
        self.verdict != "refuse"
    }

    pub(super) fn end(&mut self, snapshot: &Snapshot, ended: Ended, now: Timestamp) {
        let (verdict, refused) = match ended {
            Ok(None) => return,
            Ok(Some(noted)) => ("would_refuse", noted),
            Err(refused) => ("refuse", refused),
        };
        self.verdict = verdict;
        self.refused(snapshot, &refused, now);
    }

    fn refused(&mut self, snapshot: &Snapshot, refused: &Refused, now: Timestamp) {
        let refusal = refused.refusal;
        self.refusal = Some(refusal.name());
        self.status = Some(refusal.status().as_u16());
        self.detail = Some(refused.detail.to_string());
        self.compared = refused
            .view
            .map(|view| decision::compared(refusal, &view, refused.fuse.as_ref()));
        if refusal.is_budget() {
            let most = snapshot.checked.gateway.limits.retry_after_max;
            self.retry_after_seconds = Some(admit::retry_after(snapshot, refused, now, most));
            self.ends = Some(admit::ends(snapshot, refused, now).to_string());
        }
    }

    /// The fuses of its hour, and whether all let it pass.
    pub(super) fn fuses(&mut self, fuses: &InForce<'_>, fits: bool) {
        for (what, value) in fuses.told() {
            let rule = RuleTold::plain("fuse", what, value, fits);
            self.admission.push(rule);
        }
    }

    pub(super) fn rules(&mut self, view: &View, compared: &[Compared]) {
        if compared.is_empty() {
            let value = "it costs nothing, so no budget is asked".to_owned();
            self.admission
                .push(RuleTold::plain("team", "free", value, true));
        }
        for one in compared {
            self.admission.push(RuleTold::new(one, view.estimate));
        }
        let passed_trip = compared
            .iter()
            .any(|one| one.rule == Rule::TeamTrip && !one.fits);
        if view.continued && passed_trip {
            let value =
                "its conversation was opened below the trip point, and may finish".to_owned();
            self.admission
                .push(RuleTold::plain("team", "continued", value, true));
        }
    }

    pub(super) fn slot(&mut self, per_minute: NonZeroU32, free: Result<(), Duration>) {
        let value = match free {
            Ok(()) => format!("{per_minute} a minute, and one is free"),
            Err(wait) => format!(
                "{per_minute} a minute, the next in {} s",
                wait.as_millis().div_ceil(1000)
            ),
        };
        let rule = RuleTold::plain("slot", "throttle slot", value, free.is_ok());
        self.admission.push(rule);
    }
}

/// What call it is.
#[derive(Debug, Serialize)]
pub(super) struct CallTold {
    upstream: &'static str,
    price: &'static str,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

impl CallTold {
    pub(super) fn new(call: &Call<'_>) -> Self {
        let upstream = call.upstream.name();
        let (price, why) = match call.price {
            Price::Paid(_) => ("paid", "its path is that of a priced call".to_owned()),
            Price::Free => (
                "free",
                "it is on the list of calls known to cost nothing".to_owned(),
            ),
            Price::Composite(_) => (
                "composite",
                "it carries other calls, and passes if none of them can cost anything".to_owned(),
            ),
            Price::Unpriced(_) => (
                "unpriced",
                format!("no priced call, and none known to be free: [unpriced] {upstream} decides"),
            ),
        };
        let told = Self {
            upstream,
            price,
            why,
            operation: None,
            service: None,
            endpoint: None,
            session: None,
        };
        match call.price {
            Price::Paid(paid) => Self {
                operation: Some(paid.operation.name()),
                service: Some(paid.operation.service().name()),
                endpoint: Some(paid.endpoint.name()),
                session: paid.session.map(str::to_owned),
                ..told
            },
            Price::Unpriced(service) => Self {
                service: Some(service),
                ..told
            },
            Price::Free | Price::Composite(_) => told,
        }
    }
}

/// Who pays.
#[derive(Debug, Serialize)]
pub(super) struct PayerTold {
    team: Arc<str>,
    why: String,
    /// A key's name, never the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    named_kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    named: Option<String>,
    class: &'static str,
    class_from: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class_ceiling: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class_asked: Option<&'static str>,
    enforce: bool,
}

impl PayerTold {
    pub(super) fn new(snapshot: &Snapshot, payer: &Payer, claims: &Claims<'_>) -> Self {
        let team = snapshot.team(payer.team);
        let key = payer.key.as_ref();
        let entry = claims
            .named
            .and_then(|(kind, id)| snapshot.named(kind, &identify::decoded(id)));
        let classified = match payer.because {
            Because::Nobody => None,
            _ => identify::classified(snapshot, payer.team, key.map(|key| &**key), entry, claims)
                .ok(),
        };
        let by_name = key.filter(|key| !key.name.is_empty());
        let why = match (payer.because, by_name) {
            (Because::Key, Some(_)) => "its key was given".to_owned(),
            (Because::Key, None) => "as if a key of it was given".to_owned(),
            (Because::Named, _) => "what the request names is its own".to_owned(),
            (Because::Unattributed, _) => "nobody else does: [pool] unattributed".to_owned(),
            (Because::Nobody, _) => "nobody is known to pay; it goes on all the same".to_owned(),
        };
        let class_from = match classified.map(|classified| classified.stated_by) {
            Some(StatedBy::Named) => "what the request names",
            Some(StatedBy::Key) => "the key",
            Some(StatedBy::Team) => "the team",
            Some(StatedBy::Nobody) | None => "nobody states one",
        };
        Self {
            team: team.map_or_else(|| Arc::from(""), |team| Arc::clone(&team.name)),
            why,
            key: by_name.map(|key| key.name.to_string()),
            named_kind: payer.named.as_ref().map(|(kind, _)| kind.name()),
            named: payer.named.as_ref().map(|(_, id)| id.to_string()),
            class: payer.class.name(),
            class_from,
            class_ceiling: classified.and_then(|by| by.ceiling).map(Class::name),
            class_asked: classified.and_then(|by| by.asked).map(Class::name),
            enforce: team.is_some_and(|team| team.enforce),
        }
    }
}

/// What it may cost.
#[derive(Debug, Serialize)]
pub(super) struct PriceTold {
    lines: Vec<PriceLine>,
    /// Taken from the allocation before it is forwarded.
    estimate: MicroCredits,
    /// The most it may cost, covered by the grant.
    bound: MicroCredits,
    /// The least it costs once it ran.
    base: MicroCredits,
}

impl PriceTold {
    pub(super) fn new(terms: &Terms, lines: Vec<PriceLine>) -> Self {
        Self {
            estimate: terms.quote.estimate,
            bound: terms.quote.bound,
            base: terms.quote.base,
            lines,
        }
    }
}

/// A rule, and what it says.
#[derive(Debug, Serialize)]
struct RuleTold {
    /// `team`, `pool` or `slot`.
    step: &'static str,
    what: &'static str,
    value: String,
    fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    committed: Option<MicroCredits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<MicroCredits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<MicroCredits>,
}

impl RuleTold {
    fn new(compared: &Compared, estimate: MicroCredits) -> Self {
        let (line, fits) = (compared.line, compared.fits);
        let says = if fits { "yes" } else { "no" };
        let value = match line.limit {
            MicroCredits::MAX => format!("{} + {estimate}, without a limit: yes", line.committed),
            limit => format!("{} + {estimate} <= {limit}: {says}", line.committed),
        };
        let step = match compared.rule {
            Rule::Year | Rule::PoolTrip | Rule::Month => "pool",
            Rule::TeamTrip
            | Rule::PacingLine
            | Rule::Allocation
            | Rule::Buffer
            | Rule::TeamBuffer
            | Rule::Burst
            | Rule::Overage => "team",
        };
        Self {
            committed: Some(line.committed),
            estimate: Some(estimate),
            at_most: Some(line.limit).filter(|limit| *limit != MicroCredits::MAX),
            ..Self::plain(step, compared.rule.limit(), value, fits)
        }
    }

    fn plain(step: &'static str, what: &'static str, value: String, fits: bool) -> Self {
        Self {
            step,
            what,
            value,
            fits,
            committed: None,
            estimate: None,
            at_most: None,
        }
    }
}

/// What a complete answer would cost.
#[derive(Debug, Serialize)]
pub struct Settled {
    outcome: &'static str,
    credits: MicroCredits,
    units: u64,
    input_tokens: u64,
    output_tokens: u64,
    generations: u64,
    /// Some of it is derived from sizes.
    estimated: bool,
}

impl Settled {
    pub(super) fn new(charge: Charge, usage: Usage) -> Self {
        Self {
            outcome: ticket::outcome(charge).name(),
            credits: charge.credits(),
            units: usage.units,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            generations: usage.generations,
            estimated: usage.estimated,
        }
    }
}
