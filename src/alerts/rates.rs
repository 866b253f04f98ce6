//! Abnormal rates: an agent that spends far more in an hour than it uses to, a conversation that costs far more than
//! others of its agent. An alert once an hour; nothing is refused.
//!
//! An agent's norm is the dearest but one in twenty of the hours it spent anything in, of the last 14 days; a
//! conversation's likewise of the agent's conversations of the last day. Both want some history, and some credits,
//! before they say anything. Only configured agents are looked at: others' names come from requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::budget::credits::MicroCredits;
use crate::budget::fuse;
use crate::ledger::hour_alerts::{AgentHour, HourAlertRow, HourKind};
use crate::ledger::{Ledger, LedgerError};
use crate::proxy::sessions::Sessions;
use crate::proxy::snapshot::{NamedEntry, Snapshot, TeamEntry};

/// Hours an agent's norm is made from: 14 days, so that each day of the week is in it twice.
const HISTORY: i64 = 14 * 24;
/// Hours, or conversations, below which there is no norm.
const HISTORY_LEAST: usize = 24;
/// Hours read at a time: a start must not keep the control thread.
const READ_AT_ONCE: i64 = 24;
/// An hour becomes history so long after its end: calls that began in it have settled.
const SETTLED_AFTER_S: i64 = 900;
/// Conversations of one agent that are told of in an hour.
const SESSIONS_TOLD: usize = 10;

/// What agents use to cost.
#[derive(Debug, Default)]
pub(super) struct RateWatch {
    /// By agent, then by hour, in micro-credits.
    history: BTreeMap<String, BTreeMap<i64, MicroCredits>>,
    /// The next hour to read.
    read_to: i64,
    /// The configuration it was read for.
    config_hash: Option<Arc<str>>,
    raised: BTreeSet<(i64, HourKind, String)>,
    /// Conversations told of, by agent, in the running hour.
    told: BTreeMap<String, usize>,
    hour: i64,
    is_read: bool,
}

impl RateWatch {
    /// What is abnormal now and not raised yet; nothing until the history is read.
    pub(super) fn look(
        &mut self,
        snapshot: &Snapshot,
        sessions: &Sessions,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<Vec<HourAlertRow>, LedgerError> {
        if snapshot.checked.gateway.alerts.abnormal_times == 0 {
            *self = Self {
                is_read: true,
                ..Self::default()
            };
            return Ok(Vec::new());
        }
        let hour = fuse::hour_of(now.as_second());
        if self.hour != hour {
            self.hour = hour;
            self.raised.clear();
            self.told.clear();
        }
        self.is_read = self.read_on(snapshot, ledger, now)?;
        if !self.is_read {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for spent in ledger.agent_hours(hour, hour.saturating_add(1))? {
            found.extend(self.agent(snapshot, &spent, now));
        }
        found.extend(self.sessions(snapshot, sessions, now));
        Ok(found)
    }

    /// Whether the history is read.
    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    /// It was written down.
    pub(super) fn raised(&mut self, alert: &HourAlertRow) {
        let subject = match alert.kind {
            HourKind::AbnormalSession => {
                let told = self.told.entry(alert.agent.clone()).or_default();
                *told = told.saturating_add(1);
                alert.session.clone()
            }
            HourKind::AbnormalAgent | HourKind::MaxPerRequest | HourKind::MaxPerHour => {
                alert.agent.clone()
            }
        };
        self.raised.insert((alert.hour, alert.kind, subject));
    }

    /// Reads the next hours; true once there are no more.
    fn read_on(
        &mut self,
        snapshot: &Snapshot,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let end = fuse::hour_of(now.as_second().saturating_sub(SETTLED_AFTER_S));
        let first = end.saturating_sub(HISTORY);
        let is_same = self
            .config_hash
            .as_ref()
            .is_some_and(|known| *known == snapshot.config_hash);
        if !is_same {
            self.config_hash = Some(Arc::clone(&snapshot.config_hash));
            self.history.clear();
            self.read_to = first;
        }
        // A clock that went back leaves what was read.
        self.read_to = self.read_to.max(first);
        if self.read_to >= end {
            return Ok(true);
        }
        let to = self.read_to.saturating_add(READ_AT_ONCE).min(end);
        for spent in ledger.agent_hours(self.read_to, to)? {
            if snapshot.agent(&spent.agent).is_some() && spent.credits > MicroCredits::ZERO {
                let hours = self.history.entry(spent.agent).or_default();
                hours.insert(spent.hour, spent.credits);
            }
        }
        for hours in self.history.values_mut() {
            *hours = hours.split_off(&first);
        }
        self.read_to = to;
        Ok(to >= end)
    }

    fn agent(
        &self,
        snapshot: &Snapshot,
        spent: &AgentHour,
        now: Timestamp,
    ) -> Option<HourAlertRow> {
        let AgentHour {
            agent,
            credits,
            hour,
        } = spent;
        let key = (*hour, HourKind::AbnormalAgent, agent.clone());
        let at_least = snapshot.checked.gateway.alerts.abnormal_at_least;
        if *credits < at_least || self.raised.contains(&key) {
            return None;
        }
        let entry = snapshot.agent(agent)?;
        let hours = self.history.get(agent)?.values().copied();
        let norm = norm(hours.collect())?;
        let alert = alert(snapshot, entry, HourKind::AbnormalAgent, agent, now)?;
        is_abnormal(snapshot, *credits, norm).then_some(HourAlertRow {
            used: *credits,
            allowed: norm,
            ..alert
        })
    }

    fn sessions(
        &self,
        snapshot: &Snapshot,
        sessions: &Sessions,
        now: Timestamp,
    ) -> Vec<HourAlertRow> {
        let began = self.hour.saturating_mul(3_600);
        let began = Timestamp::from_second(began).unwrap_or(now);
        let at_least = snapshot.checked.gateway.alerts.abnormal_at_least;
        let mut norms: BTreeMap<String, Option<MicroCredits>> = BTreeMap::new();
        let mut found: BTreeMap<String, Vec<HourAlertRow>> = BTreeMap::new();
        for row in sessions.dear(at_least, began) {
            let (agent, session) = (row.agent.to_string(), row.session.to_string());
            let Some(entry) = snapshot.agent(&agent) else {
                continue;
            };
            let key = (self.hour, HourKind::AbnormalSession, session.clone());
            let of_agent = found.entry(agent.clone()).or_default();
            let told = self.told.get(&agent).copied().unwrap_or(0);
            if told.saturating_add(of_agent.len()) >= SESSIONS_TOLD || self.raised.contains(&key) {
                continue;
            }
            let read = || norm(sessions.charged_by(&agent));
            let norm = *norms.entry(agent.clone()).or_insert_with(read);
            let Some(norm) = norm.filter(|norm| is_abnormal(snapshot, row.charged, *norm)) else {
                continue;
            };
            let alert = alert(snapshot, entry, HourKind::AbnormalSession, &agent, now);
            of_agent.extend(alert.map(|alert| HourAlertRow {
                session,
                used: row.charged,
                allowed: norm,
                ..alert
            }));
        }
        found.into_values().flatten().collect()
    }
}

/// The 95th percentile: what 19 in 20 do not pass. `None` without enough of a history.
fn norm(mut amounts: Vec<MicroCredits>) -> Option<MicroCredits> {
    if amounts.len() < HISTORY_LEAST {
        return None;
    }
    let rank = amounts.len().saturating_mul(95).div_ceil(100);
    let (_, norm, _) = amounts.select_nth_unstable(rank.saturating_sub(1));
    Some(*norm)
}

fn is_abnormal(snapshot: &Snapshot, credits: MicroCredits, norm: MicroCredits) -> bool {
    let times = i128::from(snapshot.checked.gateway.alerts.abnormal_times);
    i128::from(credits.micros()) > times.saturating_mul(i128::from(norm.micros()))
}

fn alert(
    snapshot: &Snapshot,
    entry: &NamedEntry,
    kind: HourKind,
    agent: &str,
    now: Timestamp,
) -> Option<HourAlertRow> {
    Some(HourAlertRow {
        hour: fuse::hour_of(now.as_second()),
        kind,
        team: snapshot.team(entry.team)?.id,
        agent: agent.to_owned(),
        session: String::new(),
        period: snapshot.live.books.period.name,
        at: now,
        used: MicroCredits::ZERO,
        allowed: MicroCredits::ZERO,
        blown: false,
    })
}

pub(super) fn say(alert: &HourAlertRow, team: &TeamEntry) {
    let (used, norm, level) = (alert.used, alert.allowed, alert.kind.level().name());
    let (team, agent, session) = (&*team.name, alert.agent.as_str(), alert.session.as_str());
    if session.is_empty() {
        tracing::warn!(
            team, agent, level, %used, %norm,
            "an agent spends far more in this hour than it uses to"
        );
    } else {
        tracing::warn!(
            team, agent, session, level, %used, %norm,
            "a conversation costs far more than others of its agent"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_is_what_nineteen_in_twenty_do_not_pass() {
        let check = |amounts: &[i64], want: Option<i64>| {
            let credits = amounts.iter().copied().map(MicroCredits::from_micros);
            let got = norm(credits.collect()).map(MicroCredits::micros);
            assert_eq!(got, want, "{amounts:?}");
        };
        check(&[], None);
        check(&[1; 23], None);
        check(&[1; 24], Some(1));
        let hundred: Vec<_> = (1..=100).rev().collect();
        check(&hundred, Some(95));
        let mut few_dear = vec![1_000];
        few_dear.extend([2; 23]);
        check(&few_dear, Some(2));
        few_dear.push(900);
        check(&few_dear, Some(900));
    }
}
