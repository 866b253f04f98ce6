//! Any traffic, step by step, on the counters and on the model.
//!
//! Costs below and above the estimate and above the bound, calls given back, draws extended, grants short and
//! raised, imported use and corrections, shadow mode, emergencies, reloads up and down, months and contract
//! years ending with calls in flight, clean stops and crashes. After each step every figure is the model's,
//! and what is promised of any state holds.

use proptest_state_machine::{StateMachineTest, prop_state_machine};

use super::history::{History, Last, Month, Step, TEAMS};
use super::*;
use crate::budget::breaker::{Marks, Shown};

/// The counters of every period so far, and what is in flight.
struct Traffic {
    periods: Vec<(PeriodBooks, Vec<TeamBooks>)>,
    held: Vec<Held>,
    answered: Option<Verdict>,
    covered: Option<bool>,
}

struct Held {
    at: usize,
    team: usize,
    reservation: Reservation,
}

impl Traffic {
    fn begin(&mut self, history: &History, year: Arc<YearBooks>) {
        self.add(year);
        self.reload(history);
    }

    fn add(&mut self, year: Arc<YearBooks>) {
        let index = u32::try_from(self.periods.len()).unwrap();
        let teams = std::iter::repeat_with(TeamBooks::default).take(TEAMS);
        self.periods
            .push((PeriodBooks::new(period(index), year), teams.collect()));
    }

    fn books(&self, at: usize, team: usize) -> (&PeriodBooks, &TeamBooks) {
        let (books, teams) = &self.periods[at];
        (books, &teams[team])
    }

    fn ask(&mut self, history: &History, request: &Request) {
        let (at, team) = (history.now(), request.team);
        let (books, counters) = self.books(at, team);
        let limits = &history.limits[team];
        let (verdict, reservation) = ask(books, (counters, limits), &history.pool, request);
        self.held.extend(reservation.map(|reservation| Held {
            at,
            team,
            reservation,
        }));
        self.answered = Some(verdict);
    }

    /// What the request path does when an answer ends.
    fn settle(&mut self, index: usize, price: MicroCredits) {
        let held = self.held.remove(index);
        let (books, team) = self.books(held.at, held.team);
        let is_above = price > held.reservation.estimate;
        books.settle(team, held.reservation, price);
        if is_above {
            books.show(team);
        }
    }

    fn void(&mut self, index: usize) {
        let held = self.held.remove(index);
        let (books, team) = self.books(held.at, held.team);
        books.void(team, held.reservation);
    }

    fn extend(&mut self, index: usize, more: MicroCredits) {
        let held = &mut self.held[index];
        let (books, teams) = &self.periods[held.at];
        self.covered = Some(books.extend(&teams[held.team], &mut held.reservation, more));
    }

    /// What the ledger thread does: lowers the grant before, and raises it after it is written.
    fn correct(&self, (at, team): (usize, usize), source: Source, change: MicroCredits) {
        let (books, team) = self.books(at, team);
        let account = team.account(source);
        let less = change.micros().min(0).saturating_neg();
        account.lower_grant(MicroCredits::from_micros(less));
        books.correct(team, source, change);
        account.raise_grant(account.figures().settled);
    }

    fn reload(&self, history: &History) {
        let (books, teams) = self.periods.last().unwrap();
        for (team, limits) in teams.iter().zip(&history.limits) {
            team.shown.change(limits.marks(), team.own.committed());
        }
        let pool = books.pool.committed();
        books.shown.change(history.pool.marks(), pool);
    }

    /// A clean stop settles what is in flight; a crash forgets it, and what was granted counts as spent.
    fn restart(&mut self, history: &History, crash: bool) {
        for held in std::mem::take(&mut self.held) {
            let (books, team) = self.books(held.at, held.team);
            let estimate = held.reservation.estimate;
            match crash {
                true => books.void(team, held.reservation),
                false => books.settle(team, held.reservation, estimate),
            }
        }
        let before = std::mem::take(&mut self.periods);
        let mut year = Arc::new(YearBooks::default());
        for (at, ((_, teams), month)) in before.iter().zip(&history.periods).enumerate() {
            if at > 0 && history.periods[at - 1].year != month.year {
                year = Arc::default();
            }
            self.add(Arc::clone(&year));
            let (books, restored) = &mut self.periods[at];
            for (place, (team, was)) in restored.iter_mut().zip(teams).enumerate() {
                *team = restored_team(books, was, crash);
                team.shown = month.restored(place);
            }
            books.shown = month.restored(TEAMS);
        }
        self.reload(history);
    }
}

impl Month {
    /// What the ledger remembers of a breaker: not where it tripped.
    fn restored(&self, whose: usize) -> Shown {
        let limit = credits(self.marks[whose].limit);
        let marks = Marks {
            limit,
            ..Marks::NONE
        };
        Shown::restored(self.shown[whose], marks)
    }
}

/// A team's accounts after a restart, added to the period's sums and the year's.
fn restored_team(books: &PeriodBooks, was: &TeamBooks, crash: bool) -> TeamBooks {
    let counted = |source| {
        let figures = was.account(source).figures();
        match crash {
            true => figures.settled.max(figures.granted),
            false => figures.settled,
        }
    };
    let [own, buffer, burst, overage] =
        [Source::Own, Source::Buffer, Source::Burst, Source::Overage].map(counted);
    books.pool.adjust(own.micros() + buffer.micros());
    books.buffer.adjust(buffer.micros());
    books.burst.adjust(burst.micros());
    let year = &books.year;
    year.committed
        .adjust(own.micros() + buffer.micros() + burst.micros());
    year.overage.adjust(overage.micros());
    TeamBooks {
        own: Counters::restored(own, own),
        buffer: Counters::restored(buffer, buffer),
        burst: Counters::restored(burst, burst),
        overage: Counters::restored(overage, overage),
        ..TeamBooks::default()
    }
}

impl StateMachineTest for Traffic {
    type SystemUnderTest = Self;
    type Reference = History;

    fn init_test(history: &History) -> Self {
        let mut traffic = Self {
            periods: Vec::new(),
            held: Vec::new(),
            answered: None,
            covered: None,
        };
        traffic.begin(history, Arc::default());
        traffic
    }

    fn apply(mut self_: Self, history: &History, step: Step) -> Self {
        (self_.answered, self_.covered) = (None, None);
        match step {
            Step::Ask(request) => self_.ask(history, &request),
            Step::Settle(index, price) => self_.settle(index, credits(price)),
            Step::Void(index) => self_.void(index),
            Step::Extend(index, more) => self_.extend(index, credits(more)),
            Step::Correct(at, team, source, change) => {
                self_.correct((at, team), source, credits(change));
            }
            Step::Grant(at, team, source, by) => {
                let (_, team) = self_.books(at, team);
                let account = team.account(source);
                let granted = i128::from(account.figures().granted.micros()) + by;
                account.raise_grant(credits(granted));
                account.raise_grant(credits(granted - 1)); // an older figure changes nothing
            }
            Step::Reload(..) => self_.reload(history),
            Step::NextPeriod { next_year } => {
                let year = match next_year {
                    true => Arc::default(),
                    false => Arc::clone(&self_.periods.last().unwrap().0.year),
                };
                self_.begin(history, year);
            }
            Step::Restart { crash } => self_.restart(history, crash),
        }
        self_
    }

    fn check_invariants(traffic: &Self, history: &History) {
        match history.last {
            Last::Nothing => {}
            Last::Asked(request, verdict) => {
                assert_eq!(traffic.answered, Some(verdict), "{request:?}");
                non_critical_stays_below(history, &request, verdict);
            }
            Last::Covered(covered) => assert_eq!(traffic.covered, Some(covered)),
        }
        for (at, (books, teams)) in traffic.periods.iter().enumerate() {
            same(books, teams, &history.state(at));
            covered_as_promised(teams, &history.periods[at]);
            sums_are_the_teams(books, teams);
            let shown = teams.iter().map(|team| team.shown.get());
            let shown: Vec<_> = shown.chain([books.shown.get()]).collect();
            assert_eq!(shown, history.periods[at].shown, "breakers as shown");
        }
        let years = traffic.periods.iter().enumerate();
        for (at, (books, _)) in years {
            let same_year =
                |(other, _): &(usize, _)| history.periods[*other].year == history.periods[at].year;
            let months = traffic.periods.iter().enumerate().filter(same_year);
            let used = months.map(|(_, (books, teams))| {
                let own = teams
                    .iter()
                    .map(|team| team.own.committed().micros())
                    .sum::<i64>();
                own + books.buffer.committed().micros() + books.burst.committed().micros()
            });
            assert_eq!(
                used.sum::<i64>(),
                books.year.committed.committed().micros(),
                "the year"
            );
        }
    }
}

fn non_critical_stays_below(history: &History, request: &Request, verdict: Verdict) {
    let state = history.state(history.now());
    let (team, pool) = (&state.teams[request.team], &state.pool);
    if !matches!(verdict, Verdict::Admitted(_)) || request.estimate == 0 {
        return;
    }
    let limits = match request.class {
        Class::Critical => return,
        Class::Background => (team.trip_bp * team.allocation, pool.trip_bp * pool.month),
        Class::Standard => (10_000 * team.allocation, 10_000 * pool.month),
    };
    assert!(
        10_000 * team.own.committed() <= limits.0,
        "the team's limit for the class"
    );
    assert!(
        10_000 * state.month() <= limits.1,
        "the pool's limit for the class"
    );
    assert!(state.year() <= pool.annual, "the contract year");
}

fn covered_as_promised(teams: &[TeamBooks], month: &Month) {
    for (team, owed) in teams.iter().zip(&month.owed) {
        for (source, owed) in Source::ALL.iter().zip(owed) {
            let figures = team.account(*source).figures();
            assert!(figures.reserved() >= MicroCredits::ZERO);
            let above = i128::from(figures.exposed.micros()) - i128::from(figures.granted.micros());
            assert!(above <= *owed, "{source}: {figures:?}, owed {owed}");
        }
    }
}

fn sums_are_the_teams(books: &PeriodBooks, teams: &[TeamBooks]) {
    let sum = |of: fn(&TeamBooks) -> &Counters| {
        let committed = teams.iter().map(|team| of(team).committed());
        committed.sum::<Option<MicroCredits>>().unwrap()
    };
    let (own, buffer) = (sum(|team| &team.own), sum(|team| &team.buffer));
    assert_eq!(
        Some(books.pool.committed()),
        own.checked_add(buffer),
        "the pool"
    );
    assert_eq!(books.buffer.committed(), buffer, "the buffer");
    assert_eq!(
        books.burst.committed(),
        sum(|team| &team.burst),
        "the burst"
    );
}

prop_state_machine! {
    #![proptest_config(cases(400))]

    #[test]
    fn any_traffic_is_counted_as_the_model_counts_it(sequential 1..120 => Traffic);
}
