//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a paid call is made once a key and team.
//!
//! A key is taken while its request runs, and stays taken for a day if Salesforce may have run it. Keys are known
//! by a hash. At most [`KEYS_MAX`]; at the bound the oldest that are not in flight are forgotten early. The ledger
//! keeps the same rows, so that a restart forgets none.

use std::borrow::Cow;
use std::rc::Rc;

use aws_lc_rs::digest;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use http::{HeaderMap, HeaderName};
use jiff::{SignedDuration, Timestamp};

use super::bounded::make_room;
use super::desk::Desk;
use crate::ledger::event::{IdempotencyRow, RequestId, TeamId};
use crate::ledger::idempotency::{KEY_LIFE_MS, KEYS_MAX};

/// The header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key; a UUID has 36 characters.
pub const KEY_CHARACTERS: usize = 255;

/// The first half of a SHA-256 over pieces, each of which ends where the next one begins.
pub(super) fn hash<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> u128 {
    let mut context = digest::Context::new(&digest::SHA256);
    pieces.into_iter().for_each(|piece| context.update(piece));
    let digest = context.finish();
    let first = digest.as_ref().first_chunk().copied();
    u128::from_be_bytes(first.unwrap_or_default())
}

/// The key a request came with.
///
/// # Errors
/// What is wrong with it.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<Cow<'_, [u8]>>, &'static str> {
    let mut all = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let Some(value) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        return Err("more than one Idempotency-Key header");
    }
    let key = match value.as_bytes().trim_ascii() {
        [b'"', quoted @ ..] => Cow::Owned(unquoted(quoted)?),
        bare if bare.iter().all(needs_no_quotes) => Cow::Borrowed(bare),
        _ => return Err("Idempotency-Key is not one token; put it in quotes"),
    };
    match key.len() {
        0 => Err("Idempotency-Key is empty"),
        1..=KEY_CHARACTERS => Ok(Some(key)),
        _ => Err("Idempotency-Key is longer than 255 characters"),
    }
}

/// Most clients send their key bare. A comma is left out: proxies join two headers by one.
const fn needs_no_quotes(byte: &u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',')
}

/// The rest of a string of RFC 9651 after its first quote; parameters after it say nothing to us.
fn unquoted(rest: &[u8]) -> Result<Vec<u8>, &'static str> {
    const BROKEN: &str = "Idempotency-Key is not one string in quotes";
    let (mut key, mut bytes) = (Vec::with_capacity(rest.len()), rest.iter());
    loop {
        match bytes.next() {
            Some(b'"') => break,
            Some(b'\\') => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => key.push(*escaped),
                _ => return Err(BROKEN),
            },
            Some(byte @ 0x20..=0x7e) => key.push(*byte),
            _ => return Err(BROKEN),
        }
    }
    match bytes.as_slice() {
        [] | [b';', ..] => Ok(key),
        _ => Err(BROKEN),
    }
}

/// What a key was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Hash of method, path and query.
    pub call: u128,
    /// Hash of the body; `None` where it was too large to be read ahead.
    pub body: Option<u128>,
}

impl Payload {
    /// Whether it is certainly another one. A body nobody read may be any.
    fn differs(&self, other: &Self) -> bool {
        let bodies = self.body.zip(other.body);
        self.call != other.call || bodies.is_some_and(|(mine, theirs)| mine != theirs)
    }
}

/// Keys in use, and keys used up.
#[derive(Debug, Default)]
pub struct Idempotency {
    keys: DashMap<u128, Use>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Use {
    payload: Payload,
    request: RequestId,
    since: Timestamp,
    in_flight: bool,
}

/// Why a key cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// By this request.
    pub request: RequestId,
    /// Since when it runs, or when it ended.
    pub since: Timestamp,
    /// It runs.
    pub in_flight: bool,
    /// It asked for something else.
    pub differs: bool,
}

impl Idempotency {
    /// The keys the ledger remembers.
    pub fn restored(rows: Vec<IdempotencyRow>) -> Self {
        let uses = rows.into_iter().map(|row| {
            let known = Use {
                payload: Payload {
                    call: row.call,
                    body: row.body,
                },
                request: row.request,
                since: row.ended,
                in_flight: false,
            };
            (row.key, known)
        });
        let keys = uses.collect();
        Self { keys }
    }

    /// Takes a key for a request.
    ///
    /// # Errors
    /// Who has it, or had it.
    pub fn take(
        &self,
        key: u128,
        payload: Payload,
        request: RequestId,
        now: Timestamp,
    ) -> Result<(), Taken> {
        if make_room(&self.keys, KEYS_MAX, Use::idle_since) {
            tracing::warn!(
                "more idempotency keys than are remembered: the oldest were forgotten early"
            );
        }
        match self.keys.entry(key) {
            Entry::Occupied(known) => Err(known.get().taken(&payload)),
            Entry::Vacant(vacant) => {
                vacant.insert(Use {
                    payload,
                    request,
                    since: now,
                    in_flight: true,
                });
                Ok(())
            }
        }
    }

    /// The request of a key ended, and was made; what is left to write down.
    pub fn used_up(&self, key: u128, now: Timestamp) -> Option<IdempotencyRow> {
        let mut known = self.keys.get_mut(&key)?;
        (known.since, known.in_flight) = (now, false);
        Some(IdempotencyRow {
            key,
            call: known.payload.call,
            body: known.payload.body,
            request: known.request,
            ended: now,
        })
    }

    /// The request of a key ended without being made: the key can be used.
    fn let_go(&self, key: u128) {
        self.keys.remove_if(&key, |_, known| known.in_flight);
    }

    /// Forgets keys whose requests ended a day ago. Called now and then, off the request path.
    pub fn expire(&self, now: Timestamp) {
        let life = SignedDuration::from_millis(KEY_LIFE_MS);
        self.keys
            .retain(|_, known| known.in_flight || now.duration_since(known.since) < life);
    }

    /// Keys known.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl Use {
    fn idle_since(&self) -> Option<Timestamp> {
        (!self.in_flight).then_some(self.since)
    }

    fn taken(&self, payload: &Payload) -> Taken {
        Taken {
            request: self.request,
            since: self.since,
            in_flight: self.in_flight,
            differs: self.payload.differs(payload),
        }
    }
}

/// A key taken for a request, until it is dropped.
pub struct Claim {
    desk: Rc<Desk>,
    key: u128,
}

impl Claim {
    /// Takes a team's key.
    ///
    /// # Errors
    /// Who has it, or had it.
    pub(super) fn take(
        desk: &Rc<Desk>,
        (team, key): (TeamId, &[u8]),
        payload: Payload,
        request: RequestId,
        now: Timestamp,
    ) -> Result<Self, Taken> {
        let key = hash([&team.0.to_be_bytes()[..], key]);
        desk.shared.idempotency.take(key, payload, request, now)?;
        let desk = Rc::clone(desk);
        Ok(Self { desk, key })
    }

    /// The request ended, and was made.
    pub(super) fn used_up(self, now: Timestamp) -> Option<IdempotencyRow> {
        self.desk.shared.idempotency.used_up(self.key, now)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.desk.shared.idempotency.let_go(self.key);
    }
}

#[cfg(test)]
#[path = "idempotency_tests.rs"]
mod tests;
