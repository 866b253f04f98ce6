//! Salesforce runs one turn of a session at a time. Which sessions have one in flight through this process, and,
//! where duplicates are refused, which turns have just ended.
//!
//! A session is taken and let go with one step on a shard of the map, and no shard is held across an await. As
//! many sessions are taken as turns are in flight; turns that ended are kept for [`JUST_NOW`], at most
//! [`ENDED_MAX`].

use std::rc::Rc;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use jiff::{SignedDuration, Timestamp};

use super::bounded::make_room;
use super::desk::Desk;
use crate::ledger::event::RequestId;

/// A turn that ended less than this ago was made just now.
pub const JUST_NOW: SignedDuration = SignedDuration::from_mins(2);
/// The most ended turns remembered; about 100 bytes each.
pub const ENDED_MAX: usize = 100_000;

/// Turns in flight, and turns that have just ended.
#[derive(Debug, Default)]
pub struct Turns {
    in_flight: DashMap<Arc<str>, InFlight>,
    ended: DashMap<(Arc<str>, u128), Ended>,
}

/// A turn in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Its request.
    pub request: RequestId,
    /// When that came.
    pub since: Timestamp,
}

/// A turn that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its request.
    pub request: RequestId,
    /// When it ended.
    pub at: Timestamp,
}

impl Turns {
    /// Takes a session for a turn.
    ///
    /// # Errors
    /// The turn that has it.
    pub fn take(&self, session: &Arc<str>, turn: InFlight) -> Result<(), InFlight> {
        match self.in_flight.entry(Arc::clone(session)) {
            Entry::Occupied(other) => Err(*other.get()),
            Entry::Vacant(vacant) => {
                vacant.insert(turn);
                Ok(())
            }
        }
    }

    /// The turn that has a session, for whoever only asks.
    pub fn holder(&self, session: &str) -> Option<InFlight> {
        self.in_flight.get(session).map(|turn| *turn)
    }

    /// Lets the next turn have the session.
    fn let_go(&self, session: &str) {
        self.in_flight.remove(session);
    }

    /// Remembers that a turn with this body ended.
    pub fn ended(&self, session: &Arc<str>, body: u128, turn: Ended) {
        make_room(&self.ended, ENDED_MAX, |ended| Some(ended.at));
        self.ended.insert((Arc::clone(session), body), turn);
    }

    /// The turn with this body that has just ended.
    pub fn just_ended(&self, session: &Arc<str>, body: u128, now: Timestamp) -> Option<Ended> {
        let ended = self.ended.get(&(Arc::clone(session), body))?;
        Some(*ended).filter(|ended| now.duration_since(ended.at) < JUST_NOW)
    }

    /// Forgets turns that ended earlier. Called now and then, off the request path.
    pub fn expire(&self, now: Timestamp) {
        self.ended
            .retain(|_, ended| now.duration_since(ended.at) < JUST_NOW);
    }

    /// Sessions with a turn in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

/// A session taken for a turn, until it is dropped: by whatever ends the turn.
pub struct TurnSlot {
    desk: Rc<Desk>,
    session: Arc<str>,
}

impl TurnSlot {
    /// Takes the session.
    ///
    /// # Errors
    /// The turn that has it.
    pub(super) fn take(desk: &Rc<Desk>, session: &str, turn: InFlight) -> Result<Self, InFlight> {
        let session = Arc::from(session);
        desk.shared.turns.take(&session, turn)?;
        let desk = Rc::clone(desk);
        Ok(Self { desk, session })
    }

    /// Remembers that its turn, with this body, ended.
    pub(super) fn ended(&self, body: u128, turn: Ended) {
        self.desk.shared.turns.ended(&self.session, body, turn);
    }

    /// The turn of the session with this body that has just ended.
    pub(super) fn just_ended(&self, body: u128, now: Timestamp) -> Option<Ended> {
        self.desk.shared.turns.just_ended(&self.session, body, now)
    }
}

impl Drop for TurnSlot {
    fn drop(&mut self) {
        self.desk.shared.turns.let_go(&self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn turn(request: u128) -> InFlight {
        InFlight {
            request: RequestId(request),
            since: second(7),
        }
    }

    fn ended(second: i64) -> Ended {
        Ended {
            request: RequestId(1),
            at: self::second(second),
        }
    }

    #[test]
    fn of_many_at_once_exactly_one_has_the_session() {
        let turns = Turns::default();
        let session: Arc<str> = "8e71".into();
        for round in 0..200 {
            let start = std::sync::Barrier::new(4);
            let took = std::thread::scope(|scope| {
                let one = |at: u128| {
                    start.wait();
                    turns.take(&session, turn(at)).is_ok()
                };
                let threads: Vec<_> = (0..4).map(|at| scope.spawn(move || one(at))).collect();
                let took = threads.into_iter().map(|thread| thread.join().unwrap());
                took.filter(|took| *took).count()
            });
            assert_eq!((took, turns.in_flight()), (1, 1), "round {round}");
            turns.let_go(&session);
            assert_eq!(turns.in_flight(), 0);
        }
    }

    #[test]
    fn whoever_is_refused_learns_which_turn_is_in_flight() {
        let turns = Turns::default();
        let session: Arc<str> = "8e71".into();
        assert_eq!(turns.take(&session, turn(1)), Ok(()));
        assert_eq!(turns.take(&session, turn(2)), Err(turn(1)));
        assert_eq!(turns.take(&"another".into(), turn(3)), Ok(()));
    }

    #[test]
    fn a_turn_was_made_just_now_for_two_minutes() {
        let turns = Turns::default();
        let session: Arc<str> = "8e71".into();
        turns.ended(&session, 5, ended(1_000));
        let check = |session: &str, body: u128, at: i64, want: bool| {
            let got = turns.just_ended(&session.into(), body, second(at));
            assert_eq!(got.is_some(), want, "{session} {body} at {at}");
        };
        check("8e71", 5, 1_000, true);
        check("8e71", 5, 1_119, true);
        check("8e71", 5, 1_120, false);
        check("8e71", 5, 900, true); // a clock that went back
        check("8e71", 6, 1_000, false);
        check("8e72", 5, 1_000, false);
        turns.expire(second(1_119));
        check("8e71", 5, 1_000, true);
        turns.expire(second(1_120));
        check("8e71", 5, 1_000, false);
    }

    #[test]
    fn turns_that_ended_are_bounded_and_the_oldest_go_first() {
        let turns = Turns::default();
        let session: Arc<str> = "8e71".into();
        for at in 0..ENDED_MAX {
            let at = i64::try_from(at).unwrap();
            turns.ended(&session, u128::from(at.unsigned_abs()), ended(at));
        }
        let newest = i64::try_from(ENDED_MAX).unwrap();
        turns.ended(&session, 7_000_000, ended(newest));
        assert!(turns.ended.len() <= ENDED_MAX);
        let known = |body| turns.just_ended(&session, body, second(0)).is_some();
        assert!(!known(0) && known(7_000_000) && known(u128::from(newest.unsigned_abs()) - 1));
    }
}
