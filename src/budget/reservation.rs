//! Credits held for one request. Whoever drops them instead of settling or voiding loses them until the period ends,
//! so what is lost is counted: it is the only way `reserved` can be more than what live tickets hold.

use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::credits::MicroCredits;
use super::operation::Source;

/// Of the process: a reservation does not know its team's books, and a request shall not pay for the pointer.
static LOST: Lost = Lost {
    reservations: AtomicU64::new(0),
    micros: AtomicI64::new(0),
};

struct Lost {
    reservations: AtomicU64,
    micros: AtomicI64,
}

/// Reservations dropped neither settled nor voided since the process began, and what they held.
pub fn lost() -> (u64, MicroCredits) {
    let reservations = LOST.reservations.load(Ordering::Relaxed);
    let micros = LOST.micros.load(Ordering::Relaxed);
    (reservations, MicroCredits::from_micros(micros))
}

/// Credits taken from one source, to be settled or voided exactly once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation that is neither settled nor voided is never given back"]
pub struct Reservation {
    taken: Taken,
    open: bool,
}

/// What a reservation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What funds it.
    pub source: Source,
    /// What was committed.
    pub estimate: MicroCredits,
    /// What was exposed.
    pub bound: MicroCredits,
    pub(super) counted: Counted,
}

/// Which sums a reservation was added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) year: bool,
    pub(super) pool: bool,
}

impl Reservation {
    pub(super) const fn new(taken: Taken) -> Self {
        Self { taken, open: true }
    }

    /// What it held; whoever asks gives it back.
    pub(super) fn close(mut self) -> Taken {
        self.open = false;
        self.taken
    }

    /// The bound follows what was exposed more.
    pub(super) const fn set_bound(&mut self, bound: MicroCredits) {
        self.taken.bound = bound;
    }
}

impl Deref for Reservation {
    type Target = Taken;

    fn deref(&self) -> &Taken {
        &self.taken
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.open {
            LOST.reservations.fetch_add(1, Ordering::Relaxed);
            LOST.micros
                .fetch_add(self.taken.estimate.micros(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than all other tests of this process lose together.
    const MUCH: i64 = 1 << 40;

    #[test]
    fn what_is_dropped_is_counted_and_what_is_closed_is_not() {
        let counted = Counted {
            year: true,
            pool: true,
        };
        let (source, estimate) = (Source::Own, MicroCredits::from_micros(MUCH));
        let bound = estimate;
        let hold = || {
            Reservation::new(Taken {
                source,
                estimate,
                bound,
                counted,
            })
        };
        let before = lost();
        assert_eq!(hold().close().estimate, estimate);
        let grown = |since: MicroCredits| lost().1.micros().saturating_sub(since.micros());
        assert!(grown(before.1) < MUCH, "closed");
        drop(hold());
        assert!(grown(before.1) >= MUCH && lost().0 > before.0);
    }
}
