//! From the workers to the ledger thread: one bounded queue each, and what happens when it is full.
//!
//! A full queue refuses no traffic and blocks nobody: the event is folded into sums the worker keeps, exactly,
//! and the sums are handed over when there is room.

use std::sync::Arc;

use crossbeam_queue::ArrayQueue;

use super::LedgerStats;
use super::batch::Batch;
use super::event::Event;

/// Events waiting, a worker: at 20,000 a second about 400 ms, eight times the writer's interval.
const QUEUE: usize = 8_192;

#[derive(Debug)]
pub(super) enum Item {
    Event(Event),
    Folded(Box<Batch>),
}

/// A worker's queue.
pub(super) type Queue = ArrayQueue<Item>;

/// The writer's end of all queues.
#[derive(Debug)]
pub(super) struct Queues(Vec<Arc<Queue>>);

impl Queues {
    pub(super) fn new(workers: usize) -> Self {
        Self::with_capacity(workers, QUEUE)
    }

    pub(super) fn with_capacity(workers: usize, capacity: usize) -> Self {
        Self(
            std::iter::repeat_with(|| Arc::new(ArrayQueue::new(capacity)))
                .take(workers)
                .collect(),
        )
    }

    pub(super) fn queue(&self, worker: usize) -> Option<Arc<Queue>> {
        self.0.get(worker).cloned()
    }

    /// Takes what waits now; what comes meanwhile waits for the next time.
    pub(super) fn drain(&self, mut take: impl FnMut(Item)) {
        for queue in &self.0 {
            for _ in 0..queue.len() {
                let Some(item) = queue.pop() else { break };
                take(item);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|queue| queue.len()).sum()
    }
}

/// A worker's end of its queue.
#[derive(Debug)]
pub struct EventSink {
    queue: Arc<Queue>,
    folded: Option<Box<Batch>>,
    stats: Arc<LedgerStats>,
}

impl EventSink {
    pub(super) fn new(queue: Arc<Queue>, stats: Arc<LedgerStats>) -> Self {
        Self {
            queue,
            folded: None,
            stats,
        }
    }

    /// Hands an event to the ledger. Never waits, never refuses.
    pub fn push(&mut self, event: Event) {
        if self.folded.is_none() {
            if let Err(Item::Event(back)) = self.queue.push(Item::Event(event)) {
                self.fold(back);
            }
        } else {
            // In order: a session's later row must not be overtaken by an earlier one.
            self.fold(event);
        }
    }

    /// Hands folded sums over, if there is room now. Called by the worker's tick.
    pub fn tick(&mut self) {
        let Some(folded) = self.folded.take() else {
            return;
        };
        if let Err(Item::Folded(back)) = self.queue.push(Item::Folded(folded)) {
            self.folded = Some(back);
        }
    }

    fn fold(&mut self, event: Event) {
        self.stats.folded(1);
        self.folded.get_or_insert_default().add(event, false);
    }
}

/// A worker that ends hands over what it folded; the ledger thread outlives the workers.
impl Drop for EventSink {
    fn drop(&mut self) {
        for _ in 0..5_000 {
            self.tick();
            if self.folded.is_none() {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        tracing::error!(
            "the ledger takes no events: what a worker folded is charged as crash_adjustment"
        );
    }
}
