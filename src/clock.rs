//! The wall clock, and whether to believe it.
//!
//! Credits belong to the period a request was admitted in, so a clock that jumps over a month's edge would give
//! a team a fresh allocation. The wall clock is checked against the time since boot, which nobody sets
//! (design.md, section 3).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// How far wall clock and boot clock may drift apart between two looks before the period is held.
pub const TRUST: SignedDuration = SignedDuration::from_mins(5);

/// Time now, in UTC.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Time since boot, suspends included.
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Watches whether the wall clock goes as fast as the boot clock.
#[derive(Clone, Copy, Debug)]
pub struct Trusted {
    wall: Timestamp,
    boot: Duration,
}

/// What the two clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They agree: periods may advance.
    Agree,
    /// They do not: hold the period. By how much the wall clock is ahead.
    Apart(SignedDuration),
}

impl Trusted {
    /// Believes the wall clock as it is now.
    pub fn new(wall: Timestamp, boot: Duration) -> Self {
        Self { wall, boot }
    }

    /// Compares the clocks since the start, so that small steps add up. A jump is held until accepted.
    ///
    /// NTP slews both clocks alike; only steps of the wall clock drive them apart.
    pub fn check(&self, wall: Timestamp, boot: Duration) -> Verdict {
        let since =
            SignedDuration::try_from(boot.saturating_sub(self.boot)).unwrap_or(SignedDuration::MAX);
        let expected = self.wall.saturating_add(since).unwrap_or(wall);
        let ahead = wall.duration_since(expected);
        if ahead.abs() > TRUST {
            return Verdict::Apart(ahead);
        }
        Verdict::Agree
    }
}

/// Whether this process believes the wall clock: asked by all who act on the date, so that none of them goes on
/// where another one stopped.
#[derive(Debug)]
pub struct Belief(ArcSwap<State>);

#[derive(Debug)]
enum State {
    Believed(Trusted),
    /// Until somebody accepts it; and why.
    Held(Arc<str>),
}

impl Belief {
    /// Believes the wall clock as it is now, unless there is a reason not to.
    pub fn new(doubt: Option<String>, wall: Timestamp, boot: Duration) -> Self {
        Self(ArcSwap::from_pointee(match doubt {
            Some(why) => State::Held(why.into()),
            None => State::Believed(Trusted::new(wall, boot)),
        }))
    }

    /// Why the wall clock is not believed, if it is not. A jump is held until accepted.
    pub fn doubt(&self, wall: Timestamp, boot: Duration) -> Option<Arc<str>> {
        let state = self.0.load();
        let trusted = match &**state {
            State::Held(why) => return Some(Arc::clone(why)),
            State::Believed(trusted) => trusted,
        };
        let Verdict::Apart(ahead) = trusted.check(wall, boot) else {
            return None;
        };
        let way = if ahead.is_negative() { "back" } else { "ahead" };
        let by = ahead.abs();
        let why: Arc<str> =
            format!("the wall clock jumped {way} by {by:#} against the time since boot").into();
        // Whoever saw it first, or accepted it meanwhile, has decided.
        let held = Arc::new(State::Held(Arc::clone(&why)));
        self.0.compare_and_swap(&state, held);
        Some(why)
    }

    /// Somebody said that the wall clock is right.
    pub fn accept(&self, wall: Timestamp, boot: Duration) {
        let trusted = Trusted::new(wall, boot);
        self.0.store(Arc::new(State::Believed(trusted)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_held_and_small_steps_add_up_to_one() {
        let second = |s: i64| Timestamp::from_second(1_700_000_000 + s).unwrap();
        let trusted = Trusted::new(second(0), Duration::from_secs(100));
        let check = |wall: i64, boot: u64, want: Option<i64>| {
            let got = trusted.check(second(wall), Duration::from_secs(boot));
            let want = want.map_or(Verdict::Agree, |s| {
                Verdict::Apart(SignedDuration::from_secs(s))
            });
            assert_eq!(got, want, "wall {wall} boot {boot}");
        };
        check(60, 160, None);
        check(290, 400, None); // ten seconds slow
        check(300 + 299, 400, None);
        check(300 + 301, 400, Some(301));
        check(300 + 302, 401, Some(301)); // still apart a second later
        check(300 - 301, 400, Some(-301));
        check(300 + 3600, 400 + 3600, None); // a suspended machine: both went on
    }

    #[test]
    fn whoever_asks_hears_of_a_jump_until_it_is_accepted() {
        let second = |s: i64| Timestamp::from_second(1_700_000_000 + s).unwrap();
        let belief = Belief::new(None, second(0), Duration::ZERO);
        let check = |wall: i64, boot: u64, want: Option<&str>| {
            let doubt = belief.doubt(second(wall), Duration::from_secs(boot));
            assert_eq!(doubt.as_deref(), want, "wall {wall} boot {boot}");
        };
        let jumped = "the wall clock jumped ahead by 1h against the time since boot";
        check(10, 10, None);
        check(3_610, 10, Some(jumped));
        check(20, 20, Some(jumped)); // also when it is back
        belief.accept(second(3_620), Duration::from_secs(20));
        check(3_630, 30, None);
        check(
            30,
            30,
            Some("the wall clock jumped back by 1h against the time since boot"),
        );
        let belief = Belief::new(Some("too far".to_owned()), second(0), Duration::ZERO);
        assert_eq!(
            belief.doubt(second(0), Duration::ZERO).as_deref(),
            Some("too far")
        );
    }
}
