//! Bodies on their way: the client's to the upstream, and the answer back.
//!
//! Frames pass as they come, without a copy. A body read ahead for pricing is sent on from where it was read.

use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderMap};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::room::Part;
use super::watch::Watch;

/// How far a request got on its way out: facts, noted where they happen.
#[derive(Debug)]
pub struct Progress {
    /// Some of it may have reached the upstream.
    pub sent: Cell<bool>,
    /// All of it was handed to the upstream connection.
    pub body_ended: Cell<bool>,
    /// When that was.
    pub ended_at: Cell<Option<Instant>>,
    /// The upstream connection takes more of the body, and the client has sent no more.
    pub awaits_client: Cell<bool>,
    /// Why the client's body cannot be forwarded.
    pub fault: Cell<Option<BodyFault>>,
    /// Bytes of the body so far.
    pub body_bytes: Cell<u64>,
    /// What the body may unfold to, where it is encoded.
    pub unfolded_bytes: Cell<u64>,
    /// How long the client's bytes were waited for before anything was sent.
    pub waited: Cell<Duration>,
}

/// What is wrong with a client's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFault {
    /// Its framing is broken, or it ended early.
    Malformed,
    /// It is over `body_bytes`.
    TooLarge,
    /// It stopped coming.
    Stalled,
}

impl Progress {
    /// Nothing sent yet.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            sent: Cell::new(false),
            body_ended: Cell::new(false),
            ended_at: Cell::new(None),
            awaits_client: Cell::new(false),
            fault: Cell::new(None),
            body_bytes: Cell::new(0),
            unfolded_bytes: Cell::new(0),
            waited: Cell::new(Duration::ZERO),
        })
    }

    /// Nothing of it reached the upstream after all: it is sent again from its beginning.
    pub fn unsent(&self) {
        self.sent.set(false);
        self.body_ended.set(false);
        self.ended_at.set(None);
    }

    /// The most bytes of text the body can have had, as far as it came.
    pub fn most_bytes(&self) -> u64 {
        self.body_bytes.get().max(self.unfolded_bytes.get())
    }
}

/// A client's body that cannot be forwarded; the fault is in [`Progress`].
#[derive(Debug, thiserror::Error)]
#[error("the client's body cannot be forwarded")]
pub struct BrokenBody;

/// The client's body on its way to the upstream.
#[derive(Debug)]
pub struct ForwardBody {
    /// Read ahead for pricing.
    read: VecDeque<Bytes>,
    /// The room it takes, until all of it is sent on.
    room: Option<Part>,
    /// The rest, where there is one.
    rest: Option<Incoming>,
    bound_bytes: u64,
    idle: Duration,
    response_timeout: Duration,
    progress: Rc<Progress>,
    watch: Rc<Watch>,
}

/// The limits a body is forwarded under.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// The most bytes.
    pub bound_bytes: u64,
    /// The longest time without a byte.
    pub idle: Duration,
    /// How long the upstream has once it has everything.
    pub response_timeout: Duration,
}

impl ForwardBody {
    /// A body of which some was read ahead already.
    pub fn new(
        ahead: ReadAhead,
        limits: BodyLimits,
        progress: Rc<Progress>,
        watch: Rc<Watch>,
    ) -> Self {
        Self {
            read: ahead.pieces,
            room: ahead.room,
            rest: ahead.rest.filter(|rest| !rest.is_end_stream()),
            bound_bytes: limits.bound_bytes,
            idle: limits.idle,
            response_timeout: limits.response_timeout,
            progress,
            watch,
        }
    }

    /// An upstream connection is there: from here on it must take the request, or answer it.
    pub fn sending(&self) {
        self.progress.sent.set(true);
        if self.is_end_stream() {
            self.ended();
        } else {
            self.watch.due_in(self.idle);
        }
    }

    /// From here on the upstream is awaited.
    fn ended(&self) {
        if !self.progress.body_ended.replace(true) {
            self.progress.ended_at.set(Some(Instant::now()));
        }
        self.watch.due_in(self.response_timeout);
    }

    /// From here on the client is awaited.
    fn awaits_client(&self) {
        if !self.progress.awaits_client.replace(true) {
            self.watch.due_in(self.idle);
        }
    }

    /// Some of it is handed over: from here on the upstream must take it.
    fn passes(&self) {
        self.progress.awaits_client.set(false);
        if self.is_end_stream() {
            self.ended();
        } else {
            self.watch.due_in(self.idle);
        }
    }

    fn count(&self, bytes: usize) -> Result<(), BrokenBody> {
        let passed = self.progress.body_bytes.get();
        let passed = passed.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.progress.body_bytes.set(passed);
        if passed > self.bound_bytes {
            self.progress.fault.set(Some(BodyFault::TooLarge));
            return Err(BrokenBody);
        }
        Ok(())
    }
}

impl Body for ForwardBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        if let Some(bytes) = self.read.pop_front() {
            if self.read.is_empty() {
                self.room = None;
            }
            self.passes();
            return Poll::Ready(Some(self.count(bytes.len()).map(|()| Frame::data(bytes))));
        }
        let Some(rest) = self.rest.as_mut() else {
            self.ended();
            return Poll::Ready(None);
        };
        let frame = match Pin::new(rest).poll_frame(cx) {
            Poll::Pending => {
                self.awaits_client();
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        match frame {
            Some(Ok(frame)) => {
                // Trailers are not relayed; what ends the body ends it here.
                let Ok(bytes) = frame.into_data() else {
                    self.ended();
                    return Poll::Ready(None);
                };
                self.passes();
                Poll::Ready(Some(self.count(bytes.len()).map(|()| Frame::data(bytes))))
            }
            Some(Err(_)) => {
                self.progress.fault.set(Some(BodyFault::Malformed));
                Poll::Ready(Some(Err(BrokenBody)))
            }
            None => {
                self.ended();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read: usize = self.read.iter().map(Bytes::len).sum();
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        let mut hint = self
            .rest
            .as_ref()
            .map_or(SizeHint::with_exact(0), Body::size_hint);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(hint.lower().saturating_add(read));
        hint
    }
}

/// A body, as far as it was read ahead for its price.
#[derive(Debug, Default)]
pub struct ReadAhead {
    /// The pieces read.
    pub pieces: VecDeque<Bytes>,
    /// Their bytes.
    pub bytes: usize,
    /// The rest, where the body goes on.
    pub rest: Option<Incoming>,
    /// How it ended.
    pub read: Read,
    /// The room the pieces take.
    room: Option<Part>,
    /// How long the client's bytes were waited for.
    pub waited: Duration,
}

/// How far a body was read ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Read {
    /// Not at all.
    #[default]
    Nothing,
    /// To its end.
    Whole,
    /// It is over the bound.
    TooLarge,
    /// There was no more room.
    NoRoom,
}

impl ReadAhead {
    /// A body of which nothing was read.
    pub fn nothing(rest: Option<Incoming>) -> Self {
        Self {
            rest,
            ..Self::default()
        }
    }

    /// Reads until the body ends, the bound is passed, or there is no more room; the watch bounds the time.
    ///
    /// # Errors
    /// When the client's framing is broken.
    pub async fn read(
        mut body: Incoming,
        bound: usize,
        mut room: Part,
        idle: Duration,
        watch: &Watch,
    ) -> Result<Self, BodyFault> {
        let mut ahead = Self {
            read: Read::Whole,
            ..Self::default()
        };
        while !body.is_end_stream() {
            watch.due_in(idle);
            let mut waits = None;
            let next = std::future::poll_fn(|cx| {
                let next = Pin::new(&mut body).poll_frame(cx);
                if next.is_pending() {
                    waits.get_or_insert_with(Instant::now);
                }
                next
            });
            let next = watch.within(next).await.map_err(|_| BodyFault::Stalled)?;
            if let Some(since) = waits {
                ahead.waited = ahead.waited.saturating_add(since.elapsed());
            }
            let Some(frame) = next else { break };
            let frame = frame.map_err(|_| BodyFault::Malformed)?;
            let Ok(bytes) = frame.into_data() else { break };
            ahead.bytes = ahead.bytes.saturating_add(bytes.len());
            ahead.pieces.push_back(bytes);
            let read = match ahead.bytes {
                bytes if bytes > bound => Read::TooLarge,
                bytes if !room.resize(bytes) => Read::NoRoom,
                _ => continue,
            };
            if !body.is_end_stream() {
                ahead.read = read;
                ahead.rest = Some(body);
                break;
            }
        }
        ahead.room = Some(room);
        Ok(ahead)
    }

    /// The body in one piece, if it is whole and not larger than `bound`.
    pub fn in_one_piece(&mut self, bound: usize) -> Option<Bytes> {
        if self.read != Read::Whole || self.bytes > bound {
            return None;
        }
        if self.pieces.len() > 1 {
            let mut joined = bytes::BytesMut::with_capacity(self.bytes);
            self.pieces
                .drain(..)
                .for_each(|piece| joined.extend_from_slice(&piece));
            self.pieces.push_back(joined.freeze());
        }
        Some(self.pieces.front().cloned().unwrap_or_default())
    }
}

/// A body made here: a refusal.
#[derive(Debug, Default)]
pub struct Whole(Option<Bytes>);

impl Whole {
    /// These bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Takes them, once.
    pub fn take(&mut self) -> Option<Bytes> {
        self.0.take()
    }

    /// Their number.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, Bytes::len)
    }

    /// Whether there is nothing left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

/// Whether a body in this encoding can be read: identity, or none stated.
pub fn is_plain(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Deflate packs so many bytes into one at best (zlib's technical notes).
const DEFLATE_MAX: u64 = 1_032;

/// What a body of so many bytes unfolds to at most, where its encoding sets a limit.
pub fn unfolded(headers: &HeaderMap, bytes: u64) -> Option<u64> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let encoding = encodings.next()?.as_bytes();
    let deflates = [&b"gzip"[..], b"x-gzip", b"deflate"];
    let is_one = encodings.next().is_none();
    let deflates = deflates
        .iter()
        .any(|name| encoding.eq_ignore_ascii_case(name));
    (is_one && deflates).then(|| bytes.saturating_mul(DEFLATE_MAX))
}
