//! `GET /api/v1/alerts`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::money::PercentOf;
use super::problem;
use crate::budget::credits::MicroCredits;
use crate::budget::percent::Percent;
use crate::gateway::control::Control;

/// An alert of the running period, also one raised again after re-arming.
#[derive(Debug, Serialize)]
struct Alert {
    team: String,
    level: &'static str,
    period: String,
    at: String,
    /// The configured level.
    threshold: String,
    percent: PercentOf,
    used: MicroCredits,
    committed: MicroCredits,
    allocation: MicroCredits,
}

pub(super) async fn list(State(control): State<Arc<Control>>) -> Response {
    let period = control.shared.snapshot.load_full().live.books.period.name;
    let names = control.shared.ledger.teams();
    match control.shared.ledger.alerts(period).await {
        Ok(rows) => {
            let alerts = rows.into_iter().map(|row| Alert {
                team: usize::try_from(row.team.0)
                    .ok()
                    .and_then(|at| names.get(at).cloned())
                    .unwrap_or_default(),
                level: row.level.name(),
                period: row.period.to_string(),
                at: row.at.to_string(),
                threshold: Percent::from_bp(row.percent_bp)
                    .unwrap_or_default()
                    .to_string(),
                percent: PercentOf::new(row.committed, row.allocation),
                used: row.used,
                committed: row.committed,
                allocation: row.allocation,
            });
            Json(alerts.collect::<Vec<_>>()).into_response()
        }
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}
