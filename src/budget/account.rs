//! One account: what a holder has committed of one source for one team in one period.
//!
//! Four counters on one cache line. `committed` is what limits are checked against, `settled` the part
//! of it that is final, `exposed` what could have been spent at the very most (settled plus the bounds
//! of requests in flight), `granted` what the ledger has durably written down as spendable. A reader
//! that loads `settled` before `committed` never sees a negative reservation.

use std::sync::atomic::{AtomicI64, Ordering};

use super::credits::MicroCredits;

/// More corrections than a reader can possibly fall between.
const TORN_READS: u32 = 64;

/// The atomic counters of one (team, source) in one period.
#[derive(Debug)]
#[repr(align(128))] // two lines: the neighbour-line prefetcher must not couple two accounts
pub struct Account {
    committed: AtomicI64,
    settled: AtomicI64,
    exposed: AtomicI64,
    granted: AtomicI64,
    wanted: AtomicI64,
    limit_hint: AtomicI64,
}

impl Default for Account {
    fn default() -> Self {
        Self::restored(MicroCredits::ZERO, MicroCredits::ZERO)
    }
}

/// An account's figures, read so that `settled <= committed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Final charges.
    pub settled: MicroCredits,
    /// Final charges and estimates in flight.
    pub committed: MicroCredits,
    /// Final charges and bounds in flight.
    pub exposed: MicroCredits,
    /// What the ledger has written down as spendable.
    pub granted: MicroCredits,
    /// What requests that wait for a raise need `granted` to be.
    pub wanted: MicroCredits,
    /// Where the account's limit lies: grants get smaller towards it.
    pub limit_hint: MicroCredits,
}

impl Figures {
    /// Estimates in flight.
    pub fn reserved(&self) -> MicroCredits {
        self.committed
            .checked_sub(self.settled)
            .unwrap_or(MicroCredits::MAX)
    }
}

impl Account {
    /// An account as the ledger remembers it: everything settled, nothing in flight.
    pub fn restored(settled: MicroCredits, granted: MicroCredits) -> Self {
        Self {
            committed: AtomicI64::new(settled.micros()),
            settled: AtomicI64::new(settled.micros()),
            exposed: AtomicI64::new(settled.micros()),
            granted: AtomicI64::new(granted.micros()),
            wanted: AtomicI64::new(0),
            limit_hint: AtomicI64::new(i64::MAX),
        }
    }

    /// What limits are checked against.
    pub fn committed(&self) -> MicroCredits {
        MicroCredits::from_micros(self.committed.load(Ordering::Acquire))
    }

    /// All figures; `settled` is read first.
    pub fn figures(&self) -> Figures {
        let read = |counter: &AtomicI64| MicroCredits::from_micros(counter.load(Ordering::Acquire));
        let mut own = (read(&self.settled), read(&self.committed));
        for _ in 0..TORN_READS {
            if own.0 <= own.1 {
                break;
            }
            // A correction lowered both between the two loads; it is rare, and the next look finds it done.
            own = (read(&self.settled), read(&self.committed));
        }
        let (settled, committed) = own;
        Figures {
            settled,
            committed,
            exposed: read(&self.exposed),
            granted: read(&self.granted),
            wanted: read(&self.wanted),
            limit_hint: read(&self.limit_hint),
        }
    }

    /// Commits `estimate` unless that would pass `ceiling`. One atomic step.
    pub(crate) fn try_commit(
        &self,
        estimate: MicroCredits,
        ceiling: MicroCredits,
    ) -> Option<MicroCredits> {
        try_add(&self.committed, estimate, ceiling)
    }

    /// Gives back a commitment whose request went no further.
    pub(crate) fn uncommit(&self, estimate: MicroCredits) {
        sub(&self.committed, estimate);
    }

    /// Exposes `bound` unless that would pass the grant and `beyond`. One atomic step.
    ///
    /// When it does not fit, notes what the grant would have to be, for the ledger to see.
    pub(crate) fn try_expose(&self, bound: MicroCredits, beyond: MicroCredits) -> bool {
        let granted = self.granted.load(Ordering::Acquire);
        let ceiling = MicroCredits::from_micros(granted.saturating_add(beyond.micros()));
        if try_add(&self.exposed, bound, ceiling).is_some() {
            return true;
        }
        let needed = self
            .exposed
            .load(Ordering::Acquire)
            .saturating_add(bound.micros());
        self.wanted.fetch_max(needed, Ordering::AcqRel);
        false
    }

    /// Raises what a request in flight may cost, whatever the grant; true if the grant still covers it.
    pub(crate) fn expose_more(&self, more: MicroCredits) -> bool {
        let exposed = self.exposed.fetch_add(more.micros(), Ordering::AcqRel);
        let needed = exposed.saturating_add(more.micros());
        if needed <= self.granted.load(Ordering::Acquire) {
            return true;
        }
        self.wanted.fetch_max(needed, Ordering::AcqRel);
        false
    }

    /// Takes back exposure.
    pub(crate) fn unexpose(&self, bound: MicroCredits) {
        sub(&self.exposed, bound);
    }

    /// Replaces `estimate` by `price` and `bound` by `price`, raising before lowering.
    pub(crate) fn settle(&self, estimate: MicroCredits, bound: MicroCredits, price: MicroCredits) {
        let change = price.micros().saturating_sub(estimate.micros());
        if change > 0 {
            self.committed.fetch_add(change, Ordering::AcqRel);
        }
        self.settled.fetch_add(price.micros(), Ordering::AcqRel);
        if change < 0 {
            self.committed.fetch_add(change, Ordering::AcqRel);
        }
        let exposure = price.micros().saturating_sub(bound.micros());
        if exposure != 0 {
            self.exposed.fetch_add(exposure, Ordering::AcqRel);
        }
    }

    /// Tells the ledger where the limit lies, so that it grants less at a time near it.
    pub fn hint_limit(&self, limit: MicroCredits) {
        self.limit_hint.store(limit.micros(), Ordering::Release);
    }

    /// Takes back a grant whose spending a correction takes away: before the ledger writes it down.
    pub(crate) fn lower_grant(&self, by: MicroCredits) {
        sub(&self.granted, by);
    }

    /// What the ledger has durably written down becomes spendable. Never lowers.
    pub fn raise_grant(&self, granted: MicroCredits) {
        self.granted.fetch_max(granted.micros(), Ordering::AcqRel);
    }
}

/// A sum over accounts that a shared limit is checked on: buffer, burst, overage, pool, year.
#[derive(Debug, Default)]
#[repr(align(128))] // as above
pub struct Total(AtomicI64);

impl Total {
    /// A sum as the ledger remembers it.
    pub fn restored(committed: MicroCredits) -> Self {
        Self(AtomicI64::new(committed.micros()))
    }

    /// The sum.
    pub fn committed(&self) -> MicroCredits {
        MicroCredits::from_micros(self.0.load(Ordering::Acquire))
    }

    /// Adds unless the sum would pass `ceiling`. One atomic step.
    pub(crate) fn try_commit(
        &self,
        estimate: MicroCredits,
        ceiling: MicroCredits,
    ) -> Option<MicroCredits> {
        try_add(&self.0, estimate, ceiling)
    }

    /// Adds the difference between a price and its estimate, or gives an estimate back.
    pub(crate) fn adjust(&self, change_micros: i64) {
        if change_micros != 0 {
            self.0.fetch_add(change_micros, Ordering::AcqRel);
        }
    }
}

fn try_add(
    counter: &AtomicI64,
    amount: MicroCredits,
    ceiling: MicroCredits,
) -> Option<MicroCredits> {
    let fits = |now: i64| {
        now.checked_add(amount.micros())
            .filter(|sum| *sum <= ceiling.micros())
    };
    let before = counter
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
        .ok()?;
    Some(MicroCredits::from_micros(
        before.saturating_add(amount.micros()),
    ))
}

fn sub(counter: &AtomicI64, amount: MicroCredits) {
    counter.fetch_sub(amount.micros(), Ordering::AcqRel);
}
