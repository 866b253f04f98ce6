//! `POST /api/v1/teams/{team}/override`, `GET /api/v1/teams/{team}/overrides`, `GET /api/v1/overrides`,
//! `POST /api/v1/overrides/{id}/end`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::asked::{self, bad, not_changed, stopping};
use super::problem;
use crate::budget::credits::MicroCredits;
use crate::gateway::control::Control;
use crate::gateway::overrides::{Change, Wish, by};
use crate::ledger::event::TeamId;
use crate::ledger::overrides::{Effect, Funded, Hold, Override};
use crate::proxy::snapshot::Snapshot;

/// The most overrides told at once.
const NEWEST: u32 = 200;

/// What is asked for: extra credits, or a held breaker.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'b> {
    #[serde(default, borrow)]
    credits: Option<&'b RawValue>,
    source: Option<String>,
    breaker: Option<String>,
    until: Option<String>,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    author: String,
    id: Option<String>,
}

/// An override, as told. Credits are exact decimals.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    id: i64,
    team: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credits: Option<MicroCredits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforce: Option<bool>,
    in_force: bool,
    made: String,
    period: String,
    until: String,
    ended: Option<String>,
    reason: String,
    author: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_as: Option<String>,
}

pub(super) async fn make(
    State(control): State<Arc<Control>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(team): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let wish = match wish(&control, team, &headers, &body, remote) {
        Ok(wish) => wish,
        Err(fault) => return bad(&fault),
    };
    answer(&control, Change::Make(wish)).await
}

pub(super) async fn end(
    State(control): State<Arc<Control>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let ended = asked::body::<Ending>(&body).and_then(|asked| {
        let id = id.parse();
        let id = id.map_err(|_| "an override has a number; see /api/v1/overrides".to_owned())?;
        Ok(Change::End(
            id,
            by(&asked.reason, &asked.author, remote.to_string())?,
        ))
    });
    match ended {
        Ok(change) => answer(&control, change).await,
        Err(fault) => bad(&fault),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    author: String,
}

async fn answer(control: &Control, change: Change) -> Response {
    match control.change(change).await {
        Some(Ok(row)) => {
            let snapshot = control.shared.snapshot.load_full();
            Json(told(&row, &snapshot, &control.shared.ledger.teams())).into_response()
        }
        Some(Err(why)) => not_changed(&why),
        None => stopping(),
    }
}

pub(super) async fn list(State(control): State<Arc<Control>>) -> Response {
    newest(&control, None)
}

pub(super) async fn of_team(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Response {
    let snapshot = control.shared.snapshot.load_full();
    match snapshot.teams.iter().find(|team| *team.name == *name) {
        Some(team) => newest(&control, Some(team.id)),
        None => problem(
            StatusCode::NOT_FOUND,
            "no team of this name is configured; see /api/v1/teams",
        ),
    }
}

fn newest(control: &Control, team: Option<TeamId>) -> Response {
    let (snapshot, names) = (
        control.shared.snapshot.load_full(),
        control.shared.ledger.teams(),
    );
    match control.shared.ledger.newest_overrides(team, NEWEST) {
        Ok(rows) => {
            let rows = rows.iter().map(|row| told(row, &snapshot, &names));
            Json(rows.collect::<Vec<_>>()).into_response()
        }
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

/// Those in force for a team.
pub(super) fn in_force(snapshot: &Snapshot, team: TeamId, names: &[String]) -> Vec<Told> {
    let rows = snapshot.overrides.iter();
    let rows = rows.filter(|row| row.team == Some(team));
    rows.map(|row| told(row, snapshot, names)).collect()
}

pub(super) fn told(row: &Override, snapshot: &Snapshot, names: &[String]) -> Told {
    let team = row.team.and_then(|team| usize::try_from(team.0).ok());
    let (credits, source, breaker) = match row.effect {
        Effect::Credits(funded, credits) => (Some(credits), Some(funded.name()), None),
        Effect::Hold(hold) => (None, None, Some(hold.name())),
        Effect::Shadow => (None, None, None),
    };
    Told {
        id: row.id,
        team: team.and_then(|at| names.get(at).cloned()),
        credits,
        source,
        breaker,
        enforce: row.effect.is_mode().then_some(false),
        in_force: snapshot.overrides.iter().any(|live| live.id == row.id),
        made: row.at.to_string(),
        period: row.period.to_string(),
        until: row.until.to_string(),
        ended: row.ended.map(|at| at.to_string()),
        reason: row.reason.clone(),
        author: row.author.clone(),
        asked_as: row.asked_as.clone(),
    }
}

fn wish(
    control: &Control,
    team: String,
    headers: &HeaderMap,
    body: &[u8],
    remote: SocketAddr,
) -> Result<Wish, String> {
    let asked: Asked<'_> = asked::body(body)?;
    let snapshot = control.shared.snapshot.load_full();
    let zone = snapshot.checked.allocations.pool.calendar.zone();
    let until = asked.until.as_deref();
    Ok(Wish {
        team: Some(team),
        effect: effect(&asked)?,
        until: until.map(|text| asked::instant(text, zone)).transpose()?,
        asked_as: asked::named(asked.id.as_deref(), headers)?,
        by: by(&asked.reason, &asked.author, remote.to_string())?,
    })
}

fn effect(asked: &Asked<'_>) -> Result<Effect, String> {
    match (
        asked.credits,
        asked.breaker.as_deref(),
        asked.source.as_deref(),
    ) {
        (Some(credits), None, None | Some("buffer")) => {
            Ok(Effect::Credits(Funded::Buffer, asked::credits(credits)?))
        }
        (Some(credits), None, Some("annual")) => {
            Ok(Effect::Credits(Funded::Annual, asked::credits(credits)?))
        }
        (Some(_), None, Some(other)) => {
            Err(format!("source is \"buffer\" or \"annual\", not {other:?}"))
        }
        (None, Some("open"), None) => Ok(Effect::Hold(Hold::Open)),
        (None, Some("closed"), None) => Ok(Effect::Hold(Hold::Closed)),
        (None, Some(other), None) => {
            Err(format!("breaker is \"open\" or \"closed\", not {other:?}"))
        }
        (None, Some(_), Some(_)) => Err("source goes with credits only".to_owned()),
        (Some(_), Some(_), _) => {
            Err("credits or breaker: an override does one thing; send two".to_owned())
        }
        (None, None, _) => Err(
            "say what it shall do: {\"credits\": 500, ...} or {\"breaker\": \"open\", ...}"
                .to_owned(),
        ),
    }
}
