//! What teams left of their allocations goes with them into the next period of the contract year, if the pool says so.
//!
//! Written once, with the facts of the period as it begins; a reload or a restart changes nothing of it. What is
//! settled later than the edge is not taken back: the contract year's credits are the limit of all of it. What an
//! override gave belongs to its period, and is not carried.

use rusqlite::{Connection, OptionalExtension, params};

use super::event::TeamId;
use super::live::LivePeriod;
use super::rows::timestamp;
use crate::budget::credits::MicroCredits;
use crate::budget::period::{Period, PeriodName};
use crate::config::checked::CarryOver;

/// What one team left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// Who left it.
    pub team: TeamId,
    /// It is the central buffer's now, no longer the team's.
    pub to_buffer: bool,
    /// How much.
    pub credits: MicroCredits,
}

/// Writes down what the period before left over, if that lies in the same contract year. `live` knows better than
/// the rows what was spent: events may be under way.
pub(super) fn write(
    connection: &Connection,
    period: &Period,
    carry_over: CarryOver,
    live: &[std::sync::Arc<LivePeriod>],
) -> rusqlite::Result<()> {
    if carry_over == CarryOver::None {
        return Ok(());
    }
    let sql = "SELECT name, year FROM period WHERE start_ms < ? ORDER BY start_ms DESC LIMIT 1";
    let start = super::rows::millis(period.start);
    let before = connection
        .query_row(sql, [start], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((before, _)) = before.filter(|(_, year): &(i64, u32)| *year == period.year) else {
        return Ok(());
    };
    let books = live
        .iter()
        .find(|live| live.books.period.name.code() == before);
    let mut select = connection.prepare(
        "SELECT a.team, a.credits - a.by_override, coalesce((SELECT sum(settled) FROM account s
             WHERE s.period = a.period AND s.team = a.team AND s.source = 0), 0)
         FROM allocation a
         WHERE a.period = ?1 AND a.at_ms = (SELECT max(at_ms) FROM allocation n
             WHERE n.period = a.period AND n.team = a.team)",
    )?;
    let rows = select.query_map([before], |row| {
        Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?, row.get(2)?))
    })?;
    let mut insert = connection.prepare(
        "INSERT INTO carried (period, team, from_period, to_buffer, credits) VALUES (?, ?, ?, ?, ?)",
    )?;
    for row in rows {
        let (team, allocation, settled): (u32, i64, i64) = row?;
        let at = usize::try_from(team).unwrap_or(usize::MAX);
        let committed = books.and_then(|live| {
            let teams = live.teams();
            teams.get(at).map(|team| team.own.committed().micros())
        });
        let left = allocation.saturating_sub(committed.unwrap_or(settled));
        if left > 0 {
            let to_buffer = carry_over == CarryOver::Buffer;
            insert.execute(params![period.name.code(), team, before, to_buffer, left])?;
        }
    }
    tracing::info!(
        period = %period.name,
        began = %timestamp(start),
        "what teams left over was carried into the period"
    );
    Ok(())
}

/// What was carried into a period.
pub(super) fn read(connection: &Connection, period: PeriodName) -> rusqlite::Result<Vec<Carried>> {
    let mut select = connection
        .prepare("SELECT team, to_buffer, credits FROM carried WHERE period = ? ORDER BY team")?;
    let rows = select.query_map([period.code()], |row| {
        Ok(Carried {
            team: TeamId(row.get(0)?),
            to_buffer: row.get(1)?,
            credits: MicroCredits::from_micros(row.get(2)?),
        })
    })?;
    rows.collect()
}
