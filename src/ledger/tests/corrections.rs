//! Corrections: what one of them runs into stops neither the next one nor the writing.

use super::*;
use crate::ledger::correct::Outcome;

impl Bench {
    /// Writes down what an event shall have cost.
    pub(super) fn wish(&self, event: &str, credits: i64) -> i64 {
        let stored = correct::find(&self.path(), event, &mut |_, _, _| {}).unwrap();
        let why = ("billed twice", "ops");
        correct::ask(&self.path(), &stored, micros(credits), why, clock::now()).unwrap()
    }

    /// What the gateway that runs makes of it.
    pub(super) fn outcome(&self, wish: i64) -> Outcome {
        let mut outcome = None;
        wait_for("somebody looked at it", || {
            outcome = correct::outcome(&self.path(), wish).unwrap();
            outcome.is_some()
        });
        outcome.unwrap()
    }
}

/// The disk was called failing every half second, and no later wish was booked.
#[test]
fn a_wish_whose_day_is_damaged_is_refused_and_the_next_one_is_booked() {
    let bench = Bench::new();
    bench.run(&[(4, 5), (3, 5), (2, 5), (1, 5)]);
    bench.run(&[(0, 5)]);
    let first_of = |days_ago| format!("{}.1", days::name(days::of(back(days_ago))));
    let wishes = [4, 0].map(|days_ago| bench.wish(&first_of(days_ago), 4));
    damage(&bench.day_file(4));
    let (ledger, _) = bench.open();
    let [damaged, sound] = wishes.map(|wish| bench.outcome(wish));
    let Outcome::Refused(why) = damaged else {
        panic!("{damaged:?}")
    };
    assert!(why.contains("are damaged"), "{why}");
    assert_eq!(sound, Outcome::Added(micros(-1)));
    assert!(ledger.health().writing);
    assert_eq!(ledger.stats().errors.get(), 0);
    ledger.stop().unwrap();
}
