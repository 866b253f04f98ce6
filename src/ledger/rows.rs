//! Between Rust's types and the codes of the schema.

use jiff::Timestamp;

use super::event::{Confidence, EventKind};
use crate::budget::operation::{Class, Operation, Source};

/// Milliseconds since the epoch.
pub(super) fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// The instant stored so; a time no calendar knows is the epoch.
pub(super) fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A position in an enum, as stored.
pub(super) fn code(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}

pub(super) fn operation(code: i64) -> Option<Operation> {
    Operation::ALL.get(usize::try_from(code).ok()?).copied()
}

pub(super) fn class(code: i64) -> Option<Class> {
    Class::ALL.get(usize::try_from(code).ok()?).copied()
}

pub(super) fn source(code: i64) -> Option<Source> {
    Source::ALL.get(usize::try_from(code).ok()?).copied()
}

/// A count as SQLite stores it.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) const fn confidence_code(confidence: Confidence) -> i64 {
    match confidence {
        Confidence::Measured => 0,
        Confidence::Estimated => 1,
        Confidence::Imported => 2,
        Confidence::Adjusted => 3,
    }
}

pub(super) const fn confidence_name(code: i64) -> &'static str {
    match code {
        0 => "measured",
        1 => "estimated",
        2 => "imported",
        _ => "adjusted",
    }
}

/// The words of kinds, by code.
pub(super) const KINDS: [&str; 6] = [
    "measured",
    "partial",
    "uncertain",
    "void",
    "crash_adjustment",
    "correction",
];

pub(super) fn kind_name(code: i64) -> &'static str {
    let at = usize::try_from(code).ok();
    at.and_then(|at| KINDS.get(at)).copied().unwrap_or_default()
}

pub(super) const fn kind_code(kind: EventKind) -> i64 {
    match kind {
        EventKind::Measured => 0,
        EventKind::Partial => 1,
        EventKind::Uncertain => 2,
        EventKind::Void => 3,
        EventKind::CrashAdjustment => 4,
        EventKind::Correction => 5,
    }
}
