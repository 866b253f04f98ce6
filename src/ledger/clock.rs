//! What the ledger knows of the wall clock, read and said from outside, beside a running process or without one.

use std::path::Path;

use jiff::Timestamp;

use super::{LedgerError, files, rows, schema, sqlite};

/// When a ledger was last written; `None` where there is none, or it cannot be read.
pub fn last_write(path: &Path) -> Option<Timestamp> {
    let main = sqlite::open_to_read(path).ok()?;
    let written = files::meta(&main, "last_write_ms").ok()?;
    written.map(rows::timestamp)
}

/// Says that the wall clock is right, also for the next start.
///
/// # Errors
/// When there is no ledger, or it cannot be written.
pub fn accept(path: &Path, now: Timestamp) -> Result<(), LedgerError> {
    drop(schema::open_to_read(path)?); // nothing is written into somebody else's file
    let mut connection = sqlite::open(path, false)?;
    let transaction = connection.transaction()?;
    let now = rows::millis(now);
    transaction.execute("INSERT INTO clock_accepted (at_ms) VALUES (?)", [now])?;
    files::set_meta(&transaction, "last_write_ms", now)?;
    transaction.commit()?;
    Ok(())
}
