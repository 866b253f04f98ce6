//! Sizes, durations, rates and times as people write them.

use std::num::NonZeroU32;
use std::time::Duration;

use aws_lc_rs::digest;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// `16KiB`, `1MiB`, `160MB`, or plain bytes.
///
/// # Errors
/// When it is neither.
pub(super) fn bytes(text: &str) -> Result<u64, &'static str> {
    let wrong = "not a size; write it like \"16KiB\" or \"160MiB\"";
    let (number, unit) = number_and_unit(text).ok_or(wrong)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(wrong),
    };
    number.checked_mul(factor).ok_or(wrong)
}

/// A duration such as `60s`, `5m`, `250ms`.
///
/// # Errors
/// When it is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let read = || {
        let (number, unit) = number_and_unit(text)?;
        match unit {
            "ms" => Some(Duration::from_millis(number)),
            "s" => Some(Duration::from_secs(number)),
            "m" => number.checked_mul(60).map(Duration::from_secs),
            "h" => number.checked_mul(3_600).map(Duration::from_secs),
            _ => None,
        }
    };
    read().ok_or_else(|| format!("{text:?} is no duration; write it like 60s, 5m or 250ms"))
}

/// A rate such as `6/min`.
///
/// # Errors
/// When it is none, or nothing a minute.
pub(super) fn per_minute(text: &str) -> Result<NonZeroU32, &'static str> {
    let wrong = "not a rate; write it like \"6/min\", at least 1";
    match number_and_unit(text).ok_or(wrong)? {
        (number, "/min") => u32::try_from(number)
            .ok()
            .and_then(NonZeroU32::new)
            .ok_or(wrong),
        _ => Err(wrong),
    }
}

/// A day such as `2026-02-01`.
///
/// # Errors
/// When it is none, or has a time of day, which nobody would look at.
pub(super) fn day(text: &str) -> Result<Date, &'static str> {
    let day: Option<Date> = text.parse().ok();
    day.filter(|day| day.to_string() == text)
        .ok_or("not a date like \"2026-02-01\", without a time of day")
}

/// An instant; or a day or a time of day in `zone`, where a day begins.
///
/// # Errors
/// When it is none of them.
pub fn instant(text: &str, zone: &TimeZone) -> Result<Timestamp, &'static str> {
    let local = || {
        // Whoever names a zone does not mean ours, also where nobody knows theirs.
        let local: DateTime = text.parse().ok().filter(|_| !text.contains('['))?;
        Some(local.to_zoned_datetime(zone.clone()).ok()?.timestamp())
    };
    let instant = text.parse::<Timestamp>().ok();
    instant
        .or_else(|| Some(text.parse::<ZonedDateTime>().ok()?.timestamp()))
        .or_else(local)
        .ok_or("no time like 2026-11-01, 2026-11-01T18:00:00 or 2026-11-01T18:00:00Z")
}

/// Bytes in hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of a key's text, as it is written for `[[key]] sha256`.
pub fn key_hash(key: &str) -> String {
    hex(digest::digest(&digest::SHA256, key.as_bytes()).as_ref())
}

/// 64 hex digits as bytes. Nobody repeats the text: it may be the key itself.
///
/// # Errors
/// When it is something else.
pub(super) fn sha256(text: &str) -> Result<[u8; 32], &'static str> {
    let wrong = "no SHA-256: 64 hex digits, as `breakerbox key` prints them";
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong);
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong)?;
    }
    Ok(hash)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at_checked(digits.unwrap_or(text.len()))?;
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two_or_ten() {
        let check = |text, want: Option<u64>| assert_eq!(bytes(text).ok(), want, "{text}");
        check("16KiB", Some(16_384));
        check("160 MiB", Some(167_772_160));
        check("1MB", Some(1_000_000));
        check("512", Some(512));
        for text in [
            "",
            "KiB",
            "1.5MiB",
            "-1",
            "16kib",
            "16777216TiB",
            "99999999999GiB",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn durations_have_a_unit() {
        let check = |text, want: Option<u64>| {
            let millis = duration(text).map(|duration| duration.as_millis());
            assert_eq!(millis.ok(), want.map(u128::from), "{text}");
        };
        check("250ms", Some(250));
        check("130s", Some(130_000));
        check("15m", Some(900_000));
        check("1h", Some(3_600_000));
        for text in ["", "5", "s", "1d", "-1s", "1.5s", "99999999999999999999s"] {
            check(text, None);
        }
    }

    /// `2027-01-31T18:00:00` was read as midnight.
    #[test]
    fn no_time_of_day_is_dropped() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let check = |text, want: Option<&str>| {
            let instant = instant(text, &berlin).map(|instant| instant.to_string());
            assert_eq!(instant.ok().as_deref(), want, "{text}");
        };
        check("2027-01-31", Some("2027-01-30T23:00:00Z"));
        check("2027-01-31T18:00:00", Some("2027-01-31T17:00:00Z"));
        check("2027-01-31 18:00", Some("2027-01-31T17:00:00Z"));
        check("2027-01-31T18:00:00Z", Some("2027-01-31T18:00:00Z"));
        check("2027-01-31T18:00:00-05:00", Some("2027-01-31T23:00:00Z"));
        check("2027-01-31T18:00:00[UTC]", Some("2027-01-31T18:00:00Z"));
        check("2026-03-29T02:30:00", Some("2026-03-29T01:30:00Z")); // skipped that night: an hour on
        check("2026-10-25T02:30:00", Some("2026-10-25T00:30:00Z")); // twice that night: the first
        for text in [
            "",
            "yesterday",
            "18:00:00",
            "2027-01-32",
            "2027-01-31T25:00:00",
            "2027-01-31T18:00:00[Europe/Berln]",
            "2027-01-31T18:00:00+99:00",
            "2027-01-31+12:00",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_day_has_no_time() {
        let check = |text, want: bool| assert_eq!(day(text).is_ok(), want, "{text}");
        check("2026-02-01", true);
        for text in [
            "2026-02-01T17:00:00",
            "2026-02-01T17:00:00Z",
            "2026-02-01 17:00",
            "2026-02-29",
            "02/01/2026",
            "",
        ] {
            check(text, false);
        }
    }

    #[test]
    fn rates_are_by_the_minute() {
        let check = |text, want: Option<u32>| {
            assert_eq!(per_minute(text).ok().map(NonZeroU32::get), want, "{text}");
        };
        check("6/min", Some(6));
        check("600 /min", Some(600));
        for text in ["6/h", "0/min", "+6/min", "6", "/min", "6/minute", "-6/min"] {
            check(text, None);
        }
    }
}
