//! Idempotency keys of requests that were made: rows that travel with their events, so that a restart forgets none.

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use super::event::{IdempotencyRow, RequestId};
use super::rows::{code, millis, timestamp};

/// A key is known for this long after its request ended.
pub const KEY_LIFE_MS: i64 = 24 * 3_600_000;
/// The most keys a process knows; about 150 bytes each.
pub const KEYS_MAX: usize = 200_000;

/// Writes rows down. A key used again after it was forgotten stands for its newest request.
pub(super) fn write<'r>(
    transaction: &Transaction<'_>,
    rows: impl Iterator<Item = &'r IdempotencyRow>,
) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO idempotency (key, call, body, request, ended_ms) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET call = ?2, body = ?3, request = ?4, ended_ms = ?5 WHERE ended_ms < ?5",
    )?;
    for row in rows {
        upsert.execute(params![
            row.key.to_be_bytes(),
            row.call.to_be_bytes(),
            row.body.map(u128::to_be_bytes),
            row.request.0.to_be_bytes(),
            millis(row.ended),
        ])?;
    }
    Ok(())
}

/// The keys of the last day, the newest.
pub(super) fn known(
    connection: &Connection,
    now: Timestamp,
) -> rusqlite::Result<Vec<IdempotencyRow>> {
    let oldest = millis(now).saturating_sub(KEY_LIFE_MS);
    let mut select = connection.prepare(
        "SELECT key, call, body, request, ended_ms FROM idempotency WHERE ended_ms >= ?
         ORDER BY ended_ms DESC LIMIT ?",
    )?;
    let number = |row: &Row<'_>, at: usize| row.get(at).map(u128::from_be_bytes);
    let rows = select.query_map([oldest, code(KEYS_MAX)], |row| {
        Ok(IdempotencyRow {
            key: number(row, 0)?,
            call: number(row, 1)?,
            body: row.get::<_, Option<_>>(2)?.map(u128::from_be_bytes),
            request: RequestId(number(row, 3)?),
            ended: timestamp(row.get(4)?),
        })
    })?;
    rows.collect()
}
