//! What people decided beside the configuration: extra credits, a held breaker, shadow for a time.
//!
//! A row each, with reason, author and end, and a line in the audit for its beginning and its end. A row is
//! never deleted; once its end is written down it is history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::commands::Command;
use super::event::TeamId;
use super::rows::{millis, timestamp};
use super::{Ledger, LedgerError, sqlite};
use crate::budget::credits::MicroCredits;
use crate::budget::period::PeriodName;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Its number, from 1; 0 before it is written down.
    pub id: i64,
    /// When it was made.
    pub at: Timestamp,
    /// The period it was made in.
    pub period: PeriodName,
    /// Whom it concerns; `None` is all teams.
    pub team: Option<TeamId>,
    /// What it does.
    pub effect: Effect,
    /// The first instant it does so no longer.
    pub until: Timestamp,
    /// Why.
    pub reason: String,
    /// Who decided.
    pub author: String,
    /// What the caller named the request, so that a retry makes no second one.
    pub asked_as: Option<String>,
    /// When its end was written down.
    pub ended: Option<Timestamp>,
}

/// What an override does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// More allocation for a team.
    Credits(Funded, MicroCredits),
    /// A team's breaker, held.
    Hold(Hold),
    /// Refusals are only noted.
    Shadow,
}

/// Where extra credits come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funded {
    /// The central buffer, which shrinks by as much.
    Buffer,
    /// The contract year: the month's pool grows.
    Annual,
}

/// How a breaker is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Tripped, whatever is committed.
    Open,
    /// Not tripped before the allocation is used up.
    Closed,
}

impl Funded {
    /// The word in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buffer => "buffer",
            Self::Annual => "annual",
        }
    }
}

impl Hold {
    /// The word in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl Effect {
    /// In words, for log and audit.
    pub fn describe(self) -> String {
        match self {
            Self::Credits(Funded::Buffer, credits) => {
                format!("{credits} credits out of the central buffer")
            }
            Self::Credits(Funded::Annual, credits) => {
                format!("{credits} credits out of the contract year")
            }
            Self::Hold(hold) => format!("the breaker is held {}", hold.name()),
            Self::Shadow => "refusals are only noted".to_owned(),
        }
    }

    /// Of all teams, or of one.
    pub const fn is_mode(self) -> bool {
        matches!(self, Self::Shadow)
    }

    const fn code(self) -> (&'static str, i64) {
        match self {
            Self::Credits(Funded::Buffer, credits) => ("buffer_credits", credits.micros()),
            Self::Credits(Funded::Annual, credits) => ("annual_credits", credits.micros()),
            Self::Hold(Hold::Open) => ("breaker_open", 0),
            Self::Hold(Hold::Closed) => ("breaker_closed", 0),
            Self::Shadow => ("shadow", 0),
        }
    }

    pub(super) fn read(code: &str, micros: i64) -> Option<Self> {
        let credits = MicroCredits::from_micros(micros);
        Some(match code {
            "buffer_credits" => Self::Credits(Funded::Buffer, credits),
            "annual_credits" => Self::Credits(Funded::Annual, credits),
            "breaker_open" => Self::Hold(Hold::Open),
            "breaker_closed" => Self::Hold(Hold::Closed),
            "shadow" => Self::Shadow,
            _ => return None,
        })
    }
}

/// Who ends an override, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// Why.
    pub reason: String,
    /// Who.
    pub author: String,
    /// The address that asked; empty where nobody did.
    pub remote: String,
}

/// An override to write down.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) row: Override,
    pub(super) remote: String,
    /// Those it takes the place of.
    pub(super) replaces: Vec<i64>,
    /// False once whoever asked was told that it was not done: then it is not done later either.
    pub(super) wanted: Arc<AtomicBool>,
}

/// The end of an override, to write down.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) id: i64,
    pub(super) at: Timestamp,
    pub(super) by: By,
}

impl Ledger {
    /// Writes an override down, and the end of those it takes the place of; its number.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn make_override(
        &self,
        row: Override,
        remote: &str,
        replaces: Vec<i64>,
    ) -> Result<i64, LedgerError> {
        let remote = remote.to_owned();
        let wanted = Arc::new(AtomicBool::new(true));
        let made = Made {
            row,
            remote,
            replaces,
            wanted: Arc::clone(&wanted),
        };
        let made = self.ask(|reply| Command::MakeOverride(Box::new(made), reply));
        made.inspect_err(|_| wanted.store(false, Ordering::Release))
    }

    /// Writes down that an override is over.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_override(&self, id: i64, at: Timestamp, by: By) -> Result<(), LedgerError> {
        let ended = Ended { id, at, by };
        self.ask(|reply| Command::EndOverride(Box::new(ended), reply))
    }

    /// Overrides whose end is not written down, the oldest first.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn open_overrides(&self) -> Result<Vec<Override>, LedgerError> {
        open(&sqlite::open_to_read(self.path())?)
    }

    /// The override a caller named so, ended or not.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn override_asked_as(&self, name: &str) -> Result<Option<Override>, LedgerError> {
        let connection = sqlite::open_to_read(self.path())?;
        one(&connection, "asked_as = ?", params![name])
    }

    /// An override by its number, ended or not.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn override_of(&self, id: i64) -> Result<Option<Override>, LedgerError> {
        one(&sqlite::open_to_read(self.path())?, "id = ?", params![id])
    }

    /// The newest overrides first, ended or not; of one team, or of all.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn newest_overrides(
        &self,
        team: Option<TeamId>,
        count: u32,
    ) -> Result<Vec<Override>, LedgerError> {
        let connection = sqlite::open_to_read(self.path())?;
        let sql = format!("{SELECT} WHERE ?1 IS NULL OR team = ?1 ORDER BY id DESC LIMIT ?2");
        let mut select = connection.prepare(&sql)?;
        let rows = select.query_map(params![team.map(|team| team.0), count], read)?;
        known(rows.collect::<rusqlite::Result<Vec<_>>>()?)
    }
}

const SELECT: &str =
    "SELECT id, at_ms, period, team, effect, credits, until_ms, reason, author, asked_as, ended_ms
    FROM override";

/// Overrides whose end is not written down.
pub(super) fn open(connection: &Connection) -> Result<Vec<Override>, LedgerError> {
    let mut select = connection.prepare(&format!("{SELECT} WHERE ended_ms IS NULL ORDER BY id"))?;
    let rows = select.query_map([], read)?;
    known(rows.collect::<rusqlite::Result<Vec<_>>>()?)
}

fn one(
    connection: &Connection,
    which: &str,
    value: &[&dyn rusqlite::ToSql],
) -> Result<Option<Override>, LedgerError> {
    let found = connection.query_row(&format!("{SELECT} WHERE {which}"), value, read);
    Ok(known(found.optional()?.into_iter().collect())?.pop())
}

fn known(rows: Vec<Option<Override>>) -> Result<Vec<Override>, LedgerError> {
    let all: Option<Vec<_>> = rows.into_iter().collect();
    all.ok_or_else(|| {
        LedgerError::Refused("the ledger has an override this version does not know".to_owned())
    })
}

fn read(row: &Row<'_>) -> rusqlite::Result<Option<Override>> {
    let (effect, period): (String, i64) = (row.get(4)?, row.get(2)?);
    let (Some(effect), Some(period)) = (
        Effect::read(&effect, row.get(5)?),
        PeriodName::from_code(period),
    ) else {
        return Ok(None);
    };
    Ok(Some(Override {
        id: row.get(0)?,
        at: timestamp(row.get(1)?),
        period,
        team: row.get::<_, Option<u32>>(3)?.map(TeamId),
        effect,
        until: timestamp(row.get(6)?),
        reason: row.get(7)?,
        author: row.get(8)?,
        asked_as: row.get(9)?,
        ended: row.get::<_, Option<i64>>(10)?.map(timestamp),
    }))
}

impl Made {
    /// Whether somebody still waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }
}

/// In one transaction: the row, its line in the audit, and the end of those it takes the place of.
pub(super) fn make(connection: &mut Connection, made: &Made) -> rusqlite::Result<i64> {
    let Made {
        row,
        remote,
        replaces,
        ..
    } = made;
    let (effect, micros) = row.effect.code();
    let transaction = connection.transaction()?;
    transaction.execute(
        "INSERT INTO override (at_ms, period, team, effect, credits, until_ms, reason, author, asked_as)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            millis(row.at),
            row.period.code(),
            row.team.map(|team| team.0),
            effect,
            micros,
            millis(row.until),
            row.reason,
            row.author,
            row.asked_as,
        ],
    )?;
    let id = transaction.last_insert_rowid();
    let mut by = By {
        reason: row.reason.clone(),
        author: row.author.clone(),
        remote: remote.clone(),
    };
    let action = match row.effect.is_mode() {
        true => "mode",
        false => "override",
    };
    note(&transaction, (action, id), row.at, &by)?;
    by.reason = format!("replaced by {id}: {}", row.reason);
    for replaced in replaces {
        end_one(&transaction, *replaced, row.at, &by)?;
    }
    transaction.commit()?;
    Ok(id)
}

/// In one transaction: the end, and its line in the audit.
pub(super) fn end(connection: &mut Connection, ended: &Ended) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    end_one(&transaction, ended.id, ended.at, &ended.by)?;
    transaction.commit()
}

fn end_one(connection: &Connection, id: i64, at: Timestamp, by: &By) -> rusqlite::Result<()> {
    let sql = "UPDATE override SET ended_ms = ? WHERE id = ? AND ended_ms IS NULL RETURNING effect";
    let effect: Option<String> = connection
        .query_row(sql, [millis(at), id], |row| row.get(0))
        .optional()?;
    match effect.as_deref() {
        None => Ok(()), // over already
        Some("shadow") => note(connection, ("mode_ended", id), at, by),
        Some(_) => note(connection, ("override_ended", id), at, by),
    }
}

fn note(
    connection: &Connection,
    (action, id): (&str, i64),
    at: Timestamp,
    by: &By,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO audit (at_ms, action, override, reason, author, remote) VALUES (?, ?, ?, ?, ?, ?)",
        params![millis(at), action, id, by.reason, by.author, by.remote],
    )?;
    Ok(())
}

#[cfg(test)]
#[path = "overrides_tests.rs"]
mod tests;
