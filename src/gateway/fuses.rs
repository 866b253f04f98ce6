//! The fuses of a snapshot: made with it, and each hour with one hour more.
//!
//! An hour that is in memory is kept, whatever a reload changes; one that is not is what the ledger remembers, so
//! that neither a crash nor a reload makes a blown fuse whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use jiff::Timestamp;

use crate::budget::fuse::{self, FuseLimits, Hour};
use crate::config::checked::{Allocations, Named};
use crate::ledger::event::TeamId;
use crate::ledger::hour_alerts::HourSums;
use crate::ledger::unlocked::Records;
use crate::ledger::{Ledger, LedgerError};
use crate::proxy::fuses::{Fuse, Fuses};
use crate::proxy::snapshot::Snapshot;
use crate::salesforce::NamedKind;

/// The fuses of a configuration, in the hour of `now` and the next. `teams` are their numbers.
///
/// # Errors
/// When the ledger would have to be read and cannot be.
pub(super) fn build(
    records: &impl Records,
    allocations: &Allocations,
    teams: &[TeamId],
    previous: Option<&Fuses>,
    now: Timestamp,
) -> Result<Fuses, LedgerError> {
    let first = fuse::hour_of(now.as_second());
    let before = previous.into_iter().flat_map(Fuses::all);
    let before = before.map(|fuse| (key(fuse.team, fuse.agent.as_deref()), fuse));
    let mut hours = Hours {
        records,
        before: before.collect(),
        first,
        remembered: None,
    };
    let mut of_teams = Vec::with_capacity(allocations.teams.len());
    for (team, id) in allocations.teams.iter().zip(teams) {
        let limits = FuseLimits::new(team.max_per_request, team.max_per_hour);
        of_teams.push(match limits {
            Some(limits) => Some(hours.fuse(*id, None, limits)?),
            None => None,
        });
    }
    if of_teams.iter().all(Option::is_none) {
        of_teams.clear();
    }
    let mut agents = Vec::new();
    for (agent, limits) in agents_with_one(allocations) {
        let team = teams.get(agent.team.0).copied().unwrap_or(TeamId(0));
        let id = CompactString::from(agent.id.as_str());
        agents.push(hours.fuse(team, Some(id), limits)?);
    }
    Ok(Fuses {
        first,
        teams: of_teams,
        agents,
    })
}

/// Agents that have a fuse, in the order of [`Fuses::agents`].
pub(super) fn agents_with_one(
    allocations: &Allocations,
) -> impl Iterator<Item = (&Named, FuseLimits)> {
    let agents = allocations
        .named
        .iter()
        .filter(|named| named.kind == NamedKind::Agent);
    agents.filter_map(|agent| {
        let limits = FuseLimits::new(agent.max_per_request, agent.max_per_hour)?;
        Some((agent, limits))
    })
}

/// The same snapshot with the hour of `now` as its first; `None` where it is already.
///
/// # Errors
/// When the clock went back and the ledger cannot be read.
pub(super) fn in_its_hour(
    ledger: &Ledger,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Option<Snapshot>, LedgerError> {
    let is_now = snapshot.fuses.first == fuse::hour_of(now.as_second());
    if is_now || snapshot.fuses.is_empty() {
        return Ok(None);
    }
    let (allocations, before) = (&snapshot.checked.allocations, Some(&snapshot.fuses));
    let teams: Vec<_> = snapshot.teams.iter().map(|team| team.id).collect();
    let fuses = build(ledger, allocations, &teams, before, now)?;
    Ok(Some(Snapshot {
        fuses,
        ..snapshot.clone()
    }))
}

/// What makes a fuse the same one across reloads: an agent may go to another team.
type Key<'b> = (Option<&'b str>, Option<TeamId>);

fn key(team: TeamId, agent: Option<&str>) -> Key<'_> {
    (agent, agent.is_none().then_some(team))
}

/// Where hours come from.
struct Hours<'b, R> {
    records: &'b R,
    before: BTreeMap<Key<'b>, &'b Fuse>,
    first: i64,
    /// Read once, and only where an hour is not in memory.
    remembered: Option<HourSums>,
}

impl<R: Records> Hours<'_, R> {
    fn fuse(
        &mut self,
        team: TeamId,
        agent: Option<CompactString>,
        limits: FuseLimits,
    ) -> Result<Fuse, LedgerError> {
        let first = match self.known(team, agent.as_deref(), self.first) {
            Some(hour) => hour,
            None => self.restored(team, agent.as_deref())?,
        };
        let next = self.first.saturating_add(1);
        // Nothing was spent in an hour that has not begun.
        let second = self
            .known(team, agent.as_deref(), next)
            .unwrap_or_else(|| Arc::new(Hour::new(next)));
        Ok(Fuse {
            team,
            agent,
            limits,
            hours: [first, second],
        })
    }

    fn known(&self, team: TeamId, agent: Option<&str>, hour: i64) -> Option<Arc<Hour>> {
        let fuse = self.before.get(&key(team, agent))?;
        let known = fuse.hours.iter().find(|known| known.number() == hour)?;
        Some(Arc::clone(known))
    }

    fn restored(&mut self, team: TeamId, agent: Option<&str>) -> Result<Arc<Hour>, LedgerError> {
        let sums = match self.remembered.take() {
            Some(sums) => sums,
            None => self.records.hour(self.first)?,
        };
        let hour = Hour::restored(self.first, sums.settled(team, agent));
        for (cause, at_most) in sums.blown(team, agent) {
            hour.blew(cause, at_most);
        }
        self.remembered = Some(sums);
        Ok(Arc::new(hour))
    }
}
