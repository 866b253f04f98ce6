//! What a request says of its cost: the steps between its recognition and its quote, for whoever prices one.

use super::refusal::{Refusal, Refused};
use super::snapshot::Snapshot;
use crate::budget::operation::Operation;
use crate::budget::usage::Usage;
use crate::config::checked::UnpricedPolicy;
use crate::rates::quote::{Asked, Conversation, Terms};
use crate::salesforce::NamedKind;
use crate::salesforce::call::{Paid, UpstreamName};
use crate::salesforce::tap::RequestFacts;

/// Whether there is anybody to send it to.
pub(super) fn configured(snapshot: &Snapshot, upstream: UpstreamName) -> Result<(), Box<Refused>> {
    match snapshot.upstream(upstream) {
        Some(_) => Ok(()),
        None => {
            let detail = format!(
                "no upstream is configured for this path: set [upstreams] {}",
                upstream.name()
            );
            Err(Refused::new(Refusal::BadRequest, detail))
        }
    }
}

/// The terms of a call no price is known for: none where it passes, a flat amount, or a refusal.
pub(super) fn without_price(
    snapshot: &Snapshot,
    upstream: UpstreamName,
    service: &str,
) -> Result<Option<Terms>, Box<Refused>> {
    let policies = &snapshot.checked.gateway.unpriced;
    let policy = match upstream {
        UpstreamName::Api => policies.api,
        UpstreamName::Org => policies.org,
        UpstreamName::Data => policies.data,
        UpstreamName::OpenConnector => policies.openconnector,
    };
    match policy {
        UnpricedPolicy::Pass => Ok(None),
        UnpricedPolicy::Refuse => {
            let detail = "no price is known for this call; [unpriced] in breakerbox.toml says what to do with it";
            Err(Refused::new(Refusal::Unpriced, detail))
        }
        UnpricedPolicy::Charge(credits) => {
            Ok(Some(Terms::flat(nearest_operation(service), credits)))
        }
    }
}

/// What a request names: in its path, else in its body, else the agent of its session.
pub(super) fn named<'a>(
    paid: &Paid<'a>,
    facts: &'a RequestFacts,
    agent: Option<&'a str>,
) -> Option<(NamedKind, &'a str)> {
    let in_body = facts.named.as_ref().map(|(kind, id)| (*kind, id.as_str()));
    let agent = agent.map(|agent| (NamedKind::Agent, agent));
    paid.named.or(in_body).or(agent)
}

/// What a request says of its own cost.
pub(super) fn asked<'a>(
    paid: &Paid<'a>,
    facts: &RequestFacts,
    body_bytes: u64,
    conversation: Conversation,
) -> Asked<'a> {
    let model = match paid.named {
        Some((NamedKind::Model, model)) => model,
        _ => "",
    };
    Asked {
        units: facts.units,
        body_bytes,
        output_tokens: facts.output_tokens,
        generations: facts.generations,
        model,
        conversation,
        preview: facts.preview,
    }
}

/// What the request itself says it uses; counted where the answer does not tell, or tells less.
pub(super) fn said(facts: &RequestFacts) -> Usage {
    Usage {
        units: facts.units.unwrap_or(1),
        generations: facts.generations.unwrap_or(0),
        ..Usage::default()
    }
}

/// An unpriced call charged a flat amount is booked as the operation its service is best known for.
fn nearest_operation(service: &str) -> Operation {
    match service {
        "agentforce" => Operation::AgentTurn,
        "prompt_builder" => Operation::PromptGenerate,
        "data_cloud" => Operation::DataQuery,
        "einstein" => Operation::EinsteinPredict,
        "search" => Operation::EinsteinSearch,
        _ => Operation::ModelGenerate,
    }
}
