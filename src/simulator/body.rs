//! Answer bodies: whole, in frames, or frame by frame as a turn goes on; any of them can break off.
//!
//! Every frame reaches the socket on its own: between two frames the body pauses for one poll, in
//! which hyper flushes. Likewise before a body breaks off, so that what was sent before is seen.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::sync::mpsc;

/// The connection ends here, as it was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the simulator broke the connection off")]
pub(crate) struct BrokenOff;

/// A body on its way out.
#[derive(Debug)]
pub(crate) struct Body {
    source: Source,
    /// Frames to let through before breaking off.
    cut_after: Option<u32>,
    paused: bool,
}

#[derive(Debug)]
enum Source {
    Whole(Option<Bytes>),
    Frames(vec::IntoIter<Bytes>),
    Turn(mpsc::Receiver<Bytes>),
}

impl Body {
    /// One piece, with a content length.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::from(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// Frames that are all there, chunked.
    pub(crate) fn frames(frames: Vec<Bytes>) -> Self {
        Self::from(Source::Frames(frames.into_iter()))
    }

    /// Frames as they come, chunked.
    pub(crate) fn turn(frames: mpsc::Receiver<Bytes>) -> Self {
        Self::from(Source::Turn(frames))
    }

    /// Cuts a whole body into chunks of `chunk_bytes` and breaks any body off after `cut_after`
    /// frames.
    ///
    /// A whole body that is to break off, and has no chunk size, is cut into one chunk more than
    /// get through.
    pub(crate) fn told(self, chunk_bytes: Option<usize>, cut_after: Option<u32>) -> Self {
        if chunk_bytes.is_none() && cut_after.is_none() {
            return self;
        }
        let source = match self.source {
            Source::Whole(bytes) => {
                let bytes = bytes.unwrap_or_default();
                let pieces = usize::try_from(cut_after.unwrap_or(0)).unwrap_or(usize::MAX);
                let even = bytes.len().div_ceil(pieces.saturating_add(1));
                Source::Frames(chunked(bytes, chunk_bytes.unwrap_or(even).max(1)).into_iter())
            }
            other => other,
        };
        Self {
            source,
            cut_after,
            paused: false,
        }
    }
}

impl From<Source> for Body {
    fn from(source: Source) -> Self {
        Self {
            source,
            cut_after: None,
            paused: false,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let body = self.get_mut();
        if let Source::Whole(bytes) = &mut body.source {
            return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
        }
        if !body.paused {
            body.paused = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if body.cut_after == Some(0) {
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        let frame = match &mut body.source {
            Source::Whole(_) => None,
            Source::Frames(frames) => frames.next(),
            Source::Turn(frames) => ready!(frames.poll_recv(cx)),
        };
        body.paused = false;
        match (frame, &mut body.cut_after) {
            (Some(frame), cut_after) => {
                *cut_after = cut_after.map(|frames| frames - 1);
                Poll::Ready(Some(Ok(Frame::data(frame))))
            }
            // Shorter than the cut: still broken off, only the end of the message is missing.
            (None, Some(_)) => Poll::Ready(Some(Err(BrokenOff))),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                u64::try_from(length).map_or_else(|_| SizeHint::default(), SizeHint::with_exact)
            }
            Source::Frames(_) | Source::Turn(_) => SizeHint::default(),
        }
    }
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    typed(
        status,
        "application/json;charset=UTF-8",
        Body::whole(body.into()),
    )
}

/// A stream of events.
pub(crate) fn events(body: Body) -> Response<Body> {
    typed(StatusCode::OK, "text/event-stream;charset=UTF-8", body)
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::whole(Bytes::new()));
    *response.status_mut() = status;
    response
}

fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn chunked(mut bytes: Bytes, chunk_bytes: usize) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    while !bytes.is_empty() {
        chunks.push(bytes.split_to(chunk_bytes.min(bytes.len())));
    }
    chunks
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn check(case: &str, mut body: Body, want: &[&str], ends: bool) {
        let mut got = Vec::new();
        let ended = loop {
            match body.frame().await {
                Some(Ok(frame)) => got.push(frame.into_data().unwrap()),
                Some(Err(BrokenOff)) => break false,
                None => break true,
            }
        };
        assert_eq!(got, want, "{case}");
        assert_eq!(ended, ends, "{case}");
    }

    #[tokio::test]
    async fn bodies_break_off_where_told() {
        let whole = || Body::whole(Bytes::from_static(b"abcdef"));
        let frames = || Body::frames(vec![Bytes::from_static(b"x"), Bytes::from_static(b"y")]);
        check("whole", whole(), &["abcdef"], true).await;
        check(
            "in chunks",
            whole().told(Some(4), None),
            &["abcd", "ef"],
            true,
        )
        .await;
        check(
            "chunks, cut",
            whole().told(Some(2), Some(2)),
            &["ab", "cd"],
            false,
        )
        .await;
        check(
            "cut in even parts",
            whole().told(None, Some(2)),
            &["ab", "cd"],
            false,
        )
        .await;
        check(
            "cut after the head",
            whole().told(None, Some(0)),
            &[],
            false,
        )
        .await;
        check("frames", frames(), &["x", "y"], true).await;
        check("frames, cut", frames().told(None, Some(1)), &["x"], false).await;
        check(
            "only the end is missing",
            frames().told(None, Some(9)),
            &["x", "y"],
            false,
        )
        .await;
    }
}
