//! One request's way, top to bottom: identified, priced, admitted, forwarded, metered, settled.

use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use jiff::Timestamp;
use tokio::time::Instant;
use tower::Service;

use super::admit::{self, Admitted};
use super::body::Progress;
use super::desk::{Desk, InFlight};
use super::headers::{self, Present};
use super::identify::{self, Because, Claims, Payer, Unpaid};
use super::incoming::{Outgoing, recognise, take_path_key};
use super::meter::{Answer, BoxError};
use super::once::Once;
use super::pricing;
use super::refusal::{Refusal, Refused};
use super::refuse::{self, Context};
use super::sessions::{Entered, Stands};
use super::snapshot::Held;
use super::standing;
use super::ticket::{Facts, Ticket};
use super::upstream::{Forward, ForwardError};
use super::watch::Watch;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Operation;
use crate::budget::usage::Usage;
use crate::clock;
use crate::config::checked::Limits;
use crate::ledger::event::RequestId;
use crate::rates::quote::Terms;
use crate::salesforce::call::{Call, Paid, Price};
use crate::salesforce::{NamedKind, Shape};

/// One exchange: what every step of it needs.
pub(super) struct Exchange {
    pub(super) desk: Rc<Desk>,
    pub(super) held: Held,
    pub(super) watch: Rc<Watch>,
    pub(super) request: RequestId,
    pub(super) now: Timestamp,
    pub(super) started: Instant,
    pub(super) progress: Rc<Progress>,
    pub(super) present: Present,
}

/// What is known so far, for whoever has to say no.
#[derive(Default)]
struct Known {
    shape: Option<Shape>,
    operation: Option<Operation>,
    terms: Option<Terms>,
    payer: Option<Because>,
}

impl Known {
    fn priced(&mut self, terms: Terms) {
        self.operation = Some(terms.quote.operation);
        self.terms = Some(terms);
    }
}

/// Answers one request: the upstream's response, or a refusal in the caller's error shape.
///
/// # Errors
/// Never; hyper asks for a `Result`.
pub async fn exchange<S, B>(
    desk: Rc<Desk>,
    mut upstreams: S,
    watch: Rc<Watch>,
    request: Request<Incoming>,
) -> Result<Response<Answer<B>>, Infallible>
where
    S: Service<Forward, Response = Response<B>, Error = ForwardError>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let in_flight = InFlight::begin(Rc::clone(&desk), Rc::clone(&watch));
    let held = desk.held();
    watch.begin(held.checked.gateway.limits.total_timeout);
    let exchange = Exchange {
        held,
        request: desk.next_id(),
        now: clock::now(),
        started: in_flight.started,
        progress: Progress::new(),
        present: Present::of(request.headers()),
        desk,
        watch,
    };
    let mut known = Known::default();
    let (mut parts, body) = request.into_parts();
    let version = parts.version;
    let key = take_path_key(&mut parts);
    let present = exchange.present;
    let wants_problem = present.has(Present::ACCEPT) && refuse::accepts_problem(&parts.headers);
    let mut outgoing = Outgoing::new(&parts.headers, present, body);
    let forwarded = exchange
        .forwarded(
            &mut upstreams,
            &mut parts,
            key.as_deref(),
            &mut outgoing,
            &mut known,
        )
        .await;
    Ok(match forwarded {
        Ok((response, ticket)) => exchange.answered(response, ticket, version, in_flight),
        Err(refused) => {
            let is_over = outgoing.is_over(&exchange.progress).await;
            let path = parts.uri.path();
            let mut response = exchange.refused(&refused, &known, path, wants_problem);
            if !is_over {
                exchange.answers_last(response.headers_mut());
            }
            response.map(|body| Answer::own(body, in_flight))
        }
    })
}

impl Exchange {
    pub(super) fn limits(&self) -> &Limits {
        &self.held.checked.gateway.limits
    }

    /// The way of a request that nobody refuses.
    async fn forwarded<S, B>(
        &self,
        upstreams: &mut S,
        parts: &mut Parts,
        key: Option<&str>,
        outgoing: &mut Outgoing,
        known: &mut Known,
    ) -> Result<(Response<B>, Option<Box<Ticket>>), Box<Refused>>
    where
        S: Service<Forward, Response = Response<B>, Error = ForwardError>,
    {
        let uri = parts.uri.clone();
        let call = recognise(&parts.method, &uri, self.present);
        known.shape = call.as_ref().ok().map(|call| call.shape);
        self.has_room()?;
        self.is_not_too_large(outgoing)?;
        let call = call?;
        pricing::configured(&self.held, call.upstream)?;
        let ticket = match call.price {
            Price::Free => None,
            Price::Unpriced(service) => {
                self.unpriced(&call, service, parts, key, outgoing, known)
                    .await?
            }
            Price::Composite(kind) => {
                self.harmless(kind, outgoing).await?;
                None
            }
            Price::Paid(paid) => Some(self.paid(&paid, parts, key, outgoing, known).await?),
        };
        let payer = ticket.as_ref().map(|ticket| ticket.payer());
        let payer = payer.map(|payer| (payer.team, payer.class));
        let sent = self.send(
            upstreams,
            call.upstream,
            &call.price,
            parts,
            outgoing,
            ticket,
        );
        sent.await.map_err(|mut refused| {
            if let Some((team, class)) = payer {
                (refused.team, refused.class) = (Some(team), Some(class));
                refused.was_admitted = true;
            }
            refused
        })
    }

    fn has_room(&self) -> Result<(), Box<Refused>> {
        if self.desk.is_draining() {
            return Err(Refused::new(
                Refusal::Draining,
                "this process is about to stop; connect again",
            ));
        }
        if !self.desk.has_room(self.limits().in_flight) {
            return Err(Refused::new(
                Refusal::Overloaded,
                "too many requests in flight; see [limits] in_flight",
            ));
        }
        Ok(())
    }

    /// A call without a price: refused, passed, or charged a flat amount.
    async fn unpriced(
        &self,
        call: &Call<'_>,
        service: &'static str,
        parts: &Parts,
        key: Option<&str>,
        outgoing: &mut Outgoing,
        known: &mut Known,
    ) -> Result<Option<Box<Ticket>>, Box<Refused>> {
        self.desk.counters().unpriced(service);
        let Some(terms) = pricing::without_price(&self.held, call.upstream, service)? else {
            return Ok(None);
        };
        let payer = self.payer(&self.claims(parts, key, None), || terms, known)?;
        let once = self.once(parts, &payer, None, outgoing).await;
        known.priced(terms);
        let ticket = self.admitted(payer, terms, once?, None, Usage::of_units(1), known);
        ticket.await.map(Some)
    }

    /// A call with a price: whose is it, what may it cost, is there room.
    async fn paid(
        &self,
        paid: &Paid<'_>,
        parts: &Parts,
        key: Option<&str>,
        outgoing: &mut Outgoing,
        known: &mut Known,
    ) -> Result<Box<Ticket>, Box<Refused>> {
        known.operation = Some(paid.operation);
        let facts = self.request_facts(paid.endpoint, &parts.headers, outgoing);
        let facts = facts.await?;
        let body_bytes = self.most_bytes(&parts.headers, outgoing);
        let quote = |conversation| {
            let asked = pricing::asked(paid, &facts, body_bytes, conversation);
            self.held.card.quote(paid.operation, &asked)
        };
        let sessions = &self.desk.shared.sessions;
        let Stands {
            conversation,
            agent,
            ..
        } = paid.session.map(|id| sessions.look(id)).unwrap_or_default();
        let named = pricing::named(paid, &facts, agent.as_deref());
        let claims = self.claims(parts, key, named);
        let mut payer = self.payer(&claims, || quote(conversation), known)?;
        let once = self.once(parts, &payer, paid.session, outgoing).await;
        let once = once.inspect_err(|_| known.priced(quote(conversation)))?;
        // With the session taken, so that no other turn changes what its conversation has cost.
        let (terms, turn) = match paid.session {
            None => (quote(conversation), None),
            Some(session) => {
                let (terms, turn) = sessions.enter(session, self.now, quote);
                (terms, Some(turn))
            }
        };
        known.priced(terms);
        if payer.because == Because::Nobody && !payer.is_shadow && !terms.is_free() {
            // It was free when its payer was looked for: another turn was void since.
            payer = self.payer(&claims, || terms, known)?;
        }
        let said = pricing::said(&facts);
        self.admitted(payer, terms, once, turn, said, known).await
    }

    fn claims<'a>(
        &self,
        parts: &'a Parts,
        key: Option<&'a str>,
        named: Option<(NamedKind, &'a str)>,
    ) -> Claims<'a> {
        Claims {
            headers: &parts.headers,
            present: self.present,
            path_key: key,
            named,
            now_ms: self.now.as_millisecond(),
        }
    }

    /// Is there room, and from then on the ticket. Of what a refusal drops, the turn leaves its conversation before
    /// the session is let go: parameters are dropped last to first.
    async fn admitted(
        &self,
        payer: Payer,
        terms: Terms,
        once: Option<Box<Once>>,
        turn: Option<Entered<'_>>,
        asked: Usage,
        known: &Known,
    ) -> Result<Box<Ticket>, Box<Refused>> {
        let may_continue = turn.as_ref().is_some_and(|turn| turn.opened_below_trip);
        let admitted = admit::admit(
            &self.desk,
            &self.held,
            &payer,
            &terms.quote,
            may_continue,
            self.now,
        )
        .await?;
        let Admitted {
            reservation,
            noted,
            continued,
            below_trip,
            fused,
        } = admitted;
        if let Some(noted) = &noted {
            self.note(noted, known, true);
        }
        let facts = Facts {
            request: self.request,
            at: self.now,
            started: self.started,
            shadow: noted.is_some() || payer.is_shadow,
            continued,
            below_trip,
            fused,
            asked,
        };
        let (desk, held) = (Rc::clone(&self.desk), Rc::clone(&self.held));
        Ok(Ticket::new(
            desk,
            held,
            payer,
            terms,
            reservation,
            turn.and_then(Entered::admitted),
            once,
            facts,
            Rc::clone(&self.progress),
        ))
    }

    /// Who pays. A free call needs nobody; in shadow mode a refusal is only noted.
    fn payer(
        &self,
        claims: &Claims<'_>,
        quote: impl Fn() -> Terms,
        known: &mut Known,
    ) -> Result<Payer, Box<Refused>> {
        let refused = match identify::identify(&self.held, &self.desk.keys, claims) {
            Ok(payer) => {
                known.payer = Some(payer.because);
                return Ok(payer);
            }
            Err(refused) => refused,
        };
        let terms = quote();
        known.priced(terms);
        let payer = match identify::unpaid(&self.held, terms.is_free(), &refused) {
            None => return Err(refused),
            Some(Unpaid::Free) => identify::nobody(&self.held, claims),
            Some(Unpaid::Noted) => {
                self.note(&refused, known, true);
                let key = identify::given_key(&self.held, &self.desk.keys, claims)?;
                identify::in_shadow(&self.held, key, claims, &refused)?
            }
        };
        known.payer = Some(payer.because);
        Ok(payer)
    }

    /// The upstream's answer, with our headers.
    fn answered<B>(
        &self,
        response: Response<B>,
        ticket: Option<Box<Ticket>>,
        version: Version,
        in_flight: InFlight,
    ) -> Response<Answer<B>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let (mut parts, body) = response.into_parts();
        let present = Present::of(&parts.headers);
        headers::strip(&mut parts.headers, present);
        parts.version = Version::HTTP_11; // the client's is hyper's to know, and not the upstream's
        if version == Version::HTTP_10 && body.size_hint().exact().is_none() {
            self.watch.line.ends_with_answer();
        }
        if !self.progress.body_ended.get() {
            self.answers_last(&mut parts.headers);
        }
        parts
            .headers
            .insert(refuse::REQUEST_ID, refuse::request_id_header(self.request));
        let team = ticket
            .as_ref()
            .and_then(|ticket| Some((ticket.team()?, ticket)));
        if let Some((team, ticket)) = team {
            let (headers, class) = (&mut parts.headers, ticket.payer().class);
            standing::add_team(headers, &self.held, team, class, Some(self.now));
            let price = ticket.terms().fixed_price();
            if let Some(price) = price.filter(|_| !ticket.is_settled()) {
                parts.headers.insert(refuse::CREDITS, credits_header(price));
            }
        }
        let own = (Rc::clone(&self.desk), Rc::clone(&self.watch));
        let idle = self.limits().idle_body_timeout;
        Response::from_parts(parts, Answer::passing(body, ticket, own, idle, in_flight))
    }

    /// The client is answered while it still sends: nothing else can follow on its connection.
    fn answers_last(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        self.watch.line.leaves_unread();
    }

    fn refused(
        &self,
        refused: &Refused,
        known: &Known,
        path: &str,
        wants_problem: bool,
    ) -> Response<Bytes> {
        self.note(refused, known, false);
        refuse::render(
            &self.held,
            refused,
            &self.context(known, path, wants_problem),
        )
    }

    fn note(&self, refused: &Refused, known: &Known, shadow: bool) {
        refuse::note(
            &self.desk,
            &self.held,
            refused,
            &self.context(known, "", false),
            shadow,
        );
    }

    fn context<'a>(&self, known: &Known, path: &'a str, wants_problem: bool) -> Context<'a> {
        Context {
            request: self.request,
            path,
            shape: known.shape.unwrap_or(Shape::Problem),
            wants_problem,
            now: self.now,
            operation: known.operation,
            quote: known.terms.map(|terms| terms.quote),
            payer: known.payer.unwrap_or(Because::Nobody).name(),
        }
    }
}

fn credits_header(price: MicroCredits) -> HeaderValue {
    HeaderValue::try_from(price.to_string()).unwrap_or(HeaderValue::from_static("0"))
}
