//! breakerbox: a streaming circuit-breaker gateway for Salesforce Flex Credits.

pub mod admin;
pub mod alerts;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod config;
pub mod counters;
pub mod gateway;
pub mod ledger;
pub mod metrics;
pub mod proxy;
pub mod rates;
pub mod salesforce;
pub mod simulator;

/// What the counters of `budget` are made of. `tests/schedules` compiles its sources over other ones.
use std::sync::atomic;
