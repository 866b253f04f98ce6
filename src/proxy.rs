//! The data path: one request's way from a client to Salesforce and back.
//!
//! [`exchange`] tells the whole story top to bottom; what it calls computes. Worker threads share nothing but
//! atomics, the config snapshot and the map of sessions.

pub mod admit;
pub mod body;
pub mod connect;
mod converse;
pub mod counters;
pub mod decision;
pub mod desk;
pub mod exchange;
mod forward;
pub mod headers;
pub mod identify;
mod incoming;
pub mod line;
pub mod meter;
mod priced;
pub mod refusal;
pub mod refuse;
pub mod sessions;
pub mod snapshot;
pub mod standing;
pub mod tags;
pub mod tasks;
pub mod ticket;
pub mod upstream;
pub mod watch;
pub mod worker;
