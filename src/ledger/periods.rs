//! The facts of periods and allocations, as rows: written once, never rewritten.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::carried;
use super::event::TeamId;
use super::live::LivePeriod;
use super::rows::{millis, source, timestamp};
use crate::budget::account::{Account, Total};
use crate::budget::books::{PeriodBooks, TeamBooks, YearBooks};
use crate::budget::breaker::{Breaker, Marks, Shown};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Source;
use crate::budget::period::{Period, PeriodName};
use crate::config::checked::CarryOver;

/// What holds for a period, as it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodFacts {
    /// The pool's time zone.
    pub zone: String,
    /// The month's pool.
    pub month_pool: MicroCredits,
    /// The central buffer.
    pub buffer: MicroCredits,
    /// The most burst.
    pub burst: MicroCredits,
    /// The contract year's credits.
    pub annual_credits: MicroCredits,
    /// Where what teams left of the period before goes.
    pub carry_over: CarryOver,
    /// The config it began under.
    pub config_hash: String,
}

/// A team's allocation from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationFact {
    /// Whose.
    pub team: TeamId,
    /// How much.
    pub allocation: MicroCredits,
    /// The part of it that overrides gave.
    pub by_override: MicroCredits,
    /// The team's own tags, as JSON.
    pub tags: Arc<str>,
}

/// What a configuration changes of a period's allocations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationChange {
    /// Teams nobody has heard of, under the numbers the other facts name them by.
    pub new_teams: Vec<(TeamId, String)>,
    /// Every team's allocation, old and new ones.
    pub facts: Vec<AllocationFact>,
    /// From when on.
    pub at: Timestamp,
    /// The config that says so.
    pub config_hash: String,
}

/// The team number of the main breaker in `shown`.
const MAIN_BREAKER: i64 = -1;

/// The period that began last.
pub(super) fn newest(connection: &Connection) -> rusqlite::Result<Option<Period>> {
    let sql =
        "SELECT name, start_ms, end_ms, year, month FROM period ORDER BY start_ms DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        let name = PeriodName::from_code(row.get(0)?);
        let (start, end) = (timestamp(row.get(1)?), timestamp(row.get(2)?));
        let (year, month) = (row.get(3)?, row.get(4)?);
        Ok(name.map(|name| Period {
            name,
            start,
            end,
            year,
            month,
        }))
    };
    connection
        .query_row(sql, [], read)
        .optional()
        .map(Option::flatten)
}

/// The name of the zone of the period that began last.
pub(super) fn zone(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT zone FROM period ORDER BY start_ms DESC LIMIT 1";
    connection.query_row(sql, [], |row| row.get(0)).optional()
}

/// Writes the facts of a period, unless they are there; whether they are new.
pub(super) fn record(
    connection: &Connection,
    period: &Period,
    facts: &PeriodFacts,
) -> rusqlite::Result<bool> {
    let written = connection.execute(
        "INSERT INTO period (name, start_ms, end_ms, zone, year, month, month_pool, buffer, burst, annual_credits, config_hash)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        params![
            period.name.code(),
            millis(period.start),
            millis(period.end),
            facts.zone,
            period.year,
            period.month,
            facts.month_pool.micros(),
            facts.buffer.micros(),
            facts.burst.micros(),
            facts.annual_credits.micros(),
            facts.config_hash,
        ],
    )?;
    Ok(written > 0)
}

/// Appends what changed of the allocations. `facts` are all there are: a team that is not among them was removed, and
/// has none left that it could carry over.
pub(super) fn record_allocations(
    connection: &Connection,
    period: PeriodName,
    change: &AllocationChange,
) -> rusqlite::Result<()> {
    let mut newest = connection.prepare_cached(
        "SELECT credits, by_override FROM allocation WHERE period = ? AND team = ? ORDER BY at_ms DESC LIMIT 1",
    )?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO allocation (period, team, at_ms, credits, config_hash, by_override) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET credits = excluded.credits, config_hash = excluded.config_hash,
             by_override = excluded.by_override",
    )?;
    let mut tags =
        connection.prepare_cached("UPDATE team SET tags = ? WHERE id = ? AND tags <> ?")?;
    for team in allocated(connection, period)? {
        if !change.facts.iter().any(|fact| fact.team.0 == team) {
            insert.execute(params![
                period.code(),
                team,
                millis(change.at),
                0,
                change.config_hash,
                0
            ])?;
        }
    }
    for fact in &change.facts {
        let (credits, by_override) = (fact.allocation.micros(), fact.by_override.micros());
        let known: Option<(i64, i64)> = newest
            .query_row(params![period.code(), fact.team.0], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        if known != Some((credits, by_override)) {
            insert.execute(params![
                period.code(),
                fact.team.0,
                millis(change.at),
                credits,
                change.config_hash,
                by_override
            ])?;
        }
        tags.execute(params![&*fact.tags, fact.team.0, &*fact.tags])?;
    }
    Ok(())
}

/// Teams that have an allocation.
fn allocated(connection: &Connection, period: PeriodName) -> rusqlite::Result<Vec<u32>> {
    let mut select = connection.prepare_cached(
        "SELECT team FROM allocation a WHERE period = ?1 AND credits <> 0 AND at_ms = (
             SELECT max(at_ms) FROM allocation n WHERE n.period = ?1 AND n.team = a.team)",
    )?;
    let teams = select.query_map([period.code()], |row| row.get(0))?;
    teams.collect()
}

/// A period's counters as the ledger remembers them, for so many teams.
pub(super) fn restore(
    connection: &Connection,
    period: &Period,
    teams: usize,
    year: Arc<YearBooks>,
) -> rusqlite::Result<LivePeriod> {
    let mut books: Vec<TeamBooks> = std::iter::repeat_with(TeamBooks::default)
        .take(teams)
        .collect();
    let mut totals = [0_i64; 4];
    let mut select = connection.prepare(
        "SELECT team, source, sum(granted), sum(settled) FROM account WHERE period = ? GROUP BY team, source",
    )?;
    let mut rows = select.query([period.name.code()])?;
    while let Some(row) = rows.next()? {
        let (team, granted, settled): (i64, i64, i64) = (row.get(0)?, row.get(2)?, row.get(3)?);
        let (Some(source), Some(books)) = (
            source(row.get(1)?),
            usize::try_from(team)
                .ok()
                .and_then(|team| books.get_mut(team)),
        ) else {
            continue;
        };
        let account = Account::restored(
            MicroCredits::from_micros(settled),
            MicroCredits::from_micros(granted),
        );
        match source {
            Source::Own => books.own = account,
            Source::Buffer => books.buffer = account,
            Source::Burst => books.burst = account,
            Source::Overage => books.overage = account,
        }
        if let Some(total) = totals.get_mut(source.index()) {
            *total = total.saturating_add(settled);
        }
    }
    let [own, buffer, burst, _] = totals;
    let total = |micros| Total::restored(MicroCredits::from_micros(micros));
    let mut restored = PeriodBooks::new(*period, year);
    restored.pool = total(own.saturating_add(buffer));
    restored.buffer = total(buffer);
    restored.burst = total(burst);
    let carried = carried::read(connection, period.name)?;
    let states = shown(connection, period.name)?;
    let limits = limits(connection, period.name)?;
    let restored_shown = |team: i64, more: MicroCredits| {
        let limit = limits.get(&team).and_then(|limit| limit.checked_add(more));
        let marks = Marks {
            limit: limit.unwrap_or(MicroCredits::MAX),
            ..Marks::NONE // where it tripped is not written down
        };
        let state = states.get(&team).copied().unwrap_or(Breaker::Closed);
        Shown::restored(state, marks)
    };
    for (team, books) in (0_i64..).zip(&mut books) {
        books.shown = restored_shown(team, MicroCredits::ZERO);
    }
    let more = carried.iter().map(|carried| carried.credits);
    let more = more.sum::<Option<_>>().unwrap_or(MicroCredits::MAX);
    restored.shown = restored_shown(MAIN_BREAKER, more);
    let books = books.into_iter().map(Arc::new).collect();
    Ok(LivePeriod::new(restored, books, carried))
}

/// What each team may spend, as last written down, and the month's pool, as the period began with.
fn limits(
    connection: &Connection,
    period: PeriodName,
) -> rusqlite::Result<BTreeMap<i64, MicroCredits>> {
    // A team that was taken out is brought back with what it had: that is no more than before.
    let sql = "SELECT team, credits FROM allocation AS a WHERE period = ?1 AND at_ms =
             (SELECT max(at_ms) FROM allocation WHERE period = ?1 AND team = a.team AND credits > 0)
         UNION ALL SELECT ?2, month_pool FROM period WHERE name = ?1";
    let mut select = connection.prepare(sql)?;
    let rows = select.query_map([period.code(), MAIN_BREAKER], |row| {
        Ok((row.get(0)?, MicroCredits::from_micros(row.get(1)?)))
    })?;
    rows.collect()
}

fn shown(connection: &Connection, period: PeriodName) -> rusqlite::Result<BTreeMap<i64, Breaker>> {
    let mut select = connection.prepare("SELECT team, state FROM shown WHERE period = ?")?;
    let rows = select.query_map([period.code()], |row| {
        let state: String = row.get(1)?;
        Ok((
            row.get(0)?,
            Breaker::parse(&state).unwrap_or(Breaker::Closed),
        ))
    })?;
    rows.collect()
}

/// Breakers as shown, the main one first: what is compared with what was written.
pub(super) fn shown_now(live: &LivePeriod) -> Vec<(i64, Breaker)> {
    let teams = (0_i64..)
        .zip(live.teams().iter())
        .map(|(team, books)| (team, books.shown.get()))
        .collect::<Vec<_>>();
    std::iter::once((MAIN_BREAKER, live.books.shown.get()))
        .chain(teams)
        .collect()
}

/// Writes breakers as shown.
pub(super) fn record_shown(
    connection: &Connection,
    period: PeriodName,
    changed: &[(i64, Breaker)],
) -> rusqlite::Result<()> {
    let mut upsert = connection.prepare_cached(
        "INSERT INTO shown (period, team, state) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state",
    )?;
    for (team, state) in changed {
        upsert.execute(params![period.code(), team, state.name()])?;
    }
    Ok(())
}

/// The contract year a period lies in, if it is known.
pub(super) fn year_of(connection: &Connection, period: i64) -> rusqlite::Result<Option<u32>> {
    let sql = "SELECT year FROM period WHERE name = ?";
    connection
        .query_row(sql, [period], |row| row.get(0))
        .optional()
}

/// The sums of a contract year over all its periods.
pub(super) fn year_sums(connection: &Connection, year: u32) -> rusqlite::Result<YearBooks> {
    let sum = |overage: bool| -> rusqlite::Result<Total> {
        let sql = format!(
            "SELECT coalesce(sum(settled), 0) FROM account WHERE source {} ?1
             AND period IN (SELECT name FROM period WHERE year = ?2)",
            if overage { "=" } else { "<>" }
        );
        let overage = super::rows::code(Source::Overage.index());
        let micros: i64 = connection.query_row(&sql, params![overage, year], |row| row.get(0))?;
        Ok(Total::restored(MicroCredits::from_micros(micros)))
    };
    Ok(YearBooks {
        committed: sum(false)?,
        overage: sum(true)?,
    })
}
