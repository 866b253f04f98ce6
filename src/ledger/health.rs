//! What the ledger thread shares with the rest of the process, and how it is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::Ledger;
use super::live::LivePeriod;
use super::queue::Queues;
use super::totals::Totals;
use crate::clock::{self, Belief};
use crate::counters::{Count, Durations};

/// What takes longer means a disk that stalls: the worst commit of a healthy one is well under it.
const STALLED: Duration = Duration::from_secs(1);

/// Figures of the ledger thread.
#[derive(Debug, Default)]
pub struct LedgerStats {
    /// Commits, tried or done.
    pub commits: Durations,
    /// Events written.
    pub events: Count,
    /// Events waiting to be written.
    pub pending: Count,
    /// Commits that failed.
    pub errors: Count,
    pub(super) folded: AtomicU64,
}

impl LedgerStats {
    /// Events that kept no row of their own and are in the rollups only.
    pub fn events_folded(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }

    pub(super) fn folded(&self, count: u64) {
        self.folded.fetch_add(count, Ordering::Relaxed);
    }
}

/// Whether the disk takes what is written.
#[derive(Clone, Debug)]
pub struct Health {
    /// It does.
    pub writing: bool,
    /// When it last did.
    pub last_commit: Option<Timestamp>,
    /// Events waiting to be written.
    pub pending_events: u64,
    /// Why it does not.
    pub last_error: Option<String>,
}

impl Ledger {
    /// Whether the disk takes what is written.
    pub fn health(&self) -> Health {
        let health = Health {
            pending_events: self.0.shared.stats.pending.get(),
            ..Health::clone(&self.0.shared.health.load())
        };
        let trouble = if self.is_alive() {
            let stalled = self.0.shared.stalled();
            stalled.map(|since| format!("the disk stalls, for {} s already", since.as_secs()))
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
}

/// What the ledger thread shares with the rest.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queues: Queues,
    pub(super) live: ArcSwap<Vec<Arc<LivePeriod>>>,
    pub(super) teams: ArcSwap<Vec<String>>,
    pub(super) notify: Vec<Arc<Notify>>,
    pub(super) stats: Arc<LedgerStats>,
    pub(super) health: ArcSwap<Health>,
    pub(super) totals: ArcSwap<Totals>,
    /// Milliseconds since boot when what waits for the disk began; 0 while nothing does.
    pub(super) busy_since_ms: AtomicU64,
    /// Whoever asks serves others too.
    pub(super) is_serving: AtomicBool,
    pub(super) clock: Belief,
}

impl Shared {
    pub(super) fn health(&self, writing: bool, last_error: Option<String>) {
        let pending_events = self.stats.pending.get();
        let last_commit = if writing {
            Some(clock::now())
        } else {
            self.health.load().last_commit
        };
        self.health.store(Arc::new(Health {
            writing,
            last_commit,
            pending_events,
            last_error,
        }));
    }

    /// What is done until the answer is dropped may have to wait for the disk.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.busy_since_ms.store(now_ms().max(1), Ordering::Release);
        Busy(Arc::clone(self))
    }

    /// How long the disk keeps the ledger thread waiting already, where that is too long.
    pub(super) fn stalled(&self) -> Option<Duration> {
        let since = self.busy_since_ms.load(Ordering::Acquire);
        let busy = Duration::from_millis(now_ms().saturating_sub(since));
        (since > 0 && busy >= STALLED).then_some(busy)
    }

    /// Whoever waits for a grant looks again.
    pub(super) fn raised(&self) {
        self.notify
            .iter()
            .for_each(|worker| worker.notify_waiters());
    }
}

/// Held while the ledger thread does what may have to wait for the disk.
pub(super) struct Busy(Arc<Shared>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy_since_ms.store(0, Ordering::Release);
    }
}

fn now_ms() -> u64 {
    u64::try_from(clock::since_boot().as_millis()).unwrap_or(u64::MAX)
}
