//! The durable memory: grants before they are spent, events, rollups, periods, alerts, sessions.
//!
//! One thread owns SQLite. Workers hand it events through bounded queues and read grants from atomics; nothing
//! on the request path waits for it but a request whose grant is short.

pub mod event;
pub mod live;
