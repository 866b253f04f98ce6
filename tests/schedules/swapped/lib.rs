//! The sources of `budget`, compiled again over other atomics.
//!
//! `budget` takes its atomics from `atomic` in the root of its crate: `std`'s in breakerbox, and in each module
//! here others. A package of its own, since a test's own crate would bring in the unit tests too, which run
//! on `std`'s; and since `--cfg loom` for all that breakerbox depends on would leave tokio without a network.
#![allow(dead_code, reason = "what only the ledger calls is called by nobody here")]

pub mod recorded;
pub mod under_loom;
pub mod under_shuttle;
