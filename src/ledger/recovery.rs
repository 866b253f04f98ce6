//! A start: the files as the last process left them, and what it left open.
//!
//! What was granted and not durably settled when a process died is charged as one flagged event an account.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::Connection;

use super::adopt::{self, Above};
use super::batch::Batch;
use super::event::{Confidence, Event, EventKind, RequestId, SessionRow, TeamId};
use super::files::{Commit, Files};
use super::retention::SESSION_LIFE_MS;
use super::rows::{millis, source, timestamp};
use super::{
    Adjustment, OpenError, Restart, days, files, idempotency, mark, private, schema, sqlite,
    start_clock, verify,
};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Operation};
use crate::budget::period::PeriodName;
use crate::budget::usage::Usage;
use crate::config::checked::LedgerSettings;

/// A ledger up to this is looked through whole at a start: that takes two tenths of a second.
const CHECKED_BYTES: u64 = 64 << 20;
/// The most sessions restored: what the map holds.
const SESSIONS_MAX: i64 = 100_000;

/// The accounts of a holder whose grant was not handed back.
fn adjustments(connection: &Connection, holder: &str) -> rusqlite::Result<Vec<Adjustment>> {
    let mut select = connection.prepare(
        "SELECT a.period, a.team, t.name, a.source, a.granted - a.settled FROM account a JOIN team t ON t.id = a.team
         WHERE a.holder = ? AND a.granted > a.settled ORDER BY a.period, a.team, a.source",
    )?;
    let mut rows = select.query([holder])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (Some(period), Some(source)) =
            (PeriodName::from_code(row.get(0)?), source(row.get(3)?))
        else {
            continue;
        };
        found.push(Adjustment {
            period,
            team_id: TeamId(row.get(1)?),
            team: row.get(2)?,
            source,
            credits: MicroCredits::from_micros(row.get(4)?),
        });
    }
    Ok(found)
}

/// The adjustment as an event. It is no operation of a request; it is booked under the one that costs most.
fn event(adjustment: &Adjustment, now: Timestamp) -> Event {
    Event {
        at: now,
        request: RequestId(0),
        period: adjustment.period,
        team: adjustment.team_id,
        operation: Operation::AgentTurn,
        class: Class::Standard,
        source: adjustment.source,
        credits: adjustment.credits,
        estimate: MicroCredits::ZERO,
        kind: EventKind::CrashAdjustment,
        confidence: Confidence::Adjusted,
        shadow: false,
        continued: false,
        named: None,
        agent_type: None,
        key: None,
        tags: None,
        usage: Usage::default(),
        status: 0,
        duration_ms: 0,
        session: None,
        idempotency: None,
    }
}

/// Sessions used within the last day, the newest. Older ones are deleted while the gateway runs: here somebody waits.
pub(super) fn sessions(
    connection: &Connection,
    now: Timestamp,
) -> rusqlite::Result<Vec<SessionRow>> {
    let oldest = millis(now).saturating_sub(SESSION_LIFE_MS);
    let mut select = connection.prepare(
        "SELECT session, agent, team, charged, opened_below_trip, opening_paid, last_used_ms, version
         FROM session WHERE last_used_ms >= ?
         ORDER BY last_used_ms DESC LIMIT ?",
    )?;
    let rows = select.query_map([oldest, SESSIONS_MAX], |row| {
        let (session, agent): (String, String) = (row.get(0)?, row.get(1)?);
        Ok(SessionRow {
            session: session.into(),
            agent: agent.into(),
            team: TeamId(row.get(2)?),
            charged: MicroCredits::from_micros(row.get(3)?),
            opened_below_trip: row.get(4)?,
            opening_paid: row.get(5)?,
            last_used: timestamp(row.get(6)?),
            version: row.get(7)?,
        })
    })?;
    rows.collect()
}

/// The last batch `breakerbox.db` counts.
fn batch(main: &Connection) -> rusqlite::Result<i64> {
    Ok(files::meta(main, "batch")?.unwrap_or(0))
}

/// When the ledger was last written.
fn last_write(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    Ok(files::meta(connection, "last_write_ms")?.map(timestamp))
}

/// Makes the folder of a ledger.
pub(super) fn create_folder(path: &Path) -> Result<(), OpenError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(OpenError::unwritable(folder))
}

/// Opens the files and brings them to where the last process would have left them.
pub(super) fn recover(
    settings: &LedgerSettings,
    now: Timestamp,
) -> Result<(Files, Restart, Vec<String>), OpenError> {
    let path = &settings.path;
    let damaged = |error: rusqlite::Error| OpenError::from(error).in_main(path);
    create_if_new(path)?;
    let mut main = sqlite::open(path, false).map_err(damaged)?;
    if let Some(detail) = damage(&main, path).map_err(damaged)? {
        return Err(OpenError::Damaged {
            path: path.clone(),
            detail,
        });
    }
    schema::migrate_main(&mut main).map_err(|error| error.in_main(path))?;
    let (holder, last_write) = (holder(&main)?, last_write(&main)?);
    let doubt = start_clock::doubt(&main, last_write, now)?;
    let believed = doubt.is_none().then_some(now);
    // Before rows are adopted: they raise the number, and would hide that the mark is ahead of it.
    let own_batch = batch(&main)?;
    let ahead = mark::read(path, &holder).filter(|mark| mark.batch > own_batch);
    let all = days::list(&days::folder(path));
    let above = adopt::settle(&mut main, &all, own_batch, ahead.is_some())?;
    adopt::count_days(&mut main, &all)?;
    report(above);
    if let Some(mark) = ahead {
        mark::catch_up(&mut main, &mark)?;
    }
    let adjustments = adjustments(&main, &holder)?;
    let known_at = believed.or(last_write).unwrap_or(now);
    let sessions = sessions(&main, known_at)?;
    let idempotency = idempotency::known(&main, known_at)?;
    let mut select = main.prepare("SELECT name FROM team ORDER BY id")?;
    let teams = select
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    drop(select);
    let goes_on_from = batch(&main)?;
    let mut files = Files::new(main, path, settings.events, goes_on_from, holder);
    charge(&mut files, &adjustments, &teams, (now, believed))?;
    Ok((
        files,
        Restart {
            adjustments,
            last_write,
            doubt,
            sessions,
            idempotency,
            above,
        },
        teams,
    ))
}

/// Looks a ledger through. Of one that is too large for a start the rollups are left to `ledger verify`: they are
/// all but a few pages of it, and nothing is admitted by them.
fn damage(main: &Connection, path: &Path) -> rusqlite::Result<Option<String>> {
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    if bytes <= CHECKED_BYTES {
        return verify::damage(main, false);
    }
    let mut select = main.prepare(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('rollup', 'rollup_team')",
    )?;
    let tables = select.query_map([], |row| row.get(0))?;
    for table in tables.collect::<rusqlite::Result<Vec<String>>>()? {
        let sql = format!("PRAGMA quick_check({table})");
        let found: String = main.query_row(&sql, [], |row| row.get(0))?;
        if found != "ok" {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn report(above: Above) {
    if above.deleted > 0 {
        tracing::warn!(
            rows = above.deleted,
            "event rows of a batch that never counted were deleted; the grant covers them"
        );
    }
    if above.adopted > 0 {
        tracing::warn!(
            rows = above.adopted,
            credits = %MicroCredits::from_micros(above.adopted_micros),
            "the ledger is older than its events: it was restored. What they say beyond it was counted in"
        );
    }
}

/// A ledger that is not there is made beside its place and moved there whole, so that an empty file is never one
/// of ours; and one that is missing beside its events is not made at all.
fn create_if_new(path: &Path) -> Result<(), OpenError> {
    match std::fs::metadata(path) {
        Ok(file) if file.len() > 0 => return Ok(()),
        Ok(_) => {
            return Err(OpenError::Damaged {
                path: path.to_owned(),
                detail: "it is empty".to_owned(),
            });
        }
        Err(_) => {}
    }
    if !days::list(&days::folder(path)).is_empty() || mark::path(path).exists() {
        return Err(OpenError::Missing {
            path: path.to_owned(),
        });
    }
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let unwritable = OpenError::unwritable(&new);
    private::create(&new).map_err(&unwritable)?;
    let mut connection = sqlite::open(&new, true)?;
    schema::migrate_main(&mut connection)?;
    connection.close().map_err(|(_, error)| error)?;
    std::fs::rename(&new, path).map_err(unwritable)
}

fn charge(
    files: &mut Files,
    adjustments: &[Adjustment],
    teams: &[String],
    (now, believed): (Timestamp, Option<Timestamp>),
) -> Result<(), OpenError> {
    let mut batch = Batch::default();
    for adjustment in adjustments {
        batch.add(event(adjustment, now), files.keeps_rows());
    }
    if batch.is_empty() {
        return Ok(());
    }
    files.write(
        &Commit {
            batch: &batch,
            raises: &[],
            releases: &[],
            shown: &[],
            at: believed,
            note: None,
            correction: None,
        },
        teams,
    )?;
    Ok(())
}

/// This ledger's holder: a name of its own, for ever.
fn holder(main: &Connection) -> Result<String, OpenError> {
    use rusqlite::OptionalExtension;
    let known = "SELECT value FROM meta WHERE key = 'node'";
    if let Some(known) = main.query_row(known, [], |row| row.get(0)).optional()? {
        return Ok(known);
    }
    let name = format!("{:016x}", fastrand::u64(..));
    main.execute("INSERT INTO meta (key, value) VALUES ('node', ?)", [&name])?;
    Ok(name)
}
