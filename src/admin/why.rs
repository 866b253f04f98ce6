//! `GET /api/v1/why/{request-id}`: what was decided of it, and what it cost.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::problem;
use crate::gateway::control::Control;
use crate::gateway::why::{UNKNOWN, Why};
use crate::ledger::LedgerError;
use crate::ledger::event::RequestId;
use crate::ledger::trace::{self, Trace};

/// Searches at once: each reads whole days, on a thread of its own so that probes need not wait for it.
static SEARCHES: Semaphore = Semaphore::const_new(1);
/// The longest search; well under what an admin request may take.
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Response {
    let Some(request) = RequestId::parse(&id) else {
        return problem(
            StatusCode::BAD_REQUEST,
            "a request id is 32 hex digits, as in Breakerbox-Request-Id",
        );
    };
    let decision = control.decision(request);
    // What was refused before it was forwarded left no event to search for.
    let refused = decision.as_ref().filter(|decision| !decision.shadow);
    let trace = match refused.is_some_and(|decision| decision.refusal.shadowed()) {
        true => Ok(None),
        false => search(control.shared.ledger.path().to_owned(), request).await,
    };
    let trace = match trace {
        Ok(trace) => trace,
        Err(error) => return problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    };
    let checked = Arc::clone(&control.shared.snapshot.load_full().checked);
    match Why::new(request, decision, trace, &checked) {
        Some(why) => Json(why).into_response(),
        None => problem(StatusCode::NOT_FOUND, UNKNOWN),
    }
}

async fn search(path: PathBuf, request: RequestId) -> Result<Option<Trace>, LedgerError> {
    let permit = SEARCHES.acquire().await;
    let (reply, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("why".to_owned());
    let spawned = thread.spawn(move || {
        let began = Instant::now();
        let mut going = |_, _, _: &str| began.elapsed() < DEADLINE;
        let found = trace::trace(&path, request, &mut going);
        drop(permit);
        // Whoever asked may have gone.
        let _gone = reply.send(found);
    });
    match spawned {
        Ok(_ends_by_itself) => answer.await.unwrap_or(Err(LedgerError::NoAnswer)),
        Err(error) => Err(LedgerError::Refused(format!(
            "the search cannot begin: {error}"
        ))),
    }
}
