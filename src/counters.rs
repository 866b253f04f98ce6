//! Counters with one writer: a write is a load and a store, no locked instruction.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::budget::credits::MicroCredits;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds; only ever called on the thread that owns the counter.
    pub fn add(&self, amount: u64) {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before.wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes away; for gauges.
    pub fn sub(&self, amount: u64) {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before.wrapping_sub(amount), Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value, as of some moment.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Credits with one writer.
#[derive(Debug, Default)]
pub struct CreditCount(AtomicI64);

impl CreditCount {
    /// Adds; only ever called on the thread that owns the counter.
    pub fn add(&self, credits: MicroCredits) {
        let before = self.0.load(Ordering::Relaxed);
        self.0
            .store(before.wrapping_add(credits.micros()), Ordering::Relaxed);
    }

    /// The value, as of some moment.
    pub fn get(&self) -> MicroCredits {
        MicroCredits::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Upper bounds of the duration buckets, in microseconds; one more bucket holds the rest.
pub const DURATION_BUCKETS_US: [u64; 18] = [
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    30_000_000,
    120_000_000,
];
const BUCKETS: usize = DURATION_BUCKETS_US.len() + 1;

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [Count; BUCKETS],
    sum_us: Count,
}

impl Durations {
    /// Notes one duration.
    pub fn note(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = DURATION_BUCKETS_US.iter().position(|bound| us <= *bound);
        if let Some(count) = self.buckets.get(bucket.unwrap_or(BUCKETS - 1)) {
            count.add(1);
        }
        self.sum_us.add(us);
    }

    /// Each bucket's own count, and the sum in microseconds.
    pub fn read(&self) -> ([u64; BUCKETS], u64) {
        (
            std::array::from_fn(|at| self.buckets.get(at).map_or(0, Count::get)),
            self.sum_us.get(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let durations = Durations::default();
        for us in [50, 51, 120_000_001] {
            durations.note(Duration::from_micros(us));
        }
        let (buckets, sum) = durations.read();
        assert_eq!(
            (buckets[0], buckets[1], buckets[18], sum),
            (1, 1, 1, 120_000_102)
        );
    }
}
