//! Where the process stands, for whoever asks.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

/// Where the process stands.
#[derive(Clone, Debug)]
pub struct Status {
    /// The hash of the configuration in force.
    pub config_hash: String,
    /// When it was read.
    pub loaded_at: Timestamp,
    /// Since the start.
    pub reloads_accepted: u64,
    /// Since the start.
    pub reloads_rejected: u64,
    /// The last configuration that was not taken, while the one in force is older.
    pub last_rejected: Option<RejectedConfig>,
    /// What is legal and suspicious in the configuration in force.
    pub warnings: Vec<String>,
    /// Why the period is held.
    pub held: Option<String>,
    /// Alerts raised by this process.
    pub alerts: Vec<(Arc<str>, &'static str, u64)>,
}

/// A configuration that was not taken.
#[derive(Clone, Debug, Serialize)]
pub struct RejectedConfig {
    /// When.
    pub at: String,
    /// Every fault, with its place.
    pub faults: Vec<String>,
}

/// What became of a reload.
#[derive(Debug)]
pub enum Reloaded {
    /// In force.
    Accepted {
        /// What it changed.
        changes: Vec<String>,
        /// What is suspicious in it.
        warnings: Vec<String>,
    },
    /// The files are what they were.
    Unchanged,
    /// Nothing changed.
    Rejected {
        /// Every fault, with its place.
        faults: Vec<String>,
    },
}
