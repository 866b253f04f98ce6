//! The counters of one period, and the steps that take from several of them without a lock.
//!
//! [`PeriodBooks::reserve`] loads a [`View`], asks [`admission::decide`], and takes what the plan says with
//! one compare-and-swap an account, in the order source, grant, year, pool, slot, fuse; when one fails the ones
//! before it are given back in reverse and the question is asked again with fresh numbers. Others' steps in
//! between may cause a spurious refusal within microseconds of a limit, never an admission.

use std::sync::Arc;

use super::account::{Account, Total};
use super::admission::{self, BudgetRefusal, Line, Plan, View};
use super::breaker::Shown;
use super::credits::MicroCredits;
pub use super::limits::{PoolLimits, TeamLimits};
use super::operation::{Class, Source};
use super::period::Period;
pub use super::reservation::Reservation;
use super::reservation::{Counted, Taken};

/// One team's accounts in one period.
#[derive(Debug, Default)]
pub struct TeamBooks {
    /// The team's own allocation.
    pub own: Account,
    /// What it took of the central buffer.
    pub buffer: Account,
    /// What it took of the burst.
    pub burst: Account,
    /// What it ran up beyond the contract.
    pub overage: Account,
    /// The breaker's state as shown.
    pub shown: Shown,
}

impl TeamBooks {
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

/// The sums of one contract year.
#[derive(Debug, Default)]
pub struct YearBooks {
    /// All sources but overage.
    pub committed: Total,
    /// Overage.
    pub overage: Total,
}

impl YearBooks {
    /// Adds or takes away what a person decided of a period that is over.
    pub fn correct(&self, source: Source, change: MicroCredits) {
        let total = match source {
            Source::Own | Source::Buffer | Source::Burst => &self.committed,
            Source::Overage => &self.overage,
        };
        total.adjust(change.micros());
    }
}

/// The sums of one period that shared limits are checked on. Teams' accounts are held beside them.
#[derive(Debug)]
pub struct PeriodBooks {
    /// Which period these are the books of.
    pub period: Period,
    /// All teams' own and buffer.
    pub pool: Total,
    /// All teams' buffer.
    pub buffer: Total,
    /// All teams' burst.
    pub burst: Total,
    /// The contract year this period lies in.
    pub year: Arc<YearBooks>,
    /// The main breaker's state as shown.
    pub shown: Shown,
}

/// One request's question to the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// How much the call matters.
    pub class: Class,
    /// What it is expected to cost.
    pub estimate: MicroCredits,
    /// The most it may cost.
    pub bound: MicroCredits,
    /// A turn of a standard conversation opened below the trip point.
    pub continued: bool,
    /// Where the team's pacing line is; only looked at under [`OnTrip::Pace`](admission::OnTrip::Pace).
    pub paced_to: MicroCredits,
}

/// Why nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The budget says no; the numbers it compared are given for the record.
    Budget {
        /// The rule that said no.
        refusal: BudgetRefusal,
        /// The numbers it compared.
        view: Box<View>,
    },
    /// The budget says yes, but the ledger has not yet written down enough; it was told how much.
    GrantShort,
}

/// A lost race is tried again with fresh numbers. Every loss means somebody else's success, so this many in
/// a row mean a limit that is being fought over.
const ATTEMPTS: usize = 32;

impl PeriodBooks {
    /// Empty books of a period in the given year.
    pub fn new(period: Period, year: Arc<YearBooks>) -> Self {
        let (pool, buffer, burst) = (Total::default(), Total::default(), Total::default());
        Self {
            period,
            pool,
            buffer,
            burst,
            year,
            shown: Shown::default(),
        }
    }

    /// The numbers admission compares, as they stand.
    pub fn view(
        &self,
        team: &TeamBooks,
        limits: &TeamLimits,
        pool: &PoolLimits,
        ask: &Ask,
    ) -> View {
        let line = |committed, limit| Line { committed, limit };
        View {
            class: ask.class,
            estimate: ask.estimate,
            own: line(team.own.committed(), limits.allocation),
            own_trip_at: limits.trip_at,
            on_trip: limits.on_trip,
            paced_to: ask.paced_to,
            continued: ask.continued,
            buffer: line(self.buffer.committed(), pool.buffer),
            team_buffer: line(team.buffer.committed(), limits.buffer_max),
            burst: line(self.burst.committed(), pool.burst),
            overage: line(self.year.overage.committed(), pool.overage_cap),
            pool: line(self.pool.committed(), pool.month),
            pool_trip_at: pool.trip_at,
            year: line(self.year.committed.committed(), pool.annual),
        }
    }

    /// Takes what the request may spend, or says why not. `beyond` is what may be exposed above the grant. `last` is
    /// asked last, at most once, and told whether to take a throttle slot: when it says no, all is given back, and
    /// nobody has seen it.
    ///
    /// # Errors
    /// The budget's refusal, or a grant that is short.
    pub fn reserve(
        &self,
        (team, limits): (&TeamBooks, &TeamLimits),
        pool: &PoolLimits,
        ask: &Ask,
        beyond: MicroCredits,
        mut last: impl FnMut(bool) -> Result<(), BudgetRefusal>,
    ) -> Result<Reservation, Denied> {
        let mut lost = BudgetRefusal::TeamExhausted;
        for _ in 0..ATTEMPTS {
            let view = self.view(team, limits, pool, ask);
            let denied = |refusal| {
                self.show_refusal(team, &view, refusal);
                Denied::Budget {
                    refusal,
                    view: Box::new(view),
                }
            };
            let plan = admission::decide(&view).map_err(denied)?;
            match self.take(team, &plan, ask, beyond) {
                Ok(reservation) => {
                    if let Err(refusal) = last(plan.needs_slot) {
                        self.void(team, reservation);
                        return Err(denied(refusal));
                    }
                    self.show(team);
                    return Ok(reservation);
                }
                Err(Lost::Grant) => return Err(Denied::GrantShort),
                Err(Lost::Race(refusal)) => lost = refusal,
            }
        }
        let view = self.view(team, limits, pool, ask);
        self.show_refusal(team, &view, lost);
        Err(Denied::Budget {
            refusal: lost,
            view: Box::new(view),
        })
    }

    /// Charges own beyond every limit: shadow mode, where a refusal is only noted. The grant still binds, and no one
    /// request is granted more than a contract year: what is granted for it is written down, and counts if the
    /// process dies, whatever the request comes to.
    ///
    /// # Errors
    /// A grant that is short.
    pub fn reserve_unlimited(
        &self,
        team: &TeamBooks,
        pool: &PoolLimits,
        ask: &Ask,
        beyond: MicroCredits,
    ) -> Result<Reservation, Denied> {
        let plan = admission::unlimited_own();
        let ask = Ask {
            estimate: ask.estimate.min(pool.annual),
            bound: ask.bound.min(pool.annual),
            ..*ask
        };
        let reservation = self
            .take(team, &plan, &ask, beyond)
            .map_err(|_| Denied::GrantShort)?;
        self.show(team);
        Ok(reservation)
    }

    /// Replaces the estimate by the price, which may be higher and may show as debt.
    pub fn settle(&self, team: &TeamBooks, reservation: Reservation, price: MicroCredits) {
        let Taken {
            source,
            estimate,
            bound,
            counted,
        } = reservation.close();
        team.account(source).settle(estimate, bound, price);
        self.adjust(
            source,
            counted,
            price.micros().saturating_sub(estimate.micros()),
        );
    }

    /// Gives everything back.
    pub fn void(&self, team: &TeamBooks, reservation: Reservation) {
        let Taken {
            source,
            estimate,
            bound,
            counted,
        } = reservation.close();
        self.adjust(source, counted, 0_i64.saturating_sub(estimate.micros()));
        let account = team.account(source);
        account.unexpose(bound);
        account.uncommit(estimate);
    }

    /// Adds or takes away what a person decided, settled at once, whatever the limits.
    pub fn correct(&self, team: &TeamBooks, source: Source, change: MicroCredits) {
        let account = team.account(source);
        account.settle(MicroCredits::ZERO, MicroCredits::ZERO, change);
        let taken_away = change.micros().min(0).saturating_abs();
        account.lower_wanted(MicroCredits::from_micros(taken_away));
        let counted = Counted {
            year: source != Source::Overage,
            pool: matches!(source, Source::Own | Source::Buffer),
        };
        self.adjust(source, counted, change.micros());
    }

    /// Raises what a request in flight may cost; true if the grant covers it already.
    pub fn extend(
        &self,
        team: &TeamBooks,
        reservation: &mut Reservation,
        more: MicroCredits,
    ) -> bool {
        let bound = reservation.bound.micros().saturating_add(more.micros());
        reservation.set_bound(MicroCredits::from_micros(bound));
        team.account(reservation.source).expose_more(more)
    }

    /// Takes source, grant, year and pool in this order; on a failure gives back in reverse.
    fn take(
        &self,
        team: &TeamBooks,
        plan: &Plan,
        ask: &Ask,
        beyond: MicroCredits,
    ) -> Result<Reservation, Lost> {
        let e = ask.estimate;
        let counted = Counted {
            year: plan.year_ceiling.is_some(),
            pool: plan.pool_ceiling.is_some(),
        };
        let taken = || {
            Reservation::new(Taken {
                source: plan.source,
                estimate: e,
                bound: ask.bound,
                counted,
            })
        };
        if e.is_zero() && ask.bound.is_zero() {
            return Ok(taken()); // free: nothing to take
        }
        let own_refusal = match ask.class {
            Class::Background => BudgetRefusal::TeamBreakerOpen,
            Class::Standard | Class::Critical => BudgetRefusal::TeamExhausted,
        };
        let account = team.account(plan.source);
        account
            .try_commit(e, plan.account_ceiling)
            .ok_or(Lost::Race(own_refusal))?;
        if let Some(total) = self.shared_total(plan.source)
            && total.try_commit(e, plan.shared_ceiling).is_none()
        {
            account.uncommit(e);
            return Err(Lost::Race(own_refusal));
        }
        let give_back = |exposed: bool| {
            if exposed {
                account.unexpose(ask.bound);
            }
            if let Some(total) = self.shared_total(plan.source) {
                total.adjust(0_i64.saturating_sub(e.micros()));
            }
            account.uncommit(e);
        };
        if !account.try_expose(ask.bound, beyond) {
            give_back(false);
            return Err(Lost::Grant);
        }
        if let Some(ceiling) = plan.year_ceiling
            && self.year.committed.try_commit(e, ceiling).is_none()
        {
            give_back(true);
            return Err(Lost::Race(BudgetRefusal::PoolExhausted));
        }
        if let Some(ceiling) = plan.pool_ceiling
            && self.pool.try_commit(e, ceiling).is_none()
        {
            self.year.committed.adjust(0_i64.saturating_sub(e.micros()));
            give_back(true);
            return Err(Lost::Race(match ask.class {
                Class::Background => BudgetRefusal::PoolBreakerOpen,
                Class::Standard | Class::Critical => BudgetRefusal::PoolExhausted,
            }));
        }
        Ok(taken())
    }

    fn shared_total(&self, source: Source) -> Option<&Total> {
        match source {
            Source::Own => None,
            Source::Buffer => Some(&self.buffer),
            Source::Burst => Some(&self.burst),
            Source::Overage => Some(&self.year.overage),
        }
    }

    fn adjust(&self, source: Source, counted: Counted, change_micros: i64) {
        if counted.pool {
            self.pool.adjust(change_micros);
        }
        if counted.year {
            self.year.committed.adjust(change_micros);
        }
        if let Some(total) = self.shared_total(source) {
            total.adjust(change_micros);
        }
    }
}

enum Lost {
    Race(BudgetRefusal),
    Grant,
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
