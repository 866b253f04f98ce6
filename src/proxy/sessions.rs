//! Agent sessions: who opened them and what they have cost, so that a turn finds its payer and its cap.
//!
//! Bounded and expiring: at most [`SESSIONS_MAX`], 24 hours since the last use. No shard is held across an
//! await. The ledger keeps the same rows, so that a restart forgets nothing.

use compact_str::CompactString;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use jiff::{SignedDuration, Timestamp};

use super::bounded;
use crate::budget::credits::MicroCredits;
use crate::ledger::event::{SessionRow, TeamId};
use crate::rates::quote::Conversation;

/// The most sessions remembered; about 200 bytes each.
pub const SESSIONS_MAX: usize = 100_000;
/// A session unused for this long is forgotten.
pub const SESSION_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The map of sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    by_id: DashMap<CompactString, Session>,
}

#[derive(Debug)]
struct Session {
    row: SessionRow,
    /// Estimates of turns in flight.
    reserved: MicroCredits,
}

/// What a turn needs to know of its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The agent, where the opening was seen.
    pub agent: Option<CompactString>,
    /// It was opened below its team's trip point.
    pub opened_below_trip: bool,
}

impl Sessions {
    /// The sessions the ledger remembers.
    pub fn restored(rows: Vec<SessionRow>) -> Self {
        let sessions = Self::default();
        for row in rows {
            let session = Session {
                reserved: MicroCredits::ZERO,
                row,
            };
            sessions.by_id.insert(session.row.session.clone(), session);
        }
        sessions
    }

    /// What is known of a session.
    pub fn known(&self, session: &str) -> Option<Known> {
        let session = self.by_id.get(session)?;
        let agent = Some(session.row.agent.clone()).filter(|agent| !agent.is_empty());
        Some(Known {
            agent,
            opened_below_trip: session.row.opened_below_trip,
        })
    }

    /// Where a conversation stands, with the turns in flight.
    pub fn conversation(&self, session: &str) -> Conversation {
        self.by_id.get(session).map_or(
            Conversation {
                charged: MicroCredits::ZERO,
                opening_owed: true,
            },
            |session| Conversation {
                charged: add(session.row.charged, session.reserved),
                opening_owed: !session.row.opening_paid,
            },
        )
    }

    /// A session was opened and paid for.
    pub fn opened(&self, row: SessionRow) {
        self.make_room();
        self.by_id.insert(
            row.session.clone(),
            Session {
                row,
                reserved: MicroCredits::ZERO,
            },
        );
    }

    /// A turn was admitted: it counts with its estimate until it is settled. True where it also pays for the
    /// opening; no other turn does from then on.
    pub fn turn_admitted(
        &self,
        session: &str,
        team: TeamId,
        estimate: MicroCredits,
        now: Timestamp,
    ) -> bool {
        if self.by_id.len() >= SESSIONS_MAX && !self.by_id.contains_key(session) {
            self.make_room();
        }
        match self.by_id.entry(CompactString::from(session)) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.reserved = add(known.reserved, estimate);
                known.row.last_used = now;
                !std::mem::replace(&mut known.row.opening_paid, true)
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Session {
                    row: SessionRow {
                        session: CompactString::from(session),
                        agent: CompactString::default(),
                        team,
                        charged: MicroCredits::ZERO,
                        opened_below_trip: false,
                        opening_paid: true,
                        last_used: now,
                        version: 0,
                    },
                    reserved: estimate,
                });
                true
            }
        }
    }

    /// A turn in flight counts with `now` instead of `before`.
    pub fn turn_counts(&self, session: &str, before: MicroCredits, now: MicroCredits) {
        if let Some(mut known) = self.by_id.get_mut(session) {
            let others = known.reserved.checked_sub(before).unwrap_or_default();
            known.reserved = add(others, now);
        }
    }

    /// A turn was settled; a void one also gives back the opening it would have paid for.
    pub fn turn_settled(
        &self,
        session: &str,
        reserved: MicroCredits,
        credits: MicroCredits,
        opening_unpaid: bool,
    ) -> Option<SessionRow> {
        let mut known = self.by_id.get_mut(session)?;
        known.reserved = known.reserved.checked_sub(reserved).unwrap_or_default();
        known.row.charged = add(known.row.charged, credits);
        known.row.version = known.row.version.saturating_add(1);
        if opening_unpaid {
            known.row.opening_paid = false;
        }
        Some(known.row.clone())
    }

    /// Forgets what was not used for a day. Called now and then, off the request path.
    pub fn expire(&self, now: Timestamp) {
        self.by_id
            .retain(|_, session| now.duration_since(session.row.last_used) < SESSION_LIFE);
    }

    /// Sessions remembered.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn make_room(&self) {
        bounded::make_room(&self.by_id, SESSIONS_MAX, |session| {
            (session.reserved <= MicroCredits::ZERO).then_some(session.row.last_used)
        });
    }
}

fn add(a: MicroCredits, b: MicroCredits) -> MicroCredits {
    a.checked_add(b).unwrap_or(MicroCredits::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(session: &str, last_used: i64) -> SessionRow {
        SessionRow {
            session: session.into(),
            agent: "0Xx1".into(),
            team: TeamId(0),
            charged: MicroCredits::from_micros(2),
            opened_below_trip: true,
            opening_paid: true,
            last_used: Timestamp::from_second(last_used).unwrap(),
            version: 1,
        }
    }

    #[test]
    fn a_turn_in_flight_counts_with_its_estimate() {
        let sessions = Sessions::default();
        sessions.opened(row("a", 0));
        let check = |charged: i64| {
            assert_eq!(
                sessions.conversation("a").charged,
                MicroCredits::from_micros(charged)
            );
        };
        check(2);
        let estimate = MicroCredits::from_micros(3);
        let pays_opening = sessions.turn_admitted("a", TeamId(0), estimate, Timestamp::UNIX_EPOCH);
        assert!(!pays_opening);
        check(5);
        let settled = sessions.turn_settled("a", estimate, MicroCredits::from_micros(1), false);
        check(3);
        assert_eq!(settled.unwrap().charged.micros(), 3);
    }

    #[test]
    fn a_turn_that_is_over_counts_with_what_was_measured() {
        let (sessions, micros) = (Sessions::default(), MicroCredits::from_micros);
        sessions.opened(row("a", 0));
        let estimate = micros(3);
        sessions.turn_admitted("a", TeamId(0), estimate, Timestamp::UNIX_EPOCH);
        sessions.turn_counts("a", estimate, micros(1));
        assert_eq!(sessions.conversation("a").charged, micros(3));
        sessions.turn_admitted("a", TeamId(0), micros(2), Timestamp::UNIX_EPOCH);
        assert_eq!(sessions.conversation("a").charged, micros(5));
        sessions.turn_settled("a", micros(1), micros(1), false);
        assert_eq!(sessions.conversation("a").charged, micros(5));
    }

    #[test]
    fn an_opening_not_seen_is_owed_once() {
        let sessions = Sessions::default();
        let admit =
            || sessions.turn_admitted("b", TeamId(0), MicroCredits::ZERO, Timestamp::UNIX_EPOCH);
        assert!(sessions.conversation("b").opening_owed);
        assert!(admit());
        assert!(
            !sessions.conversation("b").opening_owed,
            "not by a turn beside it"
        );
        sessions.turn_settled("b", MicroCredits::ZERO, MicroCredits::ZERO, true);
        assert!(admit(), "a void turn paid for nothing");
        assert_eq!(sessions.known("b").unwrap().agent, None);
    }

    #[test]
    fn the_oldest_idle_go_first_and_a_day_is_the_limit() {
        let sessions = Sessions::default();
        for at in 0..SESSIONS_MAX {
            sessions.opened(row(&at.to_string(), i64::try_from(at).unwrap()));
        }
        sessions.opened(row("new", 1_000_000));
        assert!(sessions.len() <= SESSIONS_MAX);
        assert!(sessions.known("0").is_none() && sessions.known("new").is_some());
        sessions.expire(Timestamp::from_second(1_000_000 + 86_399).unwrap());
        assert_eq!(sessions.len(), 1);
        sessions.expire(Timestamp::from_second(1_000_000 + 86_400).unwrap());
        assert!(sessions.is_empty());
    }
}
