//! Many random schedules, of the same scenarios and of longer traffic.

use std::sync::Arc;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};
use swapped::under_shuttle::budget;

use budget::books::{PoolLimits, TeamLimits};
use budget::operation::Class;
use scenarios::{Act, Actor, Ground, after, credits, roomy, scenario, team};

#[path = "scenarios.rs"]
mod scenarios;

/// Schedules of each scenario and kind in a plain run.
const SCHEDULES: usize = 400;

fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let scenario = Arc::new(scenario);
    let times = SCHEDULES.saturating_mul(crate::effort());
    // Evenly random, and with few interruptions at the places that matter.
    let schedulers: [Box<dyn Scheduler + Send>; 2] = [
        Box::new(RandomScheduler::new(times)),
        Box::new(PctScheduler::new(3, times)),
    ];
    for scheduler in schedulers {
        let mut config = Config::new();
        config.stack_size = 1 << 17;
        config.silence_warnings = true; // orderings are loom's business
        let scenario = Arc::clone(&scenario);
        Runner::new(scheduler, config).run(move || scenario());
    }
}

/// Calls of every class that cost at most their estimate.
fn calls(at: usize) -> Actor {
    let mut random = thread_rng();
    let mut acts = Vec::new();
    for _ in 0..8 {
        let class = Class::ALL[random.gen_range(0..3)];
        let estimate = random.gen_range(1..7);
        let price = random.gen_range(0..=estimate);
        acts.push(Act::Ask(class, estimate, estimate + 2));
        acts.extend(match random.gen_range(0..4) {
            0 => None, // settled later, or at the end
            1 => Some(Act::Void),
            _ => Some(Act::Settle(price.min(1))),
        });
    }
    acts.extend([Act::Settle(1); 8]);
    Actor {
        team: at % 2,
        acts,
        limits: None,
    }
}

/// However many calls at once: at no moment is any limit passed, and when all is settled nothing is left.
#[test]
fn many_calls_never_pass_a_limit_together_and_leave_nothing_reserved() {
    explore(|| {
        let limits = TeamLimits {
            buffer_max: credits(7),
            ..team(14, 80)
        };
        let pool = PoolLimits {
            buffer: credits(10),
            burst: credits(8),
            month: credits(30),
            trip_at: credits(27),
            annual: credits(34),
            overage_cap: credits(6),
            ..roomy()
        };
        let ground = Arc::new(Ground::new(&scenario(limits, pool, &[])));
        let threads: Vec<_> = (0..3)
            .map(|at| {
                let (ground, calls) = (Arc::clone(&ground), calls(at));
                thread::spawn(move || ground.act(&calls))
            })
            .collect();
        for _ in 0..6 {
            let (books, year) = (&ground.books, &ground.books.year);
            for team in &ground.teams {
                assert!(team.own.committed() <= limits.allocation, "own");
                assert!(
                    team.buffer.committed() <= limits.buffer_max,
                    "the team's buffer"
                );
            }
            assert!(books.buffer.committed() <= pool.buffer, "buffer");
            assert!(books.burst.committed() <= pool.burst, "burst");
            assert!(year.committed.committed() <= pool.annual, "year");
            assert!(year.overage.committed() <= pool.overage_cap, "overage");
        }
        let done: Vec<_> = (threads.into_iter())
            .map(|thread| thread.join().unwrap())
            .collect();
        let end = after(ground.state(), &done);
        ground.same(&end);
        for team in &end.teams {
            for account in [team.own, team.buffer, team.burst, team.overage] {
                assert_eq!((account.reserved, account.bounds), (0, 0));
            }
        }
    });
}
