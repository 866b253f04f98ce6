//! What comes in: the key in a path, which call it is, and a body that is read ahead because it decides the price.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::body::{self, BodyFault, ReadAhead};
use super::exchange::Exchange;
use super::headers::Present;
use super::refusal::{Refusal, Refused};
use crate::salesforce::call::{Call, Composite, Endpoint};
use crate::salesforce::composite;
use crate::salesforce::routes;
use crate::salesforce::tap::{self, RequestFacts};

/// A body on its way, whole or in part read ahead.
pub(super) struct Outgoing {
    pub(super) ahead: Option<ReadAhead>,
    pub(super) body: Option<Incoming>,
    /// Bytes, as stated or as read; 0 where neither is known.
    pub(super) bytes: u64,
    /// The client waits for a 100 before it sends.
    waits: bool,
}

/// What a refused request may still send, so that its answer is not lost to a reset.
const DRAIN_BYTES: usize = 64 << 10;
/// For how long.
const DRAIN_TIME: Duration = Duration::from_secs(1);

impl Outgoing {
    /// The body of a request with these headers.
    pub(super) fn new(headers: &HeaderMap, present: Present, body: Incoming) -> Self {
        let stated = present
            .has(Present::CONTENT_LENGTH)
            .then(|| stated_bytes(headers))
            .flatten();
        Self {
            ahead: None,
            body: Some(body),
            bytes: stated.unwrap_or(0),
            waits: present.has(Present::EXPECT),
        }
    }

    /// Reads off what a refused client is still sending, within bounds. One that waits for a 100 sends nothing.
    pub(super) async fn drain(&mut self) {
        let ahead = self.ahead.take().and_then(|ahead| ahead.rest);
        let rest = self
            .body
            .take()
            .or(ahead)
            .filter(|rest| !self.waits && !rest.is_end_stream());
        if let Some(rest) = rest {
            // Boxed: rare, and every request would carry its timer. Whether it ended or not: the answer follows.
            let _drained = Box::pin(timeout(DRAIN_TIME, read_off(rest))).await;
        }
    }
}

/// What a head says of its body's size.
pub(super) fn stated_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read_off(mut body: Incoming) {
    let mut left = DRAIN_BYTES;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

impl Exchange {
    /// A body that says it is too large is refused before a byte of it is read.
    pub(super) fn is_not_too_large(&self, outgoing: &Outgoing) -> Result<(), Box<Refused>> {
        let bound = self.limits().body_bytes;
        if outgoing.bytes > bound {
            Err(too_large(bound))
        } else {
            Ok(())
        }
    }

    /// A call that carries others is forwarded only when none of them can cost anything.
    pub(super) async fn harmless(
        &self,
        kind: Composite,
        outgoing: &mut Outgoing,
    ) -> Result<(), Box<Refused>> {
        self.desk.counters().unpriced("org");
        let body = self.read_ahead(outgoing).await?;
        if body.is_some_and(|body| composite::is_harmless(kind, &body)) {
            return Ok(());
        }
        Err(not_harmless())
    }

    /// What the body says of the call's cost, where its endpoint has it in the body.
    pub(super) async fn request_facts(
        &self,
        endpoint: Endpoint,
        headers: &HeaderMap,
        outgoing: &mut Outgoing,
    ) -> Result<RequestFacts, Box<Refused>> {
        let body = self.read_ahead(outgoing).await?;
        let plain = !self.present.has(Present::CONTENT_ENCODING) || body::is_plain(headers);
        Ok(body
            .filter(|_| plain)
            .map(|body| tap::read_request(endpoint, &body))
            .unwrap_or_default())
    }

    /// Reads the body ahead, if it is small enough to be read at all.
    async fn read_ahead(&self, outgoing: &mut Outgoing) -> Result<Option<Bytes>, Box<Refused>> {
        let limits = self.limits();
        let bound = limits.price_body_bytes;
        let expected = usize::try_from(outgoing.bytes).unwrap_or(usize::MAX);
        let room = if expected == 0 { bound } else { expected };
        let Some(body) = outgoing.body.take() else {
            return Ok(None);
        };
        let Some(_room) = self.desk.price_room(room).filter(|_| expected <= bound) else {
            outgoing.body = Some(body);
            return Ok(None);
        };
        let read = ReadAhead::read(body, bound, limits.idle_body_timeout, &self.watch).await;
        let mut ahead = read.map_err(body_fault)?;
        let whole = ahead.in_one_piece(bound);
        outgoing.bytes = outgoing
            .bytes
            .max(u64::try_from(ahead.bytes).unwrap_or(u64::MAX));
        outgoing.ahead = Some(ahead);
        Ok(whole)
    }
}

/// Takes `/k/<key>` off the path: from here on it is as if the key had come in the header.
pub(super) fn take_path_key(parts: &mut Parts) -> Option<String> {
    let path_and_query = parts.uri.path_and_query()?.as_str();
    let (key, _) = path_and_query
        .strip_prefix("/k/")?
        .split_once(['/', '?'])
        .unwrap_or((path_and_query.strip_prefix("/k/")?, ""));
    let rest = path_and_query.get("/k/".len().checked_add(key.len())?..)?;
    let rest = if rest.starts_with('/') {
        rest.to_owned()
    } else {
        format!("/{rest}")
    };
    let key = key.to_owned();
    parts.uri = Uri::from(PathAndQuery::try_from(rest).ok()?);
    Some(key)
}

/// Which call it is.
pub(super) fn recognise<'u>(
    method: &Method,
    uri: &'u Uri,
    present: Present,
) -> Result<Call<'u>, Box<Refused>> {
    let ambiguous = |detail: String| Refused::new(Refusal::AmbiguousRequest, detail);
    let call = routes::recognise(method, uri.path());
    let call = call.map_err(|fault| ambiguous(format!("the path has {fault}")))?;
    let call = call.ok_or_else(|| {
        Refused::new(
            Refusal::BadRequest,
            "no Salesforce API begins with this path; see the README for the routes",
        )
    })?;
    if call.on_paid_path && overrides_method(present, uri) {
        return Err(ambiguous(
            "a method override on a call that costs credits".to_owned(),
        ));
    }
    Ok(call)
}

fn overrides_method(present: Present, uri: &Uri) -> bool {
    let in_query = |query: &str| {
        query.split('&').any(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
            name.eq_ignore_ascii_case("_HttpMethod")
        })
    };
    present.has(Present::METHOD_OVERRIDE) || uri.query().is_some_and(in_query)
}

/// A call that carries others must carry none that could cost anything.
pub(super) fn not_harmless() -> Box<Refused> {
    let detail =
        "a sub-request of this call costs credits, or cannot be read; send it as a call of its own";
    Refused::new(Refusal::Unpriced, detail)
}

pub(super) fn too_large(bound: u64) -> Box<Refused> {
    Refused::new(
        Refusal::BodyTooLarge,
        format!("the body is over {bound} bytes; see [limits] body_bytes"),
    )
}

pub(super) fn body_fault(fault: BodyFault) -> Box<Refused> {
    Refused::new(
        Refusal::BadRequest,
        match fault {
            BodyFault::Malformed => "the body's framing is broken, or it ended early",
            BodyFault::Stalled => "the body stopped coming; see [limits] idle_body_timeout",
            BodyFault::TooLarge => "the body is too large",
        },
    )
}
