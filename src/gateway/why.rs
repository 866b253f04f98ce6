//! What was decided of one request: its decision record, while it is remembered, and its event, while it is kept.

use serde::Serialize;

use crate::budget::credits::MicroCredits;
use crate::config::checked::{Checked, UNATTRIBUTED};
use crate::ledger::event::RequestId;
use crate::ledger::stored::Stored;
use crate::ledger::trace::{ConfigUsed, Corrected, Trace};
use crate::proxy::decision::{Decision, Told};

/// What to do where nothing is known of a request.
pub const UNKNOWN: &str = "nothing is known of this request. Refusals are remembered by the process that refused them, \
    the newest 20,000 since its start: ask the gateway itself, or search its log for the id. What was charged is kept \
    as an event for [ledger] events_keep_days, unless events = \"rollups\". Free calls, and calls that passed without \
    a price, leave nothing.";

/// All of it.
#[derive(Debug, Serialize)]
pub struct Why {
    request_id: String,
    /// `refuse`, `would_refuse` or `admit`.
    verdict: &'static str,
    /// The refusal, or what was only noted.
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Told>,
    /// What it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    charged: Option<Charged>,
    /// What people decided of that since.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    corrections: Vec<Corrected>,
    /// What holds now.
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<MicroCredits>,
}

/// A charge, and what it came from.
#[derive(Debug, Serialize)]
struct Charged {
    at: String,
    team: String,
    why: &'static str,
    class: &'static str,
    operation: &'static str,
    credits: MicroCredits,
    estimate: MicroCredits,
    source: &'static str,
    kind: &'static str,
    kind_means: &'static str,
    confidence: &'static str,
    units: i64,
    input_tokens: i64,
    output_tokens: i64,
    /// What the card says of the operation, and by which configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_hash: Option<String>,
    shadow: bool,
    continued: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    named_kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    named: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<String>,
    period: String,
    status: u16,
    duration_ms: u32,
    /// Its place, as `breakerbox ledger correct` takes it.
    event: String,
}

impl Why {
    /// What is known; `None` where nothing is.
    pub fn new(
        request: RequestId,
        decision: Option<Decision>,
        trace: Option<Trace>,
        checked: &Checked,
    ) -> Option<Self> {
        let verdict = match (&decision, &trace) {
            (None, None) => return None,
            (Some(decision), _) if !decision.shadow => "refuse",
            (Some(_), _) => "would_refuse",
            (None, Some(trace)) if trace.event.shadow => "would_refuse",
            (None, Some(_)) => "admit",
        };
        let corrections = trace.as_ref().map(|trace| trace.corrections.clone());
        let corrections = corrections.unwrap_or_default();
        let changes = corrections
            .iter()
            .filter_map(|correction| correction.change);
        let change = changes.sum::<Option<MicroCredits>>().unwrap_or_default();
        let holds = trace
            .as_ref()
            .and_then(|trace| trace.event.credits.checked_add(change));
        Some(Self {
            request_id: request.to_string(),
            verdict,
            decision: decision.map(Decision::told),
            charged: trace.map(|trace| charged(trace.event, trace.config, checked)),
            corrections,
            holds,
        })
    }
}

fn charged(event: Stored, config: Option<ConfigUsed>, checked: &Checked) -> Charged {
    let price = config.as_ref().map(|used| price(&event, used, checked));
    Charged {
        at: event.at.to_string(),
        why: why(&event, checked),
        class: event.class.name(),
        operation: event.operation.name(),
        credits: event.credits,
        estimate: event.estimate,
        source: event.source.name(),
        kind: event.kind,
        kind_means: kind_means(event.kind),
        confidence: event.confidence,
        units: event.units,
        input_tokens: event.input_tokens,
        output_tokens: event.output_tokens,
        price,
        config_hash: config.map(|used| used.hash),
        shadow: event.shadow,
        continued: event.continued,
        period: event.period.to_string(),
        status: event.status,
        duration_ms: event.duration_ms,
        event: event.event.to_string(),
        team: event.team,
        key: event.key,
        named_kind: event.named_kind,
        named: event.named,
        session: event.session,
        tags: event.tags,
    }
}

/// The rate card's name was written down; what it says is read from the configuration there is now.
fn price(event: &Stored, used: &ConfigUsed, checked: &Checked) -> String {
    let name = &used.rate_card;
    let Some(card) = checked.cards.get(name) else {
        return format!("rate card {name}, which is not configured any more");
    };
    let tariff = card.tariff(event.operation);
    match used.hash == checked.hash {
        true => format!("rate card {name}: {tariff}"),
        false => format!("rate card {name}: {tariff}, as it is configured now"),
    }
}

/// An event keeps what it was recorded under, not which of it decided: that follows.
fn why(event: &Stored, checked: &Checked) -> &'static str {
    if event.team == UNATTRIBUTED {
        return "nobody was known to pay; refusals were only noted";
    }
    if event.key.is_some() {
        return "its key was given";
    }
    let named = checked.allocations.named.iter();
    let mut its_own = named.filter(|named| {
        Some(named.kind.name()) == event.named_kind.as_deref()
            && Some(named.id.as_str()) == event.named.as_deref()
    });
    match its_own.next() {
        Some(_) => "what the request names is its own",
        None => {
            "no key, and what the request names is not configured now: [pool] unattributed, or as it was then"
        }
    }
}

/// Why an event has the charge it has.
fn kind_means(kind: &str) -> &'static str {
    match kind {
        "measured" => "the answer was complete: the price of what it used",
        "partial" => "the answer broke off: what was seen of it, at least the base",
        "uncertain" => "actions may have run unseen: the larger of what was seen and the estimate",
        "void" => "given back: it was not sent, or the upstream refused it",
        "crash_adjustment" => "granted and not settled when the process ended",
        _ => "",
    }
}
