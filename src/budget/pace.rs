//! Pacing: what is left above the trip point, spread over what is left of the period.
//!
//! Standard requests pass while `c + e <= line(now)`, where `line(now) = c0 + (a - c0) * (now - t0) / (end - t0)`,
//! rounded down. The line starts at `(t0, c0)`: when the first of them did not fit under the trip point, at what was
//! committed then; and it reaches the allocation `a` as the period ends. So paced traffic alone never uses up a
//! team's credits before that, and has nearly all of them by then.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::credits::MicroCredits;

/// Where a line goes, and from where it may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it reaches.
    pub allocation: MicroCredits,
    /// It starts no lower.
    pub trip_at: MicroCredits,
    /// When it is there.
    pub end: Timestamp,
}

/// A team's line in one period. Its start is set once; more or less to spend makes a new one.
#[derive(Debug)]
pub struct Pace {
    target: Target,
    /// `c0`: whoever sets it, and nobody else, sets `t0` after it.
    committed: AtomicI64,
    /// `t0`, in milliseconds since the epoch. Who sees it sees `c0` as well.
    since_ms: AtomicI64,
}

/// A start that is not set.
const UNSET: i64 = i64::MIN;

impl Pace {
    /// A line that has not started.
    pub const fn new(target: Target) -> Self {
        Self {
            target,
            committed: AtomicI64::new(UNSET),
            since_ms: AtomicI64::new(UNSET),
        }
    }

    /// Where it goes: what a reload compares.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The most `committed` may become now. Before the start, the trip point.
    pub fn line_at(&self, now: Timestamp) -> MicroCredits {
        match self.since_ms.load(Ordering::Acquire) {
            UNSET => self.target.trip_at,
            since_ms => self.line(since_ms).at(now.as_millisecond()),
        }
    }

    /// A request did not fit: starts the line unless it has started, and says how long until there is room for
    /// `estimate` above `committed`.
    pub fn refused(
        &self,
        now: Timestamp,
        committed: MicroCredits,
        estimate: MicroCredits,
    ) -> Duration {
        let c0 = committed
            .max(self.target.trip_at)
            .min(self.target.allocation);
        let now_ms = now.as_millisecond();
        let set = self.committed.compare_exchange(
            UNSET,
            c0.micros(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        let since_ms = match set {
            Ok(_) => {
                self.since_ms.store(now_ms, Ordering::Release);
                now_ms
            }
            Err(_) => match self.since_ms.load(Ordering::Acquire) {
                UNSET => now_ms, // being set this moment
                since_ms => since_ms,
            },
        };
        let needed = committed.checked_add(estimate).unwrap_or(MicroCredits::MAX);
        let wait_ms = self.line(since_ms).reaches(needed).saturating_sub(now_ms);
        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0))
    }

    fn line(&self, since_ms: i64) -> Line {
        Line {
            since_ms,
            from: self.committed.load(Ordering::Acquire),
            end_ms: self.target.end.as_millisecond(),
            to: self.target.allocation.micros(),
        }
    }
}

/// From `(since_ms, from)` to `(end_ms, to)`, in micro-credits.
#[derive(Clone, Copy, Debug)]
struct Line {
    since_ms: i64,
    from: i64,
    end_ms: i64,
    to: i64,
}

impl Line {
    /// Its height, rounded down.
    fn at(&self, now_ms: i64) -> MicroCredits {
        let (whole_ms, rise) = (self.whole_ms(), self.rise());
        let passed_ms = i128::from(now_ms)
            .saturating_sub(i128::from(self.since_ms))
            .clamp(0, whole_ms);
        let risen = rise.saturating_mul(passed_ms).checked_div(whole_ms);
        // A line without length is over: it is where it goes.
        let height = risen.map_or(i128::from(self.to), |risen| {
            i128::from(self.from).saturating_add(risen)
        });
        MicroCredits::from_micros(i64::try_from(height).unwrap_or(self.to))
    }

    /// The first millisecond at which its height is `amount`, rounded up; its end where it never is.
    fn reaches(&self, amount: MicroCredits) -> i64 {
        let above = i128::from(amount.micros())
            .saturating_sub(i128::from(self.from))
            .max(0);
        let (whole_ms, rise) = (self.whole_ms(), self.rise());
        let product = above.saturating_mul(whole_ms);
        let Some(passed_ms) = product
            .saturating_add(rise.saturating_sub(1))
            .checked_div(rise)
        else {
            return self.end_ms;
        };
        let at = i128::from(self.since_ms).saturating_add(passed_ms);
        i64::try_from(at).unwrap_or(self.end_ms).min(self.end_ms)
    }

    fn whole_ms(&self) -> i128 {
        i128::from(self.end_ms)
            .saturating_sub(i128::from(self.since_ms))
            .max(0)
    }

    fn rise(&self) -> i128 {
        i128::from(self.to)
            .saturating_sub(i128::from(self.from))
            .max(0)
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "pace_plot.rs"]
mod plot;
