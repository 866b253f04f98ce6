//! The ledger checked from outside, beside a running gateway or without one: nothing here trusts a sum because
//! another program wrote it.
//!
//! Four figures must agree for every team, period and source: what the rows of the day files cost together with
//! what was folded, what each day's file is known to hold, the rollups, and the account. Read at one moment of
//! `breakerbox.db`: rows of a later batch are left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::days::{self, DayFile};
use super::rows::source;
use super::{LedgerError, OpenError, files, schema};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Source;
use crate::budget::period::PeriodName;

/// How thoroughly, and who hears how far it is.
pub struct Asked<'a> {
    /// Every page and every index, or only the structure.
    pub thorough: bool,
    /// Told before each file: which, of how many, and its name.
    pub progress: &'a mut dyn FnMut(usize, usize, &str),
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Each team's accounts, period by period.
    pub accounts: Vec<AccountVerdict>,
    /// Damage, missing files, and figures of days that differ: a sentence each.
    pub faults: Vec<String>,
    /// The batch everything was compared at.
    pub batch: i64,
    /// Event rows read.
    pub rows: u64,
    /// Day files read.
    pub files: usize,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountVerdict {
    /// The period.
    pub period: PeriodName,
    /// Whose.
    pub team: String,
    /// Which.
    pub source: Source,
    /// What the rows of its events cost, those of dropped days included.
    pub events: MicroCredits,
    /// What events without a row cost.
    pub folded: MicroCredits,
    /// What the rollups say.
    pub rollups: MicroCredits,
    /// What the account says.
    pub settled: MicroCredits,
    /// What was written down as spendable.
    pub granted: MicroCredits,
    /// Requests by rows and folds, and by rollups.
    pub requests: (u64, u64),
}

impl AccountVerdict {
    /// By how much events with folds, rollups and account are apart.
    pub fn difference(&self) -> MicroCredits {
        let events = self.events.micros().saturating_add(self.folded.micros());
        let rollups = self.rollups.micros().abs_diff(events);
        let settled = self.settled.micros().abs_diff(events);
        MicroCredits::from_micros(i64::try_from(rollups.max(settled)).unwrap_or(i64::MAX))
    }

    /// Whether everything that must hold does.
    pub fn is_sound(&self) -> bool {
        self.difference().is_zero()
            && self.granted >= self.settled
            && self.requests.0 == self.requests.1
    }
}

impl Verdict {
    /// Whether nothing differs and nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.accounts.iter().all(AccountVerdict::is_sound)
    }
}

/// Checks a ledger.
///
/// # Errors
/// When `breakerbox.db` is not there or cannot be read at all; damage is part of the verdict where it can be.
pub fn verify(path: &Path, asked: &mut Asked<'_>) -> Result<Verdict, LedgerError> {
    // A day that is dropped while we read is looked at again without it.
    for _ in 0..2 {
        if let Some(verdict) = attempt(path, asked)? {
            return Ok(verdict);
        }
    }
    attempt(path, asked)?.ok_or(LedgerError::NoAnswer)
}

type Key = (i64, i64, i64);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    rows: i64,
    credits: i64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.credits = self.credits.saturating_add(other.credits);
    }
}

/// What `breakerbox.db` says, read in one transaction.
struct Main {
    batch: i64,
    teams: BTreeMap<i64, String>,
    accounts: BTreeMap<Key, (Sum, i64, i64)>,
    rollups: BTreeMap<Key, Sum>,
    days: BTreeMap<i64, BTreeMap<Key, Sum>>,
    dropped: Vec<i64>,
}

fn attempt(path: &Path, asked: &mut Asked<'_>) -> Result<Option<Verdict>, LedgerError> {
    let folder = days::folder(path);
    let all = days::list(&folder);
    let total = all.len().saturating_add(1);
    (asked.progress)(0, total, "breakerbox.db");
    let mut verdict = Verdict::default();
    let main = match read_main(path, asked.thorough, &mut verdict.faults) {
        Ok(main) => main,
        Err(error @ (OpenError::Newer { .. } | OpenError::Older { .. } | OpenError::Foreign)) => {
            return Err(error.into());
        }
        Err(error) => match error.in_main(path) {
            error @ OpenError::Damaged { .. } => {
                verdict.faults.push(error.to_string());
                return Ok(Some(verdict));
            }
            error => return Err(error.into()),
        },
    };
    verdict.batch = main.batch;
    let mut events: BTreeMap<Key, Sum> = BTreeMap::new();
    for (at, file) in all.iter().enumerate() {
        let name = days::name(file.day);
        (asked.progress)(at.saturating_add(1), total, &name);
        if main.dropped.contains(&file.day) {
            continue; // about to be deleted
        }
        let known = main.days.get(&file.day);
        match read_day(file, main.batch, asked.thorough) {
            Ok(sums) => {
                compare_day(&name, known, &sums, &mut verdict.faults);
                verdict.files = verdict.files.saturating_add(1);
                for (key, sum) in sums {
                    events.entry(key).or_default().add(sum);
                    let rows = u64::try_from(sum.rows).unwrap_or(0);
                    verdict.rows = verdict.rows.saturating_add(rows);
                }
            }
            Err(_) if !file.path.exists() => return Ok(None),
            Err(error) => {
                verdict.faults.push(error.to_string());
                add_known(&mut events, known);
            }
        }
    }
    missing(&main, &all, &folder, &mut events, &mut verdict.faults);
    verdict.accounts = accounts(&main, &events);
    Ok(Some(verdict))
}

/// Days whose rows are known and whose file is not there: dropped on purpose, or lost.
fn missing(
    main: &Main,
    all: &[DayFile],
    folder: &Path,
    events: &mut BTreeMap<Key, Sum>,
    faults: &mut Vec<String>,
) {
    for (day, known) in &main.days {
        let is_there = all.iter().any(|file| file.day == *day);
        let is_dropped = main.dropped.contains(day);
        if !is_there && !is_dropped {
            let path: PathBuf = days::path(folder, *day);
            faults.push(format!(
                "the events of {} are missing: {} held {} rows. Restore the file from a backup",
                days::name(*day),
                path.display(),
                known.values().map(|sum| sum.rows).sum::<i64>()
            ));
        }
        if !is_there || is_dropped {
            add_known(events, Some(known));
        }
    }
}

/// Where rows cannot be read, what they are known to have been: said once, as a fault of the day.
fn add_known(events: &mut BTreeMap<Key, Sum>, known: Option<&BTreeMap<Key, Sum>>) {
    for (key, sum) in known.into_iter().flatten() {
        events.entry(*key).or_default().add(*sum);
    }
}

/// What reports by team are read from is the rollups once more.
const TEAM_ROLLUPS_APART: &str = "
WITH finest AS (
    SELECT hour, period, team, operation, class, source, confidence, sum(requests), sum(credits), sum(units),
        sum(input_tokens), sum(output_tokens)
    FROM rollup GROUP BY 1, 2, 3, 4, 5, 6, 7
)
SELECT (SELECT count(*) FROM (SELECT * FROM finest EXCEPT SELECT * FROM rollup_team))
    + (SELECT count(*) FROM (SELECT * FROM rollup_team EXCEPT SELECT * FROM finest))";

fn read_main(path: &Path, thorough: bool, faults: &mut Vec<String>) -> Result<Main, OpenError> {
    let mut connection = schema::open_to_read(path)?;
    if let Some(detail) = damage(&connection, thorough)? {
        let path = path.to_owned();
        faults.push(OpenError::Damaged { path, detail }.to_string());
    }
    let main = connection.transaction()?;
    let all = |sql: &str| -> rusqlite::Result<Vec<(Key, Sum)>> {
        let mut select = main.prepare(sql)?;
        let rows = select.query_map([], keyed)?;
        rows.collect()
    };
    let mut accounts: BTreeMap<Key, (Sum, i64, i64)> = BTreeMap::new();
    let mut select = main.prepare(
        "SELECT period, team, source, folded_rows, folded, settled, granted FROM account",
    )?;
    let rows = select.query_map([], |row| Ok((keyed(row)?, row.get(5)?, row.get(6)?)))?;
    for row in rows {
        let ((key, folded), settled, granted): (_, i64, i64) = row?;
        let account = accounts.entry(key).or_default();
        account.0.add(folded);
        account.1 = account.1.saturating_add(settled);
        account.2 = account.2.saturating_add(granted);
    }
    let mut days: BTreeMap<i64, BTreeMap<Key, Sum>> = BTreeMap::new();
    let mut select =
        main.prepare("SELECT period, team, source, rows, credits, day FROM event_day")?;
    for row in select.query_map([], |row| Ok((keyed(row)?, row.get(5)?)))? {
        let ((key, sum), day): (_, i64) = row?;
        days.entry(day).or_default().insert(key, sum);
    }
    let apart: i64 = main.query_row(TEAM_ROLLUPS_APART, [], |row| row.get(0))?;
    if apart > 0 {
        faults.push(format!(
            "the hourly sums by team differ from the rollups in {apart} places: reports by team are wrong"
        ));
    }
    let mut select = main.prepare("SELECT id, name FROM team")?;
    let teams = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut select = main.prepare("SELECT day FROM dropped_day")?;
    let dropped = select.query_map([], |row| row.get(0))?;
    Ok(Main {
        batch: files::meta(&main, "batch")?.unwrap_or(0),
        teams: teams.collect::<rusqlite::Result<_>>()?,
        accounts,
        rollups: all(
            "SELECT period, team, source, sum(requests), sum(credits) FROM rollup GROUP BY 1, 2, 3",
        )?
        .into_iter()
        .collect(),
        days,
        dropped: dropped.collect::<rusqlite::Result<_>>()?,
    })
}

fn keyed(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Key, Sum)> {
    let key = (row.get(0)?, row.get(1)?, row.get(2)?);
    let (rows, credits) = (row.get(3)?, row.get(4)?);
    Ok((key, Sum { rows, credits }))
}

fn read_day(file: &DayFile, batch: i64, thorough: bool) -> Result<BTreeMap<Key, Sum>, OpenError> {
    let connection = days::open_to_read(&file.path)?;
    let read = || -> Result<BTreeMap<Key, Sum>, OpenError> {
        if let Some(detail) = damage(&connection, thorough)? {
            return Err(OpenError::DamagedDay {
                day: days::name(file.day),
                path: file.path.clone(),
                detail,
            });
        }
        let mut select = connection.prepare(
            "SELECT period, team, source, count(*), sum(credits) FROM event WHERE batch <= ? GROUP BY 1, 2, 3",
        )?;
        let rows = select.query_map([batch], keyed)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    };
    read().map_err(|error| error.in_day(&file.path))
}

/// Whether a day's file is sound and holds what `main` knows of that day, and perhaps more.
pub(super) fn knows_all_of(main: &Path, file: &DayFile, batch: i64) -> Result<bool, OpenError> {
    let main = read_main(main, false, &mut Vec::new())?;
    let read = read_day(file, batch, false)?;
    let known = main.days.get(&file.day).cloned().unwrap_or_default();
    Ok(known == read)
}

/// What SQLite says of its pages; nothing when they are sound.
pub(super) fn damage(connection: &Connection, thorough: bool) -> rusqlite::Result<Option<String>> {
    let check = match thorough {
        true => "PRAGMA integrity_check(1)",
        false => "PRAGMA quick_check(1)",
    };
    let said: String = connection.query_row(check, [], |row| row.get(0))?;
    Ok((said != "ok").then_some(said))
}

fn compare_day(
    name: &str,
    known: Option<&BTreeMap<Key, Sum>>,
    read: &BTreeMap<Key, Sum>,
    faults: &mut Vec<String>,
) {
    let sum = |sums: &BTreeMap<Key, Sum>| {
        let mut all = Sum::default();
        sums.values().for_each(|sum| all.add(*sum));
        all
    };
    let nothing = BTreeMap::new();
    let known = known.unwrap_or(&nothing);
    if known != read {
        let (known, read) = (sum(known), sum(read));
        faults.push(format!(
            "the events of {name} are {} rows of {} credits, and were {} rows of {} credits when they were written",
            read.rows,
            MicroCredits::from_micros(read.credits),
            known.rows,
            MicroCredits::from_micros(known.credits),
        ));
    }
}

fn accounts(main: &Main, events: &BTreeMap<Key, Sum>) -> Vec<AccountVerdict> {
    let mut keys: Vec<&Key> = main.accounts.keys().collect();
    keys.extend(main.rollups.keys());
    keys.extend(events.keys());
    keys.sort();
    keys.dedup();
    let micros = MicroCredits::from_micros;
    let verdict = |key: &Key| {
        let (folded, settled, granted) = main.accounts.get(key).copied().unwrap_or_default();
        let events = events.get(key).copied().unwrap_or_default();
        let rollups = main.rollups.get(key).copied().unwrap_or_default();
        let (period, team, code) = *key;
        let count = |count| u64::try_from(count).unwrap_or(0);
        let unknown = || format!("team {team}");
        Some(AccountVerdict {
            period: PeriodName::from_code(period)?,
            team: main.teams.get(&team).cloned().unwrap_or_else(unknown),
            source: source(code)?,
            events: micros(events.credits),
            folded: micros(folded.credits),
            rollups: micros(rollups.credits),
            settled: micros(settled),
            granted: micros(granted),
            requests: (
                count(events.rows.saturating_add(folded.rows)),
                count(rollups.rows),
            ),
        })
    };
    keys.into_iter().filter_map(verdict).collect()
}
