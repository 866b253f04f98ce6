//! The one owner of changes: reloads, periods, alerts. Everybody else reads what it publishes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::build::{BuildError, Builder};
use super::conservation::{Conservation, Conserved};
use super::fuses;
use super::periods::PeriodClock;
use super::reload::{NotTaken, Postponed};
use crate::alerts::Watcher;
use crate::clock;
use crate::config::checked::Checked;
use crate::config::faults::Warnings;
use crate::config::load::{Files, Sources};
use crate::config::watch::Watch;
use crate::ledger::event::RequestId;
use crate::metrics::Elsewhere;
use crate::proxy::decision::{Decision, Decisions};
use crate::proxy::desk::Shared;

/// How often periods, clock and alerts are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Questions waiting for the owner; the next one waits to be taken.
const QUEUE: usize = 16;
/// How often a configuration is tried again that the ledger did not take.
const TRY_EVERY_LOOKS: u32 = 4;
/// How often agents and conversations are compared with what they use to cost: six times a minute.
const RATES_EVERY_LOOKS: u32 = 4 * 10;
/// How often sessions, ended turns and idempotency keys are looked through for old ones.
const EXPIRE_EVERY_LOOKS: u32 = 4 * 600;

/// What everybody may ask, from any thread.
pub struct Control {
    /// What the workers share.
    pub shared: Arc<Shared>,
    status: ArcSwap<Status>,
    conserved: ArcSwap<Conserved>,
    questions: mpsc::Sender<Question>,
    stop: Arc<Notify>,
    #[expect(
        clippy::disallowed_types,
        reason = "admin side only, held for a look-up"
    )]
    decisions: std::sync::Mutex<Decisions>,
}

/// Where the process stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// The hash of the configuration in force.
    pub config_hash: String,
    /// When it was read.
    pub loaded_at: Timestamp,
    /// Since the start.
    pub reloads_accepted: u64,
    /// Since the start.
    pub reloads_rejected: u64,
    /// The last configuration that was not taken, while the one in force is older.
    pub last_rejected: Option<RejectedConfig>,
    /// What is legal and suspicious in the configuration in force.
    pub warnings: Vec<String>,
    /// Why the period is held.
    pub held: Option<String>,
    /// Alerts raised by this process.
    pub alerts: Vec<(Arc<str>, &'static str, u64)>,
}

/// A configuration that was not taken.
#[derive(Clone, Debug, Serialize)]
pub struct RejectedConfig {
    /// When.
    pub at: String,
    /// Every fault, with its place.
    pub faults: Vec<String>,
}

/// What became of a reload.
#[derive(Debug)]
pub enum Reloaded {
    /// In force.
    Accepted {
        /// What it changed.
        changes: Vec<String>,
        /// What is suspicious in it.
        warnings: Vec<String>,
    },
    /// The files are what they were.
    Unchanged,
    /// Nothing changed.
    Rejected {
        /// Every fault, with its place.
        faults: Vec<String>,
    },
}

struct Question {
    force: bool,
    reply: oneshot::Sender<Reloaded>,
}

/// The owner; runs on the control thread.
pub struct Owner {
    taker: Taker,
    watch: Watch,
    questions: mpsc::Receiver<Question>,
}

/// What the owner does, once it heard of something.
pub(super) struct Taker {
    pub(super) control: Arc<Control>,
    builder: Builder,
    pub(super) clock: PeriodClock,
    watcher: Watcher,
    conservation: Conservation,
    was_writing: bool,
    pub(super) in_force: [u8; 32],
    /// What the ledger could not write down.
    pub(super) postponed: Option<Postponed>,
    /// Whether the ledger may know allocations that are not in force: it was asked, and did not say that it failed.
    pub(super) unsure: bool,
    looks: u32,
}

/// A control and its owner.
pub fn new(
    shared: Arc<Shared>,
    builder: Builder,
    clock: PeriodClock,
    sources: &Sources,
    files: &Files,
    warnings: &Warnings,
) -> (Arc<Control>, Owner) {
    let (sender, questions) = mpsc::channel(QUEUE);
    let snapshot = shared.snapshot.load_full();
    let status = Status {
        config_hash: snapshot.config_hash.to_string(),
        loaded_at: clock::now(),
        reloads_accepted: 0,
        reloads_rejected: 0,
        last_rejected: None,
        warnings: warnings.lines(),
        held: clock.held().map(str::to_owned),
        alerts: Vec::new(),
    };
    let control = Arc::new(Control {
        status: ArcSwap::from_pointee(status),
        conserved: ArcSwap::default(),
        questions: sender,
        stop: Arc::default(),
        decisions: Default::default(),
        shared,
    });
    let watch = Watch::new(sources, files);
    let taker = Taker {
        watcher: Watcher::new(control.shared.ledger.clone()),
        conservation: Conservation::default(),
        was_writing: true,
        in_force: files.digest(),
        postponed: None,
        unsure: false,
        control: Arc::clone(&control),
        builder,
        clock,
        looks: 0,
    };
    (
        control,
        Owner {
            taker,
            watch,
            questions,
        },
    )
}

impl Control {
    /// Where the process stands.
    pub fn status(&self) -> Arc<Status> {
        self.status.load_full()
    }

    /// Reads all files again; `None` while the process stops.
    pub async fn reload(&self, force: bool) -> Option<Reloaded> {
        let (reply, answer) = oneshot::channel();
        self.questions.send(Question { force, reply }).await.ok()?;
        answer.await.ok()
    }

    /// The decision on a refused request.
    pub fn decision(&self, request: RequestId) -> Option<Decision> {
        self.with_decisions(|decisions| decisions.get(request))
    }

    /// The newest refusals.
    pub fn newest_decisions(&self, count: usize) -> Vec<Decision> {
        self.with_decisions(|decisions| decisions.newest(count))
    }

    fn with_decisions<T>(&self, read: impl FnOnce(&Decisions) -> T) -> T {
        // A panic while it was held leaves a map that is whole: entries are inserted in one step.
        let mut decisions = self
            .decisions
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        decisions.collect(&self.shared.decisions);
        read(&decisions)
    }

    /// Figures for metrics that are not counted by workers.
    pub fn metrics(&self) -> Elsewhere {
        let (status, conserved) = (self.status(), self.conserved());
        Elsewhere {
            differences: conserved.differences.clone(),
            reserved_by_nobody: conserved.reserved_by_nobody.clone(),
            reserved_lost: conserved.lost,
            reloads_accepted: status.reloads_accepted,
            reloads_rejected: status.reloads_rejected,
            last_reload_s: status.loaded_at.as_second(),
            alerts: status.alerts.clone(),
            clock_held: status.held.is_some(),
        }
    }

    /// Whether counters, metrics and ledger agree.
    pub fn conserved(&self) -> Arc<Conserved> {
        self.conserved.load_full()
    }

    /// Ends the control thread.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// Waits for [`Control::stop`].
    pub fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let stop = Arc::clone(&self.stop);
        async move { stop.notified().await }
    }

    pub(super) fn publish(&self, change: impl FnOnce(&mut Status)) {
        let mut status = Status::clone(&self.status.load());
        change(&mut status);
        self.status.store(Arc::new(status));
    }
}

impl Owner {
    /// Runs until the process stops.
    pub async fn run(self) {
        let Self {
            mut taker,
            mut watch,
            mut questions,
        } = self;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hangup = hangup();
        loop {
            tokio::select! {
                content = watch.next() => {
                    let _said = taker.take(content, false);
                }
                Some(()) = hangup.recv() => {
                    let _said = taker.take(watch.reread().await, false);
                }
                Some(Question { force, reply }) = questions.recv() => {
                    let reloaded = taker.take(watch.reread().await, force);
                    // Whoever asked may have gone; the outcome is in log, metric and status as well.
                    let _gone = reply.send(reloaded);
                }
                _ = looks.tick() => taker.look(),
            }
        }
    }
}

impl Taker {
    /// Builds the snapshot of a configuration in the running period, and shows it.
    pub(super) fn show(&mut self, checked: Arc<Checked>) -> Result<(), NotTaken> {
        let now = clock::now();
        let calendar = &checked.allocations.pool.calendar;
        let no_period = || NotTaken::Faults(vec!["no period contains this moment".to_owned()]);
        let period = self.clock.current(calendar, now).ok_or_else(no_period)?;
        let now = self.clock.latest(now); // the newest row of an allocation holds
        let before = self.control.shared.snapshot.load_full();
        let snapshot = self.builder.build(checked, &period, Some(&before), now);
        self.unsure = matches!(snapshot, Err(BuildError::Ledger(_)));
        let snapshot = snapshot?;
        self.watcher.rearm(&before, &snapshot, now);
        self.control
            .shared
            .presences
            .store(Arc::new(self.builder.presences()));
        self.control.shared.snapshot.store(Arc::new(snapshot));
        Ok(())
    }

    /// Periods, clock, alerts.
    fn look(&mut self) {
        let now = clock::now();
        let snapshot = self.control.shared.snapshot.load_full();
        self.watcher.note_fuses(&snapshot, now);
        let period = self
            .clock
            .current(&snapshot.checked.allocations.pool.calendar, now);
        if period.is_some_and(|period| period.start > snapshot.live.books.period.start) {
            match self.show(Arc::clone(&snapshot.checked)) {
                Ok(()) => {
                    tracing::info!(period = %period.map_or_else(String::new, |p| p.name.to_string()), "a new period began")
                }
                Err(NotTaken::Ledger(error)) => {
                    tracing::error!(error, "the new period cannot be opened; trying again")
                }
                Err(NotTaken::Faults(faults)) => {
                    tracing::error!(?faults, "the new period cannot be opened; trying again")
                }
            }
        }
        self.next_hour(now);
        let health = self.control.shared.ledger.health();
        if self.was_writing && !health.writing {
            let error = health.last_error.unwrap_or_default();
            tracing::error!(
                error,
                "the ledger is not written: spending goes on within grants only"
            );
        }
        self.was_writing = health.writing;
        if health.writing && self.looks.rem_euclid(TRY_EVERY_LOOKS) == 0 {
            self.try_postponed();
        }
        // An alert is a row: while there is nowhere to write it, the state it tells of stays.
        let mut raised = health.writing && self.watcher.look(&snapshot, now);
        let is_due = self.looks.rem_euclid(RATES_EVERY_LOOKS) == 0 || !self.watcher.knows_rates();
        if health.writing && is_due {
            let sessions = &self.control.shared.sessions;
            raised |= self.watcher.look_at_rates(&snapshot, sessions, now);
        }
        let held = self.clock.held().map(str::to_owned);
        if raised || held != self.control.status().held {
            let alerts = self.watcher.counts();
            self.control.publish(|status| {
                status.held = held;
                status.alerts = alerts;
            });
        }
        let conserved = self.conservation.look(&self.control.shared);
        self.control.conserved.store(Arc::new(conserved));
        self.looks = self.looks.wrapping_add(1);
        // Not by a clock that is not trusted.
        if self.looks.rem_euclid(EXPIRE_EVERY_LOOKS) == 0 && self.clock.held().is_none() {
            self.control.shared.expire(now);
        }
    }

    /// Fuses count by the hour: the next one is made in time, by a snapshot that differs in nothing else.
    fn next_hour(&mut self, now: Timestamp) {
        let shared = &self.control.shared;
        let snapshot = shared.snapshot.load_full();
        match fuses::in_its_hour(&shared.ledger, &snapshot, now) {
            Ok(None) => {}
            Ok(Some(next)) => shared.snapshot.store(Arc::new(next)),
            Err(error) => {
                tracing::error!(%error, "the hour of the fuses cannot be read; trying again");
            }
        }
    }
}

/// SIGHUP; where it cannot be listened for, never.
fn hangup() -> Hangup {
    use tokio::signal::unix::{SignalKind, signal};
    Hangup(signal(SignalKind::hangup()).ok())
}

struct Hangup(Option<tokio::signal::unix::Signal>);

impl Hangup {
    async fn recv(&mut self) -> Option<()> {
        match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => std::future::pending().await,
        }
    }
}
