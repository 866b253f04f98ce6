//! The periods whose counters are in memory, shared by workers, ledger thread and admin.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::carried::Carried;
use super::event::TeamId;
use crate::budget::books::{PeriodBooks, TeamBooks};
use crate::budget::credits::MicroCredits;

/// One period's books and every team's accounts in it, by [`TeamId`].
#[derive(Debug)]
pub struct LivePeriod {
    /// The sums shared limits are checked on.
    pub books: PeriodBooks,
    /// By team id; grows when a reload adds a team. Never read on the request path.
    teams: ArcSwap<Vec<Arc<TeamBooks>>>,
    /// What was left over of the period before.
    pub carried: Vec<Carried>,
}

impl LivePeriod {
    /// A period with the accounts of teams 0, 1, 2, ...
    pub fn new(books: PeriodBooks, teams: Vec<Arc<TeamBooks>>, carried: Vec<Carried>) -> Self {
        Self {
            books,
            teams: ArcSwap::from_pointee(teams),
            carried,
        }
    }

    /// What a team has beside its allocation, because it left so much over.
    pub fn carried_by(&self, team: TeamId) -> MicroCredits {
        let own = self.carried.iter().find(|own| own.team == team);
        own.filter(|own| !own.to_buffer)
            .map_or(MicroCredits::ZERO, |own| own.credits)
    }

    /// What the central buffer has beside its share.
    pub fn carried_to_buffer(&self) -> MicroCredits {
        let to_buffer = self.carried.iter().filter(|carried| carried.to_buffer);
        to_buffer
            .map(|carried| carried.credits)
            .sum::<Option<_>>()
            .unwrap_or(MicroCredits::MAX)
    }

    /// Every team's accounts, by id.
    pub fn teams(&self) -> Arc<Vec<Arc<TeamBooks>>> {
        self.teams.load_full()
    }

    /// The accounts of one team, made when it is new. Called by the one owner of reloading.
    pub fn team(&self, id: TeamId) -> Arc<TeamBooks> {
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        let teams = self.teams.load_full();
        if let Some(team) = teams.get(index) {
            return Arc::clone(team);
        }
        let mut grown = Vec::clone(&teams);
        grown.resize_with(index.saturating_add(1), Arc::default);
        let team = grown.get(index).map(Arc::clone).unwrap_or_default();
        self.teams.store(Arc::new(grown));
        team
    }
}

/// All teams' settled and reserved credits of one period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Own and buffer, settled.
    pub used: MicroCredits,
    /// Own and buffer, in flight.
    pub reserved: MicroCredits,
    /// Buffer, settled.
    pub buffer: MicroCredits,
    /// Burst, settled.
    pub burst: MicroCredits,
    /// Overage, settled.
    pub overage: MicroCredits,
}

impl Sums {
    /// Adds up a period's accounts, teams a reload removed included.
    pub fn of(live: &LivePeriod) -> Self {
        let teams = live.teams();
        let sum = |read: fn(&TeamBooks) -> MicroCredits| {
            teams
                .iter()
                .map(|team| read(team))
                .sum::<Option<_>>()
                .unwrap_or(MicroCredits::MAX)
        };
        let own = sum(|team| team.own.figures().settled);
        let buffer = sum(|team| team.buffer.figures().settled);
        let reserved = [
            sum(|team| team.own.figures().reserved()),
            sum(|team| team.buffer.figures().reserved()),
        ];
        Self {
            used: own.checked_add(buffer).unwrap_or(MicroCredits::MAX),
            reserved: reserved
                .into_iter()
                .sum::<Option<_>>()
                .unwrap_or(MicroCredits::MAX),
            buffer,
            burst: sum(|team| team.burst.figures().settled),
            overage: sum(|team| team.overage.figures().settled),
        }
    }
}
