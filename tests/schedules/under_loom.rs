//! Every schedule of a few threads, and every value the memory model lets a load return.
//!
//! A plain run lets loom interrupt a thread at most twice a schedule; a longer one three times, and from an effort
//! of 100 on as often as it can.

use loom::thread;
use swapped::under_loom::budget;

fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    let mut loom = loom::model::Builder::new();
    if loom.preemption_bound.is_none() {
        loom.preemption_bound = match crate::effort() {
            0 | 1 => Some(2),
            2..100 => Some(3),
            _ => None,
        };
    }
    loom.check(scenario);
}

#[path = "scenarios.rs"]
mod scenarios;
