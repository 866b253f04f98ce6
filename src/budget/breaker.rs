//! The breaker a team sees: closed, open, exhausted. Shown, never asked by admission.
//!
//! It is the electrician's breaker: closed conducts. Within a period it only moves towards exhausted;
//! a new period starts closed, and more allocation may bring it back ([`Shown::change`]).

use super::super::atomic::{AtomicI64, AtomicU8, Ordering};
use super::credits::MicroCredits;

/// The state of a team's breaker, or of the main breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breaker {
    /// Below the trip point.
    Closed,
    /// At or above the trip point.
    Open,
    /// At or above the allocation.
    Exhausted,
}

impl Breaker {
    /// Every state, from harmless to worst.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::Exhausted];

    /// What `committed` credits mean, seen by themselves.
    pub fn at(committed: MicroCredits, trip_at: MicroCredits, limit: MicroCredits) -> Self {
        if committed >= limit {
            Self::Exhausted
        } else if committed >= trip_at {
            Self::Open
        } else {
            Self::Closed
        }
    }

    /// The name in headers, JSON and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Exhausted => "exhausted",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Where a breaker trips and where it is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The trip point; `MAX` where it is not known.
    pub trip_at: MicroCredits,
    /// The allocation, or the month's pool.
    pub limit: MicroCredits,
}

impl Marks {
    /// Of nothing that could ever open.
    pub const NONE: Self = Self {
        trip_at: MicroCredits::MAX,
        limit: MicroCredits::MAX,
    };

    /// What `committed` credits mean under them.
    pub fn at(self, committed: MicroCredits) -> Breaker {
        Breaker::at(committed, self.trip_at, self.limit)
    }
}

/// The state shown to people: the worst reached in this period, under the limits in force.
///
/// The limits are those of the last reload, not those of the request that asks: a stream that is older than a
/// reload must not open again what the reload closed.
#[derive(Debug)]
pub struct Shown {
    state: AtomicU8,
    trip_at: AtomicI64,
    limit: AtomicI64,
}

impl Default for Shown {
    fn default() -> Self {
        Self::restored(Breaker::Closed, Marks::NONE)
    }
}

impl Shown {
    /// The state as the ledger remembers it, and the limits it was reached under.
    pub fn restored(state: Breaker, marks: Marks) -> Self {
        Self {
            state: AtomicU8::new(code(state)),
            trip_at: AtomicI64::new(marks.trip_at.micros()),
            limit: AtomicI64::new(marks.limit.micros()),
        }
    }

    /// The state now.
    pub fn get(&self) -> Breaker {
        match self.state.load(Ordering::Acquire) {
            0 => Breaker::Closed,
            1 => Breaker::Open,
            _ => Breaker::Exhausted,
        }
    }

    fn marks(&self) -> Marks {
        let read = |mark: &AtomicI64| MicroCredits::from_micros(mark.load(Ordering::SeqCst));
        Marks {
            trip_at: read(&self.trip_at),
            limit: read(&self.limit),
        }
    }

    /// Other limits are in force from now on. More than before bring the state back to what `committed` by itself
    /// means; less may open it. True if the limit is higher than it was.
    pub fn change(&self, marks: Marks, committed: MicroCredits) -> bool {
        let before = self.marks();
        self.trip_at.store(marks.trip_at.micros(), Ordering::SeqCst);
        self.limit.store(marks.limit.micros(), Ordering::SeqCst);
        let grew = marks.limit > before.limit;
        if grew || marks.trip_at > before.trip_at {
            self.recompute(committed);
        } else {
            self.follow(committed);
        }
        grew
    }

    /// Moves to what `committed` means, better or worse.
    pub fn recompute(&self, committed: MicroCredits) {
        let state = self.marks().at(committed);
        self.state.store(code(state), Ordering::SeqCst);
        self.follow(committed);
    }

    /// Moves to what `committed` means, if that is worse.
    pub fn follow(&self, committed: MicroCredits) {
        let marks = self.marks();
        self.raise(marks.at(committed), marks, committed);
    }

    /// Moves to `state`, if that is worse, because a request was refused under `marks`.
    pub fn refused(&self, state: Breaker, marks: Marks, committed: MicroCredits) {
        if marks == self.marks() {
            self.raise(state, marks, committed);
        }
    }

    /// Never back. Writes only on a change, so that the line stays shared.
    fn raise(&self, state: Breaker, under: Marks, committed: MicroCredits) {
        if self.get() >= state {
            return;
        }
        self.state.fetch_max(code(state), Ordering::SeqCst);
        // A change of limits stores them before the state: one that came in between is seen here.
        let now = self.marks();
        if now != under {
            let (raised, right) = (code(state), code(now.at(committed)));
            let _moved_on =
                self.state
                    .compare_exchange(raised, right, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

const fn code(state: Breaker) -> u8 {
    match state {
        Breaker::Closed => 0,
        Breaker::Open => 1,
        Breaker::Exhausted => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credits(micros: i64) -> MicroCredits {
        MicroCredits::from_micros(micros)
    }

    fn marks(trip_at: i64, limit: i64) -> Marks {
        Marks {
            trip_at: credits(trip_at),
            limit: credits(limit),
        }
    }

    #[test]
    fn every_name_reads_back() {
        let names = Breaker::ALL.map(Breaker::name);
        assert_eq!(names, ["closed", "open", "exhausted"]);
        assert_eq!(names.map(Breaker::parse), Breaker::ALL.map(Some));
        assert_eq!(Breaker::parse("Open"), None);
    }

    #[test]
    fn it_trips_at_the_point_and_stays() {
        let shown = Shown::default();
        shown.follow(credits(i64::MAX - 1));
        assert_eq!(shown.get(), Breaker::Closed, "no limits are known yet");
        shown.change(marks(900, 1000), credits(0));
        for (committed, want) in [
            (899, Breaker::Closed),
            (900, Breaker::Open),
            (10, Breaker::Open), // usage that falls again does not close it
            (1000, Breaker::Exhausted),
        ] {
            shown.follow(credits(committed));
            assert_eq!(shown.get(), want, "{committed}");
        }
    }

    #[test]
    fn the_limits_in_force_decide() {
        let check = |old: (i64, i64), new: (i64, i64), committed: i64, want: Breaker| {
            let shown = Shown::restored(Breaker::Exhausted, marks(old.0, old.1));
            let grew = shown.change(marks(new.0, new.1), credits(committed));
            let case = format!("{old:?} to {new:?} at {committed}");
            assert_eq!((shown.get(), grew), (want, new.1 > old.1), "{case}");
        };
        check((900, 1000), (900, 1000), 10, Breaker::Exhausted); // the same: stays
        check((900, 1000), (800, 1000), 10, Breaker::Exhausted);
        check((900, 1000), (950, 1000), 10, Breaker::Closed); // a higher trip point
        check((900, 1000), (900, 2000), 950, Breaker::Open); // a higher limit
        check((i64::MAX, 1000), (900, 1000), 10, Breaker::Exhausted); // after a restart
        check((i64::MAX, 1000), (1800, 2000), 10, Breaker::Closed);
        let shown = Shown::default();
        shown.change(marks(900, 1000), credits(950));
        assert_eq!(shown.get(), Breaker::Open, "less than is committed");
    }

    #[test]
    fn a_refusal_under_limits_that_are_gone_says_nothing() {
        let shown = Shown::default();
        shown.change(marks(900, 1000), credits(0));
        shown.refused(Breaker::Open, marks(90, 100), credits(85));
        assert_eq!(shown.get(), Breaker::Closed);
        shown.refused(Breaker::Open, marks(900, 1000), credits(850));
        assert_eq!(shown.get(), Breaker::Open);
    }
}
