//! Fuses that blew: an alert once a fuse, limit and hour.

use std::collections::BTreeMap;

use compact_str::CompactString;
use jiff::Timestamp;

use crate::budget::credits::MicroCredits;
use crate::budget::fuse::{self, Blown, Cause};
use crate::ledger::event::TeamId;
use crate::ledger::hour_alerts::{HourAlertRow, HourKind};
use crate::proxy::fuses::Fuse;
use crate::proxy::snapshot::{Snapshot, TeamEntry};

/// The most alerts kept while they cannot be written down.
const WAITING_MAX: usize = 10_000;

/// Hour, limit, team, agent.
type Key = (i64, HourKind, TeamId, CompactString);

/// What blew, and what of it is known to be written down.
#[derive(Debug, Default)]
pub(super) struct FuseWatch {
    waiting: BTreeMap<Key, HourAlertRow>,
    /// With the limit it blew at: a fuse may first refuse one request alone, and blow later; or again, at a limit that
    /// a reload raised.
    raised: BTreeMap<Key, Option<MicroCredits>>,
}

impl FuseWatch {
    /// Takes notice of what blew since the last time.
    pub(super) fn look(&mut self, snapshot: &Snapshot, now: Timestamp) {
        for fuse in snapshot.fuses.all() {
            for hour in &fuse.hours {
                for blown in hour.found(&fuse.limits) {
                    let alert = alert(snapshot, fuse, hour.number(), blown, now);
                    self.note(alert);
                }
            }
        }
        let before = snapshot.fuses.first.saturating_sub(1);
        self.raised.retain(|(hour, ..), _| *hour >= before);
    }

    fn note(&mut self, alert: HourAlertRow) {
        let key = key(&alert);
        let is_known = self
            .raised
            .get(&key)
            .is_some_and(|blew_at| !alert.blown || *blew_at >= Some(alert.allowed));
        if !is_known && self.waiting.len() < WAITING_MAX {
            self.waiting.insert(key, alert);
        }
    }

    /// What is to be written down.
    pub(super) fn waiting(&self) -> Vec<HourAlertRow> {
        self.waiting.values().cloned().collect()
    }

    /// It was.
    pub(super) fn raised(&mut self, alert: &HourAlertRow) {
        let key = key(alert);
        self.waiting.remove(&key);
        self.raised
            .insert(key, alert.blown.then_some(alert.allowed));
    }
}

fn key(alert: &HourAlertRow) -> Key {
    let agent = CompactString::from(alert.agent.as_str());
    (alert.hour, alert.kind, alert.team, agent)
}

fn alert(
    snapshot: &Snapshot,
    fuse: &Fuse,
    hour: i64,
    blown: Blown,
    now: Timestamp,
) -> HourAlertRow {
    HourAlertRow {
        hour,
        kind: match blown.cause {
            Cause::RequestTooDear | Cause::AnswerTooDear => HourKind::MaxPerRequest,
            Cause::RequestOverHour | Cause::HourFull => HourKind::MaxPerHour,
        },
        team: fuse.team,
        agent: fuse.agent.as_deref().unwrap_or_default().to_owned(),
        session: String::new(),
        period: snapshot.live.books.period.name,
        at: now,
        used: blown.committed,
        allowed: blown.at_most,
        blown: blown.cause.is_blown(),
    }
}

pub(super) fn say(alert: &HourAlertRow, team: &TeamEntry) {
    let until = Timestamp::from_second(fuse::end_of_hour(alert.hour)).unwrap_or(Timestamp::MAX);
    let (fuse, level) = (alert.kind.name(), alert.kind.level().name());
    let (used, limit, shadow) = (alert.used, alert.allowed, !team.enforce);
    let (team, agent) = (&*team.name, alert.agent.as_str());
    if alert.blown {
        tracing::error!(
            team, agent, fuse, level, %used, %limit, %until, shadow,
            "a fuse has blown: every call of the agent, or of the team where none is named, is refused until the hour's end"
        );
    } else {
        tracing::error!(
            team, agent, fuse, level, estimate = %used, %limit, shadow,
            "a call was refused by itself: it is expected to cost more than it may"
        );
    }
}
