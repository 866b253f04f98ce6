//! What a call that may cost says of itself, and what is to be done with one that has no price.

use http::request::Parts;

use super::exchange::Exchange;
use super::identify::Claims;
use super::refusal::Refused;
use crate::budget::operation::Operation;
use crate::config::checked::UnpricedPolicy;
use crate::rates::quote::{Asked, Conversation};
use crate::salesforce::NamedKind;
use crate::salesforce::call::{Paid, UpstreamName};
use crate::salesforce::tap::RequestFacts;

impl Exchange {
    pub(super) fn unpriced_policy(&self, upstream: UpstreamName) -> UnpricedPolicy {
        let policies = &self.held.checked.gateway.unpriced;
        match upstream {
            UpstreamName::Api => policies.api,
            UpstreamName::Org => policies.org,
            UpstreamName::Data => policies.data,
            UpstreamName::OpenConnector => policies.openconnector,
        }
    }

    pub(super) fn claims<'a>(
        &self,
        parts: &'a Parts,
        key: Option<&'a str>,
        named: Option<(NamedKind, &'a str)>,
    ) -> Claims<'a> {
        Claims {
            headers: &parts.headers,
            present: self.present,
            path_key: key,
            named,
            now_ms: self.now.as_millisecond(),
        }
    }

    /// Whether the team a refusal names, or else the process, is not in shadow mode.
    pub(super) fn enforces(&self, refused: &Refused) -> bool {
        let team = refused.team.and_then(|team| self.held.team(team));
        team.map_or(self.held.checked.gateway.mode.enforce, |team| team.enforce)
    }
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

/// An unpriced call charged a flat amount is booked as the operation its service is best known for.
pub(super) fn nearest_operation(service: &str) -> Operation {
    match service {
        "agentforce" => Operation::AgentTurn,
        "prompt_builder" => Operation::PromptGenerate,
        "data_cloud" => Operation::DataQuery,
        "einstein" => Operation::EinsteinPredict,
        "search" => Operation::EinsteinSearch,
        _ => Operation::ModelGenerate,
    }
}
