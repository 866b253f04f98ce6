//! The one owner of changes: reloads, periods, alerts. Everybody else reads what it publishes.
//!
//! A reload is read, checked, compared and built before anything is visible; then one swap shows it, and only then
//! breakers, grants and alerts follow. On a thread of its own: it may wait for the ledger, and nobody waits with it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::build::Builder;
use super::conservation::Conservation;
use super::control::{Control, Question, RejectedConfig, Reloaded, Status};
use super::periods::PeriodClock;
use crate::alerts::Watcher;
use crate::clock;
use crate::config::changes::{Changes, reject_reason};
use crate::config::checked::Checked;
use crate::config::faults::Warnings;
use crate::config::load::{self, Files, Sources};
use crate::config::watch::{Content, Watch};
use crate::ledger::event::TeamId;
use crate::proxy::desk::Shared;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::tags;

/// How often periods, clock and alerts are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often sessions are looked through for idle ones.
const EXPIRE_EVERY_LOOKS: u32 = 4 * 600;

/// The owner; runs on the control thread.
pub(super) struct Owner {
    taker: Taker,
    watch: Watch,
    questions: mpsc::Receiver<Question>,
}

/// What the owner does, once it heard of something.
struct Taker {
    control: Arc<Control>,
    builder: Builder,
    clock: PeriodClock,
    watcher: Watcher,
    conservation: Conservation,
    was_writing: bool,
    in_force: [u8; 32],
    looks: u32,
}

/// A control and its owner. `grown` are the teams that have more than when the last process ended.
pub(super) fn new(
    shared: Arc<Shared>,
    (builder, grown): (Builder, &[TeamId]),
    clock: PeriodClock,
    sources: &Sources,
    files: &Files,
    warnings: &Warnings,
) -> (Arc<Control>, Owner) {
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
    let (control, questions) = Control::new(shared, status);
    let mut watcher = Watcher::new(control.shared.ledger.clone());
    watcher.rearm(&snapshot, grown, clock::now());
    let taker = Taker {
        watcher,
        conservation: Conservation::default(),
        was_writing: true,
        in_force: files.digest(),
        control: Arc::clone(&control),
        builder,
        clock,
        looks: 0,
    };
    let owner = Owner {
        taker,
        watch: Watch::new(sources, files),
        questions,
    };
    (control, owner)
}

impl Owner {
    /// Runs until the process stops.
    pub(super) async fn run(self) {
        let Self {
            mut taker,
            mut watch,
            mut questions,
        } = self;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hangup = hangup();
        let mut remembering = pin!(tags::remember(Arc::clone(&taker.control.shared)));
        let mut remembers = true;
        loop {
            tokio::select! {
                () = &mut remembering, if remembers => remembers = false,
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
    /// Read, check, compare, build, then one swap.
    fn take(&mut self, content: Content, force: bool) -> Reloaded {
        match content {
            Ok(files) => self.take_files(&files, force),
            Err(faults) => self.reject(faults.lines()),
        }
    }

    fn take_files(&mut self, files: &Files, force: bool) -> Reloaded {
        if files.digest() == self.in_force {
            self.control.publish(|status| status.last_rejected = None);
            return Reloaded::Unchanged;
        }
        let (checked, warnings) = match load::check(files, clock::now()) {
            Ok(checked) => checked,
            Err(faults) => return self.reject(faults.lines()),
        };
        // First what the configuration in force makes of the time: a rejected one must not begin a period.
        self.roll_over();
        let before = self.control.shared.snapshot.load_full();
        if let Some(reason) = reject_reason(&before.checked, &checked, force) {
            return self.reject(vec![reason]);
        }
        let changes = Changes::between(&before.checked, &checked);
        let (snapshot, grown) = match self.show(Arc::new(checked)) {
            Ok(shown) => shown,
            Err(error) => return self.reject(vec![error]),
        };
        self.in_force = files.digest();
        let warnings = warnings.lines();
        // At once: whoever sees the new limits shall find the reload counted.
        self.control.publish(|status| {
            status.reloads_accepted = status.reloads_accepted.saturating_add(1);
            status.config_hash = snapshot.config_hash.to_string();
            status.loaded_at = clock::now();
            status.last_rejected = None;
            status.warnings.clone_from(&warnings);
        });
        let changes = changes.lines();
        for change in &changes {
            tracing::info!(change, "configuration changed");
        }
        tracing::info!(hash = &*snapshot.config_hash, "configuration accepted");
        self.watcher.rearm(&snapshot, &grown, clock::now());
        Reloaded::Accepted { changes, warnings }
    }

    fn reject(&self, faults: Vec<String>) -> Reloaded {
        for fault in &faults {
            tracing::error!(fault, "configuration rejected; the one in force stays");
        }
        self.control.publish(|status| {
            status.reloads_rejected = status.reloads_rejected.saturating_add(1);
            status.last_rejected = Some(RejectedConfig {
                at: clock::now().to_string(),
                faults: faults.clone(),
            });
        });
        Reloaded::Rejected { faults }
    }

    /// Builds the snapshot of a configuration in the running period, and shows it; with it, the teams that have more
    /// than before.
    fn show(&mut self, checked: Arc<Checked>) -> Result<(Arc<Snapshot>, Vec<TeamId>), String> {
        let now = clock::now();
        let calendar = &checked.allocations.pool.calendar;
        let period = self
            .clock
            .current(calendar, now)
            .ok_or("no period contains this moment")?;
        let before = self.control.shared.snapshot.load_full();
        let snapshot = self.builder.build(checked, &period, Some(&before), now);
        let snapshot = Arc::new(snapshot.map_err(|error| error.to_string())?);
        let shared = &self.control.shared;
        shared.snapshot.store(Arc::clone(&snapshot));
        let grown = self.builder.in_force(&snapshot);
        shared.presences.store(Arc::new(self.builder.presences()));
        Ok((snapshot, grown))
    }

    /// Begins the next period once it is time.
    fn roll_over(&mut self) {
        let now = clock::now();
        let snapshot = self.control.shared.snapshot.load_full();
        let period = self
            .clock
            .current(&snapshot.checked.allocations.pool.calendar, now);
        if period.is_some_and(|period| period.start > snapshot.live.books.period.start) {
            match self.show(Arc::clone(&snapshot.checked)) {
                Ok(_) => {
                    tracing::info!(period = %period.map_or_else(String::new, |p| p.name.to_string()), "a new period began")
                }
                Err(error) => {
                    tracing::error!(error, "the new period cannot be opened; trying again")
                }
            }
        }
    }

    /// Periods, clock, alerts.
    fn look(&mut self) {
        self.roll_over();
        let now = clock::now();
        let snapshot = self.control.shared.snapshot.load_full();
        let health = self.control.shared.ledger.health();
        if self.was_writing && !health.writing {
            let error = health.last_error.unwrap_or_default();
            tracing::error!(
                error,
                "the ledger is not written: spending goes on within grants only"
            );
        }
        self.was_writing = health.writing;
        // An alert is a row: while there is nowhere to write it, the state it tells of stays.
        let raised = health.writing && self.watcher.look(&snapshot, now);
        let held = self.clock.held().map(str::to_owned);
        if raised || held != self.control.status().held {
            let alerts = self.watcher.counts();
            self.control.publish(|status| {
                status.held = held;
                status.alerts = alerts;
            });
        }
        let conserved = self.conservation.look(&self.control.shared);
        self.control.conserves(conserved);
        self.looks = self.looks.wrapping_add(1);
        if self.looks.rem_euclid(EXPIRE_EVERY_LOOKS) == 0 {
            self.control.shared.sessions.expire(now);
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
