//! When the breakers people see move: by what is committed, and by whom the trip rule refused.

use super::admission::{BudgetRefusal, View};
use super::books::{PeriodBooks, TeamBooks};
use super::breaker::{Breaker, Marks};
use super::operation::Class;

impl PeriodBooks {
    /// Brings the shown states up to what is committed.
    pub fn show(&self, team: &TeamBooks) {
        team.shown.follow(team.own.committed());
        self.shown.follow(self.pool.committed());
    }

    /// A request the trip rule refused or throttled shows an open breaker, whatever is committed. Background
    /// traffic says nothing: one large estimate is refused long before the trip point.
    pub(super) fn show_refusal(&self, team: &TeamBooks, view: &View, refusal: BudgetRefusal) {
        let team_is = |state| {
            let marks = Marks {
                trip_at: view.own_trip_at,
                limit: view.own.limit,
            };
            team.shown.refused(state, marks, view.own.committed);
        };
        let pool_is = |state| {
            let marks = Marks {
                trip_at: view.pool_trip_at,
                limit: view.pool.limit,
            };
            self.shown.refused(state, marks, view.pool.committed);
        };
        match (refusal, view.class) {
            (BudgetRefusal::Throttled | BudgetRefusal::TeamBreakerOpen, Class::Standard) => {
                team_is(Breaker::Open);
            }
            (BudgetRefusal::TeamExhausted, Class::Standard | Class::Critical) => {
                team_is(Breaker::Exhausted);
            }
            (BudgetRefusal::PoolExhausted, Class::Standard | Class::Critical) => {
                pool_is(Breaker::Exhausted);
            }
            (BudgetRefusal::PoolBreakerOpen, Class::Standard | Class::Critical)
            | (BudgetRefusal::Throttled | BudgetRefusal::TeamBreakerOpen, Class::Critical)
            | (BudgetRefusal::FuseBlown, _) // a fuse is no breaker: alerts tell of it
            | (_, Class::Background) => {}
        }
    }
}
