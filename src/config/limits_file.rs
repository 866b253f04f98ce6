//! `[limits]` of `breakerbox.toml`: a bound on everything, all optional.

use std::time::Duration;

use super::checked::Limits;
use super::reader::Reader;
use crate::budget::settlement::OnLate5xx;

/// A day: longer is a typing error, and timers stay far from overflow.
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Connections and requests at once: more than a process has file descriptors for.
const COUNT_MAX: u64 = 1_000_000;

const DEFAULTS: Limits = Limits {
    head_bytes: 16 << 10,
    price_body_bytes: 1 << 20,
    body_bytes: 160 << 20,
    connections: 20_000,
    in_flight: 4_096,
    connect_timeout: Duration::from_secs(5),
    response_timeout: Duration::from_secs(130),
    idle_body_timeout: Duration::from_secs(60),
    total_timeout: Duration::from_secs(15 * 60),
    drain_timeout: Duration::from_secs(140),
    retry_after_max: Duration::from_secs(60 * 60),
    on_late_5xx: OnLate5xx::Estimate,
};

pub(super) fn read(root: &Reader<'_, '_>) -> Limits {
    let Some(table) = root.table("limits") else {
        return DEFAULTS;
    };
    let limits = Limits {
        // The HTTP parser needs 8 KiB; a megabyte for each of thousands of heads is plenty.
        head_bytes: memory(&table, "head_bytes", 8 << 10, 1 << 20).unwrap_or(DEFAULTS.head_bytes),
        price_body_bytes: memory(&table, "price_body_bytes", 0, 64 << 20)
            .unwrap_or(DEFAULTS.price_body_bytes),
        body_bytes: size(&table, "body_bytes", 1, 1 << 40).unwrap_or(DEFAULTS.body_bytes),
        connections: count(&table, "connections").unwrap_or(DEFAULTS.connections),
        in_flight: count(&table, "in_flight").unwrap_or(DEFAULTS.in_flight),
        connect_timeout: time(&table, "connect_timeout").unwrap_or(DEFAULTS.connect_timeout),
        response_timeout: time(&table, "response_timeout").unwrap_or(DEFAULTS.response_timeout),
        idle_body_timeout: time(&table, "idle_body_timeout").unwrap_or(DEFAULTS.idle_body_timeout),
        total_timeout: time(&table, "total_timeout").unwrap_or(DEFAULTS.total_timeout),
        drain_timeout: time(&table, "drain_timeout").unwrap_or(DEFAULTS.drain_timeout),
        retry_after_max: retry_after(&table).unwrap_or(DEFAULTS.retry_after_max),
        on_late_5xx: on_late_5xx(&table).unwrap_or(DEFAULTS.on_late_5xx),
    };
    table.finish();
    limits
}

fn size(table: &Reader<'_, '_>, key: &'static str, least: u64, most: u64) -> Option<u64> {
    let size = table.size(key)?;
    if size.value < least || size.value > most {
        let message = format!("{key} is not between {least} and {most} bytes");
        table.source().fault(&size.place, message, "");
    }
    Some(size.value)
}

fn memory(table: &Reader<'_, '_>, key: &'static str, least: u64, most: u64) -> Option<usize> {
    usize::try_from(size(table, key, least, most)?).ok()
}

fn count(table: &Reader<'_, '_>, key: &'static str) -> Option<usize> {
    let count = table.integer(key, 1..=COUNT_MAX)?;
    usize::try_from(count.value).ok()
}

fn time(table: &Reader<'_, '_>, key: &'static str) -> Option<Duration> {
    let time = table.parsed(key, super::units::duration)?;
    if time.value.is_zero() || time.value > TIME_MAX {
        let message = format!("{key} is not between 1ms and 24h");
        table.source().fault(&time.place, message, "");
    }
    Some(time.value)
}

/// `Retry-After` counts in seconds.
fn retry_after(table: &Reader<'_, '_>) -> Option<Duration> {
    let most = time(table, "retry_after_max")?;
    if most < Duration::from_secs(1) {
        let place = table.place_of("retry_after_max");
        let message = "retry_after_max is less than a second";
        table.source().fault(&place, message, "");
    }
    Some(most)
}

fn on_late_5xx(table: &Reader<'_, '_>) -> Option<OnLate5xx> {
    let words = [("estimate", OnLate5xx::Estimate), ("void", OnLate5xx::Void)];
    table.word("on_late_5xx", &words)
}
