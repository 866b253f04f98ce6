//! What one worker's requests share: the snapshot it holds, its sink of events, its counters, its keys.
//!
//! Nothing here is shared between threads but what [`Shared`] holds, and of that only atomics and the map of
//! sessions are touched by a request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, Cache};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::counters::{TeamCounters, WorkerCounters};
use super::decision::DecisionRings;
use super::identify::KeyCache;
use super::sessions::Sessions;
use super::snapshot::{Held, Presence, Snapshot, TeamEntry};
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
    /// Refusals, for whoever asks why.
    pub decisions: DecisionRings,
    /// Every team this process has known, also those a reload removed: what metrics are read from.
    pub presences: ArcSwap<Vec<Arc<Presence>>>,
    /// One worker's counters each.
    pub counters: Arc<Vec<WorkerCounters>>,
    /// The process is about to stop.
    pub draining: AtomicBool,
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
    holding: RefCell<Holding>,
    sink: RefCell<EventSink>,
    ids: RefCell<fastrand::Rng>,
    price_bytes: Cell<usize>,
}

/// The newest snapshot, and the one in use.
struct Holding {
    newest: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    held: Held,
}

/// The most bytes all requests of a worker together read ahead for pricing. What does not fit is not read, and
/// is priced as a body that cannot be.
const PRICE_BYTES_MAX: usize = 64 << 20;

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
            holding: RefCell::new(Holding { newest, held }),
            sink: RefCell::new(sink),
            ids: RefCell::new(fastrand::Rng::with_seed(seed)),
            price_bytes: Cell::new(0),
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

    /// Takes room for a body that is read ahead, if there is any left.
    pub fn price_room(self: &Rc<Self>, bytes: usize) -> Option<PriceRoom> {
        let used = self
            .price_bytes
            .get()
            .checked_add(bytes)
            .filter(|used| *used <= PRICE_BYTES_MAX)?;
        self.price_bytes.set(used);
        Some(PriceRoom {
            desk: Rc::clone(self),
            bytes,
        })
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

/// Room for a body that is read ahead; given back when dropped.
pub struct PriceRoom {
    desk: Rc<Desk>,
    bytes: usize,
}

impl Drop for PriceRoom {
    fn drop(&mut self) {
        self.desk
            .price_bytes
            .set(self.desk.price_bytes.get().saturating_sub(self.bytes));
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
