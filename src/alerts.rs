//! Alerts: 50 and 75 % of an allocation settled, and the breaker opening; once per team, level and period. Fuses
//! that blew and abnormal rates, once an hour. All of it also across restarts.
//!
//! The ledger decides whether an alert is new, so two looks cannot raise one twice. More allocation re-arms the
//! levels above current use.

mod fuses;
mod rates;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::budget::breaker::Breaker;
use crate::budget::credits::MicroCredits;
use crate::budget::percent::Percent;
use crate::budget::period::PeriodName;
use crate::ledger::Ledger;
use crate::ledger::alerts::{AlertRow, Level};
use crate::ledger::event::TeamId;
use crate::ledger::hour_alerts::HourAlertRow;
use crate::ledger::overrides::Hold;
use crate::proxy::sessions::Sessions;
use crate::proxy::snapshot::{Snapshot, TeamEntry, UNATTRIBUTED};

/// Looks at every team and raises what is due.
#[derive(Debug)]
pub struct Watcher {
    ledger: Ledger,
    /// What is known to be raised, so that the ledger is asked once.
    raised: BTreeSet<(TeamId, PeriodName, u32)>,
    /// Teams that have more than before, and whose levels the ledger has not let go yet.
    grown: BTreeSet<(TeamId, PeriodName)>,
    counts: BTreeMap<(Arc<str>, Level), u64>,
    fuses: fuses::FuseWatch,
    rates: rates::RateWatch,
}

impl Watcher {
    /// A watcher that has raised nothing yet.
    pub fn new(ledger: Ledger) -> Self {
        Self {
            ledger,
            raised: BTreeSet::new(),
            grown: BTreeSet::new(),
            counts: BTreeMap::new(),
            fuses: fuses::FuseWatch::default(),
            rates: rates::RateWatch::default(),
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
        self.rearm(snapshot, &[], now);
        for team in snapshot
            .teams
            .iter()
            .filter(|team| &*team.name != UNATTRIBUTED)
        {
            for (level, percent) in due(snapshot, team) {
                any |= self.raise(snapshot, team, level, percent, now);
            }
        }
        for alert in self.fuses.waiting() {
            if let Some(is_new) = self.raise_hours(snapshot, &alert, fuses::say) {
                self.fuses.raised(&alert);
                any |= is_new;
            }
        }
        any
    }

    /// Takes notice of fuses that blew, also while there is nowhere to write it down.
    pub fn note_fuses(&mut self, snapshot: &Snapshot, now: Timestamp) {
        self.fuses.look(snapshot, now);
    }

    /// Whether it is known what agents use to cost; until then [`Self::look_at_rates`] reads on, a day a time.
    pub fn knows_rates(&self) -> bool {
        self.rates.is_read()
    }

    /// Looks for agents and conversations that cost far more than they use to; true if there were any.
    pub fn look_at_rates(
        &mut self,
        snapshot: &Snapshot,
        sessions: &Sessions,
        now: Timestamp,
    ) -> bool {
        let found = match self.rates.look(snapshot, sessions, &self.ledger, now) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "usual rates cannot be read; trying again");
                return false;
            }
        };
        let mut any = false;
        for alert in found {
            if let Some(is_new) = self.raise_hours(snapshot, &alert, rates::say) {
                self.rates.raised(&alert);
                any |= is_new;
            }
        }
        any
    }

    /// Writes an alert of an hour down; whether it is new, or nothing where it must be tried again.
    fn raise_hours(
        &mut self,
        snapshot: &Snapshot,
        alert: &HourAlertRow,
        say: fn(&HourAlertRow, &TeamEntry),
    ) -> Option<bool> {
        let Some(team) = snapshot.teams.iter().find(|team| team.id == alert.team) else {
            return Some(false); // a reload took it away
        };
        match self.ledger.raise_hour_alert(alert.clone()) {
            Ok(is_new) => {
                if is_new {
                    say(alert, team);
                    self.count(&team.name, alert.kind.level());
                }
                Some(is_new)
            }
            Err(error) => {
                tracing::error!(%error, team = &*team.name, "an alert cannot be written down; trying again");
                None
            }
        }
    }

    fn count(&mut self, team: &Arc<str>, level: Level) {
        let count = self.counts.entry((Arc::clone(team), level)).or_default();
        *count = count.saturating_add(1);
    }

    /// These teams have more than before: levels above current use may be raised again. What cannot be written down is
    /// tried again at the next look.
    pub fn rearm(&mut self, snapshot: &Snapshot, grown: &[TeamId], now: Timestamp) {
        let period = snapshot.live.books.period.name;
        self.grown.extend(grown.iter().map(|team| (*team, period)));
        for (id, of) in std::mem::take(&mut self.grown) {
            let mut teams = snapshot.teams.iter().filter(|_| of == period);
            let Some(team) = teams.find(|team| team.id == id) else {
                continue; // of a period that is over, or taken away meanwhile
            };
            let used = team.books.own.figures().settled;
            let above = levels(snapshot, team)
                .filter(|(_, percent)| percent.of(team.limits.allocation) > used);
            let above: Vec<_> = above.map(|(_, percent)| percent.bp()).collect();
            if let Err(error) = self.ledger.rearm(team.id, period, &above, now) {
                tracing::error!(%error, team = &*team.name, "alerts cannot be re-armed; trying again");
                self.grown.insert((id, of));
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
        if self.raised.contains(&key) {
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
                self.raised.insert(key);
                if is_new {
                    say(team, level, percent, figures.settled);
                    self.count(&team.name, level);
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

/// The team's levels: the first one below the trip point is info, other ones warning, and the trip point critical.
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
    let trip = team.limits.trip;
    let mut settled: Vec<_> = configured
        .map(|team| team.alerts.clone())
        .unwrap_or_default();
    settled.retain(|percent| *percent != trip);
    settled.sort_unstable();
    let of = move |(at, percent)| match at {
        0 if percent < trip => (Level::Info, percent),
        _ => (Level::Warning, percent),
    };
    let settled = settled.into_iter().enumerate().map(of);
    settled.chain([(Level::Critical, trip)])
}

/// What the team's figures call for: settled credits for the configured levels, the open breaker for the last. One
/// that a person holds open raises nothing: the alert is left for when it trips.
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
