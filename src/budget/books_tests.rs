//! What a team lead relies on: nothing is ever taken past a limit. The rules row by row: `model_tests`.

#![expect(
    clippy::excessive_nesting,
    clippy::integer_division,
    reason = "threads in a loop, and a roomy limit"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::TimeZone;

use super::*;
use crate::budget::admission::OnTrip;
use crate::budget::breaker::Breaker;
use crate::budget::percent::Percent;
use crate::budget::period::Calendar;

fn books() -> PeriodBooks {
    let calendar = Calendar::new("2026-02-01".parse().unwrap(), TimeZone::UTC);
    PeriodBooks::new(calendar.period(9).unwrap(), Arc::default())
}

fn small_limits(allocation: i64) -> (TeamLimits, PoolLimits) {
    let allocation = MicroCredits::from_micros(allocation);
    let trip = Percent::parse("90%").unwrap();
    let limits = TeamLimits {
        allocation,
        trip,
        trip_at: trip.of(allocation),
        on_trip: OnTrip::Reject,
        buffer_max: MicroCredits::MAX,
        emergency: MicroCredits::ZERO,
    };
    let roomy = MicroCredits::from_micros(i64::MAX / 4);
    let pool = PoolLimits {
        month: roomy,
        trip,
        trip_at: trip.of(roomy),
        buffer: MicroCredits::from_micros(50),
        burst: MicroCredits::from_micros(30),
        annual: roomy,
        overage_cap: MicroCredits::ZERO,
    };
    (limits, pool)
}

fn ask(class: Class, estimate: i64, bound: i64) -> Ask {
    let (estimate, bound) = (
        MicroCredits::from_micros(estimate),
        MicroCredits::from_micros(bound),
    );
    Ask {
        class,
        estimate,
        bound,
        continued: false,
        paced_to: MicroCredits::ZERO,
    }
}

#[test]
fn nothing_is_spent_before_the_ledger_wrote_it_down() {
    let (books, team) = (books(), TeamBooks::default());
    let (limits, pool) = small_limits(1000);
    let reserve = || {
        books.reserve(
            (&team, &limits),
            &pool,
            &ask(Class::Standard, 2, 6),
            MicroCredits::ZERO,
            |_| Ok(()),
        )
    };
    assert_eq!(reserve().unwrap_err(), Denied::GrantShort);
    assert_eq!(
        team.own.figures().wanted.micros(),
        6,
        "the ledger is told how much is needed"
    );
    assert_eq!(team.own.figures().committed.micros(), 0);
    team.own.raise_grant(MicroCredits::from_micros(11));
    let first = reserve().unwrap();
    assert_eq!(
        reserve().unwrap_err(),
        Denied::GrantShort,
        "the grant covers the bounds in flight"
    );
    books.settle(&team, first, MicroCredits::from_micros(5));
    let figures = team.own.figures();
    assert_eq!((figures.settled.micros(), figures.exposed.micros()), (5, 5));
    let second = reserve().unwrap();
    books.void(&team, second);
    assert_eq!(team.own.figures().committed.micros(), 5);
    assert_eq!(books.pool.committed().micros(), 5);
    assert_eq!(books.year.committed.committed().micros(), 5);
}

#[test]
fn one_request_is_granted_at_most_a_contract_year() {
    let (books, team) = (books(), TeamBooks::default());
    let (_, mut pool) = small_limits(100);
    pool.annual = MicroCredits::from_micros(1_000);
    let asked = ask(Class::Standard, i64::MAX, i64::MAX);
    let reserve = || books.reserve_unlimited(&team, &pool, &asked, MicroCredits::ZERO);
    assert_eq!(reserve().unwrap_err(), Denied::GrantShort);
    assert_eq!(team.own.figures().wanted.micros(), 1_000);
    team.own.raise_grant(pool.annual);
    let taken = reserve().unwrap(); // noted only, so it passes
    assert_eq!(team.own.figures().exposed.micros(), 1_000);
    books.void(&team, taken);
    assert_eq!(team.own.figures().exposed.micros(), 0);
}

#[test]
fn the_ledger_is_told_where_the_limit_lies() {
    let team = TeamBooks::default();
    assert_eq!(team.own.figures().limit_hint, MicroCredits::MAX);
    team.own.hint_limit(MicroCredits::from_micros(70));
    assert_eq!(team.own.figures().limit_hint.micros(), 70);
}

#[test]
fn a_correction_of_a_period_that_is_over_counts_in_its_contract_year() {
    let year = YearBooks::default();
    for (source, change) in Source::ALL.iter().zip([5, 7, -3, 11]) {
        year.correct(*source, MicroCredits::from_micros(change));
    }
    let used = (year.committed.committed(), year.overage.committed());
    assert_eq!((used.0.micros(), used.1.micros()), (5 + 7 - 3, 11));
}

#[test]
fn a_price_above_the_estimate_shows_as_debt_and_opens_the_breaker() {
    let (books, team) = (books(), TeamBooks::default());
    let (limits, pool) = small_limits(100);
    team.own.raise_grant(MicroCredits::MAX);
    let taken = books
        .reserve(
            (&team, &limits),
            &pool,
            &ask(Class::Background, 10, 10),
            MicroCredits::ZERO,
            |_| Ok(()),
        )
        .unwrap();
    team.shown.change(limits.marks(), MicroCredits::ZERO);
    books.settle(&team, taken, MicroCredits::from_micros(130));
    books.show(&team);
    assert_eq!(team.own.committed().micros(), 130);
    assert_eq!(team.shown.get(), Breaker::Exhausted);
}

#[test]
fn threads_never_pass_the_trip_point_together_and_leave_nothing_reserved() {
    let (books, team) = (books(), TeamBooks::default());
    let (limits, pool) = small_limits(100_000);
    for source in Source::ALL {
        team.account(*source).raise_grant(MicroCredits::MAX);
    }
    let admitted = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        for class in [Class::Background, Class::Standard, Class::Critical] {
            let (books, team, limits, pool, admitted) = (&books, &team, &limits, &pool, &admitted);
            scope.spawn(move || {
                for round in 0..40_000_i64 {
                    let estimate = 1 + round.rem_euclid(5);
                    let ask = ask(class, estimate, estimate);
                    let Ok(taken) =
                        books.reserve((team, limits), pool, &ask, MicroCredits::ZERO, |_| Ok(()))
                    else {
                        continue;
                    };
                    if class != Class::Critical {
                        assert!(team.own.figures().settled <= limits.allocation);
                    }
                    assert!(team.own.figures().reserved() >= MicroCredits::ZERO);
                    if round.rem_euclid(7) == 0 {
                        books.void(team, taken);
                    } else {
                        let slot = &admitted[usize::from(taken.source != Source::Own)];
                        slot.fetch_add(u64::try_from(estimate).unwrap(), Ordering::Relaxed);
                        books.settle(team, taken, MicroCredits::from_micros(estimate));
                    }
                }
            });
        }
    });
    let figures = team.own.figures();
    assert_eq!(figures.committed, figures.settled);
    assert_eq!(figures.exposed, figures.settled);
    assert!(figures.settled <= limits.allocation);
    let own = admitted[0].load(Ordering::Relaxed);
    assert_eq!(u64::try_from(figures.settled.micros()).unwrap(), own);
    let buffered = team.buffer.committed().micros() + team.burst.committed().micros();
    assert_eq!(
        u64::try_from(buffered).unwrap(),
        admitted[1].load(Ordering::Relaxed)
    );
    assert!(books.buffer.committed() <= pool.buffer && books.burst.committed() <= pool.burst);
}

#[test]
fn a_large_background_estimate_opens_nothing() {
    let check = |class: Class, committed: i64, estimate: i64, want: (Breaker, Breaker)| {
        let (books, team) = (books(), TeamBooks::default());
        let (limits, pool) = small_limits(1_000_000);
        // Of the pool only a tenth is anybody's: what is refused is refused by the pool.
        let pool = PoolLimits {
            month: MicroCredits::from_micros(1_000),
            trip_at: MicroCredits::from_micros(900),
            ..pool
        };
        team.own.raise_grant(MicroCredits::MAX);
        team.shown.change(limits.marks(), MicroCredits::ZERO);
        books.shown.change(pool.marks(), MicroCredits::ZERO);
        books.correct(&team, Source::Own, MicroCredits::from_micros(committed));
        let ask = ask(class, estimate, estimate);
        let last = |_| Ok(());
        let refused = books.reserve((&team, &limits), &pool, &ask, MicroCredits::ZERO, last);
        let case = format!("{class:?} {committed}+{estimate}");
        assert!(matches!(refused, Err(Denied::Budget { .. })), "{case}");
        assert_eq!((team.shown.get(), books.shown.get()), want, "{case}");
    };
    let closed = Breaker::Closed;
    check(Class::Background, 700, 300, (closed, closed));
    check(Class::Background, 700, 3_000_000, (closed, closed));
    check(Class::Standard, 700, 301, (closed, Breaker::Exhausted));
}

#[test]
fn corrections_downwards_show_no_negative_reservation() {
    let (books, team) = (books(), TeamBooks::default());
    let change = |micros| {
        books.correct(&team, Source::Own, MicroCredits::from_micros(micros));
    };
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300_000 {
                change(1_000);
                change(-1_000);
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let reserved = team.own.figures().reserved();
            assert!(reserved >= MicroCredits::ZERO, "{reserved}");
        }
    });
}
