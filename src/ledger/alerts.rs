//! Alerts as rows: what makes them come once per team, level and period, also across restarts.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::event::TeamId;
use super::rows::{millis, timestamp};
use crate::budget::credits::MicroCredits;
use crate::budget::period::PeriodName;

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The first configured level: 50 %.
    Info,
    /// Later ones: 75 %.
    Warning,
    /// The breaker opened.
    Critical,
}

impl Level {
    /// The word in API, log and metric.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Critical]
            .into_iter()
            .find(|level| level.name() == name)
    }
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRow {
    /// Whose allocation it is about.
    pub team: TeamId,
    /// In which period.
    pub period: PeriodName,
    /// How urgent.
    pub level: Level,
    /// The configured level, in basis points; tells levels of one name apart.
    pub percent_bp: u32,
    /// When it was raised.
    pub at: Timestamp,
    /// Own credits settled then.
    pub used: MicroCredits,
    /// Own credits committed then.
    pub committed: MicroCredits,
    /// The allocation then.
    pub allocation: MicroCredits,
}

/// Writes an alert; false if it was raised before and not re-armed.
pub(super) fn raise(connection: &Connection, alert: &AlertRow) -> rusqlite::Result<bool> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO alert (period, team, level, percent_bp, at_ms, used, committed, allocation)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    let rows = insert.execute(params![
        alert.period.code(),
        alert.team.0,
        alert.level.name(),
        alert.percent_bp,
        millis(alert.at),
        alert.used.micros(),
        alert.committed.micros(),
        alert.allocation.micros(),
    ])?;
    Ok(rows > 0)
}

/// These levels may be raised again.
pub(super) fn rearm(
    connection: &Connection,
    team: TeamId,
    period: PeriodName,
    percents_bp: &[u32],
    at: Timestamp,
) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached(
        "UPDATE alert SET rearmed_ms = ? WHERE period = ? AND team = ? AND percent_bp = ? AND rearmed_ms IS NULL",
    )?;
    for percent in percents_bp {
        update.execute(params![millis(at), period.code(), team.0, percent])?;
    }
    Ok(())
}

/// Every alert of a period, in the order they were raised.
pub(super) fn list(connection: &Connection, period: PeriodName) -> rusqlite::Result<Vec<AlertRow>> {
    let mut select = connection.prepare_cached(
        "SELECT team, level, percent_bp, at_ms, used, committed, allocation FROM alert WHERE period = ? ORDER BY id",
    )?;
    let rows = select.query_map([period.code()], |row| {
        let level: String = row.get(1)?;
        Ok(AlertRow {
            team: TeamId(row.get(0)?),
            period,
            level: Level::parse(&level).unwrap_or(Level::Critical),
            percent_bp: row.get(2)?,
            at: timestamp(row.get(3)?),
            used: MicroCredits::from_micros(row.get(4)?),
            committed: MicroCredits::from_micros(row.get(5)?),
            allocation: MicroCredits::from_micros(row.get(6)?),
        })
    })?;
    rows.collect()
}
