//! What a paced team relies on: its credits last until the period ends, and are used by then.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::integer_division,
    reason = "figures of a test, within its own bounds"
)]

use std::sync::Arc;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::budget::admission::{BudgetRefusal, OnTrip};
use crate::budget::books::{Ask, Denied, PeriodBooks, PoolLimits, TeamBooks, TeamLimits};
use crate::budget::operation::Class;
use crate::budget::percent::Percent;
use crate::budget::period::Calendar;

const fn micros(micros: i64) -> MicroCredits {
    MicroCredits::from_micros(micros)
}

/// A team in November, with nothing else in the way of its requests.
pub(super) struct Team {
    pub(super) books: PeriodBooks,
    pub(super) own: TeamBooks,
    pub(super) limits: TeamLimits,
    pub(super) pace: Pace,
    pool: PoolLimits,
}

impl Team {
    pub(super) fn new(on_trip: OnTrip, allocation: MicroCredits, trip: Percent) -> Self {
        let calendar = Calendar::new("2026-11-01".parse().unwrap(), TimeZone::UTC);
        let books = PeriodBooks::new(calendar.period(0).unwrap(), Arc::default());
        let own = TeamBooks::default();
        own.own.raise_grant(MicroCredits::MAX);
        let limits = TeamLimits {
            allocation,
            trip,
            trip_at: trip.of(allocation),
            on_trip,
            buffer_max: MicroCredits::ZERO,
            emergency: MicroCredits::ZERO,
        };
        let pool = PoolLimits {
            month: MicroCredits::MAX,
            trip,
            trip_at: MicroCredits::MAX,
            buffer: MicroCredits::ZERO,
            burst: MicroCredits::ZERO,
            annual: MicroCredits::MAX,
            overage_cap: MicroCredits::ZERO,
        };
        let pace = Pace::new(Target {
            allocation,
            trip_at: limits.trip_at,
            end: books.period.end,
        });
        Self {
            books,
            own,
            limits,
            pace,
            pool,
        }
    }

    /// One request as admission makes it, settled at its estimate; how long it is told to wait.
    pub(super) fn request(
        &self,
        now: Timestamp,
        estimate: MicroCredits,
        slot: impl Fn() -> bool,
    ) -> Result<(), (BudgetRefusal, Option<Duration>)> {
        let ask = Ask {
            class: Class::Standard,
            estimate,
            bound: estimate,
            continued: false,
            paced_to: self.pace.line_at(now),
        };
        let last = |needs_slot: bool| match !needs_slot || slot() {
            true => Ok(()),
            false => Err(BudgetRefusal::Throttled),
        };
        let team = (&self.own, &self.limits);
        let taken = self
            .books
            .reserve(team, &self.pool, &ask, MicroCredits::ZERO, last);
        match taken {
            Ok(reservation) => {
                self.books.settle(&self.own, reservation, estimate);
                Ok(())
            }
            Err(Denied::Budget { refusal, view }) => {
                let waits = refusal == BudgetRefusal::Throttled;
                let wait = waits.then(|| self.pace.refused(now, view.own.committed, estimate));
                Err((refusal, wait))
            }
            Err(Denied::GrantShort) => panic!("there is no end to the grant"),
        }
    }

    pub(super) fn after(&self, seconds: i64) -> Timestamp {
        self.books.period.start + SignedDuration::from_secs(seconds)
    }
}

fn paced(allocation: i64) -> Team {
    Team::new(OnTrip::Pace, micros(allocation), Percent::whole(90))
}

/// Seconds of November.
const NOVEMBER: i64 = 30 * 86_400;

#[test]
fn what_is_left_is_spread_over_what_is_left() {
    let team = paced(1_000);
    let check = |day: i64, estimate, want: Result<(), i64>| {
        let got = team.request(team.after(day * 86_400), micros(estimate), || true);
        let want = want.map_err(|seconds| {
            let seconds = u64::try_from(seconds).unwrap();
            (BudgetRefusal::Throttled, Some(Duration::from_secs(seconds)))
        });
        assert_eq!(got, want, "day {day}, {estimate} credits");
    };
    check(0, 900, Ok(()));
    check(10, 10, Err(2 * 86_400)); // the line starts here: 100 left for 20 days, 10 every two days
    check(11, 5, Ok(()));
    check(11, 1, Err(86_400 / 5));
    check(14, 15, Ok(())); // what was not used is not lost
    check(20, 31, Err(86_400 / 5));
    check(20, 30, Ok(()));
    check(29, 45, Ok(()));
    check(29, 5, Err(86_400));
    let exhausted = team.request(team.after(29 * 86_400), micros(6), || true);
    assert_eq!(exhausted, Err((BudgetRefusal::TeamExhausted, None)));
    check(30, 5, Ok(()));
}

#[test]
fn the_line_starts_at_what_others_used_and_never_lies_above_the_allocation() {
    let team = paced(1_000);
    let critical = |amount| {
        let ask = Ask {
            class: Class::Critical,
            estimate: micros(amount),
            bound: micros(amount),
            continued: false,
            paced_to: MicroCredits::ZERO,
        };
        let of_team = (&team.own, &team.limits);
        let taken = team
            .books
            .reserve(of_team, &team.pool, &ask, MicroCredits::ZERO, |_| Ok(()));
        team.books.settle(&team.own, taken.unwrap(), micros(amount));
    };
    critical(960);
    assert_eq!(
        team.pace.line_at(team.after(0)).micros(),
        900,
        "not started"
    );
    let wait = team.request(team.after(NOVEMBER / 2), micros(4), || true);
    let tenth = Duration::from_secs(1_500 * 86_400 / 1_000);
    assert_eq!(
        wait,
        Err((BudgetRefusal::Throttled, Some(tenth))),
        "4 of 40 in 15 days"
    );
    assert_eq!(
        team.pace.line_at(team.after(0)).micros(),
        960,
        "a clock that went back"
    );
    assert_eq!(team.pace.line_at(team.after(2 * NOVEMBER)).micros(), 1_000);
    critical(40);
    assert_eq!(
        team.request(team.after(NOVEMBER - 1), micros(1), || true),
        Err((BudgetRefusal::TeamExhausted, None))
    );
}

#[test]
fn a_conversation_that_began_below_the_trip_point_passes_the_line() {
    let team = paced(1_000);
    team.request(team.after(0), micros(900), || true).unwrap();
    let of_team = (&team.own, &team.limits);
    let turn = |continued| {
        let ask = Ask {
            class: Class::Standard,
            estimate: micros(50),
            bound: micros(50),
            continued,
            paced_to: team.pace.line_at(team.after(0)),
        };
        team.books
            .reserve(of_team, &team.pool, &ask, MicroCredits::ZERO, |_| Ok(()))
    };
    assert!(matches!(
        turn(false),
        Err(Denied::Budget {
            refusal: BudgetRefusal::Throttled,
            ..
        })
    ));
    team.books.void(&team.own, turn(true).unwrap());
}

#[test]
fn whoever_races_to_start_the_line_gets_one_line() {
    for round in 0..200 {
        let team = paced(1_000_000);
        let (now, later) = (team.after(round), team.after(NOVEMBER - 1));
        let lines = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4_i64)
                .map(|racer| {
                    let (pace, now) = (&team.pace, now + SignedDuration::from_millis(racer));
                    let committed = micros(900_000 + racer * 1_000);
                    scope.spawn(move || {
                        pace.refused(now, committed, micros(1));
                        pace.line_at(later)
                    })
                })
                .collect();
            racers
                .into_iter()
                .map(|racer| racer.join().unwrap())
                .collect::<Vec<_>>()
        });
        let line = team.pace.line_at(later);
        // Who does not see the start yet sees no line: below, never above.
        let fits = |seen: &MicroCredits| *seen == line || *seen == team.limits.trip_at;
        assert!(lines.iter().all(fits), "round {round}: {lines:?}, {line}");
        let starts: Vec<_> = (0..4)
            .map(|racer| {
                let alone = Pace::new(*team.pace.target());
                let now = now + SignedDuration::from_millis(racer);
                alone.refused(now, micros(900_000 + racer * 1_000), micros(1));
                alone.line_at(later)
            })
            .collect();
        assert!(
            starts.contains(&line),
            "round {round}: start and amount are of one racer"
        );
    }
}

#[test]
fn threads_never_pass_the_line_together() {
    let team = paced(1_000_000);
    team.request(team.after(0), micros(900_000), || true)
        .unwrap();
    assert!(team.request(team.after(0), micros(5), || true).is_err());
    let now = team.after(NOVEMBER / 2);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20_000).all(|_| team.request(now, micros(5), || true).is_ok()));
        }
    });
    let (committed, line) = (
        team.own.own.committed().micros(),
        team.pace.line_at(now).micros(),
    );
    assert_eq!((committed, line), (950_000, 950_000));
}

proptest! {
    /// Random costs at random times, any number of attempts, from a month that is nearly at its trip point.
    #[test]
    fn paced_traffic_alone_never_uses_up_a_team_before_the_period_ends(
        allocation in 10_i64..=1_000_000_000_000,
        begins in 0_i64..NOVEMBER,
        below in 0_i64..=50,
        requests in proptest::collection::vec((0_i64..=100_000, 1_i64..=5_000), 1..400),
    ) {
        let team = paced(allocation);
        let used = (allocation / 1_000 * (900 - below)).max(1);
        prop_assert_eq!(team.request(team.after(begins), micros(used), || true), Ok(()));
        let mut second = begins;
        for (pause, cost) in requests {
            second += pause;
            if second >= NOVEMBER {
                break;
            }
            // Up to half a percent of the allocation, at least a micro-credit.
            let estimate = micros((allocation / 1_000_000 * cost).max(1));
            let now = team.after(second);
            let before = team.own.own.committed();
            let got = team.request(now, estimate, || true);
            let committed = team.own.own.committed();
            prop_assert!(committed.micros() < allocation, "{committed} of {allocation} at {now}");
            prop_assert!(committed <= team.pace.line_at(now).max(team.limits.trip_at));
            if let Err((BudgetRefusal::Throttled, Some(wait))) = got {
                // The wait it is told is exact: it would pass then, and not a millisecond before.
                let then = now + SignedDuration::try_from(wait).unwrap();
                let needed = before.checked_add(estimate).unwrap();
                prop_assert!(team.pace.line_at(then) >= needed);
                let just_before = then - SignedDuration::from_millis(1);
                prop_assert!(wait.is_zero() || team.pace.line_at(just_before) < needed);
            }
        }
    }

    /// Whoever asks all the time has used nearly everything by the end.
    #[test]
    fn what_is_asked_for_is_used_by_the_end(
        allocation in 1_000_000_i64..=1_000_000_000_000,
        cost in 50_i64..=1_000,
        every in 3_600_i64..=10_000,
    ) {
        let team = paced(allocation);
        let estimate = micros(allocation / 100_000 * cost);
        let mut second = 0;
        while team.request(team.after(0), estimate, || true).is_ok() {}
        while second < NOVEMBER {
            let _refused = team.request(team.after(second), estimate, || true).is_err();
            second += every;
        }
        let left = allocation - team.own.own.committed().micros();
        // The last request that did not fit, and what the line rose since the last attempt.
        let risen = i64::try_from(i128::from(allocation) * i128::from(every) / i128::from(NOVEMBER)).unwrap();
        prop_assert!(left <= estimate.micros() + risen + 1, "{left} of {allocation} left");
    }

    /// A restart takes the line anew from what is committed: for paced traffic that is never more.
    #[test]
    fn a_line_taken_anew_is_never_more_generous(
        allocation in 1_000_i64..=1_000_000_000,
        start in 0_i64..NOVEMBER,
        restart in 0_i64..NOVEMBER,
        later in 0_i64..NOVEMBER,
        used in 0_i64..=1_000,
    ) {
        let (start, restart) = (start.min(restart), start.max(restart));
        let team = paced(allocation);
        team.pace.refused(team.after(start), team.limits.trip_at, micros(1));
        let line = team.pace.line_at(team.after(restart));
        let above = line.micros() - team.limits.trip_at.micros();
        let committed = micros(team.limits.trip_at.micros() + above * used / 1_000);
        let anew = Pace::new(*team.pace.target());
        anew.refused(team.after(restart), committed, micros(1));
        let later = team.after(restart.max(later));
        prop_assert!(anew.line_at(later) <= team.pace.line_at(later));
    }
}
