//! The one owner of changes: reloads, periods, alerts. Everybody else reads what it publishes.
//!
//! A reload is read, checked, compared and built before anything is visible; then one swap shows it.

mod changing;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

pub(super) use self::changing::began;
use self::changing::used;
use super::build::Builder;
use super::conservation::{Conservation, Conserved};
use super::overrides::{self, Change, NotChanged};
use super::periods::PeriodClock;
pub use super::status::{RejectedConfig, Reloaded, Status};
use crate::alerts::Watcher;
use crate::clock;
use crate::config::changes::Changes;
use crate::config::changes::reject_reason;
use crate::config::checked::Checked;
use crate::config::faults::Warnings;
use crate::config::load::{self, Files, Sources};
use crate::config::watch::{Content, Watch};
use crate::ledger::event::RequestId;
use crate::ledger::overrides::Override;
use crate::metrics::Elsewhere;
use crate::proxy::decision::{Decision, Decisions};
use crate::proxy::desk::Shared;

/// How often periods, clock and alerts are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Questions waiting for the owner; the next one waits to be taken.
const QUEUE: usize = 16;
/// How often sessions are looked through for idle ones.
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

enum Question {
    Reload(bool, oneshot::Sender<Reloaded>),
    Change(
        Box<Change>,
        oneshot::Sender<Result<Arc<Override>, NotChanged>>,
    ),
}

/// The owner; runs on the control thread.
pub struct Owner {
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
    /// The ledger may hold others than the builder has.
    overrides_unsure: bool,
    /// Before this no end of an override is written down: it just could not be.
    ends_paused_until: Option<Instant>,
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
        control: Arc::clone(&control),
        builder,
        clock,
        looks: 0,
        overrides_unsure: false,
        ends_paused_until: None,
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
        let question = Question::Reload(force, reply);
        self.questions.send(question).await.ok()?;
        answer.await.ok()
    }

    /// Makes or ends an override; `None` while the process stops.
    pub async fn change(&self, change: Change) -> Option<Result<Arc<Override>, NotChanged>> {
        let (reply, answer) = oneshot::channel();
        let question = Question::Change(Box::new(change), reply);
        self.questions.send(question).await.ok()?;
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

    fn publish(&self, change: impl FnOnce(&mut Status)) {
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
        let (before, now) = (self.control.shared.snapshot.load_full(), clock::now());
        if let Some(reason) = reject_reason(&before.checked, &checked, force) {
            return self.reject(vec![reason]);
        }
        let changes = Changes::between(&before.checked, &checked);
        if let Err(error) = self.show(Arc::new(checked)) {
            return self.reject(vec![error]);
        }
        self.in_force = files.digest();
        let changes = changes.lines();
        for change in &changes {
            tracing::info!(change, "configuration changed");
        }
        let warnings = warnings.lines();
        let snapshot = self.control.shared.snapshot.load_full();
        tracing::info!(hash = &*snapshot.config_hash, "configuration accepted");
        if let Err(error) = self.control.shared.ledger.config_used(used(&snapshot), now) {
            tracing::warn!(%error, "which configuration is in force cannot be written down");
        }
        self.control.publish(|status| {
            status.reloads_accepted = status.reloads_accepted.saturating_add(1);
            status.config_hash = snapshot.config_hash.to_string();
            status.loaded_at = clock::now();
            status.last_rejected = None;
            status.warnings.clone_from(&warnings);
        });
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

    /// Builds the snapshot of a configuration in the running period, and shows it.
    fn show(&mut self, checked: Arc<Checked>) -> Result<(), String> {
        let now = clock::now();
        let calendar = &checked.allocations.pool.calendar;
        let period = self
            .clock
            .current(calendar, now)
            .ok_or("no period contains this moment")?;
        let before = self.control.shared.snapshot.load_full();
        let snapshot = self.builder.build(checked, &period, Some(&before), now);
        let snapshot = snapshot.map_err(|error| error.to_string())?;
        self.watcher.rearm(&before, &snapshot, now);
        self.control
            .shared
            .presences
            .store(Arc::new(self.builder.presences()));
        let snapshot = Arc::new(snapshot);
        self.control.shared.snapshot.store(Arc::clone(&snapshot));
        overrides::follow(&before, &snapshot);
        Ok(())
    }

    /// Periods, clock, overrides, alerts.
    fn look(&mut self) {
        let now = clock::now();
        self.advance(now);
        let health = self.control.shared.ledger.health();
        if health.writing {
            self.look_at_overrides(now);
        }
        let snapshot = self.control.shared.snapshot.load_full();
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
        self.control.conserved.store(Arc::new(conserved));
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
