//! The arithmetic of credits: what a team may still spend and what it has spent.
//!
//! Integers only, no I/O, no clock of its own. Admission is a pure function over a [`admission::View`];
//! [`books`] loads the view from atomic counters, asks, and then takes what it was told with one
//! compare-and-swap an account. Knows no other module.
#![warn(clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

pub mod account;
pub mod admission;
pub mod allocation;
pub mod books;
pub mod breaker;
pub mod credits;
pub mod fuse;
pub mod limits;
pub mod model;
pub mod operation;
pub mod pace;
pub mod percent;
pub mod period;
pub mod reservation;
pub mod settlement;
mod show;
pub mod throttle;
pub mod usage;
