//! One coarse timer a worker, instead of one a request.
//!
//! Every connection has a [`Watch`]: the stage it is in and when that stage is over. A worker's tick goes
//! through its watches ten times a second and wakes the connection whose stage took too long; the code that
//! runs there sees [`Watch::is_expired`] and ends in its own way. A connection that cannot run, because the
//! client does not read, is closed a second later.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::line::Line;

/// How often the watches are looked at; every deadline is late by up to this.
pub const TICK: Duration = Duration::from_millis(100);
/// An expired connection that did not end by itself is closed after this.
const GRACE_MS: u64 = 1_000;
/// A connection without a request, or with an unfinished head, is closed after this.
pub const IDLE_CONNECTION: Duration = Duration::from_secs(75);

/// A worker's coarse clock: milliseconds since it started, moved by its tick.
#[derive(Debug, Default)]
struct CoarseClock(Cell<u64>);

impl CoarseClock {
    /// Milliseconds since the worker started, at most a tick old.
    fn now_ms(&self) -> u64 {
        self.0.get()
    }

    /// Moves the clock.
    fn set(&self, since_start: Duration) {
        self.0.set(millis(since_start));
    }
}

/// One connection's deadline.
#[derive(Debug)]
pub struct Watch {
    /// How its answers stand.
    pub line: Line,
    clock: Rc<CoarseClock>,
    due_ms: Cell<u64>,
    total_ms: Cell<u64>,
    idle: Cell<bool>,
    fresh: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The stage took too long.
#[derive(Debug)]
pub struct Expired;

impl Watch {
    fn new(clock: Rc<CoarseClock>) -> Self {
        let watch = Self {
            line: Line::default(),
            clock,
            due_ms: Cell::new(0),
            total_ms: Cell::new(u64::MAX),
            idle: Cell::new(true),
            fresh: Cell::new(true),
            waker: RefCell::new(None),
        };
        watch.idle();
        watch
    }

    /// Between requests.
    pub fn idle(&self) {
        self.idle.set(true);
        self.total_ms.set(u64::MAX);
        self.due_in(IDLE_CONNECTION);
    }

    /// Whether no request is in flight.
    pub fn is_idle(&self) -> bool {
        self.idle.get()
    }

    /// Whether no request has come yet.
    pub fn is_fresh(&self) -> bool {
        self.fresh.get()
    }

    /// A request began; it may take `total` in all.
    pub fn begin(&self, total: Duration) {
        self.idle.set(false);
        self.fresh.set(false);
        self.line.owes();
        self.total_ms
            .set(self.clock.now_ms().saturating_add(millis(total)));
    }

    /// The stage that begins now, or goes on with new bytes, may take this long.
    pub fn due_in(&self, limit: Duration) {
        self.due_ms
            .set(self.clock.now_ms().saturating_add(millis(limit)));
    }

    /// Whether the stage, or the exchange, took too long.
    pub fn is_expired(&self) -> bool {
        self.overdue_ms().is_some()
    }

    /// Whether the connection must be closed from outside: nothing in it could end the stage.
    pub fn must_close(&self) -> bool {
        self.overdue_ms()
            .is_some_and(|late| self.idle.get() || late > GRACE_MS)
    }

    fn overdue_ms(&self) -> Option<u64> {
        let due = self.due_ms.get().min(self.total_ms.get());
        self.clock.now_ms().checked_sub(due)
    }

    /// Remembers whom to wake.
    pub fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    /// Wakes the connection.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Runs `future` until the stage is over.
    ///
    /// # Errors
    /// When it took too long.
    pub async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, Expired> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending if self.is_expired() => Poll::Ready(Err(Expired)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

/// A worker's connections.
#[derive(Debug, Default)]
pub struct Watches {
    clock: Rc<CoarseClock>,
    watches: RefCell<Vec<Option<Rc<Watch>>>>,
    free: RefCell<Vec<usize>>,
}

/// A watch that leaves the worker's list when its connection ends.
#[derive(Debug)]
pub struct Watched {
    /// The watch.
    pub watch: Rc<Watch>,
    slot: usize,
    list: Rc<Watches>,
}

impl Watches {
    /// Watches a new connection.
    pub fn add(self: &Rc<Self>) -> Watched {
        let watch = Rc::new(Watch::new(Rc::clone(&self.clock)));
        let mut watches = self.watches.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or(watches.len());
        match watches.get_mut(slot) {
            Some(place) => *place = Some(Rc::clone(&watch)),
            None => watches.push(Some(Rc::clone(&watch))),
        }
        Watched {
            watch,
            slot,
            list: Rc::clone(self),
        }
    }

    /// Connections watched.
    pub fn len(&self) -> usize {
        self.watches
            .borrow()
            .len()
            .saturating_sub(self.free.borrow().len())
    }

    /// Whether no connection is watched.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes every connection whose stage took too long.
    pub fn tick(&self, since_start: Duration) {
        self.clock.set(since_start);
        self.watches
            .borrow()
            .iter()
            .flatten()
            .filter(|watch| watch.is_expired())
            .for_each(|w| w.wake());
    }

    /// Wakes every connection, to see that the worker is draining.
    pub fn wake_all(&self) {
        self.watches
            .borrow()
            .iter()
            .flatten()
            .for_each(|watch| watch.wake());
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(place) = self.list.watches.borrow_mut().get_mut(self.slot) {
            *place = None;
        }
        self.list.free.borrow_mut().push(self.slot);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_ends_on_time_and_the_whole_exchange_too() {
        let watches = Rc::new(Watches::default());
        let watched = watches.add();
        let watch = &watched.watch;
        let check = |at_ms: u64, expired: bool, must_close: bool| {
            watches.tick(Duration::from_millis(at_ms));
            assert_eq!(
                (watch.is_expired(), watch.must_close()),
                (expired, must_close),
                "at {at_ms} ms"
            );
        };
        watch.begin(Duration::from_secs(10));
        watch.due_in(Duration::from_secs(2));
        check(1_900, false, false);
        check(2_000, true, false);
        watch.due_in(Duration::from_secs(100));
        check(9_900, false, false);
        check(10_000, true, false);
        check(11_100, true, true);
        watch.idle();
        check(11_200, false, false);
        check(86_200, true, true);
        drop(watched);
        assert!(watches.is_empty());
    }
}
