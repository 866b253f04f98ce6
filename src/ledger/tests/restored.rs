//! A ledger that is older than what was spent: nothing gets lower, nothing is counted twice, nothing stays behind.

use super::*;

/// It counted 6, `ledger verify` said sound: the newer day raised the number the mark is compared with.
#[test]
fn a_day_that_only_the_mark_knows_is_charged_beside_one_whose_rows_are_there() {
    let bench = Bench::new();
    bench.run(&[(1, 2)]);
    let backup = bench.backup();
    bench.run(&[(1, 3), (0, 4)]);
    damage(&bench.day_file(1));
    bench.restore(&backup);
    assert_eq!(bench.counted(), 9);
}

#[test]
fn what_has_no_row_is_charged_beside_rows_that_are_there() {
    let mut bench = Bench::new();
    bench.run(&[(1, 2)]);
    let backup = bench.backup();
    bench.events = EventRows::Rollups;
    bench.run(&[(1, 3)]);
    bench.events = EventRows::All;
    bench.run(&[(0, 4), (0, 4)]);
    bench.restore(&backup);
    assert_eq!(bench.counted(), 13);
}

/// The mark of a gateway that runs since the month began said nothing of the month before.
#[test]
fn what_had_no_row_in_a_period_before_is_charged_too() {
    let bench = Bench {
        events: EventRows::Rollups,
        ..Bench::new()
    };
    bench.run(&[(0, 2)]);
    let backup = bench.backup();
    bench.run(&[(0, 3)]);
    let next = following(&period());
    let (ledger, _) = bench.open();
    let team = ledger.team("sales").unwrap();
    let _live = ledger.period(&next, &facts()).unwrap();
    ledger.sink(0).push(Event {
        period: next.name,
        ..event(team, 1)
    });
    wait_for("on disk, with a mark", || sums(&bench.path()).0 == 6);
    ledger.abort();
    damage(&bench.path());
    bench.restore(&backup);
    assert_eq!(bench.counted(), 5);
}

/// What is added so that an event costs so much.
fn correct_to(bench: &Bench, event: &str, credits: i64) -> i64 {
    let id = bench.wish(event, credits);
    let (ledger, _) = bench.open();
    let outcome = bench.outcome(id);
    ledger.stop().unwrap();
    match outcome {
        correct::Outcome::Added(change) => change.micros(),
        correct::Outcome::Refused(why) => panic!("{why}"),
    }
}

/// The event came back with its day, what says that it is booked did not: asked for again it was booked again.
#[test]
fn a_correction_asked_for_again_after_a_restore_changes_nothing() {
    for spent_after in [&[][..], &[(0, 1)], &[(0, 1), (0, 1)]] {
        let bench = Bench::new();
        bench.run(&[(0, 5)]);
        let backup = bench.backup();
        let first = format!("{}.1", days::name(days::of(back(0))));
        assert_eq!(correct_to(&bench, &first, 4), -1);
        bench.run(spent_after);
        bench.restore(&backup);
        let spent = 4 + i64::try_from(spent_after.len()).unwrap();
        assert_eq!(bench.counted(), spent, "{spent_after:?}");
        assert_eq!(correct_to(&bench, &first, 4), 0, "{spent_after:?}");
        assert_eq!(correct_to(&bench, &first, 3), -1, "{spent_after:?}");
        assert_eq!(bench.counted(), spent - 1, "{spent_after:?}");
    }
}

/// Days named after today's hid it: its rows stayed, and counted once their number was used.
#[test]
fn rows_that_never_counted_are_found_behind_days_of_a_clock_that_ran_ahead() {
    let bench = Bench::new();
    bench.run(&[(0, 5), (-700, 1), (-701, 1), (-702, 1)]);
    bench.run(&[(0, 5)]);
    leave_row(&bench, &bench.day_file(0));
    assert_eq!(event_rows(&bench.path()), (6, 18));
    bench.run(&[]);
    assert_eq!(event_rows(&bench.path()), (5, 13));
    assert_eq!(bench.counted(), 13);
}

#[test]
fn a_restore_finds_what_was_spent_behind_days_of_a_clock_that_ran_ahead() {
    let bench = Bench::new();
    bench.run(&[(-700, 1), (-701, 1), (-702, 1)]);
    let backup = bench.backup();
    bench.run(&[(0, 5), (0, 5)]);
    bench.restore(&backup);
    assert_eq!(bench.counted(), 13);
    assert_eq!(event_rows(&bench.path()), (5, 13));
}
