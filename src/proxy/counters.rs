//! Counters of one worker: written by that worker alone, read by a scrape.
//!
//! A write is a load and a store, no locked instruction and no look-up: tables are indexed by enum, and the
//! worker's own table of a team hangs on the team's entry in the snapshot.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::refusal::Refusal;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Operation};
use crate::salesforce::routes::UpstreamName;

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds; only ever called on the worker that owns the counter.
    pub fn add(&self, amount: u64) {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before.wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes away; for gauges.
    pub fn sub(&self, amount: u64) {
        let before = self.0.load(Ordering::Relaxed);
        self.0.store(before.wrapping_sub(amount), Ordering::Relaxed);
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
    fn add(&self, credits: MicroCredits) {
        let before = self.0.load(Ordering::Relaxed);
        self.0
            .store(before.wrapping_add(credits.micros()), Ordering::Relaxed);
    }

    /// The value, as of some moment.
    pub fn get(&self) -> MicroCredits {
        MicroCredits::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// How a priced request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Settled as measured.
    Measured,
    /// Broke off; at least the base.
    Partial,
    /// Broke off; the estimate or more.
    Uncertain,
    /// Given back.
    Void,
    /// Refused.
    Refused,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [
        Self::Measured,
        Self::Partial,
        Self::Uncertain,
        Self::Void,
        Self::Refused,
    ];

    /// The metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Partial => "partial",
            Self::Uncertain => "uncertain",
            Self::Void => "void",
            Self::Refused => "refused",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

const OPERATIONS: usize = Operation::ALL.len();
const CLASSES: usize = Class::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();
const REFUSALS: usize = Refusal::ALL.len();

/// One worker's counters of one team.
#[derive(Debug, Default)]
#[repr(align(128))] // no other worker's line
pub struct TeamCounters {
    requests: [[[Count; OUTCOMES]; CLASSES]; OPERATIONS],
    credits: [[CreditCount; CLASSES]; OPERATIONS],
    refusals: [[Count; REFUSALS]; CLASSES],
    shadow_refusals: [[Count; REFUSALS]; CLASSES],
}

#[expect(
    clippy::indexing_slicing,
    reason = "tables are as long as the enums that index them"
)]
impl TeamCounters {
    /// A priced request ended.
    pub fn ended(
        &self,
        operation: Operation,
        class: Class,
        outcome: Outcome,
        credits: MicroCredits,
    ) {
        self.requests[operation.index()][class.index()][outcome.index()].add(1);
        self.credits[operation.index()][class.index()].add(credits);
    }

    /// A request was refused, or would have been.
    pub fn refused(&self, refusal: Refusal, class: Class, shadow: bool) {
        let table = if shadow {
            &self.shadow_refusals
        } else {
            &self.refusals
        };
        table[class.index()][refusal.index()].add(1);
    }

    /// Requests that ended so.
    pub fn requests(&self, operation: Operation, class: Class, outcome: Outcome) -> u64 {
        self.requests[operation.index()][class.index()][outcome.index()].get()
    }

    /// Credits settled.
    pub fn credits(&self, operation: Operation, class: Class) -> MicroCredits {
        self.credits[operation.index()][class.index()].get()
    }

    /// Requests refused so.
    pub fn refusals(&self, refusal: Refusal, class: Class, shadow: bool) -> u64 {
        let table = if shadow {
            &self.shadow_refusals
        } else {
            &self.refusals
        };
        table[class.index()][refusal.index()].get()
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

/// The labels of `unpriced_requests_total`.
pub const UNPRICED_SERVICES: [&str; 7] = [
    "agentforce",
    "prompt_builder",
    "einstein",
    "search",
    "data_cloud",
    "models",
    "org",
];

/// Labels of `upstream_responses_total`.
pub const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// One worker's counters that belong to no team.
#[derive(Debug, Default)]
#[repr(align(128))] // no other worker's line
pub struct WorkerCounters {
    /// Client connections open.
    pub connections: Count,
    /// Requests in flight.
    pub in_flight: Count,
    /// Upstream connections open.
    pub upstream_connections: [Count; UpstreamName::ALL.len()],
    /// From a request's head to the end of its answer.
    pub request_duration: Durations,
    /// Head to head, without the upstream's share.
    pub overhead: Durations,
    /// From the end of the request to the upstream's head.
    pub upstream_duration: Durations,
    upstream_responses: [[Count; STATUS_CLASSES.len()]; UpstreamName::ALL.len()],
    unpriced: [Count; UNPRICED_SERVICES.len()],
    refusals: [Count; REFUSALS],
}

#[expect(
    clippy::indexing_slicing,
    reason = "tables are as long as the enums that index them"
)]
impl WorkerCounters {
    /// An upstream answered.
    pub fn answered(&self, upstream: UpstreamName, status: http::StatusCode) {
        let class = usize::from(status.as_u16())
            .div_euclid(100)
            .saturating_sub(1);
        self.upstream_responses[upstream.index()][class.min(STATUS_CLASSES.len() - 1)].add(1);
    }

    /// Answers of one status class.
    pub fn upstream_responses(&self, upstream: UpstreamName, status_class: usize) -> u64 {
        self.upstream_responses[upstream.index()]
            .get(status_class)
            .map_or(0, Count::get)
    }

    /// A call without a price.
    pub fn unpriced(&self, service: &str) {
        let last = UNPRICED_SERVICES.len() - 1;
        let at = UNPRICED_SERVICES
            .iter()
            .position(|known| *known == service)
            .unwrap_or(last);
        self.unpriced[at].add(1);
    }

    /// Calls without a price, by position in [`UNPRICED_SERVICES`].
    pub fn unpriced_requests(&self, at: usize) -> u64 {
        self.unpriced.get(at).map_or(0, Count::get)
    }

    /// A request was refused before a team was known.
    pub fn refused(&self, refusal: Refusal) {
        self.refusals[refusal.index()].add(1);
    }

    /// Requests refused before a team was known.
    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal.index()].get()
    }

    /// An upstream connection opened or closed.
    pub fn upstream_connection(&self, upstream: UpstreamName) -> &Count {
        &self.upstream_connections[upstream.index()]
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
