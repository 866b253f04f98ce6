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
use crate::config::checked::OnBound;

/// Any failure of an answer on its way; hyper breaks the client's connection off on it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body to a client: our own, or an upstream's.
pub struct Answer<B> {
    kind: Kind<B>,
    /// The request is in flight until its answer is over.
    _in_flight: InFlight,
}

enum Kind<B> {
    Own(Whole),
    Passing(Box<Passing<B>>),
}

struct Passing<B> {
    inner: B,
    /// Settles when it is dropped; `None` where nothing is charged.
    ticket: Option<Box<Ticket>>,
    desk: Rc<Desk>,
    watch: Rc<Watch>,
    idle: Duration,
    on_bound: OnBound,
    held_back: Option<HeldBack>,
}

/// A frame that waits for the ledger to cover what it costs.
struct HeldBack {
    frame: Frame<Bytes>,
    covered: Pin<Box<dyn Future<Output = ()>>>,
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
        if let Some(mut ticket) = self.ticket.take() {
            ticket.complete();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(held_back) = &mut self.held_back {
            ready!(held_back.covered.as_mut().poll(cx));
            let frame = self.held_back.take().map(|held_back| held_back.frame);
            self.after_frame();
            return Poll::Ready(frame.map(Ok));
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Pending if self.watch.is_expired() => {
                self.ticket = None; // settled as broken off
                Poll::Ready(Some(Err(BrokenOff::TimedOut.into())))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.ticket = None;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(Some(Ok(frame))) => self.frame(frame, cx),
        }
    }

    fn frame(
        &mut self,
        frame: Frame<Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.watch.due_in(self.idle);
        let Some(bytes) = frame.data_ref() else {
            self.complete(); // trailers are not relayed, and end the body
            return Poll::Ready(None);
        };
        let over = self
            .ticket
            .as_mut()
            .and_then(|ticket| Some((ticket.pass(bytes)?, ticket)));
        if let Some((more, ticket)) = over {
            if self.on_bound == OnBound::Cut {
                self.ticket = None;
                return Poll::Ready(Some(Err(BrokenOff::OverBound.into())));
            }
            if !ticket.extend(more) {
                // Nothing more is passed until the ledger wrote it down, or cannot.
                let covered = Box::pin(covered(Rc::clone(&self.desk)));
                self.held_back = Some(HeldBack { frame, covered });
                return self.poll(cx);
            }
        }
        self.after_frame();
        Poll::Ready(Some(Ok(frame)))
    }

    /// With an exact length nobody polls for the end: look for it after every frame.
    fn after_frame(&mut self) {
        if self.inner.is_end_stream() {
            self.complete();
        }
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
            Kind::Passing(passing) => passing.held_back.is_none() && passing.inner.is_end_stream(),
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
