//! The guard of an admitted request: it holds what was reserved and notes how far the exchange got.
//!
//! Dropping it settles, exactly once, by the one table in [`settlement`](crate::budget::settlement); it decides nothing itself.

mod settle;

use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use tokio::time::Instant;

pub(super) use self::settle::{metered, outcome};
use super::body::Progress;
use super::desk::Desk;
use super::fuses::HourAt;
use super::identify::Payer;
use super::once::Once;
use super::room::Part;
use super::sessions::Turn;
use super::snapshot::{Held, TeamEntry};
use crate::budget::books::Reservation;
use crate::budget::credits::MicroCredits;
use crate::budget::settlement::Reached;
use crate::budget::usage::Usage;
use crate::ledger::event::RequestId;
use crate::rates::quote::Terms;
use crate::salesforce::tap::{Learned, Tap};

/// An admitted request.
pub struct Ticket {
    desk: Rc<Desk>,
    held: Held,
    payer: Payer,
    terms: Terms,
    reservation: Option<Reservation>,
    turn: Option<Turn>,
    once: Option<Box<Once>>,
    facts: Facts,
    tap: Option<Tap>,
    /// The room for what the tap keeps.
    kept: Option<Part>,
    finished: Option<Finished>,
    answer: Answer,
    progress: Rc<Progress>,
}

/// What an answer that is over came to.
struct Finished {
    learned: Learned,
    usage: Usage,
    price: MicroCredits,
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
    /// The hour it counts in, where a fuse counts.
    pub fused: Option<HourAt>,
    /// What the request itself says it uses; counted where the answer does not tell, or tells less.
    pub asked: Usage,
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
        turn: Option<Turn>,
        once: Option<Box<Once>>,
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
            turn,
            once,
            facts,
            tap: None,
            kept: None,
            finished: None,
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
        self.kept = Some(self.desk.answers.part());
    }

    /// The answer ended as it should.
    pub fn complete(&mut self) {
        if let Answer::Streaming(status) = self.answer {
            self.answer = Answer::Complete(status);
        }
    }

    /// Bytes of the answer; the credits by which what was seen is now over the bound.
    pub fn pass(&mut self, bytes: &bytes::Bytes) -> Option<MicroCredits> {
        let (tap, kept) = (self.tap.as_mut()?, self.kept.as_mut()?);
        tap.pass(bytes);
        if !kept.resize(tap.held_bytes()) {
            tap.let_go();
            let _smaller = kept.resize(0);
        }
        let turn = tap.streamed_turn()?;
        let (units, ended) = (turn.actions(), turn.is_ended());
        if ended && self.once.as_ref().is_some_and(|once| once.holds_turn()) {
            self.turn_over(units);
        }
        if units == 0 {
            return None;
        }
        self.over_bound(self.terms.price(&Usage::of_units(units)))
    }

    /// Whether the answer may end with these bytes, and what it came to be known by its end only.
    pub fn may_end_with(&self, bytes: &bytes::Bytes) -> bool {
        self.tap.as_ref().is_some_and(|tap| tap.may_end_with(bytes))
    }

    /// The answer is over, its last bytes not yet passed on; the credits by which it came to more than the bound.
    pub fn finish(&mut self) -> Option<MicroCredits> {
        let learned = self.learned();
        let (usage, price) = metered(&self.terms, &self.facts.asked, Reached::Complete, &learned);
        self.finished = Some(Finished {
            learned,
            usage,
            price,
        });
        self.over_bound(price)
    }

    fn learned(&mut self) -> Learned {
        let request_bytes = self.progress.most_bytes();
        let tap = self.tap.as_mut();
        tap.map(|tap| tap.learned(request_bytes))
            .unwrap_or_default()
    }

    fn over_bound(&self, price: MicroCredits) -> Option<MicroCredits> {
        let bound = self.reservation.as_ref()?.bound;
        price
            .checked_sub(bound)
            .filter(|over| *over > MicroCredits::ZERO)
    }

    /// `END_OF_TURN` is about to reach the client, who may send the next turn while this stream is still open: it
    /// finds the session free, and its conversation at what was measured.
    fn turn_over(&mut self, units: u64) {
        let price = self.terms.price(&Usage::of_units(units));
        if let Some(turn) = &mut self.turn {
            self.desk.shared.sessions.turn_counts(turn, price);
        }
        if let Some(once) = &mut self.once {
            once.turn_over(self.facts.request);
        }
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
        let finished = match self.finished.take() {
            Some(finished) if reached == Reached::Complete => finished,
            finished => {
                let learned = finished.map(|finished| finished.learned);
                let learned = learned.unwrap_or_else(|| self.learned());
                let (usage, price) = metered(&self.terms, &self.facts.asked, reached, &learned);
                Finished {
                    learned,
                    usage,
                    price,
                }
            }
        };
        self.settle(reservation, reached, status, finished);
    }
}
