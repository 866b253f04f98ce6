//! What `breakerbox.db` says, read in one transaction; and what a day's file holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, Transaction};

use super::super::correct::Note;
use super::super::days::{self, DayFile};
use super::super::event::EventKind;
use super::super::rows::kind_code;
use super::super::stored::EventRef;
use super::super::{OpenError, files, schema};
use super::booked::{Booked, Key, OF_EVENTS, OF_ROLLUPS, Sum, read};
use super::damage;

/// What each day's file holds, by account.
pub(super) type Days = BTreeMap<i64, BTreeMap<Key, Sum>>;

/// All of `breakerbox.db` that is compared.
pub(super) struct Recorded {
    pub(super) batch: i64,
    pub(super) teams: BTreeMap<i64, String>,
    pub(super) accounts: BTreeMap<Key, Account>,
    pub(super) rollups: BTreeMap<Key, Booked>,
    pub(super) days: Days,
    pub(super) dropped: BTreeSet<i64>,
    pub(super) corrections: Corrections,
}

/// An account's row, of all holders.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    pub(super) folded: Sum,
    pub(super) settled: i64,
    pub(super) granted: i64,
}

/// Corrections by their batch: which event, and what was added. A batch books one at most.
pub(super) type Corrections = BTreeMap<i64, (EventRef, i64)>;

/// What reports by team are read from is the rollups once more.
const TEAM_ROLLUPS_APART: &str = "
WITH finest AS (
    SELECT minute, period, team, operation, class, source, confidence, sum(requests), sum(credits), sum(units),
        sum(input_tokens), sum(output_tokens)
    FROM rollup GROUP BY 1, 2, 3, 4, 5, 6, 7
)
SELECT (SELECT count(*) FROM (SELECT * FROM finest EXCEPT SELECT * FROM rollup_team))
    + (SELECT count(*) FROM (SELECT * FROM rollup_team EXCEPT SELECT * FROM finest))";

impl Recorded {
    /// Reads it. What is damaged, or wrong by itself, is a fault.
    pub(super) fn read(
        path: &Path,
        thorough: bool,
        faults: &mut Vec<String>,
    ) -> Result<Self, OpenError> {
        let mut connection = schema::open_to_read(path)?;
        if let Some(detail) = damage(&connection, thorough)? {
            let path = path.to_owned();
            faults.push(OpenError::Damaged { path, detail }.to_string());
        }
        let main = connection.transaction()?;
        let apart: i64 = main.query_row(TEAM_ROLLUPS_APART, [], |row| row.get(0))?;
        if apart > 0 {
            faults.push(format!(
                "the hourly sums by team differ from the rollups in {apart} places: reports by team are wrong"
            ));
        }
        Ok(Self {
            batch: files::meta(&main, "batch")?.unwrap_or(0),
            teams: teams(&main)?,
            accounts: accounts(&main)?,
            rollups: read(main.prepare(OF_ROLLUPS)?.query([])?)?,
            days: days_of(&main)?,
            dropped: dropped(&main)?,
            corrections: corrections(&main)?,
        })
    }
}

/// What the day files of a ledger are known to hold.
pub(super) fn known_days(path: &Path) -> Result<Days, OpenError> {
    Ok(days_of(&schema::open_to_read(path)?)?)
}

/// Whether a day was dropped by now.
pub(super) fn is_dropped(path: &Path, day: i64) -> Result<bool, OpenError> {
    Ok(dropped(&schema::open_to_read(path)?)?.contains(&day))
}

fn teams(main: &Transaction<'_>) -> rusqlite::Result<BTreeMap<i64, String>> {
    let mut select = main.prepare("SELECT id, name FROM team")?;
    let teams = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    teams.collect()
}

fn accounts(main: &Transaction<'_>) -> rusqlite::Result<BTreeMap<Key, Account>> {
    let mut select = main.prepare(
        "SELECT period, team, source, sum(folded_rows), sum(folded), sum(settled), sum(granted) FROM account
         GROUP BY 1, 2, 3",
    )?;
    let accounts = select.query_map([], |row| {
        let (key, folded) = keyed(row)?;
        let (settled, granted) = (row.get(5)?, row.get(6)?);
        Ok((
            key,
            Account {
                folded,
                settled,
                granted,
            },
        ))
    })?;
    accounts.collect()
}

fn days_of(main: &Connection) -> rusqlite::Result<Days> {
    let mut select =
        main.prepare("SELECT period, team, source, rows, credits, day FROM event_day")?;
    let mut days = Days::new();
    for row in select.query_map([], |row| Ok((keyed(row)?, row.get(5)?)))? {
        let ((key, sum), day): (_, i64) = row?;
        days.entry(day).or_default().insert(key, sum);
    }
    Ok(days)
}

fn dropped(main: &Connection) -> rusqlite::Result<BTreeSet<i64>> {
    let mut select = main.prepare("SELECT day FROM dropped_day")?;
    let days = select.query_map([], |row| row.get(0))?;
    days.collect()
}

fn corrections(main: &Transaction<'_>) -> rusqlite::Result<Corrections> {
    let mut select = main.prepare(
        "SELECT batch, day, event, change FROM correction WHERE change <> 0 AND batch IS NOT NULL",
    )?;
    let corrections = select.query_map([], |row| {
        let (day, event) = (row.get(1)?, row.get(2)?);
        Ok((row.get(0)?, (EventRef { day, row: event }, row.get(3)?)))
    })?;
    corrections.collect()
}

fn keyed(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Key, Sum)> {
    let key = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (rows, credits) = (row.get(3)?, row.get(4)?);
    Ok((key, Sum { rows, credits }))
}

/// What the file of a day holds up to a batch.
#[derive(Default)]
pub(super) struct Day {
    pub(super) booked: BTreeMap<Key, Booked>,
    pub(super) corrections: Corrections,
}

impl Day {
    pub(super) fn read(file: &DayFile, batch: i64, thorough: bool) -> Result<Self, OpenError> {
        let connection = days::open_to_read(&file.path)?;
        let read_all = || -> Result<Self, OpenError> {
            if let Some(detail) = damage(&connection, thorough)? {
                return Err(OpenError::DamagedDay {
                    day: days::name(file.day),
                    path: file.path.clone(),
                    detail,
                });
            }
            Ok(Self {
                booked: read(connection.prepare(OF_EVENTS)?.query([batch])?)?,
                corrections: corrected(&connection, batch)?,
            })
        };
        read_all().map_err(|error| error.in_day(&file.path))
    }

    /// By account, how many rows at how much.
    pub(super) fn sums(&self) -> BTreeMap<Key, Sum> {
        let booked = self.booked.iter();
        booked.map(|(key, booked)| (*key, booked.sum)).collect()
    }
}

fn corrected(day: &Connection, batch: i64) -> rusqlite::Result<Corrections> {
    let mut select = day.prepare(
        "SELECT batch, credits, coalesce(note, '') FROM event WHERE kind = ? AND batch <= ?",
    )?;
    let rows = select.query_map([kind_code(EventKind::Correction), batch], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))
    })?;
    let mut corrections = Corrections::new();
    for row in rows {
        let (batch, change, note): (i64, i64, String) = row?;
        if let Some(note) = Note::parse(&note) {
            corrections.insert(batch, (note.event, change));
        }
    }
    Ok(corrections)
}
