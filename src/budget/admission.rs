//! Admission: may this request spend its estimate, and from which source?
//!
//! The rules of design.md, section 2, as one pure function over the numbers as they stand. It never
//! looks at the breaker's shown state. What it answers is a plan: the source and the ceiling each
//! account must respect when the credits are then taken, so that the rule and the compare-and-swap
//! that enforces it cannot disagree.

use super::credits::MicroCredits;
use super::operation::{Class, Source};

/// What happens to standard traffic between the trip point and the allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTrip {
    /// Each request needs a throttle slot.
    Throttle,
    /// Refused.
    Reject,
    /// What is left is spread over what is left of the period.
    Pace,
}

/// An account as admission sees it: what is committed, and the most that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Settled, imported and reserved, in micro-credits.
    pub committed: MicroCredits,
    /// The most `committed` may become.
    pub limit: MicroCredits,
}

impl Line {
    fn fits(&self, estimate: MicroCredits) -> bool {
        let sum = self.committed.checked_add(estimate);
        sum.is_some_and(|sum| sum <= self.limit)
    }
}

/// Every number admission compares, taken at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// How much the call matters.
    pub class: Class,
    /// What the call is expected to cost.
    pub estimate: MicroCredits,
    /// The team's own allocation.
    pub own: Line,
    /// The team's trip point: the largest `committed` below the trip, `floor(trip * allocation)`.
    pub own_trip_at: MicroCredits,
    /// What happens to standard traffic above the trip point.
    pub on_trip: OnTrip,
    /// The most `own.committed` may become by paced requests now: the line of [`super::pace`].
    pub paced_to: MicroCredits,
    /// A turn of a standard conversation that was opened below the trip point.
    pub continued: bool,
    /// The central buffer, all teams.
    pub buffer: Line,
    /// This team's part of the buffer; the limit is its `buffer_max`, if set.
    pub team_buffer: Line,
    /// The pool's burst, all teams.
    pub burst: Line,
    /// The contract year's overage; a limit of zero means off.
    pub overage: Line,
    /// All teams' own and buffer of the period, against the month's pool.
    pub pool: Line,
    /// The main breaker's trip point, `floor(trip * month)`.
    pub pool_trip_at: MicroCredits,
    /// All sources but overage, all periods of the contract year, against the annual credits.
    pub year: Line,
}

impl View {
    /// Whether the contract year has no room for the call, whatever the month has.
    pub fn is_year_used_up(&self) -> bool {
        !self.year.fits(self.estimate)
    }
}

/// Why the budget says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetRefusal {
    /// The team's trip point is reached for this class.
    TeamBreakerOpen,
    /// The team's allocation is used up (for critical: every source it may draw on).
    TeamExhausted,
    /// The pool's trip point is reached.
    PoolBreakerOpen,
    /// The month's pool or the contract year is used up.
    PoolExhausted,
    /// Between trip point and allocation, and no throttle slot is free, or the line is not there yet.
    Throttled,
    /// More than a fuse allows. Not said by [`decide`]: fuses come before it, and take last of all.
    FuseBlown,
}

/// Leave to take the estimate, with the ceilings to respect while taking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the credits come from.
    pub source: Source,
    /// The most the team's account of that source may become.
    pub account_ceiling: MicroCredits,
    /// The most the shared total of buffer, burst or overage may become; unused for own.
    pub shared_ceiling: MicroCredits,
    /// The most the contract year may become; `None` where overage funds the call.
    pub year_ceiling: Option<MicroCredits>,
    /// The most the month's pool may become; `None` where the call does not count in it.
    pub pool_ceiling: Option<MicroCredits>,
    /// Whether a throttle slot must be taken, last of all.
    pub needs_slot: bool,
}

/// What a rule compares the estimate with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The team's trip point.
    TeamTrip,
    /// The team's pacing line.
    PacingLine,
    /// The team's allocation.
    Allocation,
    /// The central buffer.
    Buffer,
    /// The team's part of the central buffer.
    TeamBuffer,
    /// The month's burst.
    Burst,
    /// The contract year's overage.
    Overage,
    /// The contract year.
    Year,
    /// The main breaker's trip point.
    PoolTrip,
    /// The month's pool.
    Month,
}

impl Rule {
    /// The limit's name in decision records and in `explain`.
    pub const fn limit(self) -> &'static str {
        match self {
            Self::TeamTrip => "team trip point",
            Self::PacingLine => "pacing line",
            Self::Allocation => "team allocation",
            Self::Buffer => "central buffer",
            Self::TeamBuffer => "team's part of the buffer",
            Self::Burst => "burst",
            Self::Overage => "overage",
            Self::Year => "contract year",
            Self::PoolTrip => "pool trip point",
            Self::Month => "month's pool",
        }
    }
}

/// One comparison, as it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// With what.
    pub rule: Rule,
    /// What is committed, and the most that may be.
    pub line: Line,
    /// Whether the estimate fits beside it.
    pub fits: bool,
}

/// Judges one request against the numbers as they stand.
///
/// A throttle slot is not taken here; the plan says whether one is needed.
///
/// # Errors
/// The first rule that fails, in the order team, pool.
pub fn decide(view: &View) -> Result<Plan, BudgetRefusal> {
    decide_noting(view, |_| {})
}

/// The same, telling each comparison as it is made: how `explain` shows what a request would be judged by.
///
/// # Errors
/// As [`decide`].
pub fn decide_noting(view: &View, note: impl FnMut(Compared)) -> Result<Plan, BudgetRefusal> {
    if view.estimate.is_zero() {
        return Ok(unlimited_own()); // free: never refused for budget
    }
    let mut judge = Judge { view, note };
    let plan = match view.class {
        Class::Background => judge.background(),
        Class::Standard => judge.standard(),
        Class::Critical => judge.critical(),
    }?;
    judge.within_pool(plan)
}

/// The plan of a request that is charged to own whatever the limits say: free calls and shadow mode.
pub const fn unlimited_own() -> Plan {
    Plan {
        source: Source::Own,
        account_ceiling: MicroCredits::MAX,
        shared_ceiling: MicroCredits::MAX,
        year_ceiling: Some(MicroCredits::MAX),
        pool_ceiling: Some(MicroCredits::MAX),
        needs_slot: false,
    }
}

/// The rules over one view.
struct Judge<'v, N> {
    view: &'v View,
    note: N,
}

impl<N: FnMut(Compared)> Judge<'_, N> {
    fn fits(&mut self, rule: Rule, line: Line) -> bool {
        let fits = line.fits(self.view.estimate);
        (self.note)(Compared { rule, line, fits });
        fits
    }

    fn below_trip(&mut self) -> bool {
        let limit = self.view.own_trip_at;
        let line = Line {
            limit,
            ..self.view.own
        };
        self.fits(Rule::TeamTrip, line)
    }

    fn background(&mut self) -> Result<Plan, BudgetRefusal> {
        if self.below_trip() {
            Ok(own(self.view, self.view.own_trip_at, false))
        } else {
            Err(BudgetRefusal::TeamBreakerOpen)
        }
    }

    fn standard(&mut self) -> Result<Plan, BudgetRefusal> {
        let view = self.view;
        if self.below_trip() {
            return Ok(own(view, view.own_trip_at, false));
        }
        if !self.fits(Rule::Allocation, view.own) {
            return Err(BudgetRefusal::TeamExhausted);
        }
        if view.continued {
            return Ok(own(view, view.own.limit, false));
        }
        match view.on_trip {
            OnTrip::Throttle => Ok(own(view, view.own.limit, true)),
            OnTrip::Reject => Err(BudgetRefusal::TeamBreakerOpen),
            OnTrip::Pace => {
                let limit = view.paced_to;
                match self.fits(Rule::PacingLine, Line { limit, ..view.own }) {
                    // A line above the allocation would be a fault: it must not pass it.
                    true => Ok(own(view, limit.min(view.own.limit), false)),
                    false => Err(BudgetRefusal::Throttled),
                }
            }
        }
    }

    fn critical(&mut self) -> Result<Plan, BudgetRefusal> {
        let view = self.view;
        if self.fits(Rule::Allocation, view.own) {
            Ok(own(view, view.own.limit, false))
        } else if self.fits(Rule::Buffer, view.buffer)
            && self.fits(Rule::TeamBuffer, view.team_buffer)
        {
            Ok(shared(
                view,
                Source::Buffer,
                view.team_buffer.limit,
                view.buffer.limit,
            ))
        } else if self.fits(Rule::Burst, view.burst) {
            Ok(shared(
                view,
                Source::Burst,
                MicroCredits::MAX,
                view.burst.limit,
            ))
        } else if self.fits(Rule::Overage, view.overage) {
            Ok(overage(view))
        } else {
            Err(BudgetRefusal::TeamExhausted)
        }
    }

    /// Step 2: the contract year for every class, then the month's pool for all but critical.
    fn within_pool(&mut self, plan: Plan) -> Result<Plan, BudgetRefusal> {
        let view = self.view;
        if plan.source == Source::Overage {
            return Ok(plan);
        }
        if !self.fits(Rule::Year, view.year) {
            return match view.class {
                Class::Critical if self.fits(Rule::Overage, view.overage) => Ok(overage(view)),
                Class::Critical | Class::Standard | Class::Background => {
                    Err(BudgetRefusal::PoolExhausted)
                }
            };
        }
        let below_trip = Line {
            limit: view.pool_trip_at,
            ..view.pool
        };
        match view.class {
            Class::Background if !self.fits(Rule::PoolTrip, below_trip) => {
                Err(BudgetRefusal::PoolBreakerOpen)
            }
            Class::Standard if !self.fits(Rule::Month, view.pool) => {
                Err(BudgetRefusal::PoolExhausted)
            }
            Class::Critical | Class::Standard | Class::Background => Ok(plan),
        }
    }
}

fn own(view: &View, ceiling: MicroCredits, needs_slot: bool) -> Plan {
    Plan {
        needs_slot,
        ..shared(view, Source::Own, ceiling, MicroCredits::MAX)
    }
}

fn overage(view: &View) -> Plan {
    let plan = shared(view, Source::Overage, MicroCredits::MAX, view.overage.limit);
    Plan {
        year_ceiling: None,
        ..plan
    }
}

fn shared(view: &View, source: Source, account: MicroCredits, total: MicroCredits) -> Plan {
    let pool_ceiling = match view.class {
        Class::Background => view.pool_trip_at,
        Class::Standard => view.pool.limit,
        Class::Critical => MicroCredits::MAX,
    };
    Plan {
        source,
        account_ceiling: account,
        shared_ceiling: total,
        year_ceiling: Some(view.year.limit),
        pool_ceiling: counts_in_pool(source, pool_ceiling),
        needs_slot: false,
    }
}

/// Own and buffer count in the month's pool, burst and overage do not.
fn counts_in_pool(source: Source, ceiling: MicroCredits) -> Option<MicroCredits> {
    match source {
        Source::Own | Source::Buffer => Some(ceiling),
        Source::Burst | Source::Overage => None,
    }
}
