//! The counters beside the model: the golden rows, then any state and any request.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::budget::account::{Account as Counters, Total};
use crate::budget::admission;
use crate::budget::books::{Ask, Denied, PeriodBooks, Reservation, TeamBooks, YearBooks};
use crate::budget::credits::MicroCredits;
use crate::budget::percent::Percent;
use crate::budget::period::{Calendar, Period};
use arbitrary::{micros, pool_limits, request, team, team_limits};

pub(super) fn credits(micros: Micros) -> MicroCredits {
    MicroCredits::from_micros(i64::try_from(micros).expect("an amount of 64 bits"))
}

pub(super) fn period(index: u32) -> Period {
    let calendar = Calendar::new("2026-02-01".parse().unwrap(), TimeZone::UTC);
    calendar.period(index).unwrap()
}

/// How much longer than in a plain `cargo test` to look: see docs/PROOFS.md.
pub(super) fn cases(bounded: u32) -> ProptestConfig {
    let effort = std::env::var("BREAKERBOX_TEST_EFFORT").ok();
    let effort = effort.and_then(|times| times.parse().ok()).unwrap_or(1);
    ProptestConfig {
        cases: bounded.saturating_mul(effort),
        source_file: Some(file!()), // where what failed is kept, to be tried first the next time
        ..ProptestConfig::default()
    }
}

/// Counters in the state the model is in.
pub(super) fn counters(state: &State, period: Period) -> (PeriodBooks, Vec<TeamBooks>) {
    let account = |figures: &Account| {
        let account = Counters::restored(credits(figures.settled), credits(figures.granted));
        account.try_commit(credits(figures.reserved), MicroCredits::MAX);
        account.expose_more(credits(figures.bounds));
        account
    };
    let teams = state.teams.iter().map(|team| TeamBooks {
        own: account(&team.own),
        buffer: account(&team.buffer),
        burst: account(&team.burst),
        overage: account(&team.overage),
        ..TeamBooks::default()
    });
    let year = YearBooks {
        committed: Total::restored(credits(state.year())),
        overage: Total::restored(credits(state.overage())),
    };
    let mut books = PeriodBooks::new(period, Arc::new(year));
    books.pool = Total::restored(credits(state.month()));
    books.buffer = Total::restored(credits(state.buffer()));
    books.burst = Total::restored(credits(state.burst()));
    (books, teams.collect())
}

/// Asks the counters what the model is asked, shadow mode as `proxy::admit` does it.
pub(super) fn ask(
    books: &PeriodBooks,
    team: (&TeamBooks, &TeamLimits),
    pool: &PoolLimits,
    request: &Request,
) -> (Verdict, Option<Reservation>) {
    let ask = question(request);
    let asked = Cell::new(false);
    let slot = |needs_slot| {
        assert!(!asked.replace(true), "one slot a request");
        match needs_slot && !request.slot {
            true => Err(BudgetRefusal::Throttled),
            false => Ok(()),
        }
    };
    let admitted = |verdict: fn(Taken) -> Verdict, reservation: Reservation| {
        let taken = Taken {
            team: request.team,
            source: reservation.source,
            estimate: reservation.estimate.micros().into(),
            bound: reservation.bound.micros().into(),
        };
        (verdict(taken), Some(reservation))
    };
    match books.reserve(team, pool, &ask, credits(request.beyond), slot) {
        Ok(reservation) => admitted(Verdict::Admitted, reservation),
        Err(Denied::GrantShort) => (Verdict::GrantShort, None),
        Err(Denied::Budget { refusal, .. }) if request.enforced => {
            (Verdict::Refused(refusal), None)
        }
        Err(Denied::Budget { refusal, .. }) => {
            match books.reserve_unlimited(team.0, pool, &ask, MicroCredits::ZERO) {
                Ok(reservation) => {
                    let (verdict, reservation) = admitted(Verdict::Admitted, reservation);
                    let Verdict::Admitted(taken) = verdict else {
                        unreachable!()
                    };
                    (Verdict::Noted(taken, refusal), reservation)
                }
                Err(_) => (Verdict::GrantShort, None),
            }
        }
    }
}

fn question(request: &Request) -> Ask {
    Ask {
        class: request.class,
        estimate: credits(request.estimate),
        bound: credits(request.bound),
        continued: request.continued,
        paced_to: credits(request.paced_to),
    }
}

/// Every figure of the counters is the model's.
pub(super) fn same(books: &PeriodBooks, teams: &[TeamBooks], state: &State) {
    for (place, (team, model)) in teams.iter().zip(&state.teams).enumerate() {
        for source in Source::ALL {
            let (figures, want) = (team.account(*source).figures(), model.account(*source));
            let got = Account {
                settled: figures.settled.micros().into(),
                reserved: figures.reserved().micros().into(),
                bounds: i128::from(figures.exposed.micros()) - i128::from(figures.settled.micros()),
                granted: figures.granted.micros().into(),
            };
            assert_eq!(got, *want, "{source} of team {place}");
            assert_eq!(
                i128::from(team.account(*source).committed().micros()),
                want.committed()
            );
        }
    }
    let got = [
        &books.pool,
        &books.buffer,
        &books.burst,
        &books.year.committed,
        &books.year.overage,
    ]
    .map(|total| i128::from(total.committed().micros()));
    let want = [
        state.month(),
        state.buffer(),
        state.burst(),
        state.year(),
        state.overage(),
    ];
    assert_eq!(got, want, "pool, buffer, burst, year, overage");
}

/// Asks both, compares, gives back or settles, compares again.
fn check(
    state: State,
    limits: &TeamLimits,
    pool: &PoolLimits,
    request: &Request,
    price: Option<Micros>,
) -> Verdict {
    let (books, teams) = counters(&state, period(9));
    let team = (&teams[request.team], limits);
    let view = books.view(team.0, limits, pool, &question(request));
    let plan = admission::decide(&view).map(|plan| (plan.source, plan.needs_slot));
    assert_eq!(plan, rules(&state, request));
    let before = state.clone();
    let (got, reservation) = ask(&books, team, pool, request);
    let (want, state) = judge(state, request);
    assert_eq!(got, want);
    same(&books, &teams, &state);
    let (Some(reservation), Verdict::Admitted(taken) | Verdict::Noted(taken, _)) =
        (reservation, want)
    else {
        assert_eq!(state, before, "a refused request consumes nothing");
        return want;
    };
    match price {
        None => {
            books.void(team.0, reservation);
            same(&books, &teams, &before);
        }
        Some(price) => {
            books.settle(team.0, reservation, credits(price));
            same(&books, &teams, &settle(state, &taken, price));
        }
    }
    want
}

fn check_golden(row: &str) {
    let field: Vec<_> = row.split(',').collect();
    let number = |at: usize| field[at].parse::<Micros>().expect("a number");
    let percent = |at: usize| Percent::from_bp(field[at].parse().unwrap()).unwrap();
    let (class, on_trip, [verdict, source, refusal]) =
        (field[0], field[5], [19, 20, 21].map(|at| field[at]));
    let limits = TeamLimits {
        allocation: credits(number(3)),
        trip: percent(4),
        trip_at: percent(4).of(credits(number(3))),
        on_trip: if on_trip == "reject" {
            OnTrip::Reject
        } else {
            OnTrip::Throttle
        },
        buffer_max: MicroCredits::MAX,
        emergency: MicroCredits::ZERO,
    };
    let pool = PoolLimits {
        month: credits(number(15)),
        trip: percent(16),
        trip_at: percent(16).of(credits(number(15))),
        buffer: credits(number(9)),
        burst: credits(number(11)),
        annual: credits(number(18)),
        overage_cap: credits(number(13)),
    };
    let granted = |settled| Account {
        settled,
        granted: i64::MAX.into(),
        ..Account::default()
    };
    // A row's sums stand for themselves: another team took what they have beyond the row's own.
    let (asks, other) = (Team::under(&limits), Team::under(&limits));
    let state = State {
        pool: Pool::from(&pool),
        teams: vec![
            Team {
                own: granted(number(2)),
                buffer: granted(0),
                burst: granted(0),
                overage: granted(0),
                ..asks
            },
            Team {
                own: granted(number(14) - number(8) - number(2)),
                buffer: granted(number(8)),
                burst: granted(number(10)),
                ..other
            },
        ],
        year_elsewhere: number(17) - number(14) - number(10),
        overage_elsewhere: number(12),
    };
    let request = Request {
        team: 0,
        class: Class::parse(class).unwrap(),
        estimate: number(1),
        bound: number(1),
        continued: field[6] == "1",
        slot: field[7] == "1",
        paced_to: 0,
        beyond: 0,
        enforced: true,
    };
    let got = match check(state, &limits, &pool, &request, None) {
        Verdict::Admitted(taken) => ("admit", taken.source.name(), ""),
        Verdict::Refused(refusal) => ("refuse", "", name(refusal)),
        other @ (Verdict::Noted(..) | Verdict::GrantShort) => panic!("{other:?}: {row}"),
    };
    assert_eq!(got, (verdict, source, refusal), "{row}");
}

fn name(refusal: BudgetRefusal) -> &'static str {
    match refusal {
        BudgetRefusal::TeamBreakerOpen => "team_breaker_open",
        BudgetRefusal::TeamExhausted => "team_exhausted",
        BudgetRefusal::PoolBreakerOpen => "pool_breaker_open",
        BudgetRefusal::PoolExhausted => "pool_exhausted",
        BudgetRefusal::Throttled => "throttled",
        BudgetRefusal::FuseBlown => "fuse_blown",
    }
}

#[test]
fn every_golden_row_of_admission_is_what_model_and_counters_say() {
    let rows = include_str!("../../tests/golden/admission.csv");
    let rows: Vec<_> = rows.lines().skip(1).filter(|row| !row.is_empty()).collect();
    assert!(rows.len() >= 76, "only {} rows", rows.len());
    rows.into_iter().for_each(check_golden);
}

#[test]
fn any_request_in_any_state_is_judged_as_the_model_judges_it() {
    let units = prop::sample::select(&[1, 999_983, 10_000_000_000_000_i64][..]);
    let asked = units.prop_flat_map(|unit| {
        let elsewhere = (micros(unit), micros(unit));
        let price = prop::option::of(micros(unit));
        (
            pool_limits(unit),
            [team(unit), team(unit)],
            elsewhere,
            request(unit, 2),
            price,
        )
    });
    let seen = RefCell::new(BTreeSet::new());
    let mut runner = TestRunner::new(cases(4_000));
    let judged = runner.run(&asked, |(pool, teams, elsewhere, request, price)| {
        let limits = teams.each_ref().map(|(limits, _)| *limits);
        let state = State {
            pool: Pool::from(&pool),
            teams: teams.map(|(_, team)| team).to_vec(),
            year_elsewhere: elsewhere.0,
            overage_elsewhere: elsewhere.1,
        };
        seen.borrow_mut().insert(
            match check(state, &limits[request.team], &pool, &request, price) {
                Verdict::Admitted(taken) => taken.source.name(),
                Verdict::Refused(refusal) => name(refusal),
                Verdict::Noted(..) => "noted",
                Verdict::GrantShort => "grant short",
            },
        );
        Ok(())
    });
    judged.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(
        seen.borrow().len(),
        4 + 5 + 2,
        "not every answer was met: {seen:?}"
    );
}

#[path = "arbitrary_tests.rs"]
mod arbitrary;
#[path = "history_tests.rs"]
mod history;
#[path = "traffic_tests.rs"]
mod traffic;
