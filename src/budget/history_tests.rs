//! What is known to have happened, step by step, and what may happen next: the model's side of `traffic_tests`.

use proptest_state_machine::ReferenceStateMachine;

use super::*;
use crate::budget::breaker::Breaker;

pub(super) const TEAMS: usize = 3;
const UNIT: i64 = 7;

/// What is known to have happened.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// The newest is the running one.
    pub(super) periods: Vec<Month>,
    pub(super) limits: [TeamLimits; TEAMS],
    pub(super) pool: PoolLimits,
    /// Calls in flight, each with the period it was admitted in.
    pub(super) held: Vec<(usize, Taken)>,
    /// Every call costs its estimate, and nothing comes from elsewhere.
    pub(super) exact: bool,
    pub(super) last: Last,
}

#[derive(Clone, Debug)]
pub(super) struct Month {
    state: State,
    pub(super) year: usize,
    /// By how much an account may be exposed above its grant: what nobody could refuse.
    pub(super) owed: [[Micros; 4]; TEAMS],
    /// As the teams see it, then the main breaker.
    pub(super) shown: [Breaker; TEAMS + 1],
    /// The limits those were last held against.
    pub(super) marks: [Mark; TEAMS + 1],
}

/// A trip point as a share, and what it is a share of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    trip_bp: Micros,
    pub(super) limit: Micros,
}

impl Mark {
    fn new(trip: Percent, limit: MicroCredits) -> Self {
        Self {
            trip_bp: trip.bp().into(),
            limit: limit.micros().into(),
        }
    }

    /// The breaker that so much means: open once the next micro-credit does not fit below the trip point.
    fn means(self, committed: Micros) -> Breaker {
        if committed >= self.limit {
            Breaker::Exhausted
        } else if 10_000 * (committed + 1) > self.trip_bp * self.limit {
            Breaker::Open
        } else {
            Breaker::Closed
        }
    }

    fn is_more_than(self, other: Self) -> bool {
        let trips_at = |mark: Self| (mark.trip_bp * mark.limit).div_euclid(10_000);
        self.limit > other.limit || trips_at(self) > trips_at(other)
    }
}

/// What the last step answered.
#[derive(Clone, Debug)]
pub(super) enum Last {
    Nothing,
    Asked(Request, Verdict),
    Covered(bool),
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Ask(Request),
    Settle(usize, Micros),
    Void(usize),
    Extend(usize, Micros),
    Correct(usize, usize, Source, Micros),
    Grant(usize, usize, Source, Micros),
    Reload([TeamLimits; TEAMS], PoolLimits),
    NextPeriod { next_year: bool },
    Restart { crash: bool },
}

impl History {
    pub(super) fn now(&self) -> usize {
        self.periods.len() - 1
    }

    /// A period's state, with what the rest of its contract year has committed by now.
    pub(super) fn state(&self, at: usize) -> State {
        let others = self.periods.iter().enumerate();
        let others =
            others.filter(|(other, month)| *other != at && month.year == self.periods[at].year);
        let sum =
            |of: fn(&State) -> Micros| others.clone().map(|(_, month)| of(&month.state)).sum();
        State {
            year_elsewhere: sum(|state| state.month() + state.burst()),
            overage_elsewhere: sum(|state| state.overage()),
            ..self.periods[at].state.clone()
        }
    }

    fn keep(&mut self, at: usize, state: State) {
        self.periods[at].state = State {
            year_elsewhere: 0,
            overage_elsewhere: 0,
            ..state
        };
    }

    fn begin(&mut self, year: usize) {
        let teams = self.limits.iter().map(Team::under).collect();
        let state = State {
            pool: Pool::from(&self.pool),
            teams,
            year_elsewhere: 0,
            overage_elsewhere: 0,
        };
        self.periods.push(Month {
            state,
            year,
            owed: [[0; 4]; TEAMS],
            shown: [Breaker::Closed; TEAMS + 1],
            marks: [Mark::default(); TEAMS + 1],
        });
        self.under_new_limits();
    }

    /// Limits are in force that were not before, maybe: where there is more, what is committed speaks for itself.
    fn under_new_limits(&mut self) {
        let at = self.now();
        let committed = self.committed(at);
        let teams = self.limits.iter();
        let teams = teams.map(|team| Mark::new(team.trip, team.allocation));
        let marks = teams.chain([Mark::new(self.pool.trip, self.pool.month)]);
        let month = &mut self.periods[at];
        for (whose, mark) in marks.enumerate() {
            let means = mark.means(committed[whose]);
            let stays = match mark.is_more_than(month.marks[whose]) {
                true => means,
                false => month.shown[whose],
            };
            month.shown[whose] = stays.max(means);
            month.marks[whose] = mark;
        }
    }

    fn committed(&self, at: usize) -> [Micros; TEAMS + 1] {
        let state = &self.periods[at].state;
        std::array::from_fn(|whose| match state.teams.get(whose) {
            Some(team) => team.own.committed(),
            None => state.month(),
        })
    }

    fn ask(&mut self, request: &Request) {
        let at = self.now();
        let before = self.state(at);
        let (verdict, state) = judge(before.clone(), request);
        self.keep(at, state);
        if let Verdict::Admitted(taken) | Verdict::Noted(taken, _) = verdict {
            self.owe(at, &taken, request.beyond);
            self.held.push((at, taken));
        }
        let (team, pool) = (request.team, TEAMS);
        // A refusal shows also where shadow mode passes over it.
        let enforced = Request {
            enforced: true,
            ..*request
        };
        if let (Verdict::Refused(refusal), _) = judge(before, &enforced) {
            let worse = match (refusal, request.class) {
                (_, Class::Background) => None, // one large estimate opens nothing
                (BudgetRefusal::PoolExhausted, _) => Some((pool, Breaker::Exhausted)),
                (BudgetRefusal::TeamExhausted, _) => Some((team, Breaker::Exhausted)),
                (_, _) => Some((team, Breaker::Open)),
            };
            worse
                .into_iter()
                .for_each(|(whose, state)| self.raise(at, whose, state));
        }
        if matches!(verdict, Verdict::Admitted(_) | Verdict::Noted(..)) {
            self.show(at, team);
        }
        self.last = Last::Asked(*request, verdict);
    }

    /// The breakers that a period's counts mean.
    fn show(&mut self, at: usize, team: usize) {
        let (committed, marks) = (self.committed(at), self.periods[at].marks);
        for whose in [team, TEAMS] {
            self.raise(at, whose, marks[whose].means(committed[whose]));
        }
    }

    fn raise(&mut self, at: usize, whose: usize, state: Breaker) {
        let shown = &mut self.periods[at].shown[whose];
        *shown = state.max(*shown);
    }

    fn owe(&mut self, at: usize, taken: &Taken, more: Micros) {
        self.periods[at].owed[taken.team][taken.source.index()] += more;
    }

    fn end(&mut self, index: usize, price: Micros) {
        let (at, taken) = self.held.remove(index);
        let state = settle(self.state(at), &taken, price);
        self.keep(at, state);
        self.owe(at, &taken, (price - taken.bound).max(0));
        if price > taken.estimate {
            self.show(at, taken.team);
        }
    }

    fn extend(&mut self, index: usize, more: Micros) {
        let (at, mut taken) = self.held[index];
        let state = extend(self.state(at), &mut taken, more);
        let account = *state.teams[taken.team].account(taken.source);
        self.keep(at, state);
        self.owe(at, &taken, more);
        self.held[index] = (at, taken);
        self.last = Last::Covered(account.exposed() <= account.granted);
    }

    /// Written down before it is counted, as the ledger does it. What is added beside the bounds in flight is covered
    /// by the next raise only.
    fn correct(&mut self, at: usize, team: usize, source: Source, change: Micros) {
        let mut state = correct(self.state(at), (team, source), change);
        let account = account_mut(&mut state, team, source);
        account.granted = (account.granted + change.min(0)).max(account.settled);
        self.keep(at, state);
        self.periods[at].owed[team][source.index()] += change.max(0);
    }

    fn restart(&mut self, crash: bool) {
        self.held.clear();
        let accounts = (0..TEAMS).flat_map(|team| Source::ALL.iter().map(move |of| (team, *of)));
        for month in &mut self.periods {
            for (team, source) in accounts.clone() {
                let account = account_mut(&mut month.state, team, source);
                let counted = match crash {
                    true => account.settled.max(account.granted), // all of it may have been spent
                    false => account.committed(),
                };
                *account = Account {
                    settled: counted,
                    granted: counted,
                    ..Account::default()
                };
            }
        }
        self.under_new_limits();
    }
}

fn account_mut(state: &mut State, team: usize, source: Source) -> &mut Account {
    let (estimate, bound) = (0, 0);
    state.account_mut(&Taken {
        team,
        source,
        estimate,
        bound,
    })
}

fn all_limits() -> BoxedStrategy<([TeamLimits; TEAMS], PoolLimits)> {
    let team = || team_limits(UNIT);
    ([team(), team(), team()], pool_limits(UNIT * 2)).boxed()
}

impl ReferenceStateMachine for History {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        let begin = |((limits, pool), exact)| {
            let mut history = Self {
                periods: Vec::new(),
                limits,
                pool,
                held: Vec::new(),
                exact,
                last: Last::Nothing,
            };
            history.begin(0);
            history
        };
        (all_limits(), any::<bool>()).prop_map(begin).boxed()
    }

    fn transitions(history: &Self) -> BoxedStrategy<Step> {
        let exact = history.exact;
        let asks = request(UNIT, TEAMS).prop_map(move |request| {
            let (enforced, beyond) = (request.enforced || exact, request.beyond);
            Step::Ask(Request {
                enforced,
                beyond: if exact { 0 } else { beyond },
                ..request
            })
        });
        let account = || (0..TEAMS, prop::sample::select(Source::ALL));
        let recent = history.now().saturating_sub(1)..=history.now();
        let grants = (recent.clone(), account(), 0..200_i64);
        let grants =
            grants.prop_map(|(at, (team, source), by)| Step::Grant(at, team, source, by.into()));
        let next_period =
            prop::bool::weighted(0.3).prop_map(|next_year| Step::NextPeriod { next_year });
        let restart = any::<bool>().prop_map(|crash| Step::Restart { crash });
        let mut steps = vec![
            (12, asks.boxed()),
            (6, grants.boxed()),
            (1, next_period.boxed()),
            (1, restart.boxed()),
        ];
        if !exact {
            let change = prop_oneof![0_i64..60, -60_i64..60];
            let corrected = (recent, account(), change)
                .prop_map(|(at, (team, source), by)| Step::Correct(at, team, source, by.into()));
            let reload = all_limits().prop_map(|(limits, pool)| Step::Reload(limits, pool));
            steps.extend([(2, corrected.boxed()), (1, reload.boxed())]);
        }
        if !history.held.is_empty() {
            let held = history.held.clone();
            let settles = (0..held.len(), -20_i64..60).prop_map(move |(index, off)| {
                let estimate = held[index].1.estimate;
                let price = (estimate + Micros::from(off)).max(0);
                Step::Settle(index, if exact { estimate } else { price })
            });
            let index = 0..history.held.len();
            steps.push((9, settles.boxed()));
            steps.push((2, index.clone().prop_map(Step::Void).boxed()));
            if !exact {
                let extends = (index, 0_i64..60);
                let extends = extends.prop_map(|(index, more)| Step::Extend(index, more.into()));
                steps.push((2, extends.boxed()));
            }
        }
        prop::strategy::Union::new_weighted(steps).boxed()
    }

    fn preconditions(history: &Self, step: &Step) -> bool {
        match step {
            Step::Settle(index, price) => history
                .held
                .get(*index)
                .is_some_and(|(_, taken)| !history.exact || *price == taken.estimate),
            Step::Void(index) | Step::Extend(index, _) => *index < history.held.len(),
            Step::Correct(at, ..) | Step::Grant(at, ..) => *at < history.periods.len(),
            Step::Ask(_) | Step::Reload(..) | Step::NextPeriod { .. } | Step::Restart { .. } => {
                true
            }
        }
    }

    fn apply(mut history: Self, step: &Step) -> Self {
        history.last = Last::Nothing;
        match step {
            Step::Ask(request) => history.ask(request),
            Step::Settle(index, price) => history.end(*index, *price),
            Step::Void(index) => history.end(*index, 0),
            Step::Extend(index, more) => history.extend(*index, *more),
            Step::Correct(at, team, source, change) => {
                history.correct(*at, *team, *source, *change)
            }
            Step::Grant(at, team, source, by) => {
                let month = &mut history.periods[*at].state;
                account_mut(month, *team, *source).granted += by;
            }
            Step::Reload(limits, pool) => {
                (history.limits, history.pool) = (*limits, *pool);
                let at = history.now();
                let state = &mut history.periods[at].state;
                state.pool = Pool::from(pool);
                for (team, limits) in state.teams.iter_mut().zip(limits) {
                    let (own, buffer, burst, overage) =
                        (team.own, team.buffer, team.burst, team.overage);
                    *team = Team {
                        own,
                        buffer,
                        burst,
                        overage,
                        ..Team::under(limits)
                    };
                }
                history.under_new_limits();
            }
            Step::NextPeriod { next_year } => {
                let year = history.periods[history.now()].year;
                history.begin(year + usize::from(*next_year));
            }
            Step::Restart { crash } => history.restart(*crash),
        }
        history
    }
}
