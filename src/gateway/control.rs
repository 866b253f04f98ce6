//! What everybody may ask of the running gateway, from any thread; what changes something is handed to its one owner.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::conservation::Conserved;
use super::overrides::{Change, NotChanged};
pub use super::status::{RejectedConfig, Reloaded, Status};
use crate::ledger::event::RequestId;
use crate::ledger::overrides::Override;
use crate::metrics::Elsewhere;
use crate::proxy::decision::{Decision, Decisions};
use crate::proxy::desk::Shared;

/// Questions waiting for the owner; the next one waits to be taken.
const QUEUE: usize = 16;

/// What everybody may ask, from any thread.
pub struct Control {
    /// What the workers share.
    pub shared: Arc<Shared>,
    status: ArcSwap<Status>,
    conserved: ArcSwap<Conserved>,
    questions: mpsc::Sender<Question>,
    stop: watch::Sender<bool>,
    #[expect(
        clippy::disallowed_types,
        reason = "admin side only, held for a look-up"
    )]
    decisions: std::sync::Mutex<Decisions>,
}

/// What the owner is asked.
pub(super) enum Question {
    /// Read all files again, and say what became of it.
    Reload(bool, oneshot::Sender<Reloaded>),
    /// Make or end an override.
    Change(
        Box<Change>,
        oneshot::Sender<Result<Arc<Override>, NotChanged>>,
    ),
}

impl Control {
    /// A control, and the questions its owner is asked.
    pub(super) fn new(
        shared: Arc<Shared>,
        status: Status,
    ) -> (Arc<Self>, mpsc::Receiver<Question>) {
        let (sender, questions) = mpsc::channel(QUEUE);
        let control = Arc::new(Self {
            status: ArcSwap::from_pointee(status),
            conserved: ArcSwap::default(),
            questions: sender,
            stop: watch::Sender::new(false),
            decisions: Default::default(),
            shared,
        });
        (control, questions)
    }

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

    pub(super) fn conserves(&self, conserved: Conserved) {
        self.conserved.store(Arc::new(conserved));
    }

    /// Ends the threads of owner and admin listener.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for [`Control::stop`].
    pub fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut stop = self.stop.subscribe();
        async move {
            // An error means that the control itself is gone.
            let _stopped = stop.wait_for(|is_stopped| *is_stopped).await.is_ok();
        }
    }

    pub(super) fn publish(&self, change: impl FnOnce(&mut Status)) {
        let mut status = Status::clone(&self.status.load());
        change(&mut status);
        self.status.store(Arc::new(status));
    }
}
