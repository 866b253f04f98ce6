//! `GET` and `POST /api/v1/mode`: refusals only noted until an instant (break-glass), and enforced again.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::asked::{self, bad, not_changed, stopping};
use super::overrides::{self, Told};
use crate::gateway::control::Control;
use crate::gateway::overrides::{Change, Wish, by};
use crate::ledger::overrides::Effect;
use crate::proxy::snapshot::Snapshot;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    enforce: bool,
    until: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    author: String,
    id: Option<String>,
}

/// Whether refusals are enforced, and why not.
#[derive(Debug, Serialize)]
pub(super) struct Mode {
    /// Now.
    enforce: bool,
    /// In the configuration.
    configured: bool,
    /// The override by which they are not.
    shadow: Option<Told>,
}

pub(super) fn of(snapshot: &Snapshot) -> Mode {
    let shadow = snapshot.shadow();
    Mode {
        enforce: snapshot.enforce,
        configured: snapshot.checked.gateway.mode.enforce,
        shadow: shadow.map(|row| overrides::told(row, snapshot, &[])),
    }
}

pub(super) async fn show(State(control): State<Arc<Control>>) -> Json<Mode> {
    Json(of(&control.shared.snapshot.load_full()))
}

pub(super) async fn set(
    State(control): State<Arc<Control>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let change = match change(&control, &headers, &body, remote) {
        Ok(change) => change,
        Err(fault) => return bad(&fault),
    };
    match control.change(change).await {
        Some(Ok(_)) => Json(of(&control.shared.snapshot.load_full())).into_response(),
        Some(Err(why)) => not_changed(&why),
        None => stopping(),
    }
}

fn change(
    control: &Control,
    headers: &HeaderMap,
    body: &[u8],
    remote: SocketAddr,
) -> Result<Change, String> {
    let asked: Asked = asked::body(body)?;
    let by = by(&asked.reason, &asked.author, remote.to_string())?;
    let snapshot = control.shared.snapshot.load_full();
    let zone = snapshot.checked.allocations.pool.calendar.zone();
    match (asked.enforce, asked.until.as_deref()) {
        (true, None) => Ok(Change::Enforce(by)),
        (true, Some(_)) => {
            Err("until goes with enforce = false: it is enforced from now on".to_owned())
        }
        (false, None) => Err(
            "until is missing: when refusals are enforced again, at most 24 hours from now"
                .to_owned(),
        ),
        (false, Some(until)) => Ok(Change::Make(Wish {
            team: None,
            effect: Effect::Shadow,
            until: Some(asked::instant(until, zone)?),
            asked_as: asked::named(asked.id.as_deref(), headers)?,
            by,
        })),
    }
}
