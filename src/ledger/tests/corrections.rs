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

/// What requests in flight may spend stays granted beside it: a crash just then would count them too low.
#[test]
fn what_is_added_takes_nothing_of_what_is_granted_ahead() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, period) = live(&ledger);
    let mut sink = ledger.sink(0);
    spend(&ledger, &mut sink, team, &period, 5);
    let main = sqlite::open_to_read(&bench.path()).unwrap();
    let account = || {
        let sql = "SELECT sum(settled), sum(granted - settled) FROM account";
        let row = main.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        row.unwrap_or((0_i64, 0_i64))
    };
    wait_for("it is settled", || account().0 == 5);
    let (_, ahead) = account();
    assert!(ahead > 0, "nothing is granted ahead");
    let wish = bench.wish(&format!("{}.1", days::name(days::of(back(0)))), 1_000);
    assert_eq!(bench.outcome(wish), Outcome::Added(micros(995)));
    let (settled, still_ahead) = account();
    assert_eq!(settled, 1_000);
    assert!(still_ahead >= ahead, "{still_ahead} of {ahead}");
    drop(sink);
    ledger.stop().unwrap();
}
