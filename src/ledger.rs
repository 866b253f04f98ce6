//! The durable memory: grants before they are spent, events, rollups, periods, alerts, sessions.
//!
//! One thread owns SQLite. Workers hand it events through bounded queues and read grants from atomics; nothing
//! on the request path waits for it but a request whose grant is short. Invariant: nobody spends what is not
//! written down here as granted.

mod adopt;
pub mod alerts;
pub mod audit;
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
pub mod hour_alerts;
mod hours;
pub mod idempotency;
pub mod live;
mod lock;
mod mark;
pub mod overrides;
pub mod periods;
mod private;
pub mod query;
mod questions;
pub mod queue;
mod reader;
mod recovery;
pub mod restore;
mod retention;
mod rollups;
mod rows;
mod schema;
mod sqlite;
mod start_clock;
pub mod stored;
pub mod totals;
pub mod trace;
pub mod unlocked;
pub mod verify;
pub mod wall_clock;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{JoinHandle, Thread};

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
use self::event::{IdempotencyRow, SessionRow, TeamId};
use self::health::Shared;
pub use self::health::{Health, LedgerStats};
use self::hour_alerts::HourAlertRow;
use self::live::LivePeriod;
pub use self::lock::Lock;
use self::mark::Mark;
use self::periods::{AllocationChange, PeriodFacts};
use self::query::{BookedUnder, UsageQuery, UsageRow};
use self::queue::{EventSink, Queues};
use self::reader::Reader;
use self::retention::Retention;
use self::totals::Totals;
use self::writer::Writer;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Source;
use crate::budget::period::{Period, PeriodName};
use crate::clock::{self, Belief};
use crate::config::checked::LedgerSettings;

/// Questions waiting; the next one waits to be taken.
const QUESTIONS: usize = 64;

/// What was found at a start.
#[derive(Debug)]
pub struct Restart {
    /// What was charged because the last process ended without settling; empty after a clean stop.
    pub adjustments: Vec<Adjustment>,
    /// The last commit of the last process whose time was believed.
    pub last_write: Option<Timestamp>,
    /// Why the wall clock is not believed, if it is not.
    pub doubt: Option<String>,
    /// Agent sessions of the last day.
    pub sessions: Vec<SessionRow>,
    /// Idempotency keys of the last day.
    pub idempotency: Vec<IdempotencyRow>,
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
        Self::open_locked(settings, Lock::of(settings)?, workers, now)
    }

    /// Likewise, under a lock that was taken before.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_locked(
        settings: &LedgerSettings,
        lock: Lock,
        workers: usize,
        now: Timestamp,
    ) -> Result<(Self, Restart), OpenError> {
        let path = settings.path.clone();
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
            is_serving: AtomicBool::default(),
            clock: Belief::new(restart.doubt.clone(), now, clock::since_boot()),
        });
        let writer = Writer {
            at_start: Mark::read_from(&files.main)?,
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
        let join = thread.map_err(OpenError::unwritable(&path))?;
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

    /// The number of a team, for ever; a new one is written down first.
    ///
    /// # Errors
    /// When it cannot be.
    pub fn team(&self, name: &str) -> Result<TeamId, LedgerError> {
        self.ask(|reply| Command::Team(name.to_owned(), reply))
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.0.path
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

    /// Whether the wall clock is believed.
    pub fn wall_clock(&self) -> &Belief {
        &self.0.shared.clock
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

    /// Every alert of a period, and every hour's, each in order.
    ///
    /// # Errors
    /// When the ledger cannot be read, or too many ask.
    pub async fn alerts(
        &self,
        period: PeriodName,
    ) -> Result<(Vec<AlertRow>, Vec<HourAlertRow>), LedgerError> {
        let read = move |connection: &Connection| {
            let levels = alerts::list(connection, period)?;
            Ok((levels, hour_alerts::list(connection, period)?))
        };
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

    /// Every name and every set of tags that use was booked under since then.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn booked_since(&self, from: Timestamp) -> Result<Vec<BookedUnder>, LedgerError> {
        let read = move |connection: &Connection| query::booked_since(connection, from);
        self.0.reader.ask(read).await
    }

    /// How often the clock was accepted by hand; `None` while that cannot be read.
    pub fn clock_acceptances(&self) -> Option<i64> {
        let connection = sqlite::open_to_read(&self.0.path).ok()?;
        let sql = "SELECT count(*) FROM clock_accepted";
        connection.query_row(sql, [], |row| row.get(0)).ok()
    }
}

#[cfg(test)]
mod tests;
