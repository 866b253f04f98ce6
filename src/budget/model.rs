//! The rules of design.md, section 2, said once more in the plainest way: what the counters are held against.
//!
//! Plain integers in micro-credits, no atomics, one step after the other; shared sums are added up from the
//! teams each time, so they cannot disagree. [`judge`] is the whole of admission. It shares no line with
//! `admission` and `books`: tests compare those with it, and a replay can ask it what would have been.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "no sum of 64-bit amounts leaves 128 bits"
)]

use super::admission::{BudgetRefusal, OnTrip};
use super::books::{PoolLimits, TeamLimits};
use super::operation::{Class, Source};

/// Micro-credits.
pub type Micros = i128;

/// One period: the limits in force, and what every team has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// What all teams share.
    pub pool: Pool,
    /// The teams; a request names one by its place.
    pub teams: Vec<Team>,
    /// What the contract year's other periods committed, overage not counted.
    pub year_elsewhere: Micros,
    /// What they committed of overage.
    pub overage_elsewhere: Micros,
}

/// The limits all teams share. A reload replaces them, and counts stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `M`, the month's pool.
    pub month: Micros,
    /// The main breaker's trip point.
    pub trip_bp: Micros,
    /// The central buffer.
    pub buffer: Micros,
    /// The most all teams' burst may become.
    pub burst: Micros,
    /// The contract year's credits.
    pub annual: Micros,
    /// The most overage in a contract year; zero is off.
    pub overage_cap: Micros,
}

/// A team's limits, and its four accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Team {
    /// `a`.
    pub allocation: Micros,
    /// The trip point.
    pub trip_bp: Micros,
    /// What standard traffic needs between trip point and allocation.
    pub on_trip: OnTrip,
    /// The most of the central buffer it may take.
    pub buffer_max: Micros,
    /// What it took of its own allocation.
    pub own: Account,
    /// What it took of the central buffer.
    pub buffer: Account,
    /// What it took of the burst.
    pub burst: Account,
    /// What it ran up beyond the contract.
    pub overage: Account,
}

/// What a team took of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Final charges.
    pub settled: Micros,
    /// Estimates in flight.
    pub reserved: Micros,
    /// Bounds in flight.
    pub bounds: Micros,
    /// What the ledger has written down as spendable.
    pub granted: Micros,
}

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose it is.
    pub team: usize,
    /// How much it matters.
    pub class: Class,
    /// What it is expected to cost.
    pub estimate: Micros,
    /// The most it may cost.
    pub bound: Micros,
    /// A turn of a standard conversation that was opened below the trip point.
    pub continued: bool,
    /// Whether a throttle slot is free.
    pub slot: bool,
    /// Where the pacing line is at that moment: the most a paced team's own may become.
    pub paced_to: Micros,
    /// What may be spent above the grant: a critical call's emergency, while the ledger cannot write.
    pub beyond: Micros,
    /// False in shadow mode.
    pub enforced: bool,
}

/// What a request was given, until it is settled or voided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whose.
    pub team: usize,
    /// From which source.
    pub source: Source,
    /// What was reserved.
    pub estimate: Micros,
    /// What the grant was asked to cover.
    pub bound: Micros,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Admitted(Taken),
    /// No, but shadow mode only notes it.
    Noted(Taken, BudgetRefusal),
    /// No.
    Refused(BudgetRefusal),
    /// The budget says yes, the ledger has not written down enough.
    GrantShort,
}

/// Judges one request, and takes what it is given.
///
/// # Panics
/// Where the request's team is none of the state's.
pub fn judge(state: State, request: &Request) -> (Verdict, State) {
    let team = state.team(request.team);
    let short = |source, bound, beyond| {
        let account = team.account(source);
        bound > 0 && account.exposed() + bound > account.granted + beyond
    };
    let most = state.pool.annual.max(0);
    let ruled = match rules(&state, request) {
        Ok((source, _)) if short(source, request.bound, request.beyond) => {
            return (Verdict::GrantShort, state);
        }
        Ok((_, true)) if !request.slot => Err(BudgetRefusal::Throttled), // 3. taken last
        Ok((source, _)) => Ok(source),
        Err(refusal) => Err(refusal),
    };
    let (source, noted) = match ruled {
        Ok(source) => (source, None),
        Err(refusal) if request.enforced => return (Verdict::Refused(refusal), state),
        Err(_) if short(Source::Own, request.bound.min(most), 0) => {
            return (Verdict::GrantShort, state);
        }
        Err(refusal) => (Source::Own, Some(refusal)),
    };
    // What no limit holds is granted at most a contract year for one request.
    let most = if noted.is_some() { most } else { Micros::MAX };
    let taken = Taken {
        team: request.team,
        source,
        estimate: request.estimate.min(most),
        bound: request.bound.min(most),
    };
    let state = take(state, &taken);
    match noted {
        None => (Verdict::Admitted(taken), state),
        Some(refusal) => (Verdict::Noted(taken, refusal), state),
    }
}

/// Takes what a request was given.
///
/// # Panics
/// Where the team is none of the state's, as all below.
pub fn take(mut state: State, taken: &Taken) -> State {
    let account = state.account_mut(taken);
    account.reserved += taken.estimate;
    account.bounds += taken.bound;
    state
}

/// Steps 1 and 2: the source, and whether a throttle slot is needed.
fn rules(state: &State, request: &Request) -> Result<(Source, bool), BudgetRefusal> {
    let (pool, team, e) = (&state.pool, state.team(request.team), request.estimate);
    if e == 0 {
        return Ok((Source::Own, false)); // free
    }
    let own = team.own.committed() + e;
    let below_trip = 10_000 * own <= team.trip_bp * team.allocation;
    let within_own = own <= team.allocation;
    let within_buffer =
        state.buffer() + e <= pool.buffer && team.buffer.committed() + e <= team.buffer_max;
    let within_burst = state.burst() + e <= pool.burst;
    let within_overage = state.overage() + e <= pool.overage_cap;

    // 1. Team.
    let found = match request.class {
        Class::Background | Class::Standard if below_trip => (Source::Own, false),
        Class::Background => return Err(BudgetRefusal::TeamBreakerOpen),
        Class::Standard if !within_own => return Err(BudgetRefusal::TeamExhausted),
        Class::Standard if request.continued => (Source::Own, false),
        Class::Standard => match team.on_trip {
            OnTrip::Throttle => (Source::Own, true),
            OnTrip::Pace if own <= request.paced_to => (Source::Own, false),
            OnTrip::Pace => return Err(BudgetRefusal::Throttled),
            OnTrip::Reject => return Err(BudgetRefusal::TeamBreakerOpen),
        },
        Class::Critical if within_own => (Source::Own, false),
        Class::Critical if within_buffer => (Source::Buffer, false),
        Class::Critical if within_burst => (Source::Burst, false),
        Class::Critical if within_overage => return Ok((Source::Overage, false)),
        Class::Critical => return Err(BudgetRefusal::TeamExhausted),
    };

    // 2. Pool.
    let within_year = state.year() + e <= pool.annual;
    let month = state.month() + e;
    match request.class {
        Class::Critical if !within_year && within_overage => Ok((Source::Overage, false)),
        Class::Critical | Class::Standard | Class::Background if !within_year => {
            Err(BudgetRefusal::PoolExhausted)
        }
        Class::Background if 10_000 * month > pool.trip_bp * pool.month => {
            Err(BudgetRefusal::PoolBreakerOpen)
        }
        Class::Standard if month > pool.month => Err(BudgetRefusal::PoolExhausted),
        Class::Critical | Class::Standard | Class::Background => Ok(found),
    }
}

/// Replaces the estimate by the price: to the same source, whatever the limits; it may show as debt.
///
/// # Panics
/// As [`take`].
pub fn settle(mut state: State, taken: &Taken, price: Micros) -> State {
    let account = state.account_mut(taken);
    account.reserved -= taken.estimate;
    account.bounds -= taken.bound;
    account.settled += price;
    state
}

/// Gives everything back.
///
/// # Panics
/// As [`take`].
pub fn void(state: State, taken: &Taken) -> State {
    settle(state, taken, 0)
}

/// Raises what a request in flight may cost, whatever the grant.
///
/// # Panics
/// As [`take`].
pub fn extend(mut state: State, taken: &mut Taken, more: Micros) -> State {
    taken.bound += more;
    state.account_mut(taken).bounds += more;
    state
}

/// Imported use, and what a person decided: settled at once, whatever the limits.
///
/// # Panics
/// As [`take`].
pub fn correct(state: State, (team, source): (usize, Source), change: Micros) -> State {
    let nothing = Taken {
        team,
        source,
        estimate: 0,
        bound: 0,
    };
    settle(state, &nothing, change)
}

impl State {
    /// `C`: all teams' own and buffer.
    pub fn month(&self) -> Micros {
        self.sum(|team| team.own) + self.buffer()
    }

    /// All teams' buffer.
    pub fn buffer(&self) -> Micros {
        self.sum(|team| team.buffer)
    }

    /// All teams' burst.
    pub fn burst(&self) -> Micros {
        self.sum(|team| team.burst)
    }

    /// The contract year: all sources but overage, all periods.
    pub fn year(&self) -> Micros {
        self.year_elsewhere + self.month() + self.burst()
    }

    /// The contract year's overage.
    pub fn overage(&self) -> Micros {
        self.overage_elsewhere + self.sum(|team| team.overage)
    }

    fn sum(&self, account: fn(&Team) -> Account) -> Micros {
        self.teams
            .iter()
            .map(|team| account(team).committed())
            .sum()
    }

    #[expect(clippy::expect_used, reason = "documented: a state knows its teams")]
    fn team(&self, place: usize) -> &Team {
        self.teams.get(place).expect("a team of this state")
    }

    #[expect(clippy::expect_used, reason = "documented: a state knows its teams")]
    fn account_mut(&mut self, taken: &Taken) -> &mut Account {
        let team = self.teams.get_mut(taken.team);
        let team = team.expect("a team of this state");
        match taken.source {
            Source::Own => &mut team.own,
            Source::Buffer => &mut team.buffer,
            Source::Burst => &mut team.burst,
            Source::Overage => &mut team.overage,
        }
    }
}

impl Team {
    /// A team that has taken nothing yet.
    pub fn under(limits: &TeamLimits) -> Self {
        let nothing = Account::default();
        Self {
            allocation: limits.allocation.micros().into(),
            trip_bp: limits.trip.bp().into(),
            on_trip: limits.on_trip,
            buffer_max: limits.buffer_max.micros().into(),
            own: nothing,
            buffer: nothing,
            burst: nothing,
            overage: nothing,
        }
    }

    /// The account of one source.
    pub const fn account(&self, source: Source) -> &Account {
        match source {
            Source::Own => &self.own,
            Source::Buffer => &self.buffer,
            Source::Burst => &self.burst,
            Source::Overage => &self.overage,
        }
    }
}

impl Account {
    /// What limits are checked against.
    pub const fn committed(&self) -> Micros {
        self.settled + self.reserved
    }

    /// What could be spent at the very most; the grant covers it.
    pub const fn exposed(&self) -> Micros {
        self.settled + self.bounds
    }
}

impl From<&PoolLimits> for Pool {
    fn from(limits: &PoolLimits) -> Self {
        Self {
            month: limits.month.micros().into(),
            trip_bp: limits.trip.bp().into(),
            buffer: limits.buffer.micros().into(),
            burst: limits.burst.micros().into(),
            annual: limits.annual.micros().into(),
            overage_cap: limits.overage_cap.micros().into(),
        }
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
