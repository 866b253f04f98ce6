//! The scenarios: a few threads at a limit.

use super::*;

const STANDARD: Class = Class::Standard;
const CRITICAL: Class = Class::Critical;
const BACKGROUND: Class = Class::Background;

/// Asks, and settles at the estimate.
fn spends(team: usize, class: Class, estimate: i64) -> Actor {
    actor(
        team,
        &[Act::Ask(class, estimate, estimate), Act::Settle(estimate)],
    )
}

/// Asks, and is still under way at the end.
fn asks(team: usize, class: Class, estimate: i64) -> Actor {
    actor(team, &[Act::Ask(class, estimate, estimate)])
}

#[test]
fn the_last_place_of_an_allocation_is_taken_once() {
    let both = [spends(0, STANDARD, 6), spends(0, STANDARD, 6)];
    check(scenario(team(10, 100), roomy(), &both));
}

#[test]
fn no_reader_sees_more_than_the_allocation() {
    let both = [
        asks(0, STANDARD, 6),
        actor(0, &[Act::Ask(STANDARD, 5, 5), Act::Void]),
    ];
    check(Scenario {
        is_watched: true,
        ..scenario(team(10, 100), roomy(), &both)
    });
}

#[test]
fn the_last_place_below_the_trip_point_is_taken_once() {
    let both = [spends(0, BACKGROUND, 6), spends(0, BACKGROUND, 6)];
    check(scenario(team(20, 50), roomy(), &both));
}

#[test]
fn a_place_that_is_given_back_may_be_taken_again() {
    let gives_back = actor(0, &[Act::Ask(STANDARD, 6, 6), Act::Void]);
    check(scenario(
        team(10, 100),
        roomy(),
        &[gives_back, spends(0, STANDARD, 6)],
    ));
}

#[test]
fn background_stops_at_the_trip_point_whoever_comes_first() {
    let both = [spends(0, BACKGROUND, 6), spends(0, STANDARD, 6)];
    check(scenario(team(20, 50), roomy(), &both));
}

#[test]
fn the_contract_years_last_credits_are_taken_once_and_the_other_call_gives_everything_back() {
    let pool = PoolLimits {
        annual: credits(10),
        ..roomy()
    };
    check(scenario(
        team(10, 100),
        pool,
        &[spends(0, STANDARD, 6), spends(1, STANDARD, 6)],
    ));
}

#[test]
fn the_months_last_credits_are_taken_once_and_the_year_is_given_back() {
    let pool = PoolLimits {
        month: credits(10),
        trip_at: credits(10),
        ..roomy()
    };
    check(scenario(
        team(10, 100),
        pool,
        &[spends(0, STANDARD, 6), spends(1, BACKGROUND, 6)],
    ));
}

#[test]
fn critical_calls_share_the_buffer_then_the_burst() {
    let pool = PoolLimits {
        buffer: credits(10),
        burst: credits(10),
        ..roomy()
    };
    check(scenario(
        team(0, 100),
        pool,
        &[spends(0, CRITICAL, 6), spends(1, CRITICAL, 6)],
    ));
}

#[test]
fn one_teams_part_of_the_buffer_is_not_passed() {
    let limits = TeamLimits {
        buffer_max: credits(10),
        ..team(0, 100)
    };
    let pool = PoolLimits {
        buffer: credits(100),
        ..roomy()
    };
    check(scenario(
        limits,
        pool,
        &[spends(0, CRITICAL, 6), spends(0, CRITICAL, 6)],
    ));
}

#[test]
fn overage_is_capped_for_all_together() {
    let pool = PoolLimits {
        annual: credits(0),
        overage_cap: credits(10),
        ..roomy()
    };
    check(scenario(
        team(100, 100),
        pool,
        &[spends(0, CRITICAL, 6), spends(1, CRITICAL, 6)],
    ));
}

#[test]
fn a_step_that_is_given_back_makes_others_refuse_at_worst() {
    let pool = PoolLimits {
        annual: credits(11),
        ..roomy()
    };
    let all = [
        asks(0, STANDARD, 6),
        asks(0, STANDARD, 5),
        asks(1, STANDARD, 6),
    ];
    check(Scenario {
        may_be_spurious: true,
        ..scenario(team(6, 100), pool, &all)
    });
}

#[test]
fn no_reader_sees_a_negative_reservation_while_a_price_is_above_its_estimate() {
    let dearer = actor(0, &[Act::Ask(STANDARD, 4, 9), Act::Settle(9)]);
    check(Scenario {
        is_watched: true,
        ..scenario(team(100, 100), roomy(), &[dearer])
    });
}

#[test]
fn no_reader_sees_a_negative_reservation_while_prices_are_below_their_estimates() {
    let cheaper = actor(0, &[Act::Ask(STANDARD, 4, 9), Act::Settle(1)]);
    check(Scenario {
        is_watched: true,
        ..scenario(team(100, 100), roomy(), &[cheaper, spends(0, STANDARD, 3)])
    });
}

#[test]
fn no_reader_sees_a_negative_reservation_while_a_call_is_given_back() {
    let gives_back = actor(0, &[Act::Ask(STANDARD, 4, 9), Act::Void]);
    let both = [gives_back, spends(0, STANDARD, 3)];
    check(Scenario {
        is_watched: true,
        ..scenario(team(100, 100), roomy(), &both)
    });
}

#[test]
fn no_reader_sees_a_negative_reservation_while_use_is_imported_and_corrected_away() {
    let both = [
        actor(0, &[Act::Correct(5), Act::Correct(-3)]),
        asks(0, STANDARD, 3),
    ];
    check(Scenario {
        is_watched: true,
        ..scenario(team(100, 100), roomy(), &both)
    });
}

#[test]
fn nothing_is_exposed_beyond_the_grant_however_it_grows() {
    let all = [
        asks(0, STANDARD, 6),
        asks(0, STANDARD, 6),
        actor(0, &[Act::Grant]),
    ];
    check(Scenario {
        granted: 6,
        ..scenario(team(100, 100), roomy(), &all)
    });
}

#[test]
fn no_reader_sees_more_exposed_than_granted() {
    // The second is short, and tells what is wanted; the third may be spent from what was granted for it.
    let asks = actor(0, &[Act::Ask(STANDARD, 2, 6); 3]);
    let start = scenario(team(100, 100), roomy(), &[asks, actor(0, &[Act::Grant])]);
    check(Scenario {
        granted: 6,
        is_watched: true,
        ..start
    });
}

#[test]
fn what_an_answer_draws_beyond_its_bound_is_all_that_passes_the_grant() {
    let draws = actor(
        0,
        &[Act::Ask(STANDARD, 2, 2), Act::Extend(4), Act::Settle(6)],
    );
    let start = scenario(team(100, 100), roomy(), &[draws, actor(0, &[Act::Grant])]);
    check(Scenario {
        granted: 5,
        is_watched: true,
        owed: 4,
        ..start
    });
}

#[test]
fn a_price_above_the_bound_goes_to_the_same_source_and_shows_as_debt() {
    let pool = PoolLimits {
        buffer: credits(10),
        ..roomy()
    };
    let dear = actor(0, &[Act::Ask(CRITICAL, 6, 6), Act::Settle(15)]);
    check(scenario(
        team(0, 100),
        pool,
        &[dear, spends(1, CRITICAL, 4)],
    ));
}

#[test]
fn shadow_mode_goes_beyond_the_limit_beside_calls_that_do_not() {
    let shadow = actor(0, &[Act::Shadow(STANDARD, 6), Act::Settle(6)]);
    check(scenario(
        team(10, 100),
        roomy(),
        &[shadow, spends(0, STANDARD, 6)],
    ));
}

#[test]
fn each_call_keeps_to_the_limits_it_was_given_while_a_reload_lowers_them() {
    let after = Actor {
        limits: Some(team(6, 100)),
        ..spends(0, STANDARD, 6)
    };
    check(scenario(
        team(12, 100),
        roomy(),
        &[spends(0, STANDARD, 6), after],
    ));
}

#[test]
fn a_call_of_the_old_period_settles_there_while_the_new_one_takes_the_year() {
    explore(|| {
        let pool = PoolLimits {
            annual: credits(20),
            ..roomy()
        };
        let start = scenario(team(20, 100), pool, &[]);
        let (old, mut new) = (Ground::new(&start), Ground::new(&start));
        new.books.year = Arc::clone(&old.books.year);
        let (old, new) = (Arc::new(old), Arc::new(new));
        let (mut held, asks) = (Vec::new(), spends(0, STANDARD, 6));
        old.one(&asks, Act::Ask(STANDARD, 6, 6), &mut held);
        let settles = thread::spawn({
            let (old, asks) = (Arc::clone(&old), asks.clone());
            move || old.one(&asks, Act::Settle(9), &mut held)
        });
        let done = new.act(&actor(0, &[Act::Ask(STANDARD, 12, 12), Act::Settle(12)]));
        settles.join().unwrap();
        let used = |ground: &Ground| ground.teams[0].own.figures().settled.micros();
        let admitted = done.len() == 2; // 6 + 12 fit, 9 + 12 do not
        assert_eq!((used(&old), used(&new)), (9, if admitted { 12 } else { 0 }));
        let year = old.books.year.committed.committed().micros();
        assert_eq!(year, used(&old) + used(&new));
        assert_eq!(old.books.pool.committed().micros(), used(&old));
        assert_eq!(new.books.pool.committed().micros(), used(&new));
    });
}
