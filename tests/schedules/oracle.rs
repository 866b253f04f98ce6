//! Real threads, held against the model step by step.
//!
//! The counters run on atomics that number their steps (`swapped::recorded`), so each counter's own serial order is
//! known exactly. Of every run it is shown:
//!
//! 1. **Nothing else changed a counter.** Each counter's writes are numbered without a gap, each begins where the
//!    one before ended, and what one call did to each counter adds up to what the model says such a call does:
//!    for a refused one to nothing.
//! 2. **No verdict the model would not give.** The model is asked with what the call met: each counter at the place
//!    in its serial order where the call took from it, and as it was last read where it took nothing. It must say the
//!    same, with the same source; for a refusal as well.
//! 3. **The end is the model's**, figure by figure, after replaying all that was taken, settled and given back.
//!
//! What is *not* claimed: that all counters of one call were as it met them at one and the same instant. They are
//! taken one after the other; each limit holds at the moment its counter is taken (docs/PROOFS.md).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use swapped::recorded::atomic::Step;
use swapped::recorded::budget;

use budget::books::{PoolLimits, TeamLimits};
use budget::model::{self, Account, Micros, Pool, Request, State, Taken, Team, Verdict};
use budget::operation::Source;
use traffic::{Dice, Done, Ground, Limits, Role, TEAMS, What};

#[path = "traffic.rs"]
mod traffic;

const THREADS: u64 = 4;
/// Counters that a look at all limits reads.
const LOOK: usize = 7;

/// Nobody has taken anything.
fn start((teams, pool): &([TeamLimits; TEAMS], PoolLimits)) -> State {
    State {
        pool: Pool::from(pool),
        teams: teams.iter().map(Team::under).collect(),
        year_elsewhere: 0,
        overage_elsewhere: 0,
    }
}

/// A state's figures, by counter.
fn figures(state: &State) -> BTreeMap<Role, Micros> {
    let mut figures = BTreeMap::new();
    for (at, team) in state.teams.iter().enumerate() {
        for source in Source::ALL {
            let account = team.account(*source);
            figures.insert(Role::Settled(at, *source), account.settled);
            figures.insert(Role::Committed(at, *source), account.committed());
            figures.insert(Role::Exposed(at, *source), account.exposed());
        }
    }
    figures.insert(Role::Pool, state.month());
    figures.insert(Role::Buffer, state.buffer());
    figures.insert(Role::Burst, state.burst());
    figures.insert(Role::Year, state.year());
    figures.insert(Role::Overage, state.overage());
    figures
}

/// What the model does with it.
fn replay(state: State, what: What) -> State {
    match what {
        What::Asked(_, _, Verdict::Admitted(taken)) => model::take(state, &taken),
        What::Asked(..) | What::Granted => state,
        What::Settled(taken, price) => model::settle(state, &taken, price),
        What::Extended(mut taken, more) => model::extend(state, &mut taken, more),
        What::Corrected(team, source, change) => model::correct(state, (team, source), change),
    }
}

/// 1. What a call did to each counter is what the model says, and nothing else.
fn did_what_it_should(done: &Done, roles: &BTreeMap<u64, Role>, nothing: &State) {
    let before = figures(nothing);
    let mut left = figures(&replay(nothing.clone(), done.what));
    for (role, micros) in &mut left {
        *micros -= before[role];
    }
    for step in done.steps.iter().filter(|step| step.is_write) {
        let change = Micros::from(step.after) - Micros::from(step.before);
        match roles.get(&step.counter) {
            Some(Role::Granted(..)) => assert!(change >= 0, "a grant was lowered"),
            Some(role) => *left.get_mut(role).unwrap() -= change,
            None => {} // what is wanted, and where the limit lies: hints
        }
    }
    left.retain(|_, micros| *micros != 0);
    assert!(
        left.is_empty(),
        "{:?} did not do {left:?}: {:?}",
        done.what,
        done.steps
    );
}

/// 2. The counters as the call met them: where it took, the value before; elsewhere, what it read last.
fn met(steps: &[Step], verdict: Verdict, roles: &BTreeMap<u64, Role>) -> BTreeMap<Role, Micros> {
    let takes = |step: &Step| step.is_write && step.after > step.before;
    let is = |step: &Step, wanted: fn(&Role) -> bool| roles.get(&step.counter).is_some_and(wanted);
    // A look at all limits begins with own, then the buffer; whatever else reads own does not go on so.
    let looks = |pair: &[Step]| {
        is(&pair[0], |role| {
            matches!(role, Role::Committed(_, Source::Own))
        }) && is(&pair[1], |role| *role == Role::Buffer)
    };
    let last_look = steps.windows(2).rposition(looks).unwrap_or(0);
    let steps = match verdict {
        // What is read after the last taking is for the breaker that is shown.
        Verdict::Admitted(_) => {
            let end = steps
                .iter()
                .rposition(takes)
                .map_or(steps.len(), |at| at + 1);
            &steps[last_look..end]
        }
        // What is read after it did not fit is for the grant that is wanted.
        Verdict::GrantShort => {
            let exposed = |step: &Step| is(step, |role| matches!(role, Role::Exposed(..)));
            &steps[last_look..steps.iter().rposition(exposed).unwrap_or(steps.len())]
        }
        // Refused by what it saw: also where a slot is needed, which is not asked again when it takes.
        Verdict::Refused(_) | Verdict::Noted(..) => {
            &steps[last_look..steps.len().min(last_look + LOOK)]
        }
    };
    let known = steps.iter().filter(|step| takes(step) || !step.is_write);
    let known = known.filter_map(|step| Some((*roles.get(&step.counter)?, step.before.into())));
    known.collect()
}

/// The state in which the model is asked: one other team has whatever the sums have beyond the asking one.
fn as_met(
    met: &BTreeMap<Role, Micros>,
    request: &Request,
    (teams, pool): &([TeamLimits; TEAMS], PoolLimits),
) -> State {
    let value = |role| met.get(&role).copied();
    let account = |source| {
        let settled = value(Role::Committed(request.team, source)).unwrap_or(0);
        let much = Micros::from(i64::MAX);
        Account {
            settled,
            reserved: 0,
            bounds: value(Role::Exposed(request.team, source))
                .map_or(0, |exposed| exposed - settled),
            granted: value(Role::Granted(request.team, source)).unwrap_or(much),
        }
    };
    let asking = Team {
        own: account(Source::Own),
        buffer: account(Source::Buffer),
        burst: account(Source::Burst),
        overage: account(Source::Overage),
        ..Team::under(&teams[request.team])
    };
    let total = |role| value(role).unwrap_or(0);
    let had = |settled| Account {
        settled,
        ..Account::default()
    };
    let (buffer, burst) = (total(Role::Buffer), total(Role::Burst));
    let other = Team {
        own: had(total(Role::Pool) - asking.own.committed() - buffer),
        buffer: had(buffer - asking.buffer.committed()),
        burst: had(burst - asking.burst.committed()),
        ..Team::under(&teams[request.team])
    };
    let (year, overage) = (total(Role::Year), total(Role::Overage));
    State {
        pool: Pool::from(pool),
        year_elsewhere: year - total(Role::Pool) - burst,
        overage_elsewhere: overage - asking.overage.committed(),
        teams: vec![asking, other],
    }
}

fn judged_as_met(done: &Done, roles: &BTreeMap<u64, Role>, limits: &Limits) {
    let What::Asked(request, config, verdict) = done.what else {
        return;
    };
    let met = met(&done.steps, verdict, roles);
    let state = as_met(&met, &request, &limits[config]);
    let said = match model::judge(state, &Request { team: 0, ..request }).0 {
        Verdict::Admitted(taken) => Verdict::Admitted(Taken {
            team: request.team,
            ..taken
        }),
        other => other,
    };
    assert_eq!(said, verdict, "{request:?} met {met:?}");
}

/// 1. Each counter's steps follow on one another.
fn follow_on_one_another(done: &[Done]) {
    let mut by_counter: BTreeMap<u64, Vec<&Step>> = BTreeMap::new();
    for step in done.iter().flat_map(|done| &done.steps) {
        if step.is_write {
            by_counter.entry(step.counter).or_default().push(step);
        }
    }
    for steps in by_counter.values_mut() {
        steps.sort_by_key(|step| step.number);
        for pair in steps.windows(2) {
            assert_eq!(pair[0].number + 1, pair[1].number);
            assert_eq!(pair[0].after, pair[1].before);
        }
    }
}

/// Whether another thread changed a counter between this call's reading it and taking from it.
fn was_met_by_another(done: &Done) -> bool {
    done.steps.iter().enumerate().any(|(at, step)| {
        let earlier = done.steps[..at].iter().rev();
        let before = earlier
            .into_iter()
            .find(|earlier| earlier.counter == step.counter);
        step.is_write && before.is_some_and(|before| before.number + 1 < step.number)
    })
}

/// How many calls were admitted, refused, and met others on the way; and every answer there was.
#[derive(Debug, Default)]
struct Seen {
    admitted: usize,
    refused: usize,
    met: usize,
    answers: BTreeSet<String>,
}

impl Seen {
    fn count(&mut self, verdict: Verdict) {
        self.answers.insert(match verdict {
            Verdict::Admitted(taken) => {
                self.admitted += 1;
                taken.source.name().to_owned()
            }
            refused => {
                self.refused += 1;
                format!("{refused:?}")
            }
        });
    }
}

fn check(seed: u64) -> Seen {
    let ground = Ground::new();
    let roles = ground.roles();
    let stop = AtomicBool::new(false);
    let done: Vec<Done> = std::thread::scope(|scope| {
        let ledger = scope.spawn(|| ground.ledger(&stop));
        let traffic: Vec<_> = (0..THREADS)
            .map(|thread| Dice(seed * 1_000 + thread + 1))
            .map(|dice| scope.spawn(|| ground.traffic(dice)))
            .collect();
        let traffic: Vec<_> = traffic.into_iter().map(|thread| thread.join()).collect();
        stop.store(true, Ordering::Relaxed); // also where one of them failed
        let mut done: Vec<_> = traffic.into_iter().flat_map(Result::unwrap).collect();
        done.extend(ledger.join().unwrap());
        done
    });
    follow_on_one_another(&done);
    let nothing = start(&ground.limits[0]);
    let (mut end, mut seen) = (nothing.clone(), Seen::default());
    for done in &done {
        did_what_it_should(done, &roles, &nothing);
        judged_as_met(done, &roles, &ground.limits);
        if let What::Asked(_, _, verdict) = done.what {
            seen.count(verdict);
        }
        seen.met += usize::from(was_met_by_another(done));
        end = replay(end, done.what);
    }
    for (team, source) in end
        .teams
        .iter()
        .flat_map(|team| Source::ALL.iter().map(move |of| (team, of)))
    {
        let account = team.account(*source);
        assert_eq!(
            (account.reserved, account.bounds),
            (0, 0),
            "all of {source} is settled"
        );
    }
    let want = figures(&end);
    for (counter, value) in ground.values() {
        let want = roles.get(&counter).and_then(|role| want.get(role));
        assert!(
            want.is_none_or(|want| *want == value.into()),
            "{:?}",
            roles[&counter]
        );
    }
    seen
}

#[test]
fn what_real_threads_did_is_what_the_model_says() {
    let mut all = Seen::default();
    let first = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for seed in (first..).take(3 * crate::effort()) {
        println!("seed {seed}");
        let seen = check(seed);
        all.admitted += seen.admitted;
        all.refused += seen.refused;
        all.met += seen.met;
        all.answers.extend(seen.answers);
    }
    println!("{all:?}");
    assert!(
        all.admitted > 1_000 && all.refused > 1_000 && all.met > 20,
        "no traffic: {all:?}"
    );
    // Every source, every refusal, and a grant that is short.
    assert_eq!(all.answers.len(), 4 + 5 + 1, "{all:?}");
}
