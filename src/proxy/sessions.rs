//! Agent sessions: who opened them and what they have cost, so that a turn finds its payer and its cap.
//!
//! Bounded and expiring: at most [`SESSIONS_MAX`], 24 hours since the last use. No shard is held across an
//! await. The ledger keeps the same rows, so that a restart forgets nothing.

use compact_str::CompactString;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use dashmap::mapref::one::RefMut;
use jiff::{SignedDuration, Timestamp};

use super::bounded;
use crate::budget::credits::MicroCredits;
use crate::ledger::event::{SessionRow, TeamId};
use crate::rates::quote::{Conversation, Terms};

/// The most bytes of a session's id: Salesforce's are UUIDs, of 36.
pub const SESSION_ID_MAX: usize = 128;
/// The most sessions remembered; about 200 bytes each.
pub const SESSIONS_MAX: usize = 100_000;
/// A session unused for this long is forgotten.
pub const SESSION_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// Where a conversation stands of which nothing is known.
const NEW: Conversation = Conversation {
    charged: MicroCredits::ZERO,
    opening_owed: true,
};

/// The map of sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    by_id: DashMap<CompactString, Session>,
}

#[derive(Debug)]
struct Session {
    row: SessionRow,
    /// Its opening was seen, or paid for by a turn.
    opened: bool,
    /// Turns in flight.
    turns: u32,
    /// What they count with.
    reserved: MicroCredits,
}

impl Session {
    fn of(row: SessionRow, opened: bool) -> Self {
        Self {
            row,
            opened,
            turns: 0,
            reserved: MicroCredits::ZERO,
        }
    }

    /// Where it stands, with its turns in flight.
    fn conversation(&self) -> Conversation {
        Conversation {
            charged: add(self.row.charged, self.reserved),
            opening_owed: !self.row.opening_paid,
        }
    }

    /// Nothing is known of it but its name, which anybody can make up.
    const fn is_unproven(&self) -> bool {
        !self.opened && self.row.charged.is_zero()
    }
}

/// How a session stands between its turns; by default, what is known of a call that is none of any session.
#[derive(Clone, Debug, Default)]
pub struct Stands {
    /// What its conversation has cost.
    pub conversation: Conversation,
    /// The agent it was opened with, where the opening was seen.
    pub agent: Option<CompactString>,
    /// It was opened below its team's trip point.
    pub opened_below_trip: bool,
}

/// A turn in its conversation: it counts with its estimate, or what it came to, until it is settled.
#[derive(Debug)]
pub struct Turn {
    /// Salesforce's session id.
    pub session: CompactString,
    reserved: MicroCredits,
    /// It pays for the opening too; no other turn does from then on.
    pays_opening: bool,
}

/// A turn that is quoted and not yet admitted; dropped as such it counts no more.
#[derive(Debug)]
pub struct Entered<'s> {
    sessions: &'s Sessions,
    turn: Option<Turn>,
    /// The session was opened below its team's trip point.
    pub opened_below_trip: bool,
}

impl Entered<'_> {
    /// It was admitted: whoever holds it settles it.
    pub fn admitted(mut self) -> Option<Turn> {
        self.turn.take()
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            // What is left of the conversation is what it was before: nothing to write down.
            drop(self.sessions.left(&turn, None));
        }
    }
}

impl Sessions {
    /// The sessions the ledger remembers.
    pub fn restored(rows: Vec<SessionRow>) -> Self {
        let sessions = Self::default();
        for row in rows {
            let id = row.session.clone();
            sessions.by_id.insert(id, Session::of(row, true));
        }
        sessions
    }

    /// A session was opened and paid for; what is to be written down of it. Its first turn may have come before the
    /// last bytes of the opening's answer, and goes on counting.
    pub fn opened(&self, row: SessionRow) -> SessionRow {
        self.make_room();
        let id = row.session.clone();
        match self.by_id.entry(id) {
            Entry::Vacant(vacant) => {
                vacant.insert(Session::of(row.clone(), true));
                row
            }
            Entry::Occupied(mut occupied) => {
                let known = occupied.get_mut();
                known.row = SessionRow {
                    charged: add(known.row.charged, row.charged),
                    version: known.row.version.saturating_add(1),
                    ..row
                };
                known.opened = true;
                known.row.clone()
            }
        }
    }

    /// What is known of a session. A turn is priced by what [`enter`](Self::enter) says.
    pub fn look(&self, session: &str) -> Stands {
        let Some(known) = self.by_id.get(session) else {
            return Stands {
                conversation: NEW,
                ..Stands::default()
            };
        };
        let agent = &known.row.agent;
        Stands {
            conversation: known.conversation(),
            agent: (!agent.is_empty()).then(|| agent.clone()),
            opened_below_trip: known.row.opened_below_trip,
        }
    }

    /// A turn is quoted where its conversation stands and counts from then on, in one step: turns at once would see
    /// the same credits left, and the same opening unpaid.
    pub fn enter(
        &self,
        session: &str,
        now: Timestamp,
        quote: impl FnOnce(Conversation) -> Terms,
    ) -> (Terms, Entered<'_>) {
        let entered = |known: &mut Session| {
            let terms = quote(known.conversation());
            let pays_opening = !std::mem::replace(&mut known.row.opening_paid, true);
            let estimate = terms.quote.estimate;
            known.reserved = add(known.reserved, estimate);
            known.turns = known.turns.saturating_add(1);
            known.row.last_used = now;
            let turn = Turn {
                session: known.row.session.clone(),
                reserved: estimate,
                pays_opening,
            };
            let entered = Entered {
                sessions: self,
                turn: Some(turn),
                opened_below_trip: known.row.opened_below_trip,
            };
            (terms, entered)
        };
        if let Some(mut known) = self.by_id.get_mut(session) {
            return entered(&mut known);
        }
        // No room is made for it yet: those in flight are bounded, and it is kept only if it comes to cost something.
        let new = || {
            let row = SessionRow {
                session: CompactString::from(session),
                agent: CompactString::default(),
                team: TeamId(0),
                charged: NEW.charged,
                opened_below_trip: false,
                opening_paid: !NEW.opening_owed,
                last_used: now,
                version: 0,
            };
            Session::of(row, false)
        };
        let id = CompactString::from(session);
        entered(&mut self.by_id.entry(id).or_insert_with(new))
    }

    /// A turn in flight counts with what it came to, not with its estimate.
    pub fn turn_counts(&self, turn: &mut Turn, came_to: MicroCredits) {
        if let Some(mut known) = self.by_id.get_mut(&turn.session) {
            let reserved = std::mem::replace(&mut turn.reserved, came_to);
            let others = less(known.reserved, reserved);
            known.reserved = add(others, came_to);
        }
    }

    /// A turn was settled by this team for so much, or, with `None`, voided: then the opening it would have paid for
    /// is owed again. What is left to write down; nothing of a session that cost nothing and was not seen opened.
    pub fn turn_settled(
        &self,
        turn: &Turn,
        charged: Option<(TeamId, MicroCredits)>,
    ) -> Option<SessionRow> {
        let mut session = self.left(turn, charged)?;
        session.row.version = session.row.version.saturating_add(1);
        let row = session.row.clone();
        let is_new = !std::mem::replace(&mut session.opened, true);
        drop(session);
        if is_new {
            self.make_room();
        }
        Some(row)
    }

    /// A turn in flight counts no more; its session, unless that is forgotten with it.
    fn left(
        &self,
        turn: &Turn,
        charged: Option<(TeamId, MicroCredits)>,
    ) -> Option<RefMut<'_, CompactString, Session>> {
        let mut known = self.by_id.get_mut(&turn.session)?;
        let session = known.value_mut();
        session.turns = session.turns.saturating_sub(1);
        session.reserved = less(session.reserved, turn.reserved);
        let row = &mut session.row;
        match charged {
            None => row.opening_paid &= !turn.pays_opening,
            Some((team, credits)) => {
                row.charged = add(row.charged, credits);
                if turn.pays_opening {
                    row.team = team;
                }
            }
        }
        if !session.is_unproven() {
            return Some(known);
        }
        drop(known);
        let is_idle =
            |_: &CompactString, session: &Session| session.turns == 0 && session.is_unproven();
        self.by_id.remove_if(&turn.session, is_idle);
        None
    }

    /// Conversations used since then that cost at least so much, each with its agent.
    pub fn dear(&self, at_least: MicroCredits, since: Timestamp) -> Vec<SessionRow> {
        let sessions = self.by_id.iter();
        let dear = sessions
            .filter(|session| session.row.charged >= at_least && session.row.last_used >= since);
        dear.map(|session| session.row.clone()).collect()
    }

    /// What each conversation of an agent cost so far.
    pub fn charged_by(&self, agent: &str) -> Vec<MicroCredits> {
        let sessions = self.by_id.iter();
        let of_agent = sessions.filter(|session| session.row.agent == agent);
        of_agent.map(|session| session.row.charged).collect()
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
            (session.turns == 0).then_some(session.row.last_used)
        });
    }
}

/// What is left of `a`: never a debt, which would give the conversation more than its most.
fn less(a: MicroCredits, b: MicroCredits) -> MicroCredits {
    a.checked_sub(b).unwrap_or_default().max(MicroCredits::ZERO)
}

fn add(a: MicroCredits, b: MicroCredits) -> MicroCredits {
    a.checked_add(b).unwrap_or(MicroCredits::MAX)
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
