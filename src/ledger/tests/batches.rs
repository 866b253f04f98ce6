//! Batches: what they add up to, and what one leaves that was not written whole.

use super::*;

#[test]
fn events_equal_rollups_equal_accounts_also_when_queues_overflow() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, _period) = live(&ledger);
    let total: i64 = std::thread::scope(|scope| {
        let threads = [0, 1].map(|worker| {
            let mut sink = ledger.sink(worker);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(7);
                let credits = (0..40_000).map(|_| {
                    let credits = random.i64(0..1_000);
                    sink.push(event(team, credits));
                    credits
                });
                credits.sum::<i64>()
            })
        });
        threads
            .map(|thread| thread.join().unwrap())
            .into_iter()
            .sum()
    });
    ledger.stop().unwrap();
    assert_eq!(sums(&bench.path()), (total, total), "seed 7");
    let folded = i64::try_from(ledger.stats().events_folded()).unwrap();
    let (rows, credits) = event_rows(&bench.path());
    assert_eq!(rows + folded, 80_000, "each event has a row or was folded");
    assert!(credits <= total);
    assert_eq!(ledger.totals().difference(team), 0);
    assert_eq!(ledger.totals().from_workers(team), total);
}

#[test]
fn rows_of_a_batch_that_never_counted_are_deleted_at_start() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, _period) = live(&ledger);
    ledger.sink(0).push(event(team, 5));
    ledger.stop().unwrap();
    let file = std::fs::read_dir(bench.folder.path().join("data/events"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    leave_row(&bench, &file.path());
    assert_eq!(event_rows(&bench.path()), (2, 10));
    let (ledger, _) = bench.open();
    assert_eq!(event_rows(&bench.path()), (1, 5));
    ledger.stop().unwrap();
}

#[test]
fn without_event_rows_the_sums_are_the_same() {
    let bench = Bench {
        events: EventRows::Rollups,
        ..Bench::new()
    };
    let (ledger, _) = bench.open();
    let (team, _period) = live(&ledger);
    ledger.sink(0).push(event(team, 5));
    ledger.stop().unwrap();
    assert_eq!(
        (sums(&bench.path()), event_rows(&bench.path())),
        ((5, 5), (0, 0))
    );
}

fn check_verified(bench: &Bench, rows: u64) {
    let verdict = bench.verified();
    assert!(verdict.is_sound(), "{verdict:?}");
    assert_eq!(verdict.rows, rows);
}

/// Around midnight: requests of both days end in any order.
#[test]
fn a_batch_that_goes_back_and_forth_between_days_keeps_every_row() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, _period) = live(&ledger);
    let mut sink = ledger.sink(0);
    for at in 0..6 {
        let hours = jiff::SignedDuration::from_hours(24 * (at % 2));
        sink.push(Event {
            at: clock::now() - hours,
            ..event(team, 5)
        });
    }
    ledger.stop().unwrap();
    check_verified(&bench, 6);
}

/// Rows written, `breakerbox.db` not; then grants go first, under the number those rows have.
#[test]
fn rows_of_a_try_that_failed_are_not_counted_with_the_next_commit() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, period) = live(&ledger);
    let other = sqlite::open(&bench.path(), false).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut sink = ledger.sink(0);
    for _ in 0..600 {
        sink.push(event(team, 5));
    }
    wait_for("the disk is busy", || {
        !ledger.health().writing && ledger.health().pending_events > 500
    });
    wait_for("a try failed", || ledger.stats().errors.get() > 0);
    let (books, (limits, pool)) = (period.team(team), limits());
    let ask = Ask {
        class: Class::Standard,
        estimate: micros(7),
        bound: micros(7),
        continued: false,
        paced_to: MicroCredits::ZERO,
    };
    let reserve = || {
        period
            .books
            .reserve((&books, &limits), &pool, &ask, MicroCredits::ZERO, |_| {
                Ok(())
            })
    };
    assert!(reserve().is_err(), "nothing is granted yet");
    other.execute_batch("ROLLBACK").unwrap();
    let mut taken = None;
    wait_for("a grant", || {
        taken = reserve().ok();
        taken.is_some()
    });
    period.books.void(&books, taken.unwrap());
    ledger.stop().unwrap();
    check_verified(&bench, 600);
}
