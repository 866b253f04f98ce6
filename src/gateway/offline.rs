//! What a gateway would judge by, without one: the configuration, and the ledger as it was last written.

use std::sync::Arc;

use jiff::Timestamp;

use super::StartError;
use super::build::Builder;
use super::overrides::Overrides;
use crate::config::checked::Checked;
use crate::ledger::unlocked::Unlocked;
use crate::proxy::sessions::Sessions;
use crate::proxy::snapshot::Snapshot;

/// A state to judge by.
#[derive(Debug)]
pub struct Offline {
    /// Limits and counters.
    pub snapshot: Snapshot,
    /// Conversations of the last day.
    pub sessions: Sessions,
    /// Which state it is, in words.
    pub state: String,
}

/// The state the ledger was left in, read beside whoever writes it; an empty one where there is none. What is
/// reserved by requests in flight is not in it.
///
/// # Errors
/// When the ledger cannot be read, or the contract has not started.
pub fn look(checked: Checked, now: Timestamp) -> Result<Offline, StartError> {
    let path = checked.gateway.ledger.path.clone();
    let ledger = Unlocked::open(&path)?;
    let state = match ledger.last_write()? {
        Some(at) => format!("the ledger {} as it was written at {at}", path.display()),
        None => format!(
            "an empty ledger: nothing was written to {} yet",
            path.display()
        ),
    };
    let newest = ledger.current_period()?;
    let running = newest.filter(|newest| now < newest.end);
    let period = running.or_else(|| checked.allocations.pool.calendar.period_at(now));
    let period = period.ok_or(StartError::NoPeriod)?;
    let sessions = Sessions::restored(ledger.sessions(now)?);
    let overrides = Overrides::restored(ledger.open_overrides()?);
    let mut builder = Builder::new(ledger, 1);
    builder.overrides = overrides;
    let snapshot = builder.build(Arc::new(checked), &period, None, now)?;
    Ok(Offline {
        snapshot,
        sessions,
        state,
    })
}
