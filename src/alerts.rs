//! Alerts: 50 and 75 % of an allocation settled, and the breaker opening; once per team, level and period, also
//! across restarts.
//!
//! The ledger decides whether an alert is new, so two looks cannot raise one twice. More allocation re-arms the
//! levels above current use.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::budget::breaker::Breaker;
use crate::budget::credits::MicroCredits;
use crate::budget::percent::Percent;
use crate::budget::period::PeriodName;
use crate::ledger::Ledger;
use crate::ledger::alerts::{AlertRow, Level};
use crate::ledger::event::TeamId;
use crate::ledger::overrides::Hold;
use crate::proxy::snapshot::{Snapshot, TeamEntry, UNATTRIBUTED};

/// Looks at every team and raises what is due.
#[derive(Debug)]
pub struct Watcher {
    ledger: Ledger,
    /// What is known to be raised, so that the ledger is asked once.
    raised: BTreeMap<(TeamId, PeriodName, u32), ()>,
    counts: BTreeMap<(Arc<str>, Level), u64>,
}

impl Watcher {
    /// A watcher that has raised nothing yet.
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            raised: BTreeMap::new(),
            counts: BTreeMap::new(),
        }
    }

    /// Alerts raised by this process.
    pub fn counts(&self) -> Vec<(Arc<str>, &'static str, u64)> {
        self.counts
            .iter()
            .map(|((team, level), count)| (Arc::clone(team), level.name(), *count))
            .collect()
    }

    /// Raises what is due; true if anything was.
    pub fn look(&mut self, snapshot: &Snapshot, now: Timestamp) -> bool {
        let mut any = false;
        for team in snapshot
            .teams
            .iter()
            .filter(|team| &*team.name != UNATTRIBUTED)
        {
            for (level, percent) in due(snapshot, team) {
                any |= self.raise(snapshot, team, level, percent, now);
            }
        }
        any
    }

    /// A reload that gives more: levels above current use may be raised again.
    pub fn rearm(&mut self, before: &Snapshot, after: &Snapshot, now: Timestamp) {
        let period = after.live.books.period.name;
        for team in &after.teams {
            let known = before.teams.iter().find(|known| known.id == team.id);
            let grew = known.is_some_and(|known| team.limits.allocation > known.limits.allocation);
            if !grew || before.live.books.period != after.live.books.period {
                continue;
            }
            let used = team.books.own.figures().settled;
            let above = levels(after, team)
                .filter(|(_, percent)| percent.of(team.limits.allocation) > used);
            let above: Vec<_> = above.map(|(_, percent)| percent.bp()).collect();
            if let Err(error) = self.ledger.rearm(team.id, period, &above, now) {
                tracing::error!(%error, team = &*team.name, "alerts cannot be re-armed");
                continue;
            }
            for percent in above {
                self.raised.remove(&(team.id, period, percent));
            }
        }
    }

    fn raise(
        &mut self,
        snapshot: &Snapshot,
        team: &TeamEntry,
        level: Level,
        percent: Percent,
        now: Timestamp,
    ) -> bool {
        let period = snapshot.live.books.period.name;
        let key = (team.id, period, percent.bp());
        if self.raised.contains_key(&key) {
            return false;
        }
        let figures = team.books.own.figures();
        let alert = AlertRow {
            team: team.id,
            period,
            level,
            percent_bp: percent.bp(),
            at: now,
            used: figures.settled,
            committed: figures.committed,
            allocation: team.limits.allocation,
        };
        match self.ledger.raise_alert(alert) {
            Ok(is_new) => {
                self.raised.insert(key, ());
                if is_new {
                    say(team, level, percent, figures.settled);
                    let count = self
                        .counts
                        .entry((Arc::clone(&team.name), level))
                        .or_default();
                    *count = count.saturating_add(1);
                }
                is_new
            }
            Err(error) => {
                tracing::error!(%error, team = &*team.name, "an alert cannot be written down; trying again");
                false
            }
        }
    }
}

/// The team's levels: the first configured one is info, later ones warning, and the trip point critical.
fn levels<'s>(
    snapshot: &'s Snapshot,
    team: &'s TeamEntry,
) -> impl Iterator<Item = (Level, Percent)> + 's {
    let configured = snapshot
        .checked
        .allocations
        .teams
        .iter()
        .find(|c| *c.name == *team.name);
    let mut below: Vec<_> = configured
        .map(|team| team.alerts.clone())
        .unwrap_or_default();
    below.retain(|percent| *percent < team.limits.trip);
    below.sort_unstable();
    let of = |(at, percent)| (if at == 0 { Level::Info } else { Level::Warning }, percent);
    below
        .into_iter()
        .enumerate()
        .map(of)
        .chain([(Level::Critical, team.limits.trip)])
}

/// What the team's figures call for: settled credits for the lower levels, the open breaker for the last. One that
/// a person holds open raises nothing: the alert is left for when it trips.
fn due(snapshot: &Snapshot, team: &TeamEntry) -> Vec<(Level, Percent)> {
    let (used, allocation) = (team.books.own.figures().settled, team.limits.allocation);
    let is_held_open = team.held.is_some_and(|held| held.hold == Hold::Open);
    let is_open = team.books.shown.get() > Breaker::Closed
        && team.books.own.committed() > MicroCredits::ZERO
        && !is_held_open;
    let is_due = |level: Level, percent: Percent| match level {
        Level::Critical => is_open,
        Level::Info | Level::Warning => {
            allocation > MicroCredits::ZERO && used >= percent.of(allocation)
        }
    };
    levels(snapshot, team)
        .filter(|(level, percent)| is_due(*level, *percent))
        .collect()
}

fn say(team: &TeamEntry, level: Level, percent: Percent, used: MicroCredits) {
    let allocation = team.limits.allocation;
    match level {
        Level::Critical => tracing::error!(
            team = &*team.name, level = level.name(), %used, %allocation, trip = %percent,
            "the team's breaker opened: background traffic is refused, standard traffic trickles"
        ),
        Level::Info | Level::Warning => tracing::warn!(
            team = &*team.name, level = level.name(), %used, %allocation,
            "the team has used {percent} of its allocation"
        ),
    }
}
