//! Agent sessions: one request at a time each, and what each has cost on the guide card.

use std::collections::BTreeMap;

/// Sessions kept; the oldest is forgotten first and answers 404 from then on.
const SESSIONS_KEPT: usize = 200_000;

/// Why a session cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// Never opened, ended, or forgotten.
    Unknown,
    /// Another request is using it.
    Locked,
}

#[derive(Debug)]
struct Session {
    agent: Box<str>,
    busy: bool,
    guide_spent: i64,
}

/// All sessions, by the number their id ends in.
#[derive(Debug)]
pub(crate) struct Sessions {
    seed: u64,
    open: BTreeMap<u64, Session>,
    next: u64,
}

impl Sessions {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            open: BTreeMap::new(),
            next: 1,
        }
    }

    /// Opens a session that has cost `guide_spent` so far.
    pub(crate) fn open(&mut self, agent: &str, guide_spent: i64) -> String {
        if self.open.len() == SESSIONS_KEPT {
            drop(self.open.pop_first());
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(
            number,
            Session {
                agent: agent.into(),
                busy: false,
                guide_spent,
            },
        );
        id(self.seed, number)
    }

    /// Takes the session for one request, until [`Self::release`]; its number and agent.
    pub(crate) fn take(&mut self, session: &str) -> Result<(u64, Box<str>), Unavailable> {
        let (number, found) = self.find(session).ok_or(Unavailable::Unknown)?;
        if found.busy {
            return Err(Unavailable::Locked);
        }
        found.busy = true;
        Ok((number, found.agent.clone()))
    }

    /// Lets the next request have the session.
    pub(crate) fn release(&mut self, number: u64) {
        if let Some(session) = self.open.get_mut(&number) {
            session.busy = false;
        }
    }

    /// Ends a session; its agent.
    pub(crate) fn end(&mut self, session: &str) -> Result<Box<str>, Unavailable> {
        let (number, _) = self.take(session)?;
        self.open
            .remove(&number)
            .map(|session| session.agent)
            .ok_or(Unavailable::Unknown)
    }

    /// Whether the session is open.
    pub(crate) fn knows(&mut self, session: &str) -> bool {
        self.find(session).is_some()
    }

    /// What the session has cost on the guide card, for adding to.
    pub(crate) fn guide_spent(&mut self, number: u64) -> Option<&mut i64> {
        self.open
            .get_mut(&number)
            .map(|session| &mut session.guide_spent)
    }

    fn find(&mut self, session: &str) -> Option<(u64, &mut Session)> {
        let (_, tail) = session.rsplit_once('-')?;
        let number = u64::from_str_radix(tail, 16).ok()?;
        let whole = id(self.seed, number) == session;
        self.open
            .get_mut(&number)
            .filter(|_| whole)
            .map(|found| (number, found))
    }
}

/// A UUID that is the same for the same seed and ends in the session's number.
fn id(seed: u64, number: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed ^ number.rotate_left(32));
    let (a, b, c, d) = (
        rng.u32(..),
        rng.u16(..),
        rng.u16(..0x1000),
        rng.u16(0x8000..0xc000),
    );
    format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{number:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_serves_one_request_at_a_time() {
        let mut sessions = Sessions::new(7);
        let id = sessions.open("0XxHn000000AAAAKA4", 0);
        let check = |case: &str, got: Result<u64, Unavailable>, want: Result<u64, Unavailable>| {
            assert_eq!(got, want, "{case}");
        };
        let number = |taken: Result<(u64, Box<str>), Unavailable>| taken.map(|(number, _)| number);
        check("free", number(sessions.take(&id)), Ok(1));
        check(
            "taken",
            number(sessions.take(&id)),
            Err(Unavailable::Locked),
        );
        check(
            "not to be ended",
            sessions.end(&id).map(|_| 0),
            Err(Unavailable::Locked),
        );
        sessions.release(1);
        check("free again", sessions.end(&id).map(|_| 0), Ok(0));
        check(
            "ended",
            number(sessions.take(&id)),
            Err(Unavailable::Unknown),
        );
        check(
            "made up",
            number(sessions.take("00-000000000001")),
            Err(Unavailable::Unknown),
        );
    }

    #[test]
    fn ids_look_like_uuids_and_repeat_with_the_seed() {
        let id = Sessions::new(7).open("agent", 0);
        assert_eq!(id.len(), 36);
        assert_eq!(id, Sessions::new(7).open("agent", 0));
        assert_ne!(id, Sessions::new(8).open("agent", 0));
    }
}
