//! One client connection, from its first request to its end.

use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::desk::Desk;
use super::exchange::exchange;
use super::line::Stream;
use super::refusal::{Refusal, Refused};
use super::refuse::{self, Context};
use super::upstream::Upstreams;
use super::watch::Watched;
use crate::clock;
use crate::salesforce::Shape;

/// How long a connection may take to send its first request once the worker drains: it may be on its way.
const FIRST_REQUEST: Duration = Duration::from_millis(250);

/// Serves a connection until it ends, is idle for too long, or the worker drains.
pub(super) async fn converse(
    desk: &Rc<Desk>,
    upstreams: Upstreams,
    watched: &Watched,
    stream: TcpStream,
) {
    let watch = &watched.watch;
    let service = service_fn(|request: Request<Incoming>| {
        exchange(
            Rc::clone(desk),
            upstreams.clone(),
            Rc::clone(watch),
            request,
        )
    });
    let head_bytes = desk.held().checked.gateway.limits.head_bytes;
    let stream = Stream::new(stream, Rc::clone(watch));
    let mut connection = http1::Builder::new()
        .header_read_timeout(None) // the worker's coarse timer does it
        .max_header_size(head_bytes)
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut draining = false;
    let ended = std::future::poll_fn(|cx| {
        watch.register(cx.waker());
        if watch.must_close() {
            return Poll::Ready(None);
        }
        let mut connection = Pin::new(&mut connection);
        let mut polled = connection.as_mut().poll(cx);
        // After a look: a request that is there already is told so, and not merely cut off.
        if polled.is_pending() && !draining && desk.is_draining() {
            draining = true;
            if watch.is_fresh() {
                watch.due_in(FIRST_REQUEST);
            } else {
                connection.as_mut().graceful_shutdown();
                polled = connection.poll(cx);
            }
        }
        polled.map(Some)
    });
    let ended = ended.await;
    let stream = connection.into_parts().io.into_inner();
    // Boxed: rare, and every connection would carry their timers.
    match ended {
        Some(Ok(())) if watch.line.is_unread() => Box::pin(stream.read_off()).await,
        Some(Err(error)) if error.is_parse() => {
            Box::pin(refuse_head(desk, watched, stream, &error)).await;
        }
        Some(Err(error)) => tracing::debug!(%error, "client connection ended"),
        Some(Ok(())) | None => {}
    }
}

/// A head that is no request: refused as everything else is. Where answers before it are not all written out, the
/// client is behind and has hyper's own words for it.
async fn refuse_head(desk: &Desk, watched: &Watched, stream: Stream, error: &hyper::Error) {
    let held = desk.held();
    let refused = if error.is_parse_too_large() {
        Refused::new(
            Refusal::HeadTooLarge,
            format!(
                "the head is over {} bytes; see [limits] head_bytes",
                held.checked.gateway.limits.head_bytes
            ),
        )
    } else {
        Refused::new(Refusal::BadRequest, error.to_string())
    };
    let context = Context {
        request: desk.next_id(),
        path: "",
        shape: Shape::Problem,
        wants_problem: false,
        now: clock::now(),
        operation: None,
        quote: None,
        payer: "nobody",
    };
    refuse::note(desk, &held, &refused, &context, false);
    if watched.watch.line.owes_nothing() {
        let mut response = refuse::render(&held, &refused, &context);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        stream.answer(&response).await;
    }
}
