//! What one billable operation leaves behind.

use std::fmt;
use std::sync::Arc;

use compact_str::CompactString;
use jiff::Timestamp;

use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Operation, Source};
use crate::budget::period::PeriodName;
use crate::budget::usage::Usage;
use crate::config::checked::NamedKind;

/// A team in the ledger: the same number for the same name for ever, also after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TeamId(pub u32);

/// A request's id: random, as 32 hex digits in headers, logs and events.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u128);

impl RequestId {
    /// Reads the 32 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_hex = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        is_hex
            .then(|| u128::from_str_radix(text, 16).ok().map(Self))
            .flatten()
    }

    /// The same with the hyphens of a UUID.
    pub fn hyphenated(self) -> String {
        let hex = self.to_string();
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        format!(
            "{}-{}-{}-{}-{}",
            part(0, 8),
            part(8, 12),
            part(12, 16),
            part(16, 20),
            part(20, 32)
        )
    }
}

impl RequestId {
    /// The 32 hex digits, without the formatting machinery: every answer carries them.
    pub fn hex(self) -> [u8; 32] {
        let mut digits = [b'0'; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0.to_be_bytes()) {
            if let [high, low] = pair {
                (*high, *low) = (hex_digit(byte >> 4), hex_digit(byte & 15));
            }
        }
        digits
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 {
        nibble.wrapping_add(b'0')
    } else {
        nibble.wrapping_add(b'a' - 10)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How sure a charge is, as reports tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Read from the wire.
    Measured,
    /// Derived from sizes, or charged as estimated because the answer broke off.
    Estimated,
    /// Taken from Salesforce's usage data.
    Imported,
    /// A correction: crash adjustments and the like.
    Adjusted,
}

/// Why an event has the charge it has (design.md, section 2, settlement).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// Settled as measured.
    Measured,
    /// The answer broke off; at least the base.
    Partial,
    /// Actions may have run unseen.
    Uncertain,
    /// Given back.
    Void,
    /// What was granted and not durably settled when the process died.
    CrashAdjustment,
    /// What a person added or took away, by a line of its own.
    Correction,
}

/// One billable operation, settled.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it was admitted; its UTC day chooses the events file.
    pub at: Timestamp,
    /// Its request.
    pub request: RequestId,
    /// The period it was admitted in, and is charged to.
    pub period: PeriodName,
    /// Who pays.
    pub team: TeamId,
    /// What was done.
    pub operation: Operation,
    /// How much it mattered.
    pub class: Class,
    /// What funded it.
    pub source: Source,
    /// What it cost.
    pub credits: MicroCredits,
    /// What was reserved for it.
    pub estimate: MicroCredits,
    /// Why it cost that.
    pub kind: EventKind,
    /// How sure that is.
    pub confidence: Confidence,
    /// A refusal was only noted (shadow mode).
    pub shadow: bool,
    /// A turn that passed the open breaker because its conversation began below it.
    pub continued: bool,
    /// What the request named, and what it called it.
    pub named: Option<(NamedKind, CompactString)>,
    /// The agent's configured type, for reports.
    pub agent_type: Option<Arc<str>>,
    /// The key's configured name.
    pub key: Option<Arc<str>>,
    /// Tags other than the team's own, as canonical JSON; `None` where there are none.
    pub tags: Option<Arc<str>>,
    /// Units and tokens.
    pub usage: Usage,
    /// The upstream's status; 0 where there was no answer.
    pub status: u16,
    /// From request to the end of the answer, in milliseconds.
    pub duration_ms: u32,
    /// Where the conversation stands after this event.
    pub session: Option<Box<SessionRow>>,
    /// The idempotency key it used up.
    pub idempotency: Option<Box<IdempotencyRow>>,
}

/// A request that came with an `Idempotency-Key` and was made: nobody makes it again for a day.
///
/// Hashes are the first half of a SHA-256: what a client sends is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRow {
    /// Of team and key.
    pub key: u128,
    /// Of method, path and query.
    pub call: u128,
    /// Of the body; `None` where it was too large to be read ahead.
    pub body: Option<u128>,
    /// The request that used the key.
    pub request: RequestId,
    /// When it ended.
    pub ended: Timestamp,
}

/// What is remembered of a conversation, so that its cap and its payer survive a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Salesforce's session id.
    pub session: CompactString,
    /// The agent it was opened with; empty where the opening was not seen.
    pub agent: CompactString,
    /// Who paid for the opening.
    pub team: TeamId,
    /// What it cost so far.
    pub charged: MicroCredits,
    /// It was opened while the team was below its trip point.
    pub opened_below_trip: bool,
    /// The opening is paid for.
    pub opening_paid: bool,
    /// Last use; the oldest idle is forgotten first.
    pub last_used: Timestamp,
    /// Rises with every change: rows of one session come through several workers' queues, and the newest counts.
    pub version: i64,
}
