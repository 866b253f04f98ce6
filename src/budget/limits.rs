//! What may be spent in a period, by a team and by all: from the config, replaced by a reload.

use super::admission::OnTrip;
use super::breaker::Marks;
use super::credits::MicroCredits;
use super::percent::Percent;

/// What a team may spend in the period: from the config, replaced by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TeamLimits {
    /// The allocation.
    pub allocation: MicroCredits,
    /// The trip point as a share of the allocation.
    pub trip: Percent,
    /// `floor(trip * allocation)`.
    pub trip_at: MicroCredits,
    /// What happens to standard traffic above the trip point.
    pub on_trip: OnTrip,
    /// The most of the buffer this team may take in a period.
    pub buffer_max: MicroCredits,
    /// What critical traffic may spend beyond the grant while the ledger cannot write.
    pub emergency: MicroCredits,
}

impl TeamLimits {
    /// The most standard traffic may commit.
    pub const fn within_reach(&self) -> MicroCredits {
        match self.on_trip {
            OnTrip::Throttle | OnTrip::Pace => self.allocation,
            OnTrip::Reject => self.trip_at,
        }
    }

    /// Where the team's breaker trips.
    pub const fn marks(&self) -> Marks {
        Marks {
            trip_at: self.trip_at,
            limit: self.allocation,
        }
    }
}

/// What all teams share: from the config and the period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// The month's pool.
    pub month: MicroCredits,
    /// The main breaker's trip point as a share of the month.
    pub trip: Percent,
    /// `floor(trip * month)`.
    pub trip_at: MicroCredits,
    /// The central buffer.
    pub buffer: MicroCredits,
    /// The most all teams' burst may become in the period.
    pub burst: MicroCredits,
    /// The contract year's credits.
    pub annual: MicroCredits,
    /// The most overage in a contract year; zero is off.
    pub overage_cap: MicroCredits,
}

impl PoolLimits {
    /// Where the main breaker trips.
    pub const fn marks(&self) -> Marks {
        Marks {
            trip_at: self.trip_at,
            limit: self.month,
        }
    }
}
