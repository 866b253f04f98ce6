//! `GET /api/v1/config`, `POST /api/v1/config/reload`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::asked::stopping;
use super::mode;
use crate::gateway::control::{Control, Reloaded};

/// The configuration in force, and the last one that was rejected. No key hash is told.
pub(super) async fn show(State(control): State<Arc<Control>>) -> Response {
    let (snapshot, status) = (control.shared.snapshot.load_full(), control.status());
    let allocations = &snapshot.checked.allocations;
    let keys: Vec<_> = allocations
        .keys
        .iter()
        .map(|key| {
            let team = allocations.teams.get(key.team.0).map(|team| &team.name);
            json!({ "name": key.name, "team": team, "expires": key.expires.map(|at| at.to_string()) })
        })
        .collect();
    Json(json!({
        "hash": snapshot.config_hash,
        "loaded_at": status.loaded_at.to_string(),
        "reloads": { "accepted": status.reloads_accepted, "rejected": status.reloads_rejected },
        "last_rejected": status.last_rejected,
        "warnings": status.warnings,
        "rate_card": snapshot.card.name,
        "enforce": snapshot.enforce,
        "mode": mode::of(&snapshot),
        "teams": allocations.teams.iter().map(|team| &team.name).collect::<Vec<_>>(),
        "keys": keys,
        "named": allocations.named.len(),
    }))
    .into_response()
}

/// Reads all files again. `?force=true` also takes a change that drops more than half the teams.
pub(super) async fn reload(
    State(control): State<Arc<Control>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let force = query.get("force").is_some_and(|force| force == "true");
    match control.reload(force).await {
        Some(Reloaded::Accepted { changes, warnings }) => {
            Json(json!({ "result": "accepted", "changes": changes, "warnings": warnings }))
                .into_response()
        }
        Some(Reloaded::Unchanged) => {
            Json(json!({ "result": "unchanged", "changes": [] })).into_response()
        }
        Some(Reloaded::Rejected { faults }) => {
            let body = json!({ "result": "rejected", "faults": faults });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
        }
        None => stopping(),
    }
}
