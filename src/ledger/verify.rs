//! The ledger checked from outside, beside a running gateway or without one: nothing here trusts a sum because
//! another program wrote it.
//!
//! Four figures must agree for every team, period and source: what the rows of the day files cost together with
//! what was folded, what each day's file is known to hold, the rollups, and the account. Where every row is there,
//! it must also be booked under the same in events and rollups. Read at one moment of `breakerbox.db`: rows of a
//! later batch are left out.

mod booked;
mod recorded;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;

use self::booked::{Booked, Key, Sum};
use self::recorded::{Corrections, Day, Days, Recorded, known_days};
use super::days::{self, DayFile};
use super::rows::source;
use super::{LedgerError, OpenError};
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

fn attempt(path: &Path, asked: &mut Asked<'_>) -> Result<Option<Verdict>, LedgerError> {
    let folder = days::folder(path);
    let total = days::list(&folder).len().saturating_add(1);
    (asked.progress)(0, total, "breakerbox.db");
    let mut verdict = Verdict::default();
    let recorded = match Recorded::read(path, asked.thorough, &mut verdict.faults) {
        Ok(recorded) => recorded,
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
    verdict.batch = recorded.batch;
    let mut events = Events::default();
    // Listed after it was read: a day that began meanwhile is not missed.
    let all = days::list(&folder);
    for (at, file) in all.iter().enumerate() {
        let name = days::name(file.day);
        (asked.progress)(at.saturating_add(1), total, &name);
        if recorded.dropped.contains(&file.day) {
            continue; // about to be deleted
        }
        let known = recorded.days.get(&file.day);
        match Day::read(file, recorded.batch, asked.thorough) {
            Ok(day) => {
                compare_day(&name, known, &day.sums(), &mut verdict.faults);
                verdict.files = verdict.files.saturating_add(1);
                events.add(day);
            }
            Err(_) if !file.path.exists() => return Ok(None),
            Err(error) => {
                verdict.faults.push(error.to_string());
                events.add_known(known);
            }
        }
    }
    verdict.rows = events.rows();
    for (day, known) in &recorded.days {
        let is_there = all.iter().any(|file| file.day == *day);
        let is_dropped = recorded.dropped.contains(day);
        if !is_there && !is_dropped {
            if recorded::is_dropped(path, *day)? {
                return Ok(None);
            }
            verdict.faults.push(missing(&folder, *day, known));
        }
        if !is_there || is_dropped {
            events.add_known(Some(known));
        }
    }
    verdict.accounts = accounts(&recorded, &events);
    booked_otherwise(&recorded, &events, &mut verdict.faults);
    corrected_otherwise(&recorded, &events, &mut verdict.faults);
    Ok(Some(verdict))
}

/// What the rows of all day files come to.
#[derive(Default)]
struct Events {
    booked: BTreeMap<Key, Booked>,
    /// Accounts with rows that cannot be read, because their day was dropped, is missing or damaged.
    unread: BTreeMap<Key, Sum>,
    corrections: Corrections,
}

impl Events {
    fn add(&mut self, day: Day) {
        for (key, booked) in day.booked {
            self.booked.entry(key).or_default().add(booked);
        }
        self.corrections.extend(day.corrections);
    }

    /// Where rows cannot be read, what they are known to have been: said once, as a fault of the day.
    fn add_known(&mut self, known: Option<&BTreeMap<Key, Sum>>) {
        for (key, sum) in known.into_iter().flatten() {
            self.unread.entry(*key).or_default().add(*sum);
        }
    }

    fn rows(&self) -> u64 {
        let rows = self.booked.values().map(|booked| booked.sum.rows);
        u64::try_from(rows.sum::<i64>()).unwrap_or(0)
    }

    fn sum(&self, key: &Key) -> Sum {
        let mut sum = self.unread.get(key).copied().unwrap_or_default();
        sum.add(self.booked.get(key).copied().unwrap_or_default().sum);
        sum
    }
}

/// A day whose rows are known and whose file is not there.
fn missing(folder: &Path, day: i64, known: &BTreeMap<Key, Sum>) -> String {
    format!(
        "the events of {} are missing: {} held {} rows. Restore the file from a backup",
        days::name(day),
        days::path(folder, day).display(),
        known.values().map(|sum| sum.rows).sum::<i64>()
    )
}

/// What the day files of a ledger are known to hold, up to its batch.
pub(super) struct KnownDays {
    days: Days,
    batch: i64,
}

impl KnownDays {
    pub(super) fn read(main: &Path, batch: i64) -> Result<Self, OpenError> {
        let days = known_days(main)?;
        Ok(Self { days, batch })
    }

    /// Whether another file of a day is sound and holds that too, and perhaps more of later batches.
    pub(super) fn are_all_in(&self, file: &DayFile) -> Result<bool, OpenError> {
        let read = Day::read(file, self.batch, false)?.sums();
        Ok(self.days.get(&file.day).cloned().unwrap_or_default() == read)
    }
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

fn accounts(recorded: &Recorded, events: &Events) -> Vec<AccountVerdict> {
    let mut keys: BTreeSet<&Key> = recorded.accounts.keys().collect();
    keys.extend(recorded.rollups.keys());
    keys.extend(events.booked.keys().chain(events.unread.keys()));
    let micros = MicroCredits::from_micros;
    let verdict = |key: &Key| {
        let account = recorded.accounts.get(key).copied().unwrap_or_default();
        let rollups = recorded.rollups.get(key).copied().unwrap_or_default().sum;
        let (events, folded) = (events.sum(key), account.folded);
        let (period, team, code) = *key;
        let count = |count| u64::try_from(count).unwrap_or(0);
        let unknown = || format!("team {team}");
        Some(AccountVerdict {
            period: PeriodName::from_code(period)?,
            team: recorded.teams.get(&team).cloned().unwrap_or_else(unknown),
            source: source(code)?,
            events: micros(events.credits),
            folded: micros(folded.credits),
            rollups: micros(rollups.credits),
            settled: micros(account.settled),
            granted: micros(account.granted),
            requests: (
                count(events.rows.saturating_add(folded.rows)),
                count(rollups.rows),
            ),
        })
    };
    keys.into_iter().filter_map(verdict).collect()
}

/// Where every event of an account has a row, and sums agree: what is booked under something else.
fn booked_otherwise(recorded: &Recorded, events: &Events, faults: &mut Vec<String>) {
    for (key, rollups) in &recorded.rollups {
        let folded = recorded
            .accounts
            .get(key)
            .map_or(0, |account| account.folded.rows);
        let rows = events.booked.get(key).copied().unwrap_or_default();
        if folded != 0 || events.unread.contains_key(key) || rows.sum != rollups.sum {
            continue;
        }
        let apart = rows.differs_in(rollups).join(", ");
        if !apart.is_empty() {
            let (period, team, code) = *key;
            let period = PeriodName::from_code(period).map(|name| name.to_string());
            let team = recorded.teams.get(&team).map_or("", String::as_str);
            faults.push(format!(
                "{} {team} {}: events and rollups do not agree in {apart}: reports are wrong",
                period.unwrap_or_default(),
                source(code).map_or("", Source::name),
            ));
        }
    }
}

/// What is known as booked is what a correction is counted from; and each has an event.
fn corrected_otherwise(recorded: &Recorded, events: &Events, faults: &mut Vec<String>) {
    let said = |(event, change): &(super::stored::EventRef, i64)| {
        format!(
            "a correction of {event} by {}",
            MicroCredits::from_micros(*change)
        )
    };
    for (batch, correction) in &events.corrections {
        if recorded.corrections.get(batch) != Some(correction) {
            let said = said(correction);
            faults.push(format!(
                "{said} is not known as booked: the next one of that event would be counted from what held before"
            ));
        }
    }
    let has_all = events.unread.is_empty()
        && recorded
            .accounts
            .values()
            .all(|account| account.folded.rows == 0);
    for (batch, correction) in recorded.corrections.iter().filter(|_| has_all) {
        if events.corrections.get(batch) != Some(correction) {
            faults.push(format!(
                "{} is known as booked, and has no event",
                said(correction)
            ));
        }
    }
}
