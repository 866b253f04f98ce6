//! The guard of an admitted request: it holds what was reserved and notes how far the exchange got.
//!
//! Dropping it settles, exactly once, by the one table in [`settlement`]; it decides nothing itself.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compact_str::CompactString;
use http::StatusCode;
use jiff::Timestamp;
use tokio::time::Instant;

use super::body::Progress;
use super::counters::Outcome;
use super::desk::Desk;
use super::identify::{Because, Payer};
use super::snapshot::{Held, TeamEntry};
use crate::budget::books::Reservation;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Source;
use crate::budget::settlement::{self, Charge, Reached, Seen};
use crate::budget::usage::Usage;
use crate::ledger::event::{Confidence, Event, EventKind, RequestId, SessionRow};
use crate::rates::quote::Terms;
use crate::salesforce::tap::{Learned, Tap};

/// An admitted request.
pub struct Ticket {
    desk: Rc<Desk>,
    held: Held,
    payer: Payer,
    terms: Terms,
    reservation: Option<Reservation>,
    session: Option<TurnOf>,
    facts: Facts,
    tap: Option<Tap>,
    answer: Answer,
    progress: Rc<Progress>,
}

/// What is known of the request when it is admitted.
pub struct Facts {
    /// Its id.
    pub request: RequestId,
    /// When it was admitted.
    pub at: Timestamp,
    /// The same, for durations.
    pub started: Instant,
    /// A refusal was only noted.
    pub shadow: bool,
    /// It passed the open breaker, its conversation having begun below it.
    pub continued: bool,
    /// The team was below its trip point.
    pub below_trip: bool,
    /// What the request itself says it uses; charged where the answer does not tell.
    pub asked: Usage,
}

/// The conversation a turn belongs to.
pub struct TurnOf {
    /// Salesforce's session id.
    pub session: CompactString,
    /// This turn pays for the opening.
    pub pays_opening: bool,
}

/// How the answer came in, as far as it did.
enum Answer {
    None,
    Refused { status: u16, after: Duration },
    Streaming(u16),
    Complete(u16),
}

impl Ticket {
    /// Takes hold of a reservation.
    #[expect(
        clippy::too_many_arguments,
        reason = "the guard's whole content, each of its own type"
    )]
    pub fn new(
        desk: Rc<Desk>,
        held: Held,
        payer: Payer,
        terms: Terms,
        reservation: Reservation,
        session: Option<TurnOf>,
        facts: Facts,
        progress: Rc<Progress>,
    ) -> Box<Self> {
        let (reservation, answer) = (Some(reservation), Answer::None);
        // Boxed: it is handed on from step to step, and is half a kilobyte.
        Box::new(Self {
            desk,
            held,
            payer,
            terms,
            reservation,
            session,
            facts,
            tap: None,
            answer,
            progress,
        })
    }

    /// The team that pays.
    pub fn team(&self) -> Option<&TeamEntry> {
        self.held.team(self.payer.team)
    }

    /// The payer.
    pub fn payer(&self) -> &Payer {
        &self.payer
    }

    /// The terms it was admitted under.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The upstream answered other than 2xx: settled here and now, whatever its body says.
    pub fn refused_upstream(&mut self, status: StatusCode, after: Duration) {
        self.answer = Answer::Refused {
            status: status.as_u16(),
            after,
        };
        self.end();
    }

    /// Whether it is settled already.
    pub fn is_settled(&self) -> bool {
        self.reservation.is_none()
    }

    /// The upstream answered 2xx; its body will pass by `tap`.
    pub fn answered(&mut self, status: StatusCode, tap: Tap) {
        self.answer = Answer::Streaming(status.as_u16());
        self.tap = Some(tap);
    }

    /// The answer ended as it should.
    pub fn complete(&mut self) {
        if let Answer::Streaming(status) = self.answer {
            self.answer = Answer::Complete(status);
        }
    }

    /// Bytes of the answer; the credits by which what was seen is now over the bound.
    pub fn pass(&mut self, bytes: &bytes::Bytes) -> Option<MicroCredits> {
        let tap = self.tap.as_mut()?;
        tap.pass(bytes);
        let units = tap.units_so_far();
        if units == 0 {
            return None;
        }
        let price = self.terms.price(&Usage::of_units(units));
        let bound = self.reservation.as_ref()?.bound;
        price
            .checked_sub(bound)
            .filter(|over| *over > MicroCredits::ZERO)
    }

    /// Raises the draw; true if the grant covers it already.
    pub fn extend(&mut self, more: MicroCredits) -> bool {
        let held = Rc::clone(&self.held);
        let team = held.team(self.payer.team);
        match (team, self.reservation.as_mut()) {
            (Some(team), Some(reservation)) => {
                held.live.books.extend(&team.books, reservation, more)
            }
            _ => true,
        }
    }

    fn reached(&self) -> (Reached, u16) {
        match self.answer {
            Answer::None if self.progress.sent.get() && self.progress.body_ended.get() => {
                (Reached::Sent, 0)
            }
            Answer::None => (Reached::Unsent, 0),
            Answer::Refused { status, after } => (Reached::Refused { status, after }, status),
            Answer::Streaming(status) => (Reached::Streaming, status),
            Answer::Complete(status) => (Reached::Complete, status),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end();
    }
}

impl Ticket {
    fn end(&mut self) {
        let Some(reservation) = self.reservation.take() else {
            return;
        };
        let (reached, status) = self.reached();
        let learned = self.tap.as_mut().map(Tap::learned).unwrap_or_default();
        self.settle(reservation, reached, status, learned);
    }

    /// Brings facts and table together, then the counters, then the event.
    fn settle(
        &mut self,
        reservation: Reservation,
        reached: Reached,
        status: u16,
        learned: Learned,
    ) {
        let (usage, metered) = self.metered(reached, &learned);
        let seen = Seen {
            metered,
            turn_over: learned.turn_over,
            error_inside: learned.error_inside,
            on_late_5xx: self.held.checked.gateway.limits.on_late_5xx,
        };
        let charge = settlement::charge(reached, &self.terms.quote, &seen);
        let (source, estimate) = (reservation.source, reservation.estimate);
        let credits = charge.credits();
        let session = self.session_after(estimate, charge, &learned);
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
        }
        let event = self.event(source, estimate, charge, usage, status, session);
        self.desk.record(event);
    }

    /// What was used, and its price. An answer that could not be read costs what the request says, or the bound.
    fn metered(&self, reached: Reached, learned: &Learned) -> (Usage, MicroCredits) {
        let over = matches!(reached, Reached::Complete | Reached::Streaming);
        match learned.usage {
            Some(usage) => (usage, self.terms.price(&usage)),
            None if reached == Reached::Complete => {
                let usage = Usage {
                    estimated: true,
                    ..self.facts.asked
                };
                (usage, self.terms.quote.bound)
            }
            None if over => (self.facts.asked, MicroCredits::ZERO),
            None => (Usage::default(), MicroCredits::ZERO),
        }
    }

    /// Brings the conversation up to date; what is left to write down.
    fn session_after(
        &self,
        estimate: MicroCredits,
        charge: Charge,
        learned: &Learned,
    ) -> Option<Box<SessionRow>> {
        let sessions = &self.desk.shared.sessions;
        if let Some(turn) = &self.session {
            let unpaid = turn.pays_opening && charge == Charge::Void;
            return sessions
                .turn_settled(&turn.session, estimate, charge.credits(), unpaid)
                .map(Box::new);
        }
        let opened = learned.session.as_ref()?;
        let agent = self
            .payer
            .named
            .as_ref()
            .map(|(_, id)| id.clone())
            .unwrap_or_default();
        let row = SessionRow {
            session: opened.clone(),
            agent,
            team: self.team()?.id,
            charged: charge.credits(),
            opened_below_trip: self.facts.below_trip,
            opening_paid: true,
            last_used: self.facts.at,
            version: 1,
        };
        sessions.opened(row.clone());
        Some(Box::new(row))
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
        }
    }
}

const fn outcome(charge: Charge) -> Outcome {
    match charge {
        Charge::Void => Outcome::Void,
        Charge::Measured(_) => Outcome::Measured,
        Charge::Partial(_) => Outcome::Partial,
        Charge::Uncertain(_) => Outcome::Uncertain,
    }
}
