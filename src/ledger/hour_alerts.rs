//! The running hour as the ledger remembers it, and alerts that come once an hour: fuses and abnormal rates.
//!
//! Read from the hourly rollups beside the running writer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::alerts::Level;
use super::commands::Command;
use super::event::TeamId;
use super::rows::{millis, timestamp};
use super::{Ledger, LedgerError, sqlite};
use crate::budget::credits::MicroCredits;
use crate::budget::fuse::Cause;
use crate::budget::period::PeriodName;
use crate::salesforce::NamedKind;

/// What happened in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HourKind {
    /// A request or an answer was dearer than `max_per_request`.
    MaxPerRequest,
    /// The hour's requests reached `max_per_hour`.
    MaxPerHour,
    /// An agent spent far more than in its own hours before.
    AbnormalAgent,
    /// A conversation cost far more than others of its agent.
    AbnormalSession,
}

impl HourKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::MaxPerRequest,
        Self::MaxPerHour,
        Self::AbnormalAgent,
        Self::AbnormalSession,
    ];

    /// The word in API, log and ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxPerRequest => "max_per_request",
            Self::MaxPerHour => "max_per_hour",
            Self::AbnormalAgent => "abnormal_agent",
            Self::AbnormalSession => "abnormal_session",
        }
    }

    /// A fuse refuses calls, so somebody must look now; an abnormal rate may turn out to be meant.
    pub const fn level(self) -> Level {
        match self {
            Self::MaxPerRequest | Self::MaxPerHour => Level::Critical,
            Self::AbnormalAgent | Self::AbnormalSession => Level::Warning,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// An alert of one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourAlertRow {
    /// Counted from the epoch.
    pub hour: i64,
    /// What happened.
    pub kind: HourKind,
    /// Whose fuse, or whose agent.
    pub team: TeamId,
    /// The agent; empty where it is the team's own fuse.
    pub agent: String,
    /// The conversation, of an abnormal one.
    pub session: String,
    /// In which period.
    pub period: PeriodName,
    /// When it was raised.
    pub at: Timestamp,
    /// What was spent, or asked for.
    pub used: MicroCredits,
    /// The limit, or the norm.
    pub allowed: MicroCredits,
    /// Everything is refused until the hour's end.
    pub blown: bool,
}

impl Ledger {
    /// Writes an alert of an hour down; false if it was raised before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn raise_hour_alert(&self, alert: HourAlertRow) -> Result<bool, LedgerError> {
        self.ask(|reply| Command::RaiseHourAlert(alert, reply))
    }

    /// What was settled in an hour, counted from the epoch, and which fuses had blown.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn hour(&self, hour: i64) -> Result<HourSums, LedgerError> {
        let connection = sqlite::open_to_read(&self.0.path)?;
        Ok(sums(&connection, hour)?)
    }

    /// What agents settled in each hour from one to before another.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn agent_hours(&self, from: i64, to: i64) -> Result<Vec<AgentHour>, LedgerError> {
        let connection = sqlite::open_to_read(&self.0.path)?;
        Ok(agents(&connection, from, to)?)
    }
}

/// Writes an alert; false if it was raised before. A fuse that has blown since, or at a higher limit, is noted in its row.
pub(super) fn raise(connection: &Connection, alert: &HourAlertRow) -> rusqlite::Result<bool> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO hour_alert (hour, kind, team, agent, session, period, at_ms, used, allowed, blown)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )?;
    let rows = insert.execute(params![
        alert.hour,
        alert.kind.name(),
        alert.team.0,
        alert.agent,
        alert.session,
        alert.period.code(),
        millis(alert.at),
        alert.used.micros(),
        alert.allowed.micros(),
        alert.blown,
    ])?;
    if rows == 0 && alert.blown {
        let mut update = connection.prepare_cached(
            "UPDATE hour_alert SET blown = 1, used = ?, allowed = ?
             WHERE (blown = 0 OR allowed < ?2) AND hour = ? AND kind = ? AND team = ? AND agent = ? AND session = ?",
        )?;
        update.execute(params![
            alert.used.micros(),
            alert.allowed.micros(),
            alert.hour,
            alert.kind.name(),
            alert.team.0,
            alert.agent,
            alert.session,
        ])?;
    }
    Ok(rows > 0)
}

/// Every alert of a period, in the order they were raised.
pub(super) fn list(
    connection: &Connection,
    period: PeriodName,
) -> rusqlite::Result<Vec<HourAlertRow>> {
    read(connection, "period = ?", period.code())
}

fn read(
    connection: &Connection,
    which: &str,
    parameter: i64,
) -> rusqlite::Result<Vec<HourAlertRow>> {
    let mut select = connection.prepare(&format!(
        "SELECT hour, kind, team, agent, session, period, at_ms, used, allowed, blown
         FROM hour_alert WHERE {which} ORDER BY id"
    ))?;
    let rows = select.query_map([parameter], |row| {
        let (kind, period): (String, i64) = (row.get(1)?, row.get(5)?);
        let known = HourKind::parse(&kind).zip(PeriodName::from_code(period));
        let Some((kind, period)) = known else {
            return Ok(None); // of a later version
        };
        Ok(Some(HourAlertRow {
            hour: row.get(0)?,
            kind,
            team: TeamId(row.get(2)?),
            agent: row.get(3)?,
            session: row.get(4)?,
            period,
            at: timestamp(row.get(6)?),
            used: MicroCredits::from_micros(row.get(7)?),
            allowed: MicroCredits::from_micros(row.get(8)?),
            blown: row.get(9)?,
        }))
    })?;
    rows.filter_map(Result::transpose).collect()
}

/// An hour's sums, and what had blown in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HourSums {
    teams: BTreeMap<TeamId, MicroCredits>,
    agents: BTreeMap<String, MicroCredits>,
    blown: Vec<HourAlertRow>,
}

impl HourSums {
    /// What a team, or an agent whoever paid, settled in the hour.
    pub fn settled(&self, team: TeamId, agent: Option<&str>) -> MicroCredits {
        let sum = match agent {
            Some(agent) => self.agents.get(agent),
            None => self.teams.get(&team),
        };
        sum.copied().unwrap_or_default()
    }

    /// What of a fuse had blown, at which limit.
    pub fn blown(
        &self,
        team: TeamId,
        agent: Option<&str>,
    ) -> impl Iterator<Item = (Cause, MicroCredits)> {
        let of_fuse = move |row: &&HourAlertRow| match agent {
            Some(agent) => row.agent == agent,
            None => row.agent.is_empty() && row.team == team,
        };
        self.blown.iter().filter(of_fuse).filter_map(|row| {
            let cause = match row.kind {
                HourKind::MaxPerRequest => Cause::AnswerTooDear,
                HourKind::MaxPerHour => Cause::HourFull,
                HourKind::AbnormalAgent | HourKind::AbnormalSession => return None,
            };
            Some((cause, row.allowed))
        })
    }
}

/// Reads an hour.
pub(super) fn sums(connection: &Connection, hour: i64) -> rusqlite::Result<HourSums> {
    let credits = MicroCredits::from_micros;
    let mut select = connection.prepare_cached(
        "SELECT team, sum(credits) FROM rollup_team WHERE minute >= ?1 * 60 AND minute < ?1 * 60 + 60 GROUP BY team",
    )?;
    let teams = select.query_map([hour], |row| {
        Ok((TeamId(row.get(0)?), credits(row.get(1)?)))
    })?;
    let teams = teams.collect::<rusqlite::Result<_>>()?;
    let agents = agents(connection, hour, hour.saturating_add(1))?;
    Ok(HourSums {
        teams,
        agents: agents
            .into_iter()
            .map(|sum| (sum.agent, sum.credits))
            .collect(),
        blown: read(connection, "blown = 1 AND hour = ?", hour)?,
    })
}

/// What an agent settled in an hour, whoever paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentHour {
    /// The agent's id.
    pub agent: String,
    /// Counted from the epoch.
    pub hour: i64,
    /// Its credits.
    pub credits: MicroCredits,
}

/// Every agent's hours from one to before another.
fn agents(connection: &Connection, from: i64, to: i64) -> rusqlite::Result<Vec<AgentHour>> {
    let mut select = connection.prepare_cached(
        "SELECT named, minute / 60, sum(credits) FROM rollup
         WHERE minute >= ? * 60 AND minute < ? * 60 AND named_kind = ? GROUP BY 1, 2",
    )?;
    let rows = select.query_map(params![from, to, NamedKind::Agent.name()], |row| {
        Ok(AgentHour {
            agent: row.get(0)?,
            hour: row.get(1)?,
            credits: MicroCredits::from_micros(row.get(2)?),
        })
    })?;
    rows.collect()
}
