//! The one place where a refusal becomes bytes, a log line, a metric and a decision record.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{HeaderName, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::field::display;

use super::admit;
use super::decision::{Binding, Decision};
use super::desk::Desk;
use super::refusal::{Refusal, Refused};
use super::snapshot::{Held, TeamEntry};
use super::standing;
use crate::budget::admission::View;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Operation};
use crate::budget::settlement::Quote;
use crate::ledger::event::RequestId;
use crate::salesforce::Shape;

/// The header that names the refusal.
pub const REFUSAL: HeaderName = HeaderName::from_static("breakerbox-refusal");
/// The header with the request's id.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("breakerbox-request-id");
/// The header with the price, where it is known with the head.
pub const CREDITS: HeaderName = HeaderName::from_static("breakerbox-credits");

/// What is known of a refused request.
pub struct Context<'a> {
    /// Its id.
    pub request: RequestId,
    /// Its path, without a key and without its query.
    pub path: &'a str,
    /// The error shape of the API it called.
    pub shape: Shape,
    /// Its `Accept` asks for `application/problem+json`.
    pub wants_problem: bool,
    /// When it came.
    pub now: Timestamp,
    /// What it would have been billed as.
    pub operation: Option<Operation>,
    /// What it would have cost.
    pub quote: Option<Quote>,
    /// Why the team would have paid.
    pub payer: &'static str,
}

/// Notes a refusal: log line, metric, decision record. With `shadow` it was not enforced.
pub fn note(desk: &Desk, held: &Held, refused: &Refused, context: &Context<'_>, shadow: bool) {
    let team = refused.team.and_then(|at| held.team(at));
    let name = team.map_or("", |team| &*team.name);
    let class = refused.class.map_or("", Class::name);
    let view = refused.view.as_ref();
    let binding = view.map(|view| Binding::of(refused.refusal, view, refused.fuse.as_ref()));
    let binding = binding.as_ref();
    let of_view = |read: fn(&View) -> MicroCredits| view.map(|view| display(read(view)));
    tracing::info!(
        request_id = %context.request,
        refusal = refused.refusal.name(),
        shadow,
        team = name,
        class,
        operation = context.operation.map_or("", Operation::name),
        estimate = context.quote.map(|quote| display(quote.estimate)),
        binding = binding.map(|binding| binding.limit),
        at_most = binding.map(|binding| display(binding.at_most)),
        committed = of_view(|view| view.own.committed),
        allocation = of_view(|view| view.own.limit),
        pool_committed = of_view(|view| view.pool.committed),
        pool_month = of_view(|view| view.pool.limit),
        year_committed = of_view(|view| view.year.committed),
        annual_credits = of_view(|view| view.year.limit),
        payer = context.payer,
        config = &*held.config_hash,
        detail = &*refused.detail,
        "refused"
    );
    match (
        team.and_then(|team| desk.team_counters(team)),
        refused.class,
    ) {
        (Some(counters), class) => {
            let class = class.unwrap_or(Class::Standard);
            counters.refused(refused.refusal, class, shadow);
            let operation = context
                .operation
                .filter(|_| !shadow && !refused.was_admitted);
            if let Some(operation) = operation {
                counters.not_admitted(operation, class);
            }
        }
        (None, _) => desk.counters().refused(refused.refusal, shadow),
    }
    let decision = Decision {
        request: context.request,
        at: context.now,
        refusal: refused.refusal,
        shadow,
        detail: refused.detail.to_string(),
        team: team.map(|team| Arc::clone(&team.name)),
        payer: context.payer,
        class: refused.class,
        operation: context.operation,
        quote: context.quote.map(|quote| (quote.estimate, quote.bound)),
        rate_card: context.quote.map(|_| held.card.name.clone()),
        view: refused.view,
        fuse: refused.fuse.clone(),
        period_ends: refused
            .refusal
            .is_budget()
            .then_some(held.live.books.period.end),
        config_hash: Arc::clone(&held.config_hash),
    };
    desk.shared.decisions.push(desk.worker, Box::new(decision));
}

/// The answer to a refused request.
pub fn render(held: &Held, refused: &Refused, context: &Context<'_>) -> Response<Bytes> {
    // Whoever holds a key that is none is told nothing of its team.
    let is_told = refused.refusal != Refusal::UnknownKey;
    let team = refused.team.filter(|_| is_told);
    let team = team.and_then(|at| held.team(at));
    let most = held.checked.gateway.limits.retry_after_max;
    let status = refused.refusal.status();
    let retries = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::LOCKED
    );
    let retry_after_s = retries.then(|| admit::retry_after(held, refused, context.now, most));
    let told = Told {
        held,
        refused,
        context,
        team,
        retry_after_s,
    };
    let shape = if context.wants_problem {
        Shape::Problem
    } else {
        context.shape
    };
    let content_type = match shape {
        Shape::Problem => "application/problem+json",
        Shape::AgentApi | Shape::Models | Shape::CoreRest | Shape::OpenAi => "application/json",
    };
    let mut response = Response::new(Bytes::from(told.body(shape).to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(REFUSAL, HeaderValue::from_static(refused.refusal.name()));
    headers.insert(REQUEST_ID, request_id_header(context.request));
    if let Some(seconds) = retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refused.refusal.closes() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(team) = team {
        let class = refused.class.unwrap_or(Class::Standard);
        standing::add_team(headers, held, team, class, None); // Retry-After tells, and is not contradicted
    }
    response
}

/// A request id as a header.
pub fn request_id_header(request: RequestId) -> HeaderValue {
    // Hex digits: always a valid value.
    HeaderValue::from_bytes(&request.hex()).unwrap_or(HeaderValue::from_static(""))
}

/// Whether a client asks for `application/problem+json`.
pub fn accepts_problem(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("application/problem+json"))
}

struct Told<'a> {
    held: &'a Held,
    refused: &'a Refused,
    context: &'a Context<'a>,
    team: Option<&'a TeamEntry>,
    retry_after_s: Option<u64>,
}

impl Told<'_> {
    fn body(&self, shape: Shape) -> Value {
        let refusal = self.refused.refusal;
        let (status, message) = (refusal.status().as_u16(), self.message());
        let more = self.more();
        match shape {
            Shape::AgentApi => json!({
                "status": status,
                "path": self.context.path,
                "requestId": self.context.request.to_string(),
                "error": refusal.name(),
                "message": message,
                "timestamp": self.context.now.as_millisecond(),
                "breakerbox": more,
            }),
            Shape::Models => json!({
                "errorCode": models_code(refusal),
                "messageCode": refusal.name(),
                "message": message,
                "targets": [],
                "parameters": parameters(&more),
                "breakerbox": more,
            }),
            Shape::CoreRest => json!([{
                "errorCode": core_code(refusal),
                "message": message,
                "breakerbox": more,
            }]),
            Shape::OpenAi => json!({ "error": {
                "message": message,
                "type": if status == 429 { "insufficient_quota" } else { "invalid_request_error" },
                "param": null,
                "code": refusal.name(),
                "breakerbox": more,
            }}),
            Shape::Problem => self.problem(status, &message, more),
        }
    }

    /// What every refusal names, whatever the shape.
    fn more(&self) -> Value {
        let mut more = json!({
            "refusal": self.refused.refusal.name(),
            "request_id": self.context.request.to_string(),
        });
        let Some(object) = more.as_object_mut() else {
            return more;
        };
        if let Some(team) = self.team {
            let figures = team.books.own.figures();
            let ends = admit::ends(self.held, self.refused, self.context.now);
            let number = |credits: MicroCredits| serde_json::to_value(credits);
            object.insert("team".into(), json!(&*team.name));
            object.insert("used".into(), number(figures.settled).unwrap_or_default());
            object.insert(
                "reserved".into(),
                number(figures.reserved()).unwrap_or_default(),
            );
            object.insert(
                "allocation".into(),
                number(team.limits.allocation).unwrap_or_default(),
            );
            object.insert("ends".into(), json!(ends.to_string()));
        }
        if let Some(binding) = self.binding() {
            let binding = serde_json::to_value(binding);
            object.insert("compared".into(), binding.unwrap_or_default());
        }
        if let Some(fuse) = &self.refused.fuse {
            object.insert("fuse".into(), fuse.told());
        }
        if let Some(seconds) = self.retry_after_s {
            object.insert("retry_after_seconds".into(), json!(seconds));
        }
        // The true instant, where `Retry-After` is bounded.
        let retry_at = self
            .refused
            .retry_after
            .and_then(|wait| self.context.now.checked_add(wait).ok());
        if let Some(at) = retry_at {
            object.insert("retry_at".into(), json!(at.to_string()));
        }
        more
    }

    fn message(&self) -> String {
        let refused = self.refused;
        let name = refused.refusal.name();
        // A fuse's detail has its own figures.
        let of_period = refused.refusal.is_budget() && refused.fuse.is_none();
        let Some(team) = self.team.filter(|_| of_period) else {
            let as_salesforce = match refused.refusal {
                Refusal::TurnInFlight => "Session Already Locked Exception: ",
                _ => "",
            };
            let detail = &refused.detail;
            return format!("{as_salesforce}breakerbox refused this call ({name}): {detail}");
        };
        let compared = self.binding().map_or_else(String::new, |binding| {
            let Binding {
                limit,
                committed,
                estimate,
                at_most,
            } = binding;
            format!(" It may cost {estimate} credits, and {limit} is {at_most}, with {committed} committed.")
        });
        format!(
            "breakerbox refused this call ({name}): {}.{compared} Team {} has {} of {} credits committed in the period that ends {}.",
            refused.detail,
            team.name,
            team.books.own.committed(),
            team.limits.allocation,
            self.held.live.books.period.end,
        )
    }

    /// The limit that said no.
    fn binding(&self) -> Option<Binding> {
        let view = self.refused.view.as_ref()?;
        let fuse = self.refused.fuse.as_ref();
        Some(Binding::of(self.refused.refusal, view, fuse))
    }

    fn problem(&self, status: u16, message: &str, more: Value) -> Value {
        let refusal = self.refused.refusal;
        let (kind, title) = problem_type(refusal);
        let mut problem = json!({
            "type": kind,
            "title": title,
            "status": status,
            "detail": message,
            "instance": format!("urn:uuid:{}", self.context.request.hyphenated()),
        });
        if let (Some(object), Value::Object(more)) = (problem.as_object_mut(), more) {
            if refusal.is_budget() {
                let policy = match &self.refused.fuse {
                    Some(fuse) if fuse.agent.is_some() => "agent-fuse",
                    Some(_) => "team-fuse",
                    None => "team-credits",
                };
                object.insert("violated-policies".into(), json!([policy]));
            }
            object.extend(more);
        }
        problem
    }
}

/// RFC 9457 types: the registered ones where they fit (`draft-ietf-httpapi-ratelimit-headers`).
fn problem_type(refusal: Refusal) -> (&'static str, &'static str) {
    match refusal {
        Refusal::TeamBreakerOpen
        | Refusal::TeamExhausted
        | Refusal::PoolBreakerOpen
        | Refusal::PoolExhausted => (
            "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "Request cannot be satisfied as assigned quota has been exceeded",
        ),
        Refusal::Throttled
        | Refusal::Overloaded
        | Refusal::Draining
        | Refusal::LedgerUnavailable => (
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity",
            "Request cannot be satisfied due to temporary server capacity constraints",
        ),
        Refusal::FuseBlown => (
            "https://iana.org/assignments/http-problem-types#abnormal-usage-detected",
            "Request not satisfied due to detection of abnormal request pattern",
        ),
        _ => (
            "about:blank",
            refusal.status().canonical_reason().unwrap_or("Refused"),
        ),
    }
}

fn models_code(refusal: Refusal) -> &'static str {
    match refusal.status().as_u16() {
        429 => "LIMIT_EXCEEDED",
        403 => "NOT_FOUND",
        400 | 409 | 422 => "REQUIRED_FIELD_MISSING",
        _ => "INTERNAL_ERROR",
    }
}

fn core_code(refusal: Refusal) -> &'static str {
    match refusal.status().as_u16() {
        429 => "REQUEST_LIMIT_EXCEEDED",
        403 => "INSUFFICIENT_ACCESS",
        400 | 413 | 422 | 431 => "INVALID_REQUEST",
        409 => "DUPLICATE_VALUE",
        _ => "SERVER_UNAVAILABLE",
    }
}

fn parameters(more: &Value) -> Value {
    let pairs = more.as_object().into_iter().flatten();
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    pairs
        .map(|(name, value)| json!({ "name": name, "value": text(value) }))
        .collect()
}
