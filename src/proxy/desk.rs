//! What one worker's requests share: the snapshot it holds, its sink of events, its counters, its keys.
//!
//! Nothing here is shared between threads but what [`Shared`] holds, and of that only atomics and the maps of
//! sessions, turns and idempotency keys are touched by a request.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Cache};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::counters::{TeamCounters, WorkerCounters};
use super::decision::DecisionRings;
use super::idempotency::Idempotency;
use super::identify::KeyCache;
use super::room::Room;
use super::sessions::Sessions;
use super::snapshot::{Held, Presence, Snapshot, TeamEntry};
use super::turns::Turns;
use super::watch::{Watch, Watches};
use crate::ledger::Ledger;
use crate::ledger::event::{Event, RequestId};
use crate::ledger::queue::EventSink;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The state of the world.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The durable memory.
    pub ledger: Ledger,
    /// Agent sessions.
    pub sessions: Sessions,
    /// Sessions with a turn in flight.
    pub turns: Turns,
    /// Idempotency keys.
    pub idempotency: Idempotency,
    /// Refusals, for whoever asks why.
    pub decisions: DecisionRings,
    /// Every team this process has known, also those a reload removed: what metrics are read from.
    pub presences: ArcSwap<Vec<Arc<Presence>>>,
    /// One worker's counters each.
    pub counters: Arc<Vec<WorkerCounters>>,
    /// The process is about to stop.
    pub draining: AtomicBool,
}

impl Shared {
    /// Forgets what is too old to matter. Called now and then, off the request path.
    pub fn expire(&self, now: Timestamp) {
        self.sessions.expire(now);
        self.turns.expire(now);
        self.idempotency.expire(now);
    }
}

/// One worker's desk.
pub struct Desk {
    /// Which worker, from 0.
    pub worker: usize,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// This worker's connections and coarse clock.
    pub watches: Rc<Watches>,
    /// Keys seen lately.
    pub keys: KeyCache,
    /// Told when the ledger raised grants.
    pub raised: Arc<Notify>,
    /// What is read ahead of requests.
    pub ahead: Rc<Room>,
    /// What is kept of answers.
    pub answers: Rc<Room>,
    holding: RefCell<Holding>,
    sink: RefCell<EventSink>,
    ids: RefCell<fastrand::Rng>,
}

/// The newest snapshot, and the one in use.
struct Holding {
    newest: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    held: Held,
}

/// The most bytes of requests a worker reads ahead at a time. A body that does not fit is not read: it is priced
/// by its size, and refused where that is not known either.
const AHEAD_BYTES_MAX: usize = 64 << 20;
/// The most bytes of answers a worker keeps to read what they say was used. What does not fit is not read, and
/// costs its bound.
const ANSWER_BYTES_MAX: usize = 64 << 20;

impl Desk {
    /// A worker's desk. `seed` makes request ids unguessable: it comes from the system's generator.
    pub fn new(worker: usize, shared: Arc<Shared>, sink: EventSink, seed: u64) -> Self {
        let held = Rc::new(shared.snapshot.load_full());
        let newest = Cache::new(Arc::clone(&shared.snapshot));
        Self {
            worker,
            raised: shared.ledger.raised(worker),
            watches: Rc::default(),
            keys: KeyCache::default(),
            ahead: Room::new(AHEAD_BYTES_MAX),
            answers: Room::new(ANSWER_BYTES_MAX),
            holding: RefCell::new(Holding { newest, held }),
            sink: RefCell::new(sink),
            ids: RefCell::new(fastrand::Rng::with_seed(seed)),
            shared,
        }
    }

    /// The snapshot for a whole request. Costs a load and a compare while nothing changed.
    pub fn held(&self) -> Held {
        let mut holding = self.holding.borrow_mut();
        let Holding { newest, held } = &mut *holding;
        let newest = newest.load();
        if !Arc::ptr_eq(newest, held) {
            *held = Rc::new(Arc::clone(newest));
            self.keys.clear();
        }
        Rc::clone(held)
    }

    /// This worker's counters.
    #[expect(clippy::indexing_slicing, reason = "there are as many as workers")]
    pub fn counters(&self) -> &WorkerCounters {
        &self.shared.counters[self.worker]
    }

    /// This worker's counters of a team.
    pub fn team_counters<'t>(&self, team: &'t TeamEntry) -> Option<&'t TeamCounters> {
        team.presence.counters.get(self.worker)
    }

    /// A new request's id.
    pub fn next_id(&self) -> RequestId {
        RequestId(self.ids.borrow_mut().u128(..))
    }

    /// Hands an event to the ledger; never waits.
    pub fn record(&self, event: Event) {
        self.sink.borrow_mut().push(event);
    }

    /// The worker's tick: whatever the sink could not hand over is tried again.
    pub fn tick(&self) {
        self.sink.borrow_mut().tick();
    }

    /// Whether the process is about to stop.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Whether the requests in flight, the one that asks among them, are at most `limit` for the process. Other
    /// workers are only asked when this one has more than its even share.
    pub fn has_room(&self, limit: usize) -> bool {
        let workers = self.shared.counters.len().max(1);
        let share = u64::try_from(limit.div_euclid(workers)).unwrap_or(u64::MAX);
        if self.counters().in_flight.get() <= share {
            return true;
        }
        let all: u64 = self
            .shared
            .counters
            .iter()
            .map(|counters| counters.in_flight.get())
            .sum();
        all <= u64::try_from(limit).unwrap_or(u64::MAX)
    }
}

/// A request in flight, until its answer is over.
pub struct InFlight {
    desk: Rc<Desk>,
    watch: Rc<Watch>,
    /// When its head was read.
    pub started: Instant,
}

impl InFlight {
    /// A request begins.
    pub fn begin(desk: Rc<Desk>, watch: Rc<Watch>) -> Self {
        desk.counters().in_flight.add(1);
        Self {
            desk,
            watch,
            started: Instant::now(),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.watch.idle();
        let counters = self.desk.counters();
        counters.in_flight.sub(1);
        counters.request_duration.note(self.started.elapsed());
    }
}
