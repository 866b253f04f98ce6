//! The one owner of changes: reloads, periods, alerts. Everybody else reads what it publishes.
//!
//! A reload is read, checked, compared and built before anything is visible; then one swap shows it, and only then
//! breakers, grants and alerts follow. On a thread of its own: it may wait for the ledger, and nobody waits with it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::build::{BuildError, Builder};
use super::conservation::Conservation;
use super::control::{Control, Question, Status};
use super::fuses;
use super::periods::PeriodClock;
use super::reload::{NotTaken, Postponed};
use crate::alerts::Watcher;
use crate::clock;
use crate::config::checked::Checked;
use crate::config::faults::Warnings;
use crate::config::load::{Files, Sources};
use crate::config::watch::Watch;
use crate::ledger::event::TeamId;
use crate::proxy::desk::Shared;
use crate::proxy::remembered;
use crate::proxy::snapshot::Snapshot;

/// How often periods, clock and alerts are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often a configuration is tried again that the ledger did not take.
const TRY_EVERY_LOOKS: u32 = 4;
/// How often agents and conversations are compared with what they use to cost: six times a minute.
const RATES_EVERY_LOOKS: u32 = 4 * 10;
/// How often sessions, ended turns and idempotency keys are looked through for old ones.
const EXPIRE_EVERY_LOOKS: u32 = 4 * 600;

/// The owner; runs on the control thread.
pub(super) struct Owner {
    taker: Taker,
    watch: Watch,
    questions: mpsc::Receiver<Question>,
}

/// What the owner does, once it heard of something.
pub(super) struct Taker {
    pub(super) control: Arc<Control>,
    pub(super) builder: Builder,
    pub(super) clock: PeriodClock,
    pub(super) watcher: Watcher,
    conservation: Conservation,
    was_writing: bool,
    pub(super) in_force: [u8; 32],
    /// What the process was started with: addresses and the ledger's place stay so.
    pub(super) started: Arc<Checked>,
    /// What the ledger could not write down.
    pub(super) postponed: Option<Postponed>,
    /// Whether the ledger may know allocations that are not in force: it was asked, and did not say that it failed.
    pub(super) unsure: bool,
    /// The ledger may hold other overrides than the builder has.
    pub(super) overrides_unsure: bool,
    /// Before this no end of an override is written down: it just could not be.
    pub(super) ends_paused_until: Option<Instant>,
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
        started: Arc::clone(&snapshot.checked),
        postponed: None,
        unsure: false,
        overrides_unsure: false,
        ends_paused_until: None,
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
        let mut remembering = pin!(remembered::remember(Arc::clone(&taker.control.shared)));
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
                // Whoever asked may have gone; the outcome is in log, metric and status as well.
                Some(question) = questions.recv() => match question {
                    Question::Reload(force, reply) => {
                        let _gone = reply.send(taker.take(watch.reread().await, force));
                    }
                    Question::Change(change, reply) => {
                        let _gone = reply.send(taker.change(*change));
                    }
                },
                _ = looks.tick() => taker.look(),
            }
        }
    }
}

impl Taker {
    /// Builds the snapshot of a configuration in the running period, and shows it; with it, the teams that have more
    /// than before.
    pub(super) fn show(
        &mut self,
        checked: Arc<Checked>,
    ) -> Result<(Arc<Snapshot>, Vec<TeamId>), NotTaken> {
        let now = clock::now();
        let calendar = &checked.allocations.pool.calendar;
        let no_period = || NotTaken::Faults(vec!["no period contains this moment".to_owned()]);
        let period = self.clock.current(calendar, now).ok_or_else(no_period)?;
        let now = self.clock.latest(now); // the newest row of an allocation holds
        let before = self.control.shared.snapshot.load_full();
        let snapshot = self.builder.build(checked, &period, Some(&before), now);
        match &snapshot {
            Ok(_) => self.unsure = false,
            Err(BuildError::Ledger(_)) => self.unsure = true,
            Err(BuildError::OverAllocated(_) | BuildError::NoCard(_)) => {} // it was not asked
        }
        let snapshot = Arc::new(snapshot?);
        let shared = &self.control.shared;
        shared.snapshot.store(Arc::clone(&snapshot));
        let grown = self.builder.in_force(&snapshot);
        shared.presences.store(Arc::new(self.builder.presences()));
        Ok((snapshot, grown))
    }

    /// Periods, clock, overrides, alerts.
    fn look(&mut self) {
        let now = clock::now();
        let snapshot = self.control.shared.snapshot.load_full();
        self.watcher.note_fuses(&snapshot, now); // those of the period that may be over
        self.advance(now);
        self.next_hour(now);
        let health = self.control.shared.ledger.health();
        if health.writing {
            self.look_at_overrides(self.clock.latest(now));
        }
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
        let snapshot = self.control.shared.snapshot.load_full();
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
        self.control.conserves(conserved);
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
