//! Event rows the ledger does not count yet.
//!
//! A batch goes to the events files first, so after a crash the rows of one batch, the next one, may be there
//! alone: they never counted, and are deleted; the grant covers them. Rows of a later batch, or a mark of one, mean
//! that `breakerbox.db` is older than its events: somebody restored it. Then every row above its number is counted
//! in, so that no counter is lower than what was spent.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, params};

use super::correct::Note;
use super::days::{self, DayFile};
use super::event::EventKind;
use super::hours::{Hours, QUARTER_S};
use super::rollups::ADDED;
use super::rows::kind_code;
use super::{OpenError, files, verify};
use crate::budget::period::PeriodName;

/// Files looked at because of their names, beside those rows were last written to: a ledger that was restored does
/// not know the days since.
const NEWEST: usize = 3;

/// Day files up to this are looked through at a start: three of them are read in a tenth of a second.
const CHECKED_BYTES: u64 = 16 << 20;

/// Batches rise with the row id, so what lies above a batch are the last rows: looked for from the end, where a
/// table of millions is not read.
pub(super) const DELETE_ABOVE: &str = "DELETE FROM event WHERE batch > ?1 AND id >
    coalesce((SELECT id FROM event WHERE batch <= ?1 ORDER BY id DESC LIMIT 1), 0)";

/// What became of rows above the ledger's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Above {
    /// Rows of a batch that never counted, deleted.
    pub deleted: u64,
    /// Rows a restored older ledger did not know, counted in.
    pub adopted: u64,
    /// What they cost, in micro-credits.
    pub adopted_micros: i64,
}

/// Deletes or adopts what lies above the ledger's number. `is_older`: a mark says that the ledger was restored.
pub(super) fn settle(
    main: &mut Connection,
    all: &[DayFile],
    batch: i64,
    is_older: bool,
) -> Result<Above, OpenError> {
    let mut newest = batch;
    let written = days::noted_open(main)?;
    let newest_named = all.iter().rev().take(NEWEST);
    let newest_named: BTreeSet<_> = newest_named.map(|file| file.day).collect();
    let may_hold = |day| is_older || newest_named.contains(day) || written.contains(day);
    let mut connections = Vec::new();
    for file in all.iter().filter(|file| may_hold(&file.day)) {
        let day = days::open(&file.path)?;
        look_through(&day, file)?;
        let sql = "SELECT batch FROM event ORDER BY id DESC LIMIT 1";
        let last = day.query_row(sql, [], |row| row.get::<_, i64>(0));
        let last = match last {
            Err(rusqlite::Error::QueryReturnedNoRows) => batch,
            last => last.map_err(|error| OpenError::from(error).in_day(&file.path))?,
        };
        newest = newest.max(last);
        if !is_older {
            connections.push(day); // few; and of a restored ledger nothing is deleted
        }
    }
    let mut above = Above::default();
    if newest > batch.saturating_add(1) || (is_older && newest > batch) {
        drop(connections);
        adopt(main, all, batch, newest, &mut above)?;
        return Ok(above);
    }
    for day in connections {
        let rows = day.execute(DELETE_ABOVE, [batch])?;
        above.deleted = above
            .deleted
            .saturating_add(u64::try_from(rows).unwrap_or(0));
    }
    Ok(above)
}

/// A file that is small enough is looked through; damage in a larger one is found by `ledger verify`.
fn look_through(day: &Connection, file: &DayFile) -> Result<(), OpenError> {
    let bytes = std::fs::metadata(&file.path).map_or(0, |file| file.len());
    if bytes > CHECKED_BYTES {
        return Ok(());
    }
    let damage = verify::damage(day, false);
    match damage.map_err(|error| OpenError::from(error).in_day(&file.path))? {
        None => Ok(()),
        Some(detail) => Err(OpenError::DamagedDay {
            day: days::name(file.day),
            path: file.path.clone(),
            detail,
        }),
    }
}

/// Counts in every row above `batch`, in one transaction.
fn adopt(
    main: &mut Connection,
    all: &[DayFile],
    batch: i64,
    newest: i64,
    above: &mut Above,
) -> Result<(), OpenError> {
    let holder: String =
        main.query_row("SELECT value FROM meta WHERE key = 'node'", [], |row| {
            row.get(0)
        })?;
    // Attaching is not possible within a transaction, and one file at a time keeps within SQLite's ten: each file's
    // rows are taken into a table of the connection's own first.
    main.execute_batch("DROP TABLE IF EXISTS temp.above; DROP TABLE IF EXISTS temp.named;")?;
    for file in all {
        drop(days::open(&file.path)?); // of this version, and sound
        attached(main, file, |main| {
            main.execute_batch(
                "CREATE TEMP TABLE IF NOT EXISTS above AS SELECT 0 AS day, * FROM events.event WHERE 0;
                 CREATE TEMP TABLE IF NOT EXISTS named (id INTEGER, name TEXT);
                 INSERT INTO named SELECT id, name FROM events.team;",
            )?;
            let sql = "INSERT INTO above SELECT ?, * FROM events.event WHERE batch > ?";
            main.execute(sql, [file.day, batch]).map(drop)
        })?;
    }
    let transaction = main.transaction()?;
    transaction.execute_batch(
        "INSERT INTO team (id, name) SELECT DISTINCT id, name FROM named WHERE true ON CONFLICT DO NOTHING",
    )?;
    let (rows, micros): (i64, i64) = transaction.query_row(
        "SELECT count(*), coalesce(sum(credits), 0) FROM above",
        [],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    transaction.execute(
        "INSERT INTO account (period, team, source, holder, granted, settled)
         SELECT period, team, source, ?, sum(credits), sum(credits) FROM above GROUP BY 1, 2, 3
         ON CONFLICT DO UPDATE SET
             granted = max(granted + coalesce((SELECT sum(credits) FROM above taken WHERE credits < 0 AND
                 (taken.period, taken.team, taken.source) = (account.period, account.team, account.source)), 0),
                 settled + excluded.settled),
             settled = settled + excluded.settled",
        params![holder],
    )?;
    adopt_sums(&transaction)?;
    adopt_corrections(&transaction, all)?;
    files::set_meta(&transaction, "batch", newest)?;
    transaction.commit()?;
    main.execute_batch("DROP TABLE temp.above; DROP TABLE temp.named; DROP TABLE temp.cut;")?;
    above.adopted = u64::try_from(rows).unwrap_or(0);
    above.adopted_micros = micros;
    Ok(())
}

/// What says that a correction is booked is older than its event: without it the next one would be booked from what
/// held before.
fn adopt_corrections(main: &Connection, all: &[DayFile]) -> Result<(), OpenError> {
    let mut select = main.prepare(
        "SELECT batch, at_ms, credits, coalesce(note, '') FROM above WHERE kind = ? ORDER BY batch",
    )?;
    let mut rows = select.query([kind_code(EventKind::Correction)])?;
    while let Some(row) = rows.next()? {
        let (batch, at_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (change, note): (i64, String) = (row.get(2)?, row.get(3)?);
        let Some(note) = Note::parse(&note) else {
            tracing::warn!(note, "a correction does not say which event it corrects");
            continue;
        };
        let file = all.iter().find(|file| file.day == note.event.day);
        note.remember(main, file.map(|file| &*file.path), (batch, at_ms, change))?;
    }
    Ok(())
}

/// The same sums as a batch adds. `cut` says under which minute a quarter of an hour is summed up.
fn adopt_sums(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    cut_hours(transaction)?;
    transaction.execute_batch(&format!(
        "INSERT INTO event_day (day, period, team, source, rows, credits)
         SELECT day, period, team, source, count(*), sum(credits) FROM above WHERE true GROUP BY 1, 2, 3, 4
         ON CONFLICT DO UPDATE SET rows = rows + excluded.rows, credits = credits + excluded.credits;
         INSERT INTO rollup (minute, period, team, operation, class, source, confidence, named_kind, named,
             agent_type, key, tags, requests, credits, units, input_tokens, output_tokens)
         SELECT c.minute, a.period, team, operation, class, source, confidence, coalesce(named_kind, ''),
             coalesce(named, ''), coalesce(agent_type, ''), coalesce(key, ''), coalesce(tags, ''),
             count(*), sum(credits), sum(units), sum(input_tokens), sum(output_tokens)
         FROM above a JOIN cut c ON c.period = a.period AND c.quarter = a.at_ms / {quarter_ms}
         WHERE true GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 {ADDED};
         INSERT INTO rollup_team (minute, period, team, operation, class, source, confidence, requests, credits,
             units, input_tokens, output_tokens)
         SELECT c.minute, a.period, team, operation, class, source, confidence, count(*), sum(credits), sum(units),
             sum(input_tokens), sum(output_tokens)
         FROM above a JOIN cut c ON c.period = a.period AND c.quarter = a.at_ms / {quarter_ms}
         WHERE true GROUP BY 1, 2, 3, 4, 5, 6, 7 {ADDED};",
        quarter_ms = QUARTER_S * 1_000,
    ))
}

fn cut_hours(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "DROP TABLE IF EXISTS temp.cut;
         CREATE TEMP TABLE cut (period INTEGER, quarter INTEGER, minute INTEGER, PRIMARY KEY (period, quarter));",
    )?;
    let mut select =
        transaction.prepare("SELECT DISTINCT period, at_ms / ? FROM above ORDER BY 1, 2")?;
    let mut insert = transaction.prepare("INSERT INTO cut VALUES (?, ?, ?)")?;
    let mut hours = Hours::default();
    let mut rows = select.query([QUARTER_S.saturating_mul(1_000)])?;
    while let Some(row) = rows.next()? {
        let (period, quarter): (i64, i64) = (row.get(0)?, row.get(1)?);
        let name = PeriodName::from_code(period)
            .ok_or(rusqlite::Error::IntegralValueOutOfRange(0, period))?;
        insert.execute([period, quarter, hours.minute(transaction, name, quarter)?])?;
    }
    Ok(())
}

/// Fills in what version 1 did not keep: what each day's file holds, and what has no row.
pub(super) fn count_days(main: &mut Connection, all: &[DayFile]) -> Result<(), OpenError> {
    if files::meta(main, "days_counted")?.is_some() {
        return Ok(());
    }
    for file in all {
        drop(days::open(&file.path)?);
        attached(main, file, |main| {
            main.execute(
                "INSERT OR REPLACE INTO event_day (day, period, team, source, rows, credits)
                 SELECT ?, period, team, source, count(*), sum(credits) FROM events.event GROUP BY 2, 3, 4",
                [file.day],
            )
            .map(drop)
        })?;
    }
    let transaction = main.transaction()?;
    transaction.execute_batch(
        "UPDATE account SET
             folded = settled - coalesce((SELECT sum(credits) FROM event_day d
                 WHERE (d.period, d.team, d.source) = (account.period, account.team, account.source)), 0),
             folded_rows = coalesce((SELECT sum(requests) FROM rollup r
                 WHERE (r.period, r.team, r.source) = (account.period, account.team, account.source)), 0)
                 - coalesce((SELECT sum(rows) FROM event_day d
                 WHERE (d.period, d.team, d.source) = (account.period, account.team, account.source)), 0)",
    )?;
    files::set_meta(&transaction, "days_counted", 1)?;
    transaction.commit()?;
    Ok(())
}

/// With a day's file attached as `events`.
fn attached<T>(
    main: &Connection,
    file: &DayFile,
    run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<T, OpenError> {
    let path = file.path.to_string_lossy();
    main.execute("ATTACH DATABASE ? AS events", [&*path])?;
    let done = run(main);
    let detached = main.execute_batch("DETACH DATABASE events");
    let done = done.map_err(|error| OpenError::from(error).in_day(&file.path))?;
    detached?;
    Ok(done)
}
