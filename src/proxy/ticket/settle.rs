//! What a ticket does when it is dropped: facts and table together, then the counters, then the event.

use std::sync::atomic::Ordering;

use super::{Finished, Ticket};
use crate::budget::books::Reservation;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Source;
use crate::budget::settlement::{self, Charge, Reached, Seen};
use crate::budget::usage::Usage;
use crate::ledger::event::{Confidence, Event, EventKind, IdempotencyRow, SessionRow};
use crate::proxy::counters::Outcome;
use crate::proxy::identify::Because;
use crate::proxy::sessions::SESSION_ID_MAX;
use crate::rates::quote::Terms;
use crate::salesforce::names;
use crate::salesforce::tap::Learned;

impl Ticket {
    /// Brings facts and table together, then the counters, then the event.
    pub(super) fn settle(
        &mut self,
        reservation: Reservation,
        reached: Reached,
        status: u16,
        finished: Finished,
    ) {
        let Finished {
            learned,
            usage,
            price,
        } = finished;
        let seen = Seen {
            metered: price,
            turn_over: learned.turn_over,
            error_inside: learned.error_inside,
            on_late_5xx: self.held.checked.gateway.limits.on_late_5xx,
        };
        let charge = settlement::charge(reached, &self.terms.quote, &seen);
        let (source, estimate) = (reservation.source, reservation.estimate);
        let credits = charge.credits();
        let session = self.session_after(charge, &learned);
        let idempotency = self.made(reached, charge);
        let Some(team) = self.held.team(self.payer.team) else {
            return;
        };
        match charge {
            Charge::Void => self.held.live.books.void(&team.books, reservation),
            Charge::Measured(_) | Charge::Partial(_) | Charge::Uncertain(_) => {
                self.held
                    .live
                    .books
                    .settle(&team.books, reservation, credits);
                if credits > estimate {
                    self.held.live.books.show(&team.books);
                }
            }
        }
        if let Some(hour) = self.facts.fused {
            let fuses = &self.held.fuses;
            fuses.settle(&self.payer, hour, estimate, credits);
        }
        if self.payer.because == Because::Named {
            team.presence
                .by_name_in_flight
                .fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(counters) = self.desk.team_counters(team) {
            counters.ended(
                self.terms.quote.operation,
                self.payer.class,
                outcome(charge),
                credits,
            );
            if charge != Charge::Void && self.once.as_ref().is_some_and(|once| once.reposted) {
                counters.reposted.add(1);
            }
        }
        let mut event = self.event(source, estimate, charge, usage, status, session);
        event.idempotency = idempotency;
        self.desk.record(event);
    }

    /// Lets go of what was held so that the request was made once; the key it used up, if Salesforce may have run it.
    fn made(&mut self, reached: Reached, charge: Charge) -> Option<Box<IdempotencyRow>> {
        let may_have_run = !matches!(reached, Reached::Unsent | Reached::Refused { .. });
        let made = may_have_run || charge != Charge::Void;
        self.once.as_mut()?.ended(self.facts.request, made)
    }

    /// Brings the conversation up to date; what is left to write down.
    fn session_after(&self, charge: Charge, learned: &Learned) -> Option<Box<SessionRow>> {
        let sessions = &self.desk.shared.sessions;
        if let Some(turn) = &self.turn {
            let is_charged = charge != Charge::Void;
            let charged = self.team().filter(|_| is_charged);
            let charged = charged.map(|team| (team.id, charge.credits()));
            return sessions.turn_settled(turn, charged).map(Box::new);
        }
        let opened = learned.session.as_ref();
        let opened = opened.filter(|id| id.len() <= SESSION_ID_MAX)?;
        // What is not kept of an agent's name cannot say whose its turns are.
        let agent = self.payer.named.as_ref().map(|(_, id)| id);
        let agent = agent.filter(|id| *id != names::OTHER).cloned();
        let row = SessionRow {
            session: opened.clone(),
            agent: agent.unwrap_or_default(),
            team: self.team()?.id,
            charged: charge.credits(),
            opened_below_trip: self.facts.below_trip,
            opening_paid: true,
            last_used: self.facts.at,
            version: 1,
        };
        Some(Box::new(sessions.opened(row)))
    }

    fn event(
        &mut self,
        source: Source,
        estimate: MicroCredits,
        charge: Charge,
        usage: Usage,
        status: u16,
        session: Option<Box<SessionRow>>,
    ) -> Event {
        let kind = match charge {
            Charge::Void => EventKind::Void,
            Charge::Measured(_) => EventKind::Measured,
            Charge::Partial(_) => EventKind::Partial,
            Charge::Uncertain(_) => EventKind::Uncertain,
        };
        let measured = matches!(charge, Charge::Measured(_) | Charge::Void) && !usage.estimated;
        let elapsed = self.facts.started.elapsed();
        Event {
            at: self.facts.at,
            request: self.facts.request,
            period: self.held.live.books.period.name,
            team: self
                .team()
                .map_or(crate::ledger::event::TeamId(0), |team| team.id),
            operation: self.terms.quote.operation,
            class: self.payer.class,
            source,
            credits: charge.credits(),
            estimate,
            kind,
            confidence: if measured {
                Confidence::Measured
            } else {
                Confidence::Estimated
            },
            shadow: self.facts.shadow,
            continued: self.facts.continued,
            named: self.payer.named.take(),
            agent_type: self.payer.agent_type.take(),
            key: self
                .payer
                .key
                .as_ref()
                .map(|key| std::sync::Arc::clone(&key.name)),
            tags: self.payer.tags.take(),
            usage,
            status,
            duration_ms: u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX),
            session,
            idempotency: None,
        }
    }
}

/// What was used, and its price. An answer that could not be read costs the bound, and one that could no less than
/// what the request asked for.
pub(in crate::proxy) fn metered(
    terms: &Terms,
    asked: &Usage,
    reached: Reached,
    learned: &Learned,
) -> (Usage, MicroCredits) {
    let over = matches!(reached, Reached::Complete | Reached::Streaming);
    match learned.usage {
        Some(mut usage) => {
            usage.generations = usage.generations.max(asked.generations);
            let price = terms.price(&usage);
            match reached {
                Reached::Complete if learned.unreadable => (usage, price.max(terms.quote.bound)),
                _ => (usage, price),
            }
        }
        None if reached == Reached::Complete => {
            let usage = Usage {
                estimated: true,
                ..*asked
            };
            (usage, terms.quote.bound)
        }
        None if over => (*asked, MicroCredits::ZERO),
        None => (Usage::default(), MicroCredits::ZERO),
    }
}

pub(in crate::proxy) const fn outcome(charge: Charge) -> Outcome {
    match charge {
        Charge::Void => Outcome::Void,
        Charge::Measured(_) => Outcome::Measured,
        Charge::Partial(_) => Outcome::Partial,
        Charge::Uncertain(_) => Outcome::Uncertain,
    }
}
