//! What a few threads may do to the counters at once. The parent module says who chooses the schedule.
//!
//! Of every schedule it is asked: is there an order of the steps, each thread's own kept, in which the model
//! admits what was admitted and refuses what was refused? Do all figures agree with the model at the end, so
//! that nothing is lost and the sums are the accounts'? And did a reader meanwhile see a negative reservation,
//! or more exposed than granted?

use std::sync::Arc;

use super::budget::account::Account;
use super::budget::admission::OnTrip;
use super::budget::books::{
    Ask, Denied, PeriodBooks, PoolLimits, Reservation, TeamBooks, TeamLimits, YearBooks,
};
use super::budget::credits::MicroCredits;
use super::budget::model::{self, Micros, Pool, Request, State, Taken, Team, Verdict};
use super::budget::operation::{Class, Source};
use super::budget::percent::Percent;
use super::budget::period::Calendar;
use super::{explore, thread};

/// What a thread does, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// Asks for an estimate and its bound.
    Ask(Class, i64, i64),
    /// The same in shadow mode, where a refusal is only noted.
    Shadow(Class, i64),
    /// Settles the newest that is held, at this price.
    Settle(i64),
    /// Gives the newest back.
    Void,
    /// Extends the newest.
    Extend(i64),
    /// Imported use, or what a person decided.
    Correct(i64),
    /// As the ledger does it: what is wanted becomes spendable.
    Grant,
}

/// One thread: whose calls it serves, what it does, and the limits it knows where a reload came between.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) team: usize,
    pub(super) acts: Vec<Act>,
    pub(super) limits: Option<TeamLimits>,
}

/// The start, and who acts.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    limits: [TeamLimits; 2],
    pool: PoolLimits,
    granted: i64,
    actors: Vec<Actor>,
    /// A further thread reads the first team's own account meanwhile.
    is_watched: bool,
    /// By how much the watched account may be exposed above its grant: extensions, prices above the bound.
    owed: i64,
    /// A step that is given back may make another one refuse.
    may_be_spurious: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    Asked(Request, Option<TeamLimits>, Verdict),
    Settled(Taken, Micros),
    Extended(Taken, Micros),
    Corrected(usize, Micros),
    Granted(usize, Micros),
}

pub(super) struct Ground {
    pub(super) books: PeriodBooks,
    pub(super) teams: [TeamBooks; 2],
    scenario: Scenario,
}

pub(super) fn credits(micros: i64) -> MicroCredits {
    MicroCredits::from_micros(micros)
}

/// A team with so much, which is slowed from the trip point on; slots are always free.
pub(super) fn team(allocation: i64, trip_percent: u32) -> TeamLimits {
    let trip = Percent::whole(trip_percent);
    TeamLimits {
        allocation: credits(allocation),
        trip,
        trip_at: trip.of(credits(allocation)),
        on_trip: OnTrip::Throttle,
        buffer_max: MicroCredits::MAX,
        emergency: MicroCredits::ZERO,
    }
}

/// Room for everything.
pub(super) fn roomy() -> PoolLimits {
    let much = credits(1_000_000);
    let trip = Percent::WHOLE;
    PoolLimits {
        month: much,
        trip,
        trip_at: much,
        buffer: MicroCredits::ZERO,
        burst: MicroCredits::ZERO,
        annual: much,
        overage_cap: MicroCredits::ZERO,
    }
}

fn actor(team: usize, acts: &[Act]) -> Actor {
    Actor {
        team,
        acts: acts.to_vec(),
        limits: None,
    }
}

pub(super) fn scenario(limits: TeamLimits, pool: PoolLimits, actors: &[Actor]) -> Scenario {
    Scenario {
        limits: [limits; 2],
        pool,
        granted: 1_000_000,
        actors: actors.to_vec(),
        is_watched: false,
        owed: 0,
        may_be_spurious: false,
    }
}

impl Ground {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let calendar = Calendar::new("2026-02-01".parse().unwrap(), jiff::tz::TimeZone::UTC);
        let year = Arc::new(YearBooks::default());
        let teams = [TeamBooks::default(), TeamBooks::default()];
        for team in &teams {
            for source in Source::ALL {
                team.account(*source).raise_grant(credits(scenario.granted));
            }
        }
        Self {
            books: PeriodBooks::new(calendar.period(9).unwrap(), year),
            teams,
            scenario: scenario.clone(),
        }
    }

    /// The same start for the model.
    pub(super) fn state(&self) -> State {
        let granted = model::Account {
            granted: self.scenario.granted.into(),
            ..model::Account::default()
        };
        let team = |limits: &TeamLimits| Team {
            own: granted,
            buffer: granted,
            burst: granted,
            overage: granted,
            ..Team::under(limits)
        };
        State {
            pool: Pool::from(&self.scenario.pool),
            teams: self.scenario.limits.iter().map(team).collect(),
            year_elsewhere: 0,
            overage_elsewhere: 0,
        }
    }

    pub(super) fn act(&self, actor: &Actor) -> Vec<Done> {
        let mut held = Vec::new();
        let acts = actor.acts.iter();
        acts.filter_map(|act| self.one(actor, *act, &mut held))
            .collect()
    }

    /// Does one thing, if there is something to do it to.
    fn one(&self, actor: &Actor, act: Act, held: &mut Vec<Reservation>) -> Option<Done> {
        let team = &self.teams[actor.team];
        Some(match act {
            Act::Ask(class, estimate, bound) => {
                self.ask(actor, (class, estimate, bound), true, held)
            }
            Act::Shadow(class, estimate) => {
                self.ask(actor, (class, estimate, estimate), false, held)
            }
            Act::Settle(price) => {
                let (reservation, taken) = newest(actor, held)?;
                self.books.settle(team, reservation, credits(price));
                Done::Settled(taken, price.into())
            }
            Act::Void => {
                let (reservation, taken) = newest(actor, held)?;
                self.books.void(team, reservation);
                Done::Settled(taken, 0)
            }
            Act::Extend(more) => {
                let taken = taken(actor.team, held.last()?);
                self.books.extend(team, held.last_mut()?, credits(more));
                Done::Extended(taken, more.into())
            }
            Act::Correct(change) => {
                self.books.correct(team, Source::Own, credits(change));
                Done::Corrected(actor.team, change.into())
            }
            Act::Grant => {
                let wanted = team.own.figures().wanted;
                team.own.raise_grant(wanted);
                Done::Granted(actor.team, wanted.micros().into())
            }
        })
    }

    fn ask(
        &self,
        actor: &Actor,
        (class, estimate, bound): (Class, i64, i64),
        enforced: bool,
        held: &mut Vec<Reservation>,
    ) -> Done {
        let limits = actor.limits.unwrap_or(self.scenario.limits[actor.team]);
        let team = (&self.teams[actor.team], &limits);
        let ask = Ask {
            class,
            estimate: credits(estimate),
            bound: credits(bound),
            continued: false,
            paced_to: MicroCredits::ZERO,
        };
        let request = Request {
            team: actor.team,
            class,
            estimate: estimate.into(),
            bound: bound.into(),
            continued: false,
            slot: true,
            paced_to: 0,
            beyond: 0,
            enforced,
        };
        let (pool, nothing) = (&self.scenario.pool, MicroCredits::ZERO);
        let mut take = |reservation: Reservation| {
            let taken = taken(actor.team, &reservation);
            held.push(reservation);
            taken
        };
        let verdict = match self.books.reserve(team, pool, &ask, nothing, |_| Ok(())) {
            Ok(reservation) => Verdict::Admitted(take(reservation)),
            Err(Denied::GrantShort) => Verdict::GrantShort,
            Err(Denied::Budget { refusal, .. }) if enforced => Verdict::Refused(refusal),
            Err(Denied::Budget { refusal, .. }) => {
                match self.books.reserve_unlimited(team.0, pool, &ask, nothing) {
                    Ok(reservation) => Verdict::Noted(take(reservation), refusal),
                    Err(_) => Verdict::GrantShort,
                }
            }
        };
        Done::Asked(request, actor.limits, verdict)
    }

    fn watch(&self) {
        let figures = self.teams[0].own.figures();
        assert!(figures.reserved() >= MicroCredits::ZERO, "{figures:?}");
        assert!(figures.committed <= self.scenario.limits[0].allocation);
        let above = figures.exposed.checked_sub(figures.granted).unwrap();
        assert!(above.micros() <= self.scenario.owed, "{figures:?}");
    }

    /// Every figure is the model's.
    pub(super) fn same(&self, state: &State) {
        let micros = |credits: MicroCredits| Micros::from(credits.micros());
        for (team, want) in self.teams.iter().zip(&state.teams) {
            for source in Source::ALL {
                let figures = Account::figures(team.account(*source));
                let got = [figures.settled, figures.committed, figures.exposed];
                let want = want.account(*source);
                let want = [want.settled, want.committed(), want.exposed()];
                assert_eq!(got.map(micros), want, "{source}");
            }
        }
        let (books, year) = (&self.books, &self.books.year);
        let totals = [
            &books.pool,
            &books.buffer,
            &books.burst,
            &year.committed,
            &year.overage,
        ];
        let got = totals.map(|total| micros(total.committed()));
        let (month, buffer, burst) = (state.month(), state.buffer(), state.burst());
        assert_eq!(got, [month, buffer, burst, state.year(), state.overage()]);
    }
}

fn newest(actor: &Actor, held: &mut Vec<Reservation>) -> Option<(Reservation, Taken)> {
    let reservation = held.pop()?;
    let taken = taken(actor.team, &reservation);
    Some((reservation, taken))
}

fn taken(team: usize, reservation: &Reservation) -> Taken {
    Taken {
        team,
        source: reservation.source,
        estimate: reservation.estimate.micros().into(),
        bound: reservation.bound.micros().into(),
    }
}

/// The state after all steps, whatever their order: it only decides who is admitted.
pub(super) fn after(state: State, threads: &[Vec<Done>]) -> State {
    let steps = threads.iter().flatten();
    steps.fold(state, |state, done| match *done {
        Done::Asked(_, _, Verdict::Admitted(taken) | Verdict::Noted(taken, _)) => {
            model::take(state, &taken)
        }
        Done::Asked(..) => state,
        _ => agreed(state, done, false).expect("only a question can be answered otherwise"),
    })
}

/// Whether there is an order of the threads' steps in which the model says all that was said.
fn explained(state: &State, threads: &[&[Done]], spurious: bool) -> bool {
    let mut nexts = (0..threads.len())
        .filter(|at| !threads[*at].is_empty())
        .peekable();
    if nexts.peek().is_none() {
        return true;
    }
    nexts.any(|at| {
        let (mut threads, (first, rest)) = (threads.to_vec(), threads[at].split_at(1));
        threads[at] = rest;
        agreed(state.clone(), &first[0], spurious)
            .is_some_and(|state| explained(&state, &threads, spurious))
    })
}

/// The state after a step, if the model takes it now as the counters took it.
fn agreed(mut state: State, done: &Done, spurious: bool) -> Option<State> {
    Some(match *done {
        Done::Asked(request, reloaded, verdict) => {
            let before = state.clone();
            let asking = &mut state.teams[request.team];
            if let Some(limits) = reloaded {
                asking.allocation = limits.allocation.micros().into();
                asking.trip_bp = limits.trip.bp().into();
            }
            let (said, mut state) = model::judge(state, &request);
            match verdict {
                Verdict::Refused(_) if spurious => return Some(before),
                verdict if said != verdict => return None,
                _ => {}
            }
            state.teams[request.team].allocation = before.teams[request.team].allocation;
            state.teams[request.team].trip_bp = before.teams[request.team].trip_bp;
            state
        }
        Done::Settled(taken, price) => model::settle(state, &taken, price),
        Done::Extended(mut taken, more) => model::extend(state, &mut taken, more),
        Done::Corrected(team, change) => model::correct(state, (team, Source::Own), change),
        Done::Granted(team, to) => {
            let own = &mut state.teams[team].own;
            own.granted = own.granted.max(to);
            state
        }
    })
}

/// One schedule of a scenario.
fn run(scenario: &Scenario) {
    let ground = Arc::new(Ground::new(scenario));
    let threads: Vec<_> = (scenario.actors.iter().cloned())
        .map(|actor| {
            let ground = Arc::clone(&ground);
            thread::spawn(move || ground.act(&actor))
        })
        .collect();
    if scenario.is_watched {
        ground.watch();
    }
    let done: Vec<_> = (threads.into_iter())
        .map(|thread| thread.join().unwrap())
        .collect();
    ground.same(&after(ground.state(), &done));
    let threads: Vec<_> = done.iter().map(Vec::as_slice).collect();
    let is_explained = explained(&ground.state(), &threads, scenario.may_be_spurious);
    assert!(is_explained, "no order explains {done:?}");
}

fn check(scenario: Scenario) {
    explore(move || run(&scenario));
}

#[path = "cases.rs"]
mod cases;
