//! What teams may spend in a period: the shares of the configuration, what was carried over, and what people decided.

use std::sync::Arc;

use super::overrides::{Given, plus};
use crate::budget::books::{PoolLimits, TeamLimits};
use crate::budget::credits::MicroCredits;
use crate::config::checked::{Pool, Team};
use crate::ledger::event::TeamId;
use crate::ledger::live::LivePeriod;
use crate::ledger::overrides::Override;

/// The limits of a snapshot.
pub(super) struct Limits {
    pub(super) pool: PoolLimits,
    /// By position, with what of it is by override.
    pub(super) teams: Vec<(TeamLimits, Given)>,
}

/// The pool's own, by the configuration alone.
pub(super) fn of_pool(pool: &Pool, month: MicroCredits, buffer: MicroCredits) -> PoolLimits {
    PoolLimits {
        month,
        trip: pool.trip,
        trip_at: pool.trip.of(month),
        buffer,
        burst: pool.burst.of(month),
        annual: pool.annual_credits,
        overage_cap: pool.overage_cap.unwrap_or_default(),
    }
}

impl Limits {
    /// Of teams with these numbers and shares, in a period that goes on from `pool`.
    pub(super) fn new(
        mut pool: PoolLimits,
        configured: &[(&Team, TeamId, MicroCredits)],
        live: &LivePeriod,
        overrides: &[Arc<Override>],
    ) -> Self {
        let carried = |team: &(_, TeamId, _)| live.carried_by(team.1);
        let to_teams: Vec<_> = configured.iter().map(carried).collect();
        grow(&mut pool, live.carried_to_buffer(), &to_teams);
        let whole_buffer = pool.buffer;
        let mut teams = Vec::with_capacity(configured.len());
        for ((team, id, own), more) in configured.iter().zip(to_teams) {
            let given = Given::to(*id, overrides);
            given.fund(&mut pool);
            let allocation = plus(plus(*own, more), given.credits());
            let limits = given.hold(of_team(team, allocation, whole_buffer));
            teams.push((limits, given));
        }
        Self { pool, teams }
    }
}

/// What was carried into the period is there beside the month's own.
fn grow(limits: &mut PoolLimits, to_buffer: MicroCredits, to_teams: &[MicroCredits]) {
    let all = to_teams.iter().copied().fold(to_buffer, plus);
    limits.buffer = plus(limits.buffer, to_buffer);
    limits.month = plus(limits.month, all);
    limits.trip_at = limits.trip.of(limits.month);
}

fn of_team(team: &Team, allocation: MicroCredits, buffer: MicroCredits) -> TeamLimits {
    TeamLimits {
        allocation,
        trip: team.trip,
        trip_at: team.trip.of(allocation),
        on_trip: team.on_trip,
        buffer_max: team
            .buffer_max
            .map_or(MicroCredits::MAX, |share| share.of(buffer)),
        emergency: team.emergency.of(allocation),
    }
}
