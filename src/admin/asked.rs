//! What people send: read strictly, refused in words that say what to send instead.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::problem;
use crate::budget::credits::MicroCredits;
use crate::config::units;
use crate::gateway::overrides::{NAME_MAX, NotChanged, text};

/// Reads a JSON body; no key is there for nothing.
pub(super) fn body<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, String> {
    serde_json::from_slice(body)
        .map_err(|error| format!("the body is not what is asked here: {error}"))
}

/// An instant, or a day or time of day in the pool's zone.
pub(super) fn instant(text: &str, zone: &TimeZone) -> Result<Timestamp, String> {
    // A plus in a query string is a space.
    let at = units::instant(&text.replace(' ', "+"), zone);
    at.or_else(|_| units::instant(text, zone))
        .map_err(|wrong| format!("{text:?} is {wrong}"))
}

/// Credits, digit for digit as they were written: a number, or a decimal in quotes.
pub(super) fn credits(raw: &RawValue) -> Result<MicroCredits, String> {
    let text = raw.get().trim_matches('"');
    match MicroCredits::parse(text) {
        Ok(credits) if credits > MicroCredits::ZERO => Ok(credits),
        Ok(_) => Err(format!("credits: {text} is not more than nothing")),
        Err(error) => Err(format!("credits: {text}: {error}")),
    }
}

/// The caller's name for a request, from its body or from `Idempotency-Key`.
pub(super) fn named(id: Option<&str>, headers: &HeaderMap) -> Result<Option<String>, String> {
    let header = headers.get("idempotency-key");
    let header = header.map(|value| value.to_str().unwrap_or_default().trim_matches('"'));
    match (id, header) {
        (None, None) => Ok(None),
        (Some(id), Some(header)) if id != header => {
            Err("id and Idempotency-Key differ: send one of them".to_owned())
        }
        (Some(name), _) | (None, Some(name)) => text("id", name, NAME_MAX).map(Some),
    }
}

/// 400, and what to send instead.
pub(super) fn bad(fault: &str) -> Response {
    problem(StatusCode::BAD_REQUEST, fault)
}

/// Why nothing changed.
pub(super) fn not_changed(why: &NotChanged) -> Response {
    let status = match why {
        NotChanged::Unknown(_) => StatusCode::NOT_FOUND,
        NotChanged::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
        NotChanged::Conflict(_) => StatusCode::CONFLICT,
        NotChanged::Ledger(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    problem(status, &why.to_string())
}

/// The process is about to stop.
pub(super) fn stopping() -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "the process is stopping")
}
