//! `GET /api/v1/audit?from=&to=`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;

use super::{asked, problem};
use crate::gateway::control::Control;

/// The question, as asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    from: Option<String>,
    to: Option<String>,
}

/// Who decided what, the newest first; of all times unless told otherwise.
pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Query(query): Query<Asked>,
) -> Response {
    let snapshot = control.shared.snapshot.load_full();
    let zone = snapshot.checked.allocations.pool.calendar.zone();
    let at = |text: &Option<String>, usual| match text.as_deref() {
        None | Some("") => Ok(usual),
        Some(text) => asked::instant(text, zone),
    };
    let (from, to) = match (
        at(&query.from, Timestamp::UNIX_EPOCH),
        at(&query.to, Timestamp::MAX),
    ) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(fault), _) | (_, Err(fault)) => return asked::bad(&fault),
    };
    match control.shared.ledger.audit(from, to).await {
        Ok(entries) => Json(entries).into_response(),
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}
