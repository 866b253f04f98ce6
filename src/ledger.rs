//! The durable memory: grants before they are spent, events, rollups, periods, alerts, sessions.
//!
//! One thread owns SQLite. Workers hand it events through bounded queues and read grants from atomics; nothing
//! on the request path waits for it but a request whose grant is short. Invariant: nobody spends what is not
//! written down here as granted.

mod adopt;
pub mod alerts;
pub mod backup;
mod batch;
mod booking;
pub mod carried;
mod commands;
pub mod correct;
mod days;
mod error;
pub mod event;
pub mod export;
mod files;
mod grants;
mod health;
pub mod live;
mod lock;
mod mark;
pub mod periods;
pub mod query;
pub mod queue;
mod reader;
mod recovery;
pub mod restore;
mod retention;
mod rollups;
mod rows;
mod schema;
mod sqlite;
pub mod stored;
pub mod totals;
pub mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use self::adopt::Above;
use self::alerts::AlertRow;
use self::batch::Batch;
use self::commands::Command;
pub use self::error::{LedgerError, OpenError};
use self::event::{SessionRow, TeamId};
use self::health::Shared;
pub use self::health::{Health, LedgerStats};
use self::live::LivePeriod;
use self::lock::Lock;
use self::periods::{AllocationChange, PeriodFacts};
use self::query::{UsageQuery, UsageRow};
use self::queue::{EventSink, Queues};
use self::reader::Reader;
use self::retention::Retention;
use self::totals::Totals;
use self::writer::Writer;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Source;
use crate::budget::period::{Period, PeriodName};
use crate::config::checked::LedgerSettings;

/// How long a question to the ledger thread may wait; a disk that stalls longer is an error to whoever asked.
const ANSWER: Duration = Duration::from_secs(10);
/// How often whoever waits for an answer looks whether the disk stalls.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Questions waiting; the next one waits to be taken.
const QUESTIONS: usize = 64;

/// What was found at a start.
#[derive(Debug)]
pub struct Restart {
    /// What was charged because the last process ended without settling; empty after a clean stop.
    pub adjustments: Vec<Adjustment>,
    /// The last commit of the last process.
    pub last_write: Option<Timestamp>,
    /// Agent sessions of the last day.
    pub sessions: Vec<SessionRow>,
    /// Event rows that were not counted.
    pub above: Above,
}

/// A crash adjustment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// The period it is charged to.
    pub period: PeriodName,
    /// The team it is charged to.
    pub team: String,
    /// The same, in the ledger.
    pub team_id: TeamId,
    /// The source it was granted from.
    pub source: Source,
    /// What was granted and not durably settled.
    pub credits: MicroCredits,
}

/// The ledger, from any thread.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    path: PathBuf,
    shared: Arc<Shared>,
    commands: SyncSender<Command>,
    thread: Thread,
    reader: Reader,
    #[expect(
        clippy::disallowed_types,
        reason = "taken once, when the process stops"
    )]
    join: std::sync::Mutex<Option<(JoinHandle<()>, Lock)>>,
}

impl Ledger {
    /// Opens the ledger: lock, migrate, check, charge what the last process left open; then starts its thread.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is changed then but what a migration did.
    pub fn open(
        settings: &LedgerSettings,
        workers: usize,
        now: Timestamp,
    ) -> Result<(Self, Restart), OpenError> {
        let path = settings.path.clone();
        recovery::create_folder(&path)?;
        let lock = Lock::take(&path)?;
        let (files, restart, teams) = recovery::recover(settings, now)?;
        let (commands, received) = sync_channel(QUESTIONS);
        let health = Health {
            writing: true,
            last_commit: None,
            pending_events: 0,
            last_error: None,
        };
        let shared = Arc::new(Shared {
            queues: Queues::new(workers),
            live: ArcSwap::default(),
            teams: ArcSwap::from_pointee(teams),
            notify: std::iter::repeat_with(Arc::default).take(workers).collect(),
            stats: Arc::default(),
            health: ArcSwap::from_pointee(health),
            totals: ArcSwap::default(),
            busy_since_ms: AtomicU64::default(),
        });
        let writer = Writer {
            files,
            shared: Arc::clone(&shared),
            commands: received,
            grants: grants::Grants::default(),
            pending: Batch::default(),
            years: Vec::new(),
            shown: Vec::new(),
            last_look: Instant::now(),
            totals: Totals::default(),
            path: path.clone(),
            marked_at: None,
            retention: Retention::new(settings),
            corrected_at: None,
        };
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run());
        let join = thread.map_err(|cause| OpenError::Unwritable {
            path: path.clone(),
            cause,
        })?;
        let thread = join.thread().clone();
        let reader = Reader::start(path.clone()).map_err(|cause| OpenError::Unwritable {
            path: path.clone(),
            cause,
        })?;
        let handle = Handle {
            reader,
            path,
            shared,
            commands,
            thread,
            join: Some((join, lock)).into(),
        };
        Ok((Self(Arc::new(handle)), restart))
    }

    fn ask<T>(
        &self,
        command: impl FnOnce(SyncSender<Result<T, LedgerError>>) -> Command,
    ) -> Result<T, LedgerError> {
        let (reply, answer) = sync_channel(1);
        if self.0.shared.stalled().is_some() {
            return Err(LedgerError::NoAnswer);
        }
        self.0
            .commands
            .try_send(command(reply))
            .map_err(|_| LedgerError::NoAnswer)?;
        self.wake();
        let began = Instant::now();
        loop {
            match answer.recv_timeout(LOOK_AGAIN) {
                Ok(answer) => return answer,
                Err(RecvTimeoutError::Disconnected) => return Err(LedgerError::NoAnswer),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Whoever asks has others to serve: a disk that stalls is not waited for.
            if began.elapsed() >= ANSWER || self.0.shared.stalled().is_some() {
                return Err(LedgerError::NoAnswer);
            }
        }
    }

    /// The number of a team, for ever; a new one is written down first.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn team(&self, name: &str) -> Result<TeamId, LedgerError> {
        self.ask(|reply| Command::Team(name.to_owned(), reply))
    }

    /// All teams, by number.
    pub fn teams(&self) -> Arc<Vec<String>> {
        self.0.shared.teams.load_full()
    }

    /// A period's books, restored from their rows, or new ones with their facts written down.
    ///
    /// # Errors
    /// When the ledger cannot be read or written.
    pub fn period(
        &self,
        period: &Period,
        facts: &PeriodFacts,
    ) -> Result<Arc<LivePeriod>, LedgerError> {
        self.ask(|reply| Command::Period(*period, facts.clone(), reply))
    }

    /// The period that began last.
    pub fn current_period(&self) -> Option<Period> {
        let connection = sqlite::open_to_read(&self.0.path).ok()?;
        periods::newest(&connection).ok()?
    }

    /// Writes down new teams and what changed of the allocations: all of it or nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record_allocations(
        &self,
        period: PeriodName,
        change: AllocationChange,
    ) -> Result<(), LedgerError> {
        self.ask(|reply| Command::Allocations(period, change, reply))
    }

    /// A worker's sink of events; one each.
    ///
    /// # Panics
    /// When there is no such worker.
    pub fn sink(&self, worker: usize) -> EventSink {
        let queue = self
            .0
            .shared
            .queues
            .queue(worker)
            .expect("the ledger was opened for as many workers");
        EventSink::new(queue, Arc::clone(&self.0.shared.stats))
    }

    /// A request waits for a raise: do it now.
    pub fn wake(&self) {
        self.0.thread.unpark();
    }

    /// Told after grants were raised, or could not be.
    ///
    /// # Panics
    /// When there is no such worker.
    pub fn raised(&self, worker: usize) -> Arc<Notify> {
        let notify = self
            .0
            .shared
            .notify
            .get(worker)
            .expect("the ledger was opened for as many workers");
        Arc::clone(notify)
    }

    /// Whether the disk takes what is written.
    pub fn health(&self) -> Health {
        let health = Health {
            pending_events: self.0.shared.stats.pending.get(),
            ..Health::clone(&self.0.shared.health.load())
        };
        let trouble = if self.is_alive() {
            let stalled = self.0.shared.stalled();
            stalled.map(|since| {
                format!(
                    "the disk stalls: a commit takes {} s already",
                    since.as_secs()
                )
            })
        } else {
            Some("the ledger thread has ended: nothing is written any more; restart".to_owned())
        };
        match trouble {
            Some(error) => Health {
                writing: false,
                last_error: Some(error),
                ..health
            },
            None => health,
        }
    }

    /// Whether the ledger thread runs. Without it nothing is granted or written down any more.
    pub fn is_alive(&self) -> bool {
        let join = self
            .0
            .join
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        join.as_ref()
            .is_none_or(|(thread, _)| !thread.is_finished())
    }

    /// Figures for metrics.
    pub fn stats(&self) -> &LedgerStats {
        &self.0.shared.stats
    }

    /// Running totals of everything written so far.
    pub fn totals(&self) -> Arc<Totals> {
        self.0.shared.totals.load_full()
    }

    /// The periods whose counters are in memory.
    pub fn live(&self) -> Arc<Vec<Arc<LivePeriod>>> {
        self.0.shared.live.load_full()
    }

    /// Writes an alert down; false if it was raised before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn raise_alert(&self, alert: AlertRow) -> Result<bool, LedgerError> {
        self.ask(|reply| Command::RaiseAlert(alert, reply))
    }

    /// These levels may be raised again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn rearm(
        &self,
        team: TeamId,
        period: PeriodName,
        percents_bp: &[u32],
        at: Timestamp,
    ) -> Result<(), LedgerError> {
        self.ask(|reply| Command::Rearm(team, period, percents_bp.to_vec(), at, reply))
    }

    /// Every alert of a period, in order.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn alerts(&self, period: PeriodName) -> Result<Vec<AlertRow>, LedgerError> {
        let read = move |connection: &Connection| Ok(alerts::list(connection, period)?);
        self.0.reader.ask(read).await
    }

    /// Usage, summed up, and what `told` makes of it beside whoever asks. Dropped, the question is given up.
    ///
    /// # Errors
    /// When the ledger cannot be read, too many ask, or the answer is too long.
    pub async fn usage<T: Send + 'static>(
        &self,
        query: UsageQuery,
        told: impl FnOnce(Vec<UsageRow>) -> T + Send + 'static,
    ) -> Result<T, LedgerError> {
        let read = move |connection: &Connection| query::usage(connection, &query).map(told);
        self.0.reader.ask(read).await
    }

    /// Every set of tags, beside the team's own, that a team's use was booked under since then, as JSON.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn tags_since(&self, from: Timestamp) -> Result<Vec<(TeamId, String)>, LedgerError> {
        let read = move |connection: &Connection| query::tags_since(connection, from);
        self.0.reader.ask(read).await
    }

    /// How often the clock was accepted by hand; `None` while that cannot be read.
    pub fn clock_acceptances(&self) -> Option<i64> {
        let connection = sqlite::open_to_read(&self.0.path).ok()?;
        let sql = "SELECT count(*) FROM clock_accepted";
        connection.query_row(sql, [], |row| row.get(0)).ok()
    }

    /// Writes the last batch, hands grants back, and ends the thread.
    ///
    /// # Errors
    /// When the last batch cannot be written; what is lost then is charged as granted at the next start.
    pub fn stop(&self) -> Result<(), LedgerError> {
        self.0.reader.stop();
        let stopped = self.ask_to_stop();
        let join = self
            .0
            .join
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some((thread, lock)) = join {
            if !thread.is_finished() && stopped.is_err() && self.0.shared.stalled().is_some() {
                tracing::error!(
                    "the disk stalls: what is not written is charged at the next start"
                );
            } else if thread.join().is_err() {
                tracing::error!("the ledger thread panicked");
            }
            drop(lock);
        }
        stopped
    }

    /// Also of a disk that stalls: it may be back within the time an answer may take.
    fn ask_to_stop(&self) -> Result<(), LedgerError> {
        let (reply, answer) = sync_channel(1);
        self.0
            .commands
            .try_send(Command::Stop(reply))
            .map_err(|_| LedgerError::NoAnswer)?;
        self.wake();
        answer
            .recv_timeout(ANSWER)
            .map_err(|_| LedgerError::NoAnswer)?
    }

    #[cfg(test)]
    fn abort(&self) {
        let sent = self.0.commands.send(Command::Abort);
        self.wake();
        assert!(sent.is_ok(), "the ledger thread runs");
        let join = self.0.join.lock().unwrap().take().unwrap();
        join.0.join().unwrap();
    }
}

/// Says that the wall clock is right, also for the next start. Works beside a running process, without its lock.
///
/// # Errors
/// When there is no ledger, or it cannot be written.
pub fn accept_clock(path: &Path, now: Timestamp) -> Result<(), LedgerError> {
    let mut connection = sqlite::open(path, false)?;
    let transaction = connection.transaction()?;
    let now = rows::millis(now);
    transaction.execute("INSERT INTO clock_accepted (at_ms) VALUES (?)", [now])?;
    files::set_meta(&transaction, "last_write_ms", now)?;
    transaction.commit()?;
    Ok(())
}

/// Nobody else reads what teams spend.
fn only_ours(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if let Err(error) = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)) {
        tracing::warn!(%error, path = %path.display(), "permissions cannot be set to 0600");
    }
}

#[cfg(test)]
mod tests;
