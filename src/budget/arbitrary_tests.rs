//! Any limits, any accounts, any request: often at an edge, and one off it.

use super::*;

/// Amounts that often meet each other's edges: small multiples of a unit, one more or less.
fn amount(unit: i64) -> BoxedStrategy<MicroCredits> {
    (0_i64..40, -1_i64..=1)
        .prop_map(move |(times, off)| MicroCredits::from_micros((times * unit + off).max(0)))
        .boxed()
}

pub(super) fn micros(unit: i64) -> BoxedStrategy<Micros> {
    amount(unit)
        .prop_map(|credits| credits.micros().into())
        .boxed()
}

fn percent() -> BoxedStrategy<Percent> {
    let bp = prop_oneof![4 => Just(9_000), 1 => Just(10_000), 1 => Just(0), 2 => 0_u32..=10_000];
    bp.prop_map(|bp| Percent::from_bp(bp).unwrap()).boxed()
}

pub(super) fn team_limits(unit: i64) -> BoxedStrategy<TeamLimits> {
    let on_trip = prop_oneof![
        Just(OnTrip::Throttle),
        Just(OnTrip::Reject),
        Just(OnTrip::Pace)
    ];
    let buffer_max = prop_oneof![2 => Just(MicroCredits::MAX), 1 => amount(unit)];
    let emergency = prop_oneof![Just(MicroCredits::ZERO), amount(unit)];
    (amount(unit), percent(), on_trip, buffer_max, emergency)
        .prop_map(
            |(allocation, trip, on_trip, buffer_max, emergency)| TeamLimits {
                allocation,
                trip,
                trip_at: trip.of(allocation),
                on_trip,
                buffer_max,
                emergency,
            },
        )
        .boxed()
}

pub(super) fn pool_limits(unit: i64) -> BoxedStrategy<PoolLimits> {
    let year = amount(unit.saturating_mul(3));
    let overage_cap = prop_oneof![Just(MicroCredits::ZERO), amount(unit)];
    let shared = (amount(unit), amount(unit));
    (year.clone(), percent(), shared, year, overage_cap)
        .prop_map(
            |(month, trip, (buffer, burst), annual, overage_cap)| PoolLimits {
                month,
                trip,
                trip_at: trip.of(month),
                buffer,
                burst,
                annual,
                overage_cap,
            },
        )
        .boxed()
}

pub(super) fn request(unit: i64, teams: usize) -> BoxedStrategy<Request> {
    let class = prop::sample::select(Class::ALL);
    let estimate = prop_oneof![1 => Just(0), 7 => micros(unit.max(4).div_euclid(4))];
    let more = prop_oneof![Just(0), micros(unit.max(4).div_euclid(4))];
    let beyond = prop_oneof![3 => Just(0), 1 => micros(unit)];
    let limits = (beyond, micros(unit));
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.8));
    (0..teams, class, estimate, more, limits, flags)
        .prop_map(
            |(team, class, estimate, more, (beyond, paced_to), (continued, slot, enforced))| {
                Request {
                    team,
                    class,
                    estimate,
                    bound: estimate + more,
                    continued: continued && class == Class::Standard,
                    slot,
                    paced_to,
                    beyond: if class == Class::Critical { beyond } else { 0 },
                    enforced,
                }
            },
        )
        .boxed()
}

fn account(unit: i64) -> BoxedStrategy<Account> {
    let granted = prop_oneof![3 => Just(i64::MAX.into()), 1 => micros(unit)];
    let used = || prop_oneof![2 => Just(0), 1 => micros(unit.max(4).div_euclid(4))];
    (used(), used(), used(), granted)
        .prop_map(|(settled, reserved, more, granted)| Account {
            settled,
            reserved,
            bounds: reserved + more,
            granted,
        })
        .boxed()
}

pub(super) fn team(unit: i64) -> BoxedStrategy<(TeamLimits, Team)> {
    let accounts = (account(unit), account(unit), account(unit), account(unit));
    (team_limits(unit), accounts)
        .prop_map(|(limits, (own, buffer, burst, overage))| {
            let team = Team {
                own,
                buffer,
                burst,
                overage,
                ..Team::under(&limits)
            };
            (limits, team)
        })
        .boxed()
}
