//! Atomics that write down every step, by thread.
//!
//! A lock stands where the processor has one instruction: a step and its number are one, so the numbers of a
//! counter's steps are the order they happened in. What orderings allow is loom's business, not this one's.

use std::cell::{Cell, RefCell};
pub use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static COUNTERS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

thread_local! {
    static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
    static NUDGE: Cell<u32> = const { Cell::new(1) };
}

/// What one thread did to one counter, or read there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which counter.
    pub counter: u64,
    /// How many writes it had seen, this one included.
    pub number: u64,
    /// Its value before.
    pub before: i64,
    /// Its value after.
    pub after: i64,
    /// False for a read.
    pub is_write: bool,
}

/// What `work` returns, and the steps this thread took meanwhile.
pub fn steps_of<T>(work: impl FnOnce() -> T) -> (T, Vec<Step>) {
    STEPS.with_borrow_mut(Vec::clear);
    let done = work();
    (done, STEPS.take())
}

/// An `AtomicI64` that tells.
#[derive(Debug)]
pub struct AtomicI64 {
    counter: u64,
    cell: Mutex<(i64, u64)>,
}

impl Default for AtomicI64 {
    fn default() -> Self {
        Self::new(0)
    }
}

impl AtomicI64 {
    pub fn new(value: i64) -> Self {
        Self {
            counter: COUNTERS.fetch_add(1, Ordering::Relaxed),
            cell: Mutex::new((value, 0)),
        }
    }

    pub fn load(&self, _: Ordering) -> i64 {
        let cell = self.locked();
        self.tell(&cell, cell.0, false);
        cell.0
    }

    pub fn store(&self, value: i64, _: Ordering) {
        self.write(|_| value);
    }

    pub fn fetch_add(&self, value: i64, _: Ordering) -> i64 {
        self.write(|now| now.wrapping_add(value))
    }

    pub fn fetch_sub(&self, value: i64, _: Ordering) -> i64 {
        self.write(|now| now.wrapping_sub(value))
    }

    pub fn fetch_max(&self, value: i64, _: Ordering) -> i64 {
        self.write(|now| now.max(value))
    }

    pub fn fetch_min(&self, value: i64, _: Ordering) -> i64 {
        self.write(|now| now.min(value))
    }

    /// As `std`'s: the question is asked outside of the step, and asked again when the value changed meanwhile.
    pub fn fetch_update(
        &self,
        _: Ordering,
        _: Ordering,
        mut next: impl FnMut(i64) -> Option<i64>,
    ) -> Result<i64, i64> {
        let mut now = self.load(Ordering::Acquire);
        while let Some(value) = next(now) {
            let mut cell = self.locked();
            if cell.0 == now {
                *cell = (value, cell.1.wrapping_add(1));
                self.tell(&cell, now, true);
                return Ok(now);
            }
            now = cell.0;
            self.tell(&cell, now, false);
        }
        Err(now)
    }

    fn write(&self, next: impl FnOnce(i64) -> i64) -> i64 {
        let mut cell = self.locked();
        let before = cell.0;
        *cell = (next(before), cell.1.wrapping_add(1));
        self.tell(&cell, before, true);
        before
    }

    /// Gives way now and then, so that threads meet between any two steps.
    fn locked(&self) -> MutexGuard<'_, (i64, u64)> {
        let turn = NUDGE
            .get()
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        NUDGE.set(turn);
        if turn >> 30 == 0 {
            std::thread::yield_now();
        }
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, cell: &(i64, u64), before: i64, is_write: bool) {
        let step = Step {
            counter: self.counter,
            number: cell.1,
            before,
            after: cell.0,
            is_write,
        };
        STEPS.with_borrow_mut(|steps| steps.push(step));
    }
}
