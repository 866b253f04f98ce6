//! Old events files are dropped whole: by age, and while all of them together are too large.
//!
//! Sessions idle for a day go as well, and idempotency keys, a portion at a time: at a start there may be none to
//! wait for.
//! What a day held stays known in `breakerbox.db`, so the sums go on agreeing. The ledger thread only notes that a
//! day is dropped; a thread of its own deletes the file, since that may take a while.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use tokio::time::Instant;

use super::days::{self, DayFile};
use super::idempotency::KEY_LIFE_MS;
use super::rows::{code, millis};
use super::sqlite;
use crate::config::checked::LedgerSettings;

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(60);

/// Sessions older than this are forgotten.
pub(super) const SESSION_LIFE_MS: i64 = 24 * 3_600_000;
/// Rows of a kind forgotten at a time: about 20 ms of the ledger thread.
const AT_A_TIME: usize = 2_000;

/// What to keep.
#[derive(Debug)]
pub(super) struct Retention {
    folder: PathBuf,
    keep_days: i64,
    max_bytes: Option<u64>,
    looked_at: Option<Instant>,
    /// A clock that jumped ahead must not make everything old.
    is_paused: bool,
    deleting: Option<JoinHandle<()>>,
    sessions_left: bool,
    keys_left: bool,
}

impl Retention {
    pub(super) fn new(settings: &LedgerSettings) -> Self {
        Self {
            folder: days::folder(&settings.path),
            keep_days: i64::from(settings.events_keep_days),
            max_bytes: settings.events_max_bytes,
            looked_at: None,
            is_paused: false,
            deleting: None,
            sessions_left: false,
            keys_left: false,
        }
    }

    /// Drops what is due now, once a minute; nothing while the wall clock is not believed. `close` lets go of a
    /// day's file.
    pub(super) fn look(
        &mut self,
        main: &Connection,
        now: Option<Timestamp>,
        close: impl FnMut(i64),
    ) -> rusqlite::Result<()> {
        let was_paused = std::mem::replace(&mut self.is_paused, now.is_none());
        if was_paused != self.is_paused {
            tracing::warn!(
                paused = self.is_paused,
                "old events are dropped, and idle sessions and idempotency keys forgotten, only while the wall clock is believed"
            );
        }
        let Some(now) = now else { return Ok(()) };
        let looked_at = Instant::now();
        let is_early = self
            .looked_at
            .is_some_and(|at| looked_at.duration_since(at) < LOOK);
        if self.sessions_left {
            self.sessions_left = forget(main, IDLE_SESSIONS, SESSION_LIFE_MS, now)?;
        }
        if self.keys_left {
            self.keys_left = forget(main, OLD_KEYS, KEY_LIFE_MS, now)?;
        }
        let is_busy = self
            .deleting
            .as_ref()
            .is_some_and(|thread| !thread.is_finished());
        if is_early || is_busy {
            return Ok(());
        }
        self.looked_at = Some(looked_at);
        (self.sessions_left, self.keys_left) = (true, true);
        self.drop_due(main, now, close)
    }

    fn drop_due(
        &mut self,
        main: &Connection,
        now: Timestamp,
        mut close: impl FnMut(i64),
    ) -> rusqlite::Result<()> {
        let files: Vec<_> = days::list(&self.folder)
            .into_iter()
            .map(|file| (bytes(&file), file))
            .collect();
        let sizes: Vec<_> = files.iter().map(|(size, file)| (file.day, *size)).collect();
        let due = due(&sizes, days::of(now), self.keep_days, self.max_bytes);
        for (day, why) in &due {
            main.execute(
                "INSERT INTO dropped_day (day, at_ms, why) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                params![day, millis(now), why],
            )?;
            tracing::info!(
                day = days::name(*day),
                why,
                "events dropped; their sums stay"
            );
        }
        // Also what a process that died in between left behind.
        let mut select = main.prepare_cached("SELECT 1 FROM dropped_day WHERE day = ?")?;
        let mut gone = Vec::new();
        for (_, file) in files {
            if select.exists([file.day])? {
                close(file.day);
                gone.push(file.path);
            }
        }
        if !gone.is_empty() {
            let thread = std::thread::Builder::new().name("ledger-drop".to_owned());
            self.deleting = thread.spawn(move || delete(&gone)).ok();
        }
        Ok(())
    }
}

const IDLE_SESSIONS: &str = "DELETE FROM session WHERE session IN
    (SELECT session FROM session WHERE last_used_ms < ? ORDER BY last_used_ms LIMIT ?)";
const OLD_KEYS: &str = "DELETE FROM idempotency WHERE key IN
    (SELECT key FROM idempotency WHERE ended_ms < ? ORDER BY ended_ms LIMIT ?)";

/// Deletes a portion of what is older than that, the oldest first; whether there may be more.
fn forget(main: &Connection, delete: &str, life_ms: i64, now: Timestamp) -> rusqlite::Result<bool> {
    let oldest = millis(now).saturating_sub(life_ms);
    let mut delete = main.prepare_cached(delete)?;
    Ok(delete.execute(params![oldest, code(AT_A_TIME)])? == AT_A_TIME)
}

/// Which days go, the oldest first, and why. `today` and what is later stays.
fn due(
    files: &[(i64, u64)],
    today: i64,
    keep_days: i64,
    max_bytes: Option<u64>,
) -> Vec<(i64, &'static str)> {
    let mut left: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let mut due = Vec::new();
    for (day, bytes) in files.iter().filter(|(day, _)| *day < today) {
        let why = if *day < today.saturating_sub(keep_days) {
            "older than events_keep_days"
        } else if max_bytes.is_some_and(|max| left > max) {
            "events_max_bytes"
        } else {
            break;
        };
        left = left.saturating_sub(*bytes);
        due.push((*day, why));
    }
    due
}

fn bytes(file: &DayFile) -> u64 {
    let sizes = sqlite::files_of(&file.path)
        .map(|path| std::fs::metadata(path).map_or(0, |file| file.len()));
    sizes.sum()
}

fn delete(files: &[PathBuf]) {
    for file in files.iter().flat_map(|file| sqlite::files_of(file)) {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %file.display(), "a dropped day's file cannot be deleted; trying again");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::config::checked::EventRows;
    use crate::ledger::schema;

    /// After a clock was accepted nothing was dropped any more, until the next start.
    #[test]
    fn nothing_is_dropped_while_the_clock_is_not_believed_and_what_is_due_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("breakerbox.db");
        let mut main = sqlite::open(&path, true).unwrap();
        schema::migrate_main(&mut main).unwrap();
        std::fs::create_dir(days::folder(&path)).unwrap();
        let (now, settings) = (
            clock::now(),
            LedgerSettings {
                path: path.clone(),
                events: EventRows::All,
                events_keep_days: 400,
                events_max_bytes: None,
            },
        );
        let old = days::path(&days::folder(&path), days::of(now) - 401);
        days::create(&old).unwrap();
        let mut retention = Retention::new(&settings);
        let mut check = |now: Option<Timestamp>, want: i64| {
            retention.look(&main, now, |_| {}).unwrap();
            let sql = "SELECT count(*) FROM dropped_day";
            let dropped: i64 = main.query_row(sql, [], |row| row.get(0)).unwrap();
            assert_eq!(dropped, want, "{now:?}");
        };
        check(None, 0);
        check(None, 0);
        check(Some(now), 1);
    }

    #[test]
    fn the_oldest_days_go_and_today_stays() {
        let check = |files: &[(i64, u64)], max: Option<u64>, want: &[i64]| {
            let days: Vec<_> = due(files, 1_000, 400, max)
                .iter()
                .map(|(day, _)| *day)
                .collect();
            assert_eq!(days, want, "{files:?} {max:?}");
        };
        check(&[(599, 5), (600, 5), (1_000, 5)], None, &[599]);
        check(&[(998, 5), (999, 5), (1_000, 5)], Some(15), &[]);
        check(&[(998, 5), (999, 5), (1_000, 5)], Some(14), &[998]);
        check(&[(998, 5), (999, 5), (1_000, 5)], Some(1), &[998, 999]);
        check(&[(1_000, 50), (1_001, 50)], Some(1), &[]);
    }
}
