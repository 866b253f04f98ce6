//! To the upstream, and back to its response head; whose fault it is when there is none.

use std::rc::Rc;
use std::time::Duration;

use http::header::HeaderValue;
use http::request::Parts;
use http::{Request, Response, Uri};
use tokio::time::Instant;
use tower::Service;

use super::body::{self, BodyFault, BodyLimits, ForwardBody};
use super::exchange::Exchange;
use super::headers;
use super::incoming::{Outgoing, body_fault, too_large};
use super::refusal::{Refusal, Refused};
use super::ticket::Ticket;
use super::upstream::{Forward, ForwardError};
use crate::salesforce::call::{Price, UpstreamName};
use crate::salesforce::tap::Tap;

/// What looks at the answer to a call that is charged.
pub(super) fn tap(price: &Price<'_>, bound: usize, readable: bool) -> Tap {
    match price {
        Price::Paid(paid) => Tap::new(paid.endpoint, bound, readable),
        Price::Free | Price::Composite(_) | Price::Unpriced(_) => Tap::flat(),
    }
}

impl Exchange {
    /// Forwards, and waits for the response head.
    pub(super) async fn send<S, B>(
        &self,
        upstreams: &mut S,
        name: UpstreamName,
        price: &Price<'_>,
        parts: &mut Parts,
        outgoing: &mut Outgoing,
        ticket: Option<Box<Ticket>>,
    ) -> Result<(Response<B>, Option<Box<Ticket>>), Box<Refused>>
    where
        S: Service<Forward, Response = Response<B>, Error = ForwardError>,
    {
        let forward = self.forward(name, parts, outgoing, ticket.is_some());
        // Until there is a connection its own timeout holds; from then on the body's stages.
        self.watch.due_in(self.limits().total_timeout);
        let sent = Instant::now();
        let response = self.watch.within(upstreams.call(forward)).await;
        let response = match response {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(self.no_answer(&error)),
            Err(_) => return Err(self.too_late()),
        };
        // An answer may come before its request is over: then it took no time at all.
        let ended_at = self.progress.ended_at.get();
        let after = ended_at.map_or(Duration::ZERO, |at| at.elapsed());
        let own = sent.duration_since(self.started);
        let counters = self.desk.counters();
        counters.answered(name, response.status());
        counters.upstream_duration.note(after);
        counters
            .overhead
            .note(own.saturating_sub(self.progress.waited.get()));
        let ticket = ticket.map(|mut ticket| {
            if !response.status().is_success() {
                ticket.refused_upstream(response.status(), after);
                return ticket;
            }
            let bound = self.limits().price_body_bytes;
            let readable = body::is_plain(response.headers());
            ticket.answered(response.status(), tap(price, bound, readable));
            ticket
        });
        Ok((response, ticket))
    }

    fn forward(
        &self,
        name: UpstreamName,
        parts: &mut Parts,
        outgoing: &mut Outgoing,
        metered: bool,
    ) -> Forward {
        let limits = self.limits();
        let body_limits = BodyLimits {
            bound_bytes: limits.body_bytes,
            idle: limits.idle_body_timeout,
            response_timeout: limits.response_timeout,
        };
        let (progress, watch) = (Rc::clone(&self.progress), Rc::clone(&self.watch));
        let body = ForwardBody::new(outgoing.take(), body_limits, progress, watch);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method.clone();
        if let Some(path) = parts.uri.path_and_query() {
            *request.uri_mut() = Uri::from(path.clone());
        }
        let mut headers = std::mem::take(&mut parts.headers);
        let host = self
            .held
            .upstream(name)
            .map(|upstream| upstream.host.clone());
        headers::for_upstream(
            &mut headers,
            self.present,
            host.unwrap_or(HeaderValue::from_static("")),
            metered,
        );
        *request.headers_mut() = headers;
        Forward {
            name,
            held: Rc::clone(&self.held),
            request,
            progress: Rc::clone(&self.progress),
        }
    }

    /// Whose fault is it that there is no answer: the client's, or the upstream's.
    fn no_answer(&self, error: &ForwardError) -> Box<Refused> {
        if let Some(fault) = self.progress.fault.get() {
            self.progress.sent.set(false); // the upstream never saw a whole request
            return match fault {
                BodyFault::TooLarge => too_large(self.limits().body_bytes),
                BodyFault::Malformed | BodyFault::Stalled => body_fault(fault),
            };
        }
        tracing::warn!(request_id = %self.request, error = %error, "no answer from the upstream");
        Refused::new(Refusal::UpstreamUnreachable, error.to_string())
    }

    /// Whoever did not do the next step in time: connect, send, take, answer.
    fn too_late(&self) -> Box<Refused> {
        let progress = &self.progress;
        if !progress.sent.get() {
            let detail = "no connection to the upstream in time";
            return Refused::new(Refusal::UpstreamUnreachable, detail);
        }
        if !progress.body_ended.get() && progress.awaits_client.get() {
            return body_fault(BodyFault::Stalled);
        }
        let detail = if progress.body_ended.get() {
            "the upstream did not answer within response_timeout"
        } else {
            "the upstream takes no more of the body; see [limits] idle_body_timeout"
        };
        Refused::new(Refusal::UpstreamTimeout, detail)
    }
}
