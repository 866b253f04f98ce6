//! Whether the wall clock is believed at a start, when there is no time since the last look to compare it with.
//!
//! What a wrong date does cannot be undone: a period that ended is never reopened, and a day that was dropped is gone.
//! So what the ledger knows is asked first: when it was last written, and when its newest period ends.

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::periods;

/// What the ledger's last write may lie ahead of the wall clock: writes and clocks are not that exact.
const BACKWARDS: SignedDuration = SignedDuration::from_secs(2);

/// A gateway may be off for that long and start by itself in the next period. Longer than any month: a clock that is
/// further ahead may skip a whole period.
const OFF_AT_MOST: SignedDuration = SignedDuration::from_hours(31 * 24);

/// Why the wall clock is not believed, if it is not.
pub(super) fn doubt(
    main: &Connection,
    last_write: Option<Timestamp>,
    now: Timestamp,
) -> rusqlite::Result<Option<String>> {
    let Some(last) = last_write else {
        return Ok(None); // new: nothing can be lost
    };
    let since = now.duration_since(last);
    if since < -BACKWARDS {
        let behind = since.abs();
        return Ok(Some(format!(
            "the wall clock lies {behind:#} before the ledger's last write"
        )));
    }
    let is_over = periods::newest(main)?.is_some_and(|newest| now >= newest.end);
    Ok((is_over && since > OFF_AT_MOST).then(|| {
        let days = since.as_hours().div_euclid(24);
        let last = last.strftime("%Y-%m-%d");
        format!(
            "the ledger was last written on {last}, {days} days ago: either no gateway ran since, or the wall clock is ahead"
        )
    }))
}
