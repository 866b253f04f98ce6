//! The breaker a team sees: closed, open, exhausted. Shown, never asked by admission.
//!
//! It is the electrician's breaker: closed conducts. Within a period it only moves towards exhausted;
//! a new period starts closed, and more allocation may bring it back ([`Shown::recompute`]).

use super::super::atomic::{AtomicU8, Ordering};
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

/// The state shown to people: the worst reached in this period.
#[derive(Debug, Default)]
pub struct Shown(AtomicU8);

impl Shown {
    /// The state as the ledger remembers it.
    pub fn restored(state: Breaker) -> Self {
        Self(AtomicU8::new(code(state)))
    }

    /// The state now.
    pub fn get(&self) -> Breaker {
        match self.0.load(Ordering::Acquire) {
            0 => Breaker::Closed,
            1 => Breaker::Open,
            _ => Breaker::Exhausted,
        }
    }

    /// Moves towards exhausted, never back. Writes only on a change, so that the line stays shared.
    pub fn raise(&self, state: Breaker) {
        if self.get() < state {
            self.0.fetch_max(code(state), Ordering::AcqRel);
        }
    }

    /// After more allocation: back to what `committed` by itself means, if that is milder.
    pub fn recompute(&self, state: Breaker) {
        if state < self.get() {
            self.0.store(code(state), Ordering::Release);
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

    #[test]
    fn every_name_reads_back() {
        let names = Breaker::ALL.map(Breaker::name);
        assert_eq!(names, ["closed", "open", "exhausted"]);
        assert_eq!(names.map(Breaker::parse), Breaker::ALL.map(Some));
        assert_eq!(Breaker::parse("Open"), None);
    }

    #[test]
    fn it_trips_at_the_point_and_stays() {
        let at = |committed| {
            let credits = MicroCredits::from_micros;
            Breaker::at(credits(committed), credits(900), credits(1000))
        };
        assert_eq!(at(899), Breaker::Closed);
        assert_eq!(at(900), Breaker::Open);
        assert_eq!(at(1000), Breaker::Exhausted);
        let shown = Shown::default();
        shown.raise(at(950));
        shown.raise(at(10));
        assert_eq!(
            shown.get(),
            Breaker::Open,
            "usage that falls again does not close it"
        );
        shown.recompute(at(10));
        assert_eq!(shown.get(), Breaker::Closed, "more allocation does");
    }
}
