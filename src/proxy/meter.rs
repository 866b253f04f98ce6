//! The answer on its way back: passed as it comes, looked at, settled when it ends.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::admit::GRANT_WAIT;
use super::body::Whole;
use super::desk::{Desk, InFlight};
use super::ticket::Ticket;
use super::watch::Watch;
use crate::budget::credits::MicroCredits;
use crate::config::checked::OnBound;

/// Any failure of an answer on its way; hyper breaks the client's connection off on it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body to a client: our own, or an upstream's.
pub struct Answer<B: Body> {
    kind: Kind<B>,
    /// The request is in flight until its answer is over.
    _in_flight: InFlight,
}

enum Kind<B: Body> {
    Own(Whole),
    Passing(Box<Passing<B>>),
}

struct Passing<B: Body> {
    inner: B,
    /// Settles when it is dropped; `None` where nothing is charged.
    ticket: Option<Box<Ticket>>,
    desk: Rc<Desk>,
    watch: Rc<Watch>,
    idle: Duration,
    on_bound: OnBound,
    held_back: Option<HeldBack>,
    /// What came while a frame was held back.
    next: Option<Result<Frame<Bytes>, B::Error>>,
    /// The upstream's body is over.
    ended: bool,
}

/// A frame that is not passed on yet.
enum HeldBack {
    /// Until the ledger covers what it costs.
    ForLedger(Frame<Bytes>, Pin<Box<dyn Future<Output = ()>>>),
    /// Until it is known whether it is the last, with which the price is known.
    ForEnd(Frame<Bytes>),
}

/// Why an answer was broken off.
#[derive(Debug, thiserror::Error)]
enum BrokenOff {
    #[error(
        "nothing came from the upstream for idle_body_timeout, or the exchange took over total_timeout"
    )]
    TimedOut,
    #[error("the answer cost more than its bound, and on_bound is cut")]
    OverBound,
}

impl<B> Answer<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Our own words.
    pub fn own(bytes: Bytes, in_flight: InFlight) -> Self {
        Self {
            kind: Kind::Own(Whole::new(bytes)),
            _in_flight: in_flight,
        }
    }

    /// The upstream's. A ticket is settled when the body ends, breaks, or is dropped.
    pub fn passing(
        inner: B,
        ticket: Option<Box<Ticket>>,
        (desk, watch): (Rc<Desk>, Rc<Watch>),
        idle: Duration,
        in_flight: InFlight,
    ) -> Self {
        let team = ticket.as_deref().and_then(Ticket::team);
        let on_bound = team.map_or(OnBound::Extend, |team| team.on_bound);
        watch.due_in(idle);
        let mut passing = Passing {
            inner,
            ticket,
            desk,
            watch,
            idle,
            on_bound,
            held_back: None,
            next: None,
            ended: false,
        };
        if passing.inner.is_end_stream() {
            passing.complete(); // over before anybody polls it: 204, HEAD, no length
        }
        Self {
            kind: Kind::Passing(Box::new(passing)),
            _in_flight: in_flight,
        }
    }
}

impl<B> Passing<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    fn complete(&mut self) {
        self.ended = true;
        if let Some(mut ticket) = self.ticket.take() {
            ticket.complete();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let held_back = match self.held_back.take() {
            Some(HeldBack::ForLedger(frame, mut covered)) => {
                if covered.as_mut().poll(cx).is_pending() {
                    self.held_back = Some(HeldBack::ForLedger(frame, covered));
                    return Poll::Pending;
                }
                return self.passed(frame);
            }
            Some(HeldBack::ForEnd(frame)) => Some(frame),
            None if self.ended => return Poll::Ready(None),
            None => None,
        };
        match (self.poll_inner(cx), held_back) {
            (Poll::Pending, _) if self.watch.is_expired() => {
                self.ticket = None; // settled as broken off
                Poll::Ready(Some(Err(BrokenOff::TimedOut.into())))
            }
            (Poll::Pending, held_back) => {
                self.held_back = held_back.map(HeldBack::ForEnd);
                Poll::Pending
            }
            (Poll::Ready(None), Some(last)) => self.last(last, cx),
            (Poll::Ready(next), Some(frame)) => {
                self.next = next; // it was not the last
                self.passed(frame)
            }
            (Poll::Ready(None), None) => {
                self.complete();
                Poll::Ready(None)
            }
            (Poll::Ready(Some(Err(error))), None) => {
                self.ticket = None;
                Poll::Ready(Some(Err(error.into())))
            }
            (Poll::Ready(Some(Ok(frame))), None) => self.frame(frame, cx),
        }
    }

    /// The upstream's next data; trailers are not relayed, and end the body.
    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.next.is_some() {
            return Poll::Ready(self.next.take());
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.watch.due_in(self.idle);
        Poll::Ready(frame.filter(|frame| frame.as_ref().map_or(true, Frame::is_data)))
    }

    fn frame(
        &mut self,
        frame: Frame<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let (Some(bytes), Some(ticket)) = (frame.data_ref(), self.ticket.as_mut()) else {
            return self.passed(frame);
        };
        let over = ticket.pass(bytes);
        if self.inner.is_end_stream() {
            return self.last(frame, cx);
        }
        if over.is_none() && ticket.may_end_with(bytes) {
            // With an exact length the end is known with it; in chunks it comes behind, as a rule in the same read.
            self.held_back = Some(HeldBack::ForEnd(frame));
            return self.poll(cx);
        }
        self.charged(frame, over, cx)
    }

    /// Nothing follows this frame: with it the price is known.
    fn last(
        &mut self,
        frame: Frame<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.ended = true;
        let over = self.ticket.as_mut().and_then(|ticket| ticket.finish());
        self.charged(frame, over, cx)
    }

    /// Passes a frame on, once what it makes the answer cost above its bound is covered.
    fn charged(
        &mut self,
        frame: Frame<Bytes>,
        over: Option<MicroCredits>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some((more, ticket)) = over.zip(self.ticket.as_mut()) else {
            return self.passed(frame);
        };
        if self.on_bound == OnBound::Cut {
            self.ticket = None;
            return Poll::Ready(Some(Err(BrokenOff::OverBound.into())));
        }
        if ticket.extend(more) {
            return self.passed(frame);
        }
        // Nothing more is passed until the ledger wrote it down, or cannot.
        let covered = Box::pin(covered(Rc::clone(&self.desk)));
        self.held_back = Some(HeldBack::ForLedger(frame, covered));
        self.poll(cx)
    }

    /// With an exact length nobody polls for the end: look for it after every frame.
    fn passed(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended || (self.next.is_none() && self.inner.is_end_stream()) {
            self.complete();
        }
        Poll::Ready(Some(Ok(frame)))
    }
}

/// Waits for the ledger's next raise, at most as long as an admission would.
async fn covered(desk: Rc<Desk>) {
    let raised = desk.raised.notified();
    desk.shared.ledger.wake();
    // Whether it came or not: what was used is charged, as a price above its bound.
    let _in_time = tokio::time::timeout(GRANT_WAIT, raised).await;
}

impl<B> Body for Answer<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.kind {
            Kind::Own(whole) => Poll::Ready(whole.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Passing(passing) => passing.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(whole) => whole.is_empty(),
            Kind::Passing(passing) => passing.ended && passing.held_back.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(whole) => {
                SizeHint::with_exact(u64::try_from(whole.len()).unwrap_or(u64::MAX))
            }
            Kind::Passing(passing) => passing.inner.size_hint(),
        }
    }
}
