//! The admin listener: metrics, probes, and the API people and scripts ask.
//!
//! On a thread of its own, so that it answers while the data plane is saturated. It reads counters and the
//! ledger's read-only connection; what changes something is handed to the one owner of changes.

mod alerts;
mod asked;
mod audit;
mod config;
mod decisions;
mod explain;
mod guard;
mod health;
mod mode;
mod money;
mod overrides;
mod pool;
mod teams;
mod usage;
mod why;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;

use crate::gateway::control::Control;

/// Admin requests at once; the next ones wait.
const AT_ONCE: usize = 64;
/// The longest an admin request may take: a year's usage by hour.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The most of a body: a decision with its reason.
const BODY_BYTES: usize = 64 << 10;
/// The most of a request that is asked about, and its answer.
const EXPLAIN_BYTES: usize = 4 << 20;

/// Everything the admin listener serves.
pub fn router(control: Arc<Control>) -> Router {
    let layers = ServiceBuilder::new().layer(GlobalConcurrencyLimitLayer::new(AT_ONCE));
    let api = Router::new()
        .route("/api/v1/pool", get(pool::show))
        .route("/api/v1/teams", get(teams::list))
        .route("/api/v1/teams/{team}", get(teams::show))
        .route("/api/v1/teams/{team}/override", post(overrides::make))
        .route("/api/v1/teams/{team}/overrides", get(overrides::of_team))
        .route("/api/v1/overrides", get(overrides::list))
        .route("/api/v1/overrides/{id}/end", post(overrides::end))
        .route("/api/v1/mode", post(mode::set).get(mode::show))
        .route("/api/v1/audit", get(audit::list))
        .route("/api/v1/usage", get(usage::show))
        .route("/api/v1/alerts", get(alerts::list))
        .route("/api/v1/decisions", get(decisions::newest))
        .route("/api/v1/decisions/{id}", get(decisions::show))
        .route("/api/v1/why/{id}", get(why::show))
        .route(
            "/api/v1/explain",
            post(explain::show).layer(DefaultBodyLimit::max(EXPLAIN_BYTES)),
        )
        .route("/api/v1/config", get(config::show))
        .route("/api/v1/config/reload", post(config::reload))
        .route("/metrics", get(health::metrics))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(axum::middleware::from_fn(guard::local_only))
        .layer(axum::middleware::from_fn(within_time))
        .layer(layers);
    api.merge(probes()).fallback(not_found).with_state(control)
}

/// What the health listener serves: no token, nothing else.
pub fn health_router(control: Arc<Control>, metrics: bool) -> Router {
    let routes = probes().fallback(not_found);
    let routes = if metrics {
        routes.route("/metrics", get(health::metrics))
    } else {
        routes
    };
    routes.with_state(control)
}

fn probes() -> Router<Arc<Control>> {
    Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
}

async fn within_time(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "the question took too long; ask for a shorter time",
        ),
    }
}

async fn not_found() -> Response {
    problem(
        StatusCode::NOT_FOUND,
        "no such page; see the README for the admin API",
    )
}

/// An error as `application/problem+json` (RFC 9457).
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let body = json!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
    });
    let headers = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, headers, body.to_string()).into_response()
}
