//! What one request left behind: its event, what was corrected of it, and the configuration it was priced by.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::commands::Command;
use super::event::RequestId;
use super::rows::{millis, timestamp};
use super::stored::{COLUMNS, EventRef, Stored};
use super::{Ledger, LedgerError, OpenError, days, schema};
use crate::budget::credits::MicroCredits;

/// Rows of a day looked through at once: about a tenth of a second, so that a deadline is kept.
const ROWS_AT_ONCE: i64 = 500_000;

/// What one request left behind.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its event, as it was settled.
    pub event: Stored,
    /// What people decided of it since, in order.
    pub corrections: Vec<Corrected>,
    /// What was in force when it was admitted; `None` before that was written down.
    pub config: Option<ConfigUsed>,
}

/// A correction of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Corrected {
    /// When it was asked for.
    pub at: Timestamp,
    /// What the event shall have cost.
    pub credits: MicroCredits,
    /// What was added for it; `None` until it is booked.
    pub change: Option<MicroCredits>,
    /// Why it cannot be booked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Why.
    pub reason: String,
    /// Who decided.
    pub author: String,
}

/// A configuration, as far as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigUsed {
    /// Its hash.
    pub hash: String,
    /// The rate card chosen in it.
    pub rate_card: String,
}

impl Ledger {
    /// Writes down which configuration is in force from now on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn config_used(&self, used: ConfigUsed, now: Timestamp) -> Result<(), LedgerError> {
        self.ask(|reply| Command::ConfigUsed(used, now, reply))
    }
}

/// Looks for a request in every day that is kept, the newest first, beside a running gateway or without one.
/// `going` hears days done, of how many, and the day; false ends the search.
///
/// # Errors
/// When the ledger cannot be read, or the search was ended.
pub fn trace(
    path: &Path,
    request: RequestId,
    going: &mut dyn FnMut(usize, usize, &str) -> bool,
) -> Result<Option<Trace>, LedgerError> {
    let main = schema::open_to_read(path)?;
    let Some(event) = find(path, request, going)? else {
        return Ok(None);
    };
    Ok(Some(Trace {
        corrections: corrections(&main, event.event)?,
        config: config_at(&main, event.at)?,
        event,
    }))
}

/// The event of a request.
pub(super) fn find(
    path: &Path,
    request: RequestId,
    going: &mut dyn FnMut(usize, usize, &str) -> bool,
) -> Result<Option<Stored>, LedgerError> {
    let all = days::list(&days::folder(path));
    for (at, file) in all.iter().rev().enumerate() {
        let name = days::name(file.day);
        let mut goes_on = || going(at, all.len(), &name);
        let connection = days::open_to_read(&file.path)?;
        let newest: Option<i64> =
            connection.query_row("SELECT max(id) FROM event", [], |row| row.get(0))?;
        let mut below = newest.unwrap_or(0);
        while below > 0 {
            if !goes_on() {
                return Err(LedgerError::Refused(format!(
                    "the search took too long, and got to {name}; `breakerbox why` takes the time it needs"
                )));
            }
            let above = below.saturating_sub(ROWS_AT_ONCE);
            let sql = "SELECT id FROM event WHERE id > ? AND id <= ? AND request = ? AND kind <> 5
                 ORDER BY id DESC LIMIT 1";
            let key = params![above, below, request.0.to_be_bytes()];
            let row = connection.query_row(sql, key, |row| row.get(0));
            if let Some(row) = row.optional()? {
                let event = EventRef { day: file.day, row };
                return Ok(read(&file.path, event)?);
            }
            below = above;
        }
    }
    Ok(None)
}

/// An event by its place.
pub(super) fn read(file: &Path, event: EventRef) -> Result<Option<Stored>, OpenError> {
    let connection = days::open_to_read(file)?;
    let sql =
        format!("SELECT {COLUMNS} FROM event e LEFT JOIN team t ON t.id = e.team WHERE e.id = ?");
    let stored = connection.query_row(&sql, [event.row], |row| Stored::read(event.day, row));
    Ok(stored.optional()?)
}

fn corrections(main: &Connection, event: EventRef) -> rusqlite::Result<Vec<Corrected>> {
    let mut select = main.prepare(
        "SELECT at_ms, credits, change, reason, author, refused FROM correction WHERE day = ? AND event = ? ORDER BY id",
    )?;
    let rows = select.query_map([event.day, event.row], |row| {
        Ok(Corrected {
            at: timestamp(row.get(0)?),
            credits: MicroCredits::from_micros(row.get(1)?),
            change: row.get::<_, Option<i64>>(2)?.map(MicroCredits::from_micros),
            reason: row.get(3)?,
            author: row.get(4)?,
            refused: row.get(5)?,
        })
    })?;
    rows.collect()
}

fn config_at(main: &Connection, at: Timestamp) -> rusqlite::Result<Option<ConfigUsed>> {
    let sql = "SELECT hash, rate_card FROM config_used WHERE since_ms <= ? ORDER BY since_ms DESC LIMIT 1";
    let used = main.query_row(sql, [millis(at)], |row| {
        Ok(ConfigUsed {
            hash: row.get(0)?,
            rate_card: row.get(1)?,
        })
    });
    used.optional()
}

/// Writes down which configuration is in force from now on, unless it was before.
pub(super) fn config_used(
    connection: &Connection,
    used: &ConfigUsed,
    now: Timestamp,
) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT OR REPLACE INTO config_used (since_ms, hash, rate_card) SELECT ?1, ?2, ?3
         WHERE (SELECT hash FROM config_used ORDER BY since_ms DESC LIMIT 1) IS NOT ?2",
        params![millis(now), used.hash, used.rate_card],
    )?;
    Ok(())
}
