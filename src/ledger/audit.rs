//! Who decided what, when and why: overrides, mode, corrections, an accepted clock, and the configurations in force.
//!
//! Read from the rows each leaves behind, beside a running gateway or without one.

use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::overrides::Effect;
use super::rows::{millis, timestamp};
use super::stored::EventRef;
use super::{Ledger, LedgerError, schema};
use crate::budget::credits::MicroCredits;

/// The most entries told at once; the newest.
pub const ENTRIES_MAX: usize = 1_000;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// `override`, `override_ended`, `mode`, `mode_ended`, `correction`, `clock_accepted` or `config`.
    pub action: String,
    /// The override it is about.
    #[serde(rename = "override")]
    pub override_id: Option<i64>,
    /// The team it is about.
    pub team: Option<String>,
    /// What was decided, in words.
    pub what: String,
    /// Until when.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
    /// Who decided.
    pub author: Option<String>,
    /// The address that asked; `None` for what was done on the machine itself, or by the end of its time.
    pub remote: Option<String>,
}

/// The entries of a time, the newest first, at most [`ENTRIES_MAX`].
///
/// # Errors
/// When the ledger cannot be read.
pub fn read(path: &Path, from: Timestamp, to: Timestamp) -> Result<Vec<Entry>, LedgerError> {
    let main = schema::open_to_read(path)?;
    Ok(entries(&main, from, to)?)
}

impl Ledger {
    /// The same beside the writer, for whoever has others to serve.
    ///
    /// # Errors
    /// When the ledger cannot be read, or too many ask.
    pub async fn audit(&self, from: Timestamp, to: Timestamp) -> Result<Vec<Entry>, LedgerError> {
        let read = move |main: &Connection| Ok(entries(main, from, to)?);
        self.0.reader.ask(read).await
    }
}

fn entries(main: &Connection, from: Timestamp, to: Timestamp) -> rusqlite::Result<Vec<Entry>> {
    let mut all = Vec::new();
    for (sql, read) in SOURCES {
        select(main, sql, *read, (from, to), &mut all)?;
    }
    all.sort_by_key(|entry| std::cmp::Reverse(entry.at)); // stable: of one instant, as read
    all.truncate(ENTRIES_MAX);
    Ok(all)
}

type Read = fn(&Row<'_>) -> rusqlite::Result<Entry>;

/// Each gives the newest first.
const SOURCES: &[(&str, Read)] = &[
    (
        "SELECT a.at_ms, a.action, a.override, t.name, o.effect, o.credits, o.until_ms, a.reason, a.author, a.remote
         FROM audit a JOIN override o ON o.id = a.override LEFT JOIN team t ON t.id = o.team
         WHERE a.at_ms >= ? AND a.at_ms < ? ORDER BY a.id DESC LIMIT ?",
        of_override,
    ),
    (
        "SELECT at_ms, day, event, credits, reason, author, refused FROM correction
         WHERE at_ms >= ? AND at_ms < ? ORDER BY id DESC LIMIT ?",
        of_correction,
    ),
    (
        "SELECT at_ms FROM clock_accepted WHERE at_ms >= ? AND at_ms < ? ORDER BY rowid DESC LIMIT ?",
        of_clock,
    ),
    (
        "SELECT since_ms, hash, rate_card FROM config_used WHERE since_ms >= ? AND since_ms < ?
         ORDER BY since_ms DESC LIMIT ?",
        of_config,
    ),
];

fn select(
    main: &Connection,
    sql: &str,
    read: Read,
    (from, to): (Timestamp, Timestamp),
    all: &mut Vec<Entry>,
) -> rusqlite::Result<()> {
    let mut select = main.prepare(sql)?;
    let most = i64::try_from(ENTRIES_MAX).unwrap_or(i64::MAX);
    let rows = select.query_map(params![millis(from), millis(to), most], read)?;
    for row in rows {
        all.push(row?);
    }
    Ok(())
}

fn of_override(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let effect: String = row.get(4)?;
    let what = Effect::read(&effect, row.get(5)?).map_or(effect, Effect::describe);
    let remote: String = row.get(9)?;
    Ok(Entry {
        at: timestamp(row.get(0)?),
        action: row.get(1)?,
        override_id: row.get(2)?,
        team: row.get(3)?,
        what,
        until: Some(timestamp(row.get(6)?)),
        reason: row.get(7)?,
        author: row.get(8)?,
        remote: Some(remote).filter(|remote| !remote.is_empty()),
    })
}

fn of_correction(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let event = EventRef {
        day: row.get(1)?,
        row: row.get(2)?,
    };
    let credits = MicroCredits::from_micros(row.get(3)?);
    let refused: Option<String> = row.get(6)?;
    let refused = refused.map_or_else(String::new, |why| format!("; not booked: {why}"));
    Ok(Entry {
        reason: row.get(4)?,
        author: row.get(5)?,
        ..plain(
            row.get(0)?,
            "correction",
            format!("event {event} shall have cost {credits} credits{refused}"),
        )
    })
}

fn of_clock(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let what = "the wall clock was accepted".to_owned();
    Ok(plain(row.get(0)?, "clock_accepted", what))
}

fn of_config(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let (hash, card): (String, String) = (row.get(1)?, row.get(2)?);
    let what = format!("configuration {hash}, rate card {card}");
    Ok(plain(row.get(0)?, "config", what))
}

fn plain(at_ms: i64, action: &str, what: String) -> Entry {
    Entry {
        at: timestamp(at_ms),
        action: action.to_owned(),
        override_id: None,
        team: None,
        what,
        until: None,
        reason: None,
        author: None,
        remote: None,
    }
}
