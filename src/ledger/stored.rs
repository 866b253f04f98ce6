//! An event as it is read back, with names for codes.

use jiff::Timestamp;
use rusqlite::Row;
use serde::{Serialize, Serializer};

use super::days;
use super::event::RequestId;
use super::rows::{class, confidence_name, kind_name, operation, source, timestamp};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Operation, Source};
use crate::budget::period::PeriodName;

/// The columns [`Stored::read`] reads, in order.
pub(super) const COLUMNS: &str = "e.id, e.at_ms, e.request, e.period, t.name, e.operation, e.class, e.source,
    e.credits, e.estimate, e.kind, e.confidence, e.flags, e.named_kind, e.named, e.agent_type, e.key, e.tags,
    e.session, e.units, e.input_tokens, e.output_tokens, e.status, e.duration_ms, e.note, e.team";

/// What identifies an event for ever: its day's file, and its row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef {
    /// Days since the epoch.
    pub day: i64,
    /// The row's id.
    pub row: i64,
}

impl EventRef {
    /// Reads `2026-11-24.17`.
    pub fn parse(text: &str) -> Option<Self> {
        let (day, row) = text.split_once('.')?;
        Some(Self {
            day: days::parse(day)?,
            row: row.parse().ok().filter(|row| *row > 0)?,
        })
    }
}

impl std::fmt::Display for EventRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", days::name(self.day), self.row)
    }
}

/// An event's row. Serialised it is the `data` of a CloudEvent.
#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    /// Its file and row.
    #[serde(serialize_with = "text")]
    pub event: EventRef,
    /// Its request; all zero where there was none.
    #[serde(serialize_with = "text")]
    pub request: RequestId,
    /// When it was admitted.
    #[serde(skip)]
    pub at: Timestamp,
    /// The period it is charged to.
    #[serde(serialize_with = "text")]
    pub period: PeriodName,
    /// Who pays.
    #[serde(skip)]
    pub team: String,
    /// The same, in the ledger.
    #[serde(skip)]
    pub team_id: u32,
    /// What was done.
    #[serde(serialize_with = "operation_name")]
    pub operation: Operation,
    /// How much it mattered.
    #[serde(serialize_with = "class_name")]
    pub class: Class,
    /// What funded it.
    #[serde(serialize_with = "source_name")]
    pub source: Source,
    /// What it cost.
    pub credits: MicroCredits,
    /// What was reserved for it.
    pub estimate: MicroCredits,
    /// Why it cost that.
    pub kind: &'static str,
    /// How sure that is.
    pub confidence: &'static str,
    /// A refusal was only noted.
    pub shadow: bool,
    /// It passed the open breaker, its conversation having begun below it.
    pub continued: bool,
    /// What the request named: `agent`, `model`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named_kind: Option<String>,
    /// And what it called it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named: Option<String>,
    /// The agent's configured type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_type: Option<String>,
    /// The key's configured name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Tags other than the team's own, as JSON.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "json")]
    pub tags: Option<String>,
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Units, as the operation counts them.
    pub units: i64,
    /// Tokens in.
    pub input_tokens: i64,
    /// Tokens out.
    pub output_tokens: i64,
    /// The upstream's status; 0 where there was no answer.
    pub status: u16,
    /// In milliseconds.
    pub duration_ms: u32,
    /// Why a correction was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Stored {
    pub(super) fn read(day: i64, row: &Row<'_>) -> rusqlite::Result<Self> {
        let flags: i64 = row.get(12)?;
        let request: [u8; 16] = row.get(2)?;
        Ok(Self {
            event: EventRef {
                day,
                row: row.get(0)?,
            },
            at: timestamp(row.get(1)?),
            request: RequestId(u128::from_be_bytes(request)),
            period: known(row, 3, PeriodName::from_code)?,
            team: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
            team_id: row.get(25)?,
            operation: known(row, 5, operation)?,
            class: known(row, 6, class)?,
            source: known(row, 7, source)?,
            credits: MicroCredits::from_micros(row.get(8)?),
            estimate: MicroCredits::from_micros(row.get(9)?),
            kind: kind_name(row.get(10)?),
            confidence: confidence_name(row.get(11)?),
            shadow: flags & 1 != 0,
            continued: flags & 2 != 0,
            named_kind: row.get(13)?,
            named: row.get(14)?,
            agent_type: row.get(15)?,
            key: row.get(16)?,
            tags: row.get(17)?,
            session: row.get(18)?,
            units: row.get(19)?,
            input_tokens: row.get(20)?,
            output_tokens: row.get(21)?,
            status: row.get(22)?,
            duration_ms: row.get(23)?,
            note: row.get(24)?,
        })
    }
}

/// A code this version knows.
fn known<T>(row: &Row<'_>, at: usize, read: impl Fn(i64) -> Option<T>) -> rusqlite::Result<T> {
    let code = row.get(at)?;
    read(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(at, code))
}

fn text<T: std::fmt::Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

fn operation_name<S: Serializer>(value: &Operation, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(value.name())
}

fn class_name<S: Serializer>(value: &Class, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(value.name())
}

fn source_name<S: Serializer>(value: &Source, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(value.name())
}

/// Tags are stored as canonical JSON, and go out as what they are.
fn json<S: Serializer>(value: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    let text = value.as_deref().unwrap_or("{}");
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    value.serialize(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_named_by_day_and_row() {
        let check = |text: &str, want: Option<(i64, i64)>| {
            let read = EventRef::parse(text);
            assert_eq!(read.map(|event| (event.day, event.row)), want, "{text}");
            if let Some(event) = read {
                assert_eq!(event.to_string(), text);
            }
        };
        check("2026-11-24.17", Some((20_781, 17)));
        for text in [
            "2026-11-24",
            "2026-11-24.0",
            "2026-11-24.-1",
            "2026-13-01.1",
            "x",
        ] {
            check(text, None);
        }
    }
}
