//! The wall clock, for the timestamps in answers; nothing here depends on it.

/// Milliseconds since 1970.
pub(crate) fn epoch_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Seconds since 1970.
pub(crate) fn epoch_s() -> i64 {
    jiff::Timestamp::now().as_second()
}
