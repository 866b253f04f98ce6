//! `/livez`, `/readyz`, `/metrics`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::problem;
use crate::gateway::control::Control;
use crate::metrics;

/// The process answers.
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Traffic is welcome: 503 only while draining. A ledger that cannot write leaves it at 200, or every pod of a
/// deployment would leave at once; `?verbose` tells.
pub(super) async fn readyz(
    State(control): State<Arc<Control>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let draining = control.shared.draining.load(Ordering::Relaxed);
    let status = if draining {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    if !query.contains_key("verbose") {
        return (status, if draining { "draining\n" } else { "ok\n" }).into_response();
    }
    let (health, now) = (control.shared.ledger.health(), control.status());
    let told = json!({
        "ready": !draining,
        "draining": draining,
        "ledger": {
            "writing": health.writing,
            "last_commit": health.last_commit.map(|at| at.to_string()),
            "pending_events": health.pending_events,
            "last_error": health.last_error,
        },
        "clock": { "held": now.held },
        "config": { "hash": now.config_hash, "last_rejected": now.last_rejected },
    });
    (status, Json(told)).into_response()
}

pub(super) async fn metrics(State(control): State<Arc<Control>>) -> Response {
    match metrics::render(&control.shared, control.metrics()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
