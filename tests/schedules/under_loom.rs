//! Every schedule of a few threads, and every value the memory model lets a load return.
//!
//! A plain run lets loom interrupt a thread at most twice a schedule; a longer one three times, and from an effort
//! of 100 on as often as it can.

use loom::thread;
use swapped::under_loom::budget;

fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let mut loom = loom::model::Builder::new();
    if loom.preemption_bound.is_none() {
        loom.preemption_bound = match crate::effort() {
            0 | 1 => Some(2),
            2..100 => Some(3),
            _ => None,
        };
    }
    loom.check(scenario);
}

#[path = "scenarios.rs"]
mod scenarios;

mod shown {
    //! The breaker as shown, while a reload changes the limits it is held against.

    use std::sync::Arc;

    use super::budget::breaker::{Breaker, Marks, Shown};
    use super::budget::credits::MicroCredits;
    use super::{explore, thread};

    fn marks(trip_at: i64, limit: i64) -> Marks {
        Marks {
            trip_at: MicroCredits::from_micros(trip_at),
            limit: MicroCredits::from_micros(limit),
        }
    }

    /// Somebody follows what is committed, and somebody else's request is refused, while the limits change.
    fn check(before: Marks, after: Marks, committed: i64, want: Breaker) {
        explore(move || {
            let committed = MicroCredits::from_micros(committed);
            let shown = Arc::new(Shown::restored(before.at(committed), before));
            let (other, late) = (Arc::clone(&shown), Arc::clone(&shown));
            let following = thread::spawn(move || other.follow(committed));
            let refusing =
                thread::spawn(move || late.refused(before.at(committed), before, committed));
            shown.change(after, committed);
            following.join().unwrap();
            refusing.join().unwrap();
            assert_eq!(shown.get(), want);
        });
    }

    #[test]
    fn more_to_spend_closes_it_whoever_looks_meanwhile() {
        check(marks(90, 100), marks(180, 200), 95, Breaker::Closed);
    }

    #[test]
    fn less_to_spend_opens_it_whoever_looks_meanwhile() {
        check(marks(180, 200), marks(90, 100), 95, Breaker::Open);
    }
}
