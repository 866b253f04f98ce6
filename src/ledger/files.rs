//! Writing a batch: the events files first, with the batch's number; then `breakerbox.db` with the same number, in
//! one transaction. Rows above the number in `breakerbox.db` never counted, and are deleted at start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, params};

use super::OpenError;
use super::adopt::DELETE_ABOVE;
use super::batch::{AccountKey, Batch, Folded, account_of};
use super::days;
use super::event::{Event, SessionRow};
use super::grants::{Raise, Release};
use super::hours::Hours;
use super::idempotency;
use super::retention::Retention;
use super::rollups;
use super::rows::{code, confidence_code, count, kind_code, millis};
use crate::budget::breaker::Breaker;
use crate::budget::credits::MicroCredits;
use crate::budget::period::PeriodName;
use crate::config::checked::EventRows;

/// Day files kept open: today's, yesterday's around midnight, and one for clocks that step.
const OPEN_DAYS: usize = 3;

/// Both kinds of file, and where the last batch ended.
pub(super) struct Files {
    pub(super) main: Connection,
    folder: PathBuf,
    days: BTreeMap<i64, Connection>,
    /// Days with rows of the batch under way: of a try that failed, until they are deleted.
    tried: BTreeSet<i64>,
    rows: EventRows,
    hours: Hours,
    pub(super) batch: i64,
    holder: String,
}

/// Everything one commit writes.
pub(super) struct Commit<'b> {
    pub(super) batch: &'b Batch,
    pub(super) raises: &'b [Raise],
    pub(super) releases: &'b [Release],
    pub(super) shown: &'b [(PeriodName, Vec<(i64, Breaker)>)],
    /// When; `None` while the wall clock is not believed, so that the next start does not believe it either.
    pub(super) at: Option<Timestamp>,
    /// Why, in every row of it.
    pub(super) note: Option<&'b str>,
    /// The wish it books, and what is added for it.
    pub(super) correction: Option<(i64, MicroCredits)>,
}

impl Files {
    pub(super) fn new(
        main: Connection,
        ledger: &Path,
        rows: EventRows,
        batch: i64,
        holder: String,
    ) -> Self {
        Self {
            main,
            folder: days::folder(ledger),
            days: BTreeMap::new(),
            tried: BTreeSet::new(),
            rows,
            hours: Hours::default(),
            batch,
            holder,
        }
    }

    pub(super) fn holder(&self) -> &str {
        &self.holder
    }

    /// Whether each event keeps a row.
    pub(super) fn keeps_rows(&self) -> bool {
        self.rows == EventRows::All
    }

    /// The folder of the events files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A wish that changes nothing is done; why it was refused, if it was.
    pub(super) fn close_correction(&self, id: i64, refused: Option<&str>) -> rusqlite::Result<()> {
        let sql = "UPDATE correction SET change = 0, batch = ?, refused = ? WHERE id = ?";
        let values = params![self.batch, refused, id];
        self.main.execute(sql, values).map(drop)
    }

    /// Drops days that are due now; `None` while the wall clock is not believed.
    pub(super) fn retain(
        &mut self,
        retention: &mut Retention,
        now: Option<Timestamp>,
    ) -> rusqlite::Result<()> {
        let days = &mut self.days;
        retention.look(&self.main, now, |day| drop(days.remove(&day)))
    }

    /// Writes a commit; what the accounts it settles on say then. May be called again with the same one after an
    /// error: nothing is written twice.
    pub(super) fn write(
        &mut self,
        commit: &Commit<'_>,
        teams: &[String],
    ) -> Result<Vec<(AccountKey, i64)>, OpenError> {
        self.forget_tried()?;
        let number = self.batch.saturating_add(1);
        if !commit.batch.events.is_empty() {
            self.write_events(commit, number, teams)?;
        }
        let holder = self.holder.clone();
        let transaction = self.main.transaction()?;
        let accounts = write_accounts(&transaction, commit, &holder)?;
        write_days(&transaction, &commit.batch.events)?;
        rollups::add(&transaction, &mut self.hours, &commit.batch.rollups)?;
        write_sessions(&transaction, commit.batch.sessions.values())?;
        idempotency::write(&transaction, commit.batch.idempotency.values())?;
        for (period, changed) in commit.shown {
            super::periods::record_shown(&transaction, *period, changed)?;
        }
        if let Some((id, change)) = commit.correction {
            transaction.execute(
                "UPDATE correction SET change = ?, batch = ? WHERE id = ?",
                [change.micros(), number, id],
            )?;
        }
        set_meta(&transaction, "batch", number)?;
        if let Some(at) = commit.at {
            set_meta(&transaction, "last_write_ms", millis(at))?;
        }
        transaction.commit()?;
        self.batch = number;
        self.tried.clear();
        Ok(accounts)
    }

    /// Deletes what an earlier try left, because the commit of the other file failed: whatever is written next gets
    /// the number those rows have.
    fn forget_tried(&mut self) -> Result<(), OpenError> {
        while let Some(day) = self.tried.first().copied() {
            let batch = self.batch;
            self.day(day)?.execute(DELETE_ABOVE, [batch])?;
            self.tried.remove(&day);
        }
        Ok(())
    }

    fn write_events(
        &mut self,
        commit: &Commit<'_>,
        number: i64,
        teams: &[String],
    ) -> Result<(), OpenError> {
        let (events, mut from) = (&commit.batch.events, 0);
        while let Some(first) = events.get(from) {
            let day = day_of(first);
            let run = events
                .iter()
                .skip(from)
                .take_while(|event| day_of(event) == day)
                .count();
            let to = from.saturating_add(run);
            let rows = events.get(from..to).unwrap_or_default();
            self.tried.insert(day);
            let connection = self.day(day)?;
            let transaction = connection.transaction()?;
            write_event_rows(&transaction, rows, number, commit.note)?;
            let mut team = transaction.prepare_cached(
                "INSERT INTO team (id, name) VALUES (?, ?) ON CONFLICT DO NOTHING",
            )?;
            for (id, name) in teams.iter().enumerate() {
                team.execute(params![code(id), name])?;
            }
            drop(team);
            transaction.commit()?;
            from = to;
        }
        Ok(())
    }

    fn day(&mut self, day: i64) -> Result<&mut Connection, OpenError> {
        let connection = match self.days.remove(&day) {
            Some(open) => open,
            None => self.open_day(day)?,
        };
        Ok(self.days.entry(day).or_insert(connection))
    }

    fn open_day(&mut self, day: i64) -> Result<Connection, OpenError> {
        if self.days.len() >= OPEN_DAYS {
            self.days.pop_first();
        }
        // Before there is a row: a start has to know where one may be that never counted.
        let open = self.days.keys().chain(&self.tried).copied();
        days::note_open(&self.main, open.chain([day]).collect())?;
        let created = std::fs::create_dir_all(&self.folder);
        created.map_err(OpenError::unwritable(&self.folder))?;
        let path = days::path(&self.folder, day);
        days::create(&path)?;
        days::open(&path)
    }
}

fn day_of(event: &Event) -> i64 {
    days::of(event.at)
}

fn write_event_rows(
    transaction: &Transaction<'_>,
    events: &[Event],
    number: i64,
    note: Option<&str>,
) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO event (batch, at_ms, request, period, team, operation, class, source, credits, estimate, kind,
             confidence, flags, named_kind, named, agent_type, key, tags, session, units, input_tokens,
             output_tokens, status, duration_ms, note)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    for event in events {
        let flags = i64::from(event.shadow) | (i64::from(event.continued) << 1);
        insert.execute(params![
            number,
            millis(event.at),
            event.request.0.to_be_bytes(),
            event.period.code(),
            event.team.0,
            code(event.operation.index()),
            code(event.class.index()),
            code(event.source.index()),
            event.credits.micros(),
            event.estimate.micros(),
            kind_code(event.kind),
            confidence_code(event.confidence),
            flags,
            event.named.as_ref().map(|(kind, _)| kind.name()),
            event.named.as_ref().map(|(_, id)| id.as_str()),
            event.agent_type.as_deref(),
            event.key.as_deref(),
            event.tags.as_deref(),
            event
                .session
                .as_ref()
                .map(|session| session.session.as_str()),
            count(event.usage.units),
            count(event.usage.input_tokens),
            count(event.usage.output_tokens),
            event.status,
            event.duration_ms,
            note,
        ])?;
    }
    Ok(())
}

/// Settled credits and grants; what the rows settled on say then. A price above its bound may settle more than was
/// granted: the grant follows. It follows a correction both ways: what requests in flight may spend is beside it.
fn write_accounts(
    transaction: &Transaction<'_>,
    commit: &Commit<'_>,
    holder: &str,
) -> rusqlite::Result<Vec<(AccountKey, i64)>> {
    let mut release = transaction.prepare_cached(
        "UPDATE account SET granted = max(settled, ?) WHERE (period, team, source, holder) = (?, ?, ?, ?)",
    )?;
    for released in commit.releases {
        let (period, team, source) = released.key;
        let source = code(source.index());
        release.execute(params![
            released.to.micros(),
            period.code(),
            team.0,
            source,
            holder
        ])?;
    }
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO account (period, team, source, holder, granted, settled, folded_rows, folded)
         VALUES (?1, ?2, ?3, ?4, max(?5, ?6), ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET
             granted = max(granted + ?9, ?5, settled + ?6),
             settled = settled + ?6,
             folded_rows = folded_rows + ?7,
             folded = folded + ?8
         RETURNING settled",
    )?;
    let is_correction = commit.correction.is_some();
    let mut write = |key: &AccountKey, granted: i64, settled: i64, folded: Folded| {
        let (period, team, source) = key;
        let row = params![
            period.code(),
            team.0,
            code(source.index()),
            holder,
            granted,
            settled,
            count(folded.rows),
            folded.micros,
            if is_correction { settled } else { 0 },
        ];
        upsert.query_row(row, |row| row.get::<_, i64>(0))
    };
    let mut after = Vec::with_capacity(commit.batch.settled.len());
    for (key, settled) in &commit.batch.settled {
        let folded = commit.batch.folded.get(key).copied().unwrap_or_default();
        after.push((*key, write(key, 0, *settled, folded)?));
    }
    for raise in commit.raises {
        write(&raise.key, raise.to.micros(), 0, Folded::default())?;
    }
    Ok(after)
}

/// What each day's file holds: so that it can be checked, and missed, without another one to compare with.
fn write_days(transaction: &Transaction<'_>, events: &[Event]) -> rusqlite::Result<()> {
    let mut sums: BTreeMap<(i64, AccountKey), (i64, i64)> = BTreeMap::new();
    for event in events {
        let (rows, micros) = sums.entry((day_of(event), account_of(event))).or_default();
        *rows = rows.saturating_add(1);
        *micros = micros.saturating_add(event.credits.micros());
    }
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO event_day (day, period, team, source, rows, credits) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET rows = rows + excluded.rows, credits = credits + excluded.credits",
    )?;
    for ((day, (period, team, source)), (rows, micros)) in sums {
        let source = code(source.index());
        upsert.execute(params![day, period.code(), team.0, source, rows, micros])?;
    }
    Ok(())
}

fn write_sessions<'s>(
    transaction: &Transaction<'_>,
    sessions: impl Iterator<Item = &'s SessionRow>,
) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO session (session, agent, team, charged, opened_below_trip, opening_paid, last_used_ms, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT DO UPDATE SET agent = ?2, team = ?3, charged = ?4, opened_below_trip = ?5, opening_paid = ?6,
             last_used_ms = ?7, version = ?8
         WHERE version < ?8",
    )?;
    for row in sessions {
        upsert.execute(params![
            row.session.as_str(),
            row.agent.as_str(),
            row.team.0,
            row.charged.micros(),
            row.opened_below_trip,
            row.opening_paid,
            millis(row.last_used),
            row.version,
        ])?;
    }
    Ok(())
}

/// Sets a figure of `meta`.
pub(super) fn set_meta(connection: &Connection, key: &str, value: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)")?
        .execute(params![key, value])?;
    Ok(())
}

/// A figure of `meta`.
pub(super) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    use rusqlite::OptionalExtension;
    connection
        .query_row("SELECT value FROM meta WHERE key = ?", [key], |row| {
            row.get(0)
        })
        .optional()
}
