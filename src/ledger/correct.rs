//! Corrections: a line of its own for what a person decided, never a change of what was written.
//!
//! The command writes the wish into `breakerbox.db`, beside a running gateway or without one; the ledger thread
//! makes an event of it, and adjusts the counters. A correction of a correction counts from what holds by then.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::event::{Confidence, Event, EventKind, RequestId, TeamId};
use super::rows::millis;
use super::stored::{EventRef, Stored};
use super::{LedgerError, OpenError, days, schema, sqlite, trace};
use crate::budget::credits::MicroCredits;
use crate::budget::usage::Usage;
use crate::salesforce::NamedKind;

/// A wish, as the command wrote it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: i64,
    pub(super) event: EventRef,
    credits: i64,
    reason: String,
    author: String,
}

/// Finds an event by its day and row (`2026-11-24.17`) or by its request's id, the newest day first.
///
/// # Errors
/// When the ledger cannot be read, or there is no such event.
pub fn find(
    path: &Path,
    text: &str,
    progress: &mut dyn FnMut(usize, usize, &str),
) -> Result<Stored, LedgerError> {
    let none = |why: &str| LedgerError::Refused(format!("{text}: {why}"));
    let folder = days::folder(path);
    if let Some(event) = EventRef::parse(text) {
        let file = days::path(&folder, event.day);
        if !file.exists() {
            return Err(none("there are no events of that day"));
        }
        return trace::read(&file, event)?.ok_or_else(|| none("that day has no such row"));
    }
    let request = RequestId::parse(text).filter(|request| request.0 != 0).ok_or_else(|| {
        none("no event; write its request id (32 hex digits) or its day and row, as in 2026-11-24.17")
    })?;
    let mut going = |at: usize, of: usize, day: &str| {
        progress(at, of, day);
        true
    };
    trace::find(path, request, &mut going)?
        .ok_or_else(|| none("no event has this request id, in no day that is kept"))
}

/// Writes down that an event shall have cost `credits`. The number of the wish.
///
/// # Errors
/// When the event is a correction itself, or the ledger cannot be written.
pub fn ask(
    path: &Path,
    stored: &Stored,
    credits: MicroCredits,
    (reason, author): (&str, &str),
    now: Timestamp,
) -> Result<i64, LedgerError> {
    drop(schema::open_to_read(path)?); // nothing is written into somebody else's file
    if stored.kind == "correction" {
        return Err(LedgerError::Refused(format!(
            "{} is a correction itself; correct the event it names: {}",
            stored.event,
            stored.note.as_deref().unwrap_or_default()
        )));
    }
    let main = sqlite::open(path, false)?;
    main.execute(
        "INSERT INTO correction (at_ms, day, event, credits, reason, author) VALUES (?, ?, ?, ?, ?, ?)",
        params![millis(now), stored.event.day, stored.event.row, credits.micros(), reason, author],
    )?;
    Ok(main.last_insert_rowid())
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is booked, and so much was added for it.
    Added(MicroCredits),
    /// It cannot be, and why.
    Refused(String),
}

/// What became of a wish; `None` until somebody looked at it.
///
/// # Errors
/// When the ledger cannot be read.
pub fn outcome(path: &Path, id: i64) -> Result<Option<Outcome>, LedgerError> {
    let main = sqlite::open_to_read(path)?;
    let sql = "SELECT change, refused FROM correction WHERE id = ?";
    let (change, refused): (Option<i64>, Option<String>) =
        main.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(match refused {
        Some(why) => Some(Outcome::Refused(why)),
        None => change.map(|change| Outcome::Added(MicroCredits::from_micros(change))),
    })
}

/// The oldest wish that is not booked.
pub(super) fn open(main: &Connection) -> rusqlite::Result<Option<Open>> {
    let mut select = main.prepare_cached(
        "SELECT id, day, event, credits, reason, author FROM correction WHERE change IS NULL ORDER BY id LIMIT 1",
    )?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Open {
            id: row.get(0)?,
            event: EventRef {
                day: row.get(1)?,
                row: row.get(2)?,
            },
            credits: row.get(3)?,
            reason: row.get(4)?,
            author: row.get(5)?,
        })
    };
    select.query_row([], read).optional()
}

impl Open {
    /// The event it is about, or why there is none to correct.
    pub(super) fn corrected(&self, folder: &Path) -> Result<Stored, String> {
        let file = days::path(folder, self.event.day);
        if !file.exists() {
            return Err("the events of its day are gone".to_owned());
        }
        let stored = trace::read(&file, self.event);
        let stored = stored.map_err(|error| error.in_day(&file).to_string())?;
        stored.ok_or_else(|| "its day has no such row any more".to_owned())
    }

    /// The event that brings what holds now to what shall hold, and why.
    pub(super) fn event(
        &self,
        main: &Connection,
        stored: Stored,
        now: Timestamp,
    ) -> rusqlite::Result<(Event, String)> {
        let holds = stored.credits.micros();
        let holds = holds.saturating_add(booked_on(main, self.event)?);
        let change = MicroCredits::from_micros(self.credits.saturating_sub(holds));
        let note = Note {
            event: self.event,
            author: &self.author,
            reason: &self.reason,
        };
        Ok((corrected(stored, change, now), note.to_string()))
    }

    /// What the log says of it.
    pub(super) fn say(&self, change: MicroCredits) {
        tracing::warn!(
            event = %self.event, %change, reason = self.reason, author = self.author,
            "an event was corrected"
        );
    }
}

/// What was added to an event so far.
fn booked_on(main: &Connection, event: EventRef) -> rusqlite::Result<i64> {
    let sql = "SELECT coalesce(sum(change), 0) FROM correction WHERE day = ? AND event = ?";
    main.query_row(sql, [event.day, event.row], |row| row.get(0))
}

/// What a correction's event says of itself.
pub(super) struct Note<'n> {
    pub(super) event: EventRef,
    author: &'n str,
    reason: &'n str,
}

impl std::fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            event,
            author,
            reason,
        } = self;
        write!(f, "corrects {event} by {author}: {reason}")
    }
}

impl<'n> Note<'n> {
    /// Reads a note as it is written.
    pub(super) fn parse(text: &'n str) -> Option<Self> {
        let (event, why) = text.strip_prefix("corrects ")?.split_once(" by ")?;
        let (author, reason) = why.split_once(": ")?;
        let event = EventRef::parse(event)?;
        Some(Self {
            event,
            author,
            reason,
        })
    }

    /// Writes down as booked what the event of a restored ledger says: its batch, its time and its credits.
    pub(super) fn remember(
        &self,
        main: &Connection,
        file: Option<&Path>,
        (batch, at_ms, change): (i64, i64, i64),
    ) -> Result<(), OpenError> {
        let corrected = file
            .map(|file| trace::read(file, self.event))
            .transpose()?
            .flatten();
        // What it was before; only people read it, and of a day that is gone they cannot.
        let first = corrected.map_or(0, |stored| stored.credits.micros());
        let credits = first
            .saturating_add(booked_on(main, self.event)?)
            .saturating_add(change);
        let Self {
            event,
            author,
            reason,
        } = self;
        main.execute(
            "INSERT INTO correction (at_ms, day, event, credits, reason, author, change, batch)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                at_ms, event.day, event.row, credits, reason, author, change, batch
            ],
        )?;
        Ok(())
    }
}

/// A line like the event's own, so that reports by whatever it was recorded under come out right.
fn corrected(stored: Stored, change: MicroCredits, now: Timestamp) -> Event {
    let kind = stored.named_kind.as_deref();
    let kind = NamedKind::ALL
        .into_iter()
        .find(|known| Some(known.name()) == kind);
    Event {
        at: now,
        request: stored.request,
        period: stored.period,
        team: TeamId(stored.team_id),
        operation: stored.operation,
        class: stored.class,
        source: stored.source,
        credits: change,
        estimate: MicroCredits::ZERO,
        kind: EventKind::Correction,
        confidence: Confidence::Adjusted,
        shadow: stored.shadow,
        continued: stored.continued,
        named: kind.zip(stored.named.map(Into::into)),
        agent_type: stored.agent_type.map(Arc::from),
        key: stored.key.map(Arc::from),
        tags: stored.tags.map(Arc::from),
        usage: Usage::default(),
        status: 0,
        duration_ms: 0,
        session: None,
        idempotency: None,
    }
}
