//! The throttle slot: between trip point and allocation, standard traffic trickles.
//!
//! Spacing 60/n seconds, burst 1, one limiter a team, shared by all workers. It is kept across reloads
//! as long as the rate stays the same, so that a reload is no way to get a slot.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// One team's slots.
#[derive(Debug)]
pub struct Throttle<C: Clock = DefaultClock> {
    per_minute: NonZeroU32,
    clock: C,
    made: C::Instant,
    /// Nanoseconds from `made` to when the next slot is free; only to be looked at.
    free_at_ns: AtomicU64,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
}

impl Throttle {
    /// `per_minute` slots a minute, evenly spaced.
    pub fn per_minute(per_minute: NonZeroU32) -> Self {
        Self::with_clock(per_minute, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Throttle<C> {
    pub(super) fn with_clock(per_minute: NonZeroU32, clock: C) -> Self {
        let spacing = Duration::from_secs(60)
            .checked_div(per_minute.get())
            .unwrap_or_default();
        // A spacing below a nanosecond cannot be expressed; 60 s over u32::MAX is 13 ns.
        let quota = Quota::with_period(spacing).unwrap_or_else(|| Quota::per_minute(per_minute));
        let quota = quota.allow_burst(NonZeroU32::MIN);
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Self {
            per_minute,
            made: clock.now(),
            free_at_ns: AtomicU64::new(0),
            clock,
            limiter,
        }
    }

    /// Takes a slot, or says how long until the next one.
    ///
    /// # Errors
    /// The time until a slot is free.
    pub fn take(&self) -> Result<(), Duration> {
        self.limiter
            .check()
            .map_err(|until| until.wait_time_from(self.clock.now()))?;
        let spacing_ns = 60_000_000_000_u64.div_euclid(u64::from(self.per_minute.get()));
        let free_at_ns = self.since_made_ns().saturating_add(spacing_ns);
        self.free_at_ns.store(free_at_ns, Ordering::Relaxed);
        Ok(())
    }

    /// What [`Throttle::take`] would say, without taking: for whoever only asks.
    ///
    /// # Errors
    /// The time until a slot is free.
    pub fn look(&self) -> Result<(), Duration> {
        let free_at_ns = self.free_at_ns.load(Ordering::Relaxed);
        match free_at_ns.checked_sub(self.since_made_ns()) {
            None | Some(0) => Ok(()),
            Some(wait_ns) => Err(Duration::from_nanos(wait_ns)),
        }
    }

    fn since_made_ns(&self) -> u64 {
        self.clock.now().duration_since(self.made).as_u64()
    }

    /// The configured rate.
    pub fn rate_per_minute(&self) -> NonZeroU32 {
        self.per_minute
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn slots_come_one_at_a_time_and_on_time() {
        let clock = FakeRelativeClock::default();
        let throttle = Throttle::with_clock(NonZeroU32::new(6).unwrap(), clock.clone());
        let check = |want: Result<(), u64>| {
            let want = want.map_err(Duration::from_secs);
            assert_eq!(throttle.look(), want, "looking takes nothing");
            assert_eq!(throttle.take(), want);
        };
        check(Ok(()));
        check(Err(10));
        clock.advance(Duration::from_secs(9));
        check(Err(1));
        clock.advance(Duration::from_secs(1));
        check(Ok(()));
        clock.advance(Duration::from_secs(3600));
        check(Ok(()));
        check(Err(10)); // an idle hour saves up no burst
    }
}
