//! What a call that may cost says of itself, and the ticket it gets.

use std::rc::Rc;

use compact_str::CompactString;
use http::request::Parts;

use super::admit::Admitted;
use super::exchange::Exchange;
use super::identify::{Claims, Payer};
use super::refusal::Refused;
use super::sessions;
use super::ticket::{Facts, Ticket, TurnOf};
use crate::budget::operation::Operation;
use crate::budget::usage::Usage;
use crate::config::checked::UnpricedPolicy;
use crate::rates::quote::{Asked, Terms};
use crate::salesforce::NamedKind;
use crate::salesforce::call::{Paid, UpstreamName};
use crate::salesforce::tap::RequestFacts;

/// A turn of a conversation, and what is known of that.
pub(super) struct Turn<'a> {
    id: &'a str,
    session: Option<sessions::Known>,
}

impl Turn<'_> {
    /// Its conversation was opened below the team's trip point.
    pub(super) fn began_below_trip(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| session.opened_below_trip)
    }
}

/// What the call names: in its path, else in its body, else by its session.
pub(super) fn named<'a>(
    paid: &Paid<'a>,
    facts: &'a RequestFacts,
    turn: Option<&'a Turn<'_>>,
) -> Option<(NamedKind, &'a str)> {
    let in_body = || facts.named.as_ref().map(|(kind, id)| (*kind, id.as_str()));
    let of_session = || {
        let agent = turn?.session.as_ref()?.agent.as_deref()?;
        Some((NamedKind::Agent, agent))
    };
    paid.named.or_else(in_body).or_else(of_session)
}

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

    pub(super) fn turn<'a>(&self, paid: &Paid<'a>) -> Option<Turn<'a>> {
        let id = paid.session?;
        let session = self.desk.shared.sessions.known(id);
        Some(Turn { id, session })
    }

    pub(super) fn asked<'a>(
        &self,
        paid: &Paid<'a>,
        facts: &RequestFacts,
        body_bytes: u64,
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
            conversation: paid
                .session
                .map(|session| self.desk.shared.sessions.conversation(session))
                .unwrap_or_default(),
            preview: facts.preview,
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

    /// Takes hold of what was reserved.
    pub(super) fn ticket(
        &self,
        payer: Payer,
        terms: Terms,
        turn: Option<&Turn<'_>>,
        admitted: Admitted,
        asked: Usage,
    ) -> Box<Ticket> {
        let estimate = terms.quote.estimate;
        let team = self.held.team(payer.team).map(|team| team.id);
        let turn = turn.zip(team).map(|(turn, team)| {
            let sessions = &self.desk.shared.sessions;
            let pays_opening = sessions.turn_admitted(turn.id, team, estimate, self.now);
            TurnOf {
                session: CompactString::from(turn.id),
                pays_opening,
            }
        });
        let facts = Facts {
            request: self.request,
            at: self.now,
            started: self.started,
            shadow: admitted.noted.is_some() || payer.is_shadow,
            continued: admitted.continued,
            below_trip: admitted.below_trip,
            asked,
        };
        Ticket::new(
            Rc::clone(&self.desk),
            Rc::clone(&self.held),
            payer,
            terms,
            admitted.reservation,
            turn,
            facts,
            Rc::clone(&self.progress),
        )
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
