//! The data path: one request's way from a client to Salesforce and back.
//!
//! [`exchange`] tells the whole story top to bottom; what it calls computes. Worker threads share nothing but
//! atomics, the config snapshot and the maps of sessions, turns in flight and idempotency keys.

pub mod admit;
pub mod body;
mod bounded;
pub mod connect;
mod converse;
pub mod counters;
pub mod decision;
pub mod desk;
pub mod exchange;
pub mod explain;
mod forward;
pub mod fuses;
pub mod headers;
pub mod idempotency;
pub mod identify;
mod incoming;
pub mod line;
pub mod meter;
pub mod once;
mod pricing;
pub mod refusal;
pub mod refuse;
pub mod remembered;
pub mod room;
pub mod sessions;
pub mod snapshot;
pub mod standing;
pub mod tags;
pub mod tasks;
pub mod ticket;
pub mod turns;
pub mod upstream;
pub mod watch;
pub mod worker;
