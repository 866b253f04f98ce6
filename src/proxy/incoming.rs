//! What comes in: the key in a path, which call it is, and a body that is read ahead because it decides the price.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri};
use http_body::Body;
use hyper::body::Incoming;

use super::body::{self, BodyFault, Progress, Read, ReadAhead};
use super::exchange::Exchange;
use super::headers::Present;
use super::line::DRAIN_BYTES;
use super::refusal::{Refusal, Refused};
use super::sessions::SESSION_ID_MAX;
use crate::salesforce::call::{Call, Composite, Endpoint, Needs, Price};
use crate::salesforce::composite;
use crate::salesforce::routes;
use crate::salesforce::tap::{self, RequestFacts};

/// A body on its way, whole or in part read ahead.
pub(super) struct Outgoing {
    pub(super) ahead: Option<ReadAhead>,
    pub(super) body: Option<Incoming>,
    /// Bytes as they come, where that is known: stated, or read to the end.
    bytes: Option<u64>,
    /// The client waits for a 100 before it sends.
    waits: bool,
    /// All of it had come when it was taken to be sent on.
    came_whole: bool,
}

/// How often in a row a refused request's body may have nothing to give before it counts as still on its way: the
/// connection, asked once, needs a turn of its own to answer.
const TURNS: u32 = 2;

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
            bytes: stated,
            waits: present.has(Present::EXPECT),
            came_whole: false,
        }
    }

    /// The body to send on.
    pub(super) fn take(&mut self) -> ReadAhead {
        let unread = self.body.take();
        let taken = self.ahead.take();
        let taken = taken.unwrap_or_else(|| ReadAhead::nothing(unread));
        self.came_whole = taken.rest.as_ref().is_none_or(Body::is_end_stream);
        taken
    }

    /// Whether a refused client has sent all it has to send. What has come is read off, so that a small body costs
    /// nobody the connection; nothing is waited for.
    pub(super) async fn is_over(&mut self, progress: &Progress) -> bool {
        let body = match (self.body.take(), self.ahead.take()) {
            // Asking for the body would ask the client to send it.
            (Some(body), _) if self.waits => return body.is_end_stream(),
            (Some(body), _) => body,
            (None, Some(ahead)) => match ahead.rest {
                Some(rest) => rest,
                None => return true,
            },
            (None, None) => return self.came_whole || progress.body_ended.get(), // forwarded, or broken
        };
        has_come(body).await
    }
}

/// What a head says of its body's size.
pub(super) fn stated_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn has_come(mut body: Incoming) -> bool {
    let (mut left, mut turns) = (DRAIN_BYTES, TURNS);
    poll_fn(|cx| {
        loop {
            if body.is_end_stream() {
                return Poll::Ready(true);
            }
            let bytes = match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, Bytes::len),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(false),
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Pending if turns == 0 => return Poll::Ready(false),
                Poll::Pending => {
                    turns = turns.saturating_sub(1);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            };
            turns = TURNS;
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return Poll::Ready(false),
            }
        }
    })
    .await
}

impl Exchange {
    /// A body that says it is too large is refused before a byte of it is read.
    pub(super) fn is_not_too_large(&self, outgoing: &Outgoing) -> Result<(), Box<Refused>> {
        let bound = self.limits().body_bytes;
        if outgoing.bytes.is_some_and(|bytes| bytes > bound) {
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
        let ahead = outgoing.ahead.as_ref();
        if ahead.is_some_and(|ahead| ahead.read == Read::NoRoom) {
            return Err(no_room());
        }
        Err(not_harmless())
    }

    /// What the body says of the call's cost, as far as that must be known before it is forwarded.
    pub(super) async fn request_facts(
        &self,
        endpoint: Endpoint,
        headers: &HeaderMap,
        outgoing: &mut Outgoing,
    ) -> Result<RequestFacts, Box<Refused>> {
        let needs = match endpoint.needs() {
            Needs::Whole if !self.is_plain(headers) => Needs::Size, // whatever it says
            needs => needs,
        };
        match needs {
            Needs::Nothing => {}
            Needs::Size if outgoing.bytes.is_some() => {}
            Needs::Size => {
                self.read_ahead(outgoing).await?;
            }
            Needs::Whole => {
                let body = self.read_ahead(outgoing).await?;
                let facts = body.map(|body| tap::read_request(endpoint, &body));
                return Ok(facts.unwrap_or_default());
            }
        }
        Ok(RequestFacts::default())
    }

    /// The most bytes of text the body can have: cheap is only what is known to be small.
    pub(super) fn most_bytes(&self, headers: &HeaderMap, outgoing: &Outgoing) -> u64 {
        let most = self.limits().body_bytes;
        let Some(bytes) = outgoing.bytes.filter(|_| !self.is_plain(headers)) else {
            return outgoing.bytes.unwrap_or(most);
        };
        let unfolded = body::unfolded(headers, bytes).unwrap_or(most).min(most);
        self.progress.unfolded_bytes.set(unfolded);
        unfolded
    }

    fn is_plain(&self, headers: &HeaderMap) -> bool {
        !self.present.has(Present::CONTENT_ENCODING) || body::is_plain(headers)
    }

    /// Reads the body ahead, if it is small enough to be read at all.
    pub(super) async fn read_ahead(
        &self,
        outgoing: &mut Outgoing,
    ) -> Result<Option<Bytes>, Box<Refused>> {
        let limits = self.limits();
        let bound = limits.price_body_bytes;
        let stated = outgoing
            .bytes
            .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if stated.is_some_and(|bytes| bytes > bound) {
            return Ok(None);
        }
        let Some(body) = outgoing.body.take() else {
            return Ok(None);
        };
        let room = self.desk.ahead.part();
        let read = ReadAhead::read(body, bound, room, limits.idle_body_timeout, &self.watch).await;
        let mut ahead = read.map_err(body_fault)?;
        self.progress.waited.set(ahead.waited);
        let (read, whole) = (ahead.read, ahead.in_one_piece(bound));
        if read == Read::Whole {
            outgoing.bytes = u64::try_from(ahead.bytes).ok();
        }
        outgoing.ahead = Some(ahead);
        if read == Read::NoRoom && outgoing.bytes.is_none() {
            return Err(no_room());
        }
        Ok(whole)
    }
}

/// A body whose price cannot be told: it is not free, and what it may cost at most nobody could pay.
fn no_room() -> Box<Refused> {
    let detail = "too many bodies are read ahead at once; try again, or send a Content-Length";
    Refused::new(Refusal::Overloaded, detail)
}

/// Takes `/k/<key>` off the path: from here on it is as if the key had come in the header.
pub(super) fn take_path_key(parts: &mut Parts) -> Option<String> {
    let keyed = parts.uri.path_and_query()?.as_str().strip_prefix("/k/")?;
    let end = keyed.find(['/', '?']).unwrap_or(keyed.len());
    let (key, rest) = keyed.split_at(end);
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
    if let Price::Paid(paid) = &call.price
        && paid.session.is_some_and(|id| id.len() > SESSION_ID_MAX)
    {
        let detail = format!("a session's id has at most {SESSION_ID_MAX} bytes");
        return Err(Refused::new(Refusal::BadRequest, detail));
    }
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
