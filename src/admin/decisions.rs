//! `GET /api/v1/decisions`, `/api/v1/decisions/{request-id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::problem;
use crate::gateway::control::Control;
use crate::ledger::event::RequestId;
use crate::proxy::decision::{Decision, Told};

/// The newest refusals listed without an id.
const NEWEST: usize = 100;

pub(super) async fn newest(State(control): State<Arc<Control>>) -> Json<Vec<Told>> {
    Json(
        control
            .newest_decisions(NEWEST)
            .into_iter()
            .map(Decision::told)
            .collect(),
    )
}

pub(super) async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Response {
    let Some(request) = RequestId::parse(&id) else {
        return problem(
            StatusCode::BAD_REQUEST,
            "a request id is 32 hex digits, as in Breakerbox-Request-Id",
        );
    };
    match control.decision(request) {
        Some(decision) => Json(decision.told()).into_response(),
        None => problem(
            StatusCode::NOT_FOUND,
            "no refusal of this request is remembered",
        ),
    }
}
