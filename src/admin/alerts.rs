//! `GET /api/v1/alerts`: a team's levels, fuses and abnormal rates, in the order they were raised.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;

use super::money::PercentOf;
use super::problem;
use crate::budget::credits::MicroCredits;
use crate::budget::fuse;
use crate::budget::percent::Percent;
use crate::gateway::control::Control;
use crate::ledger::alerts::AlertRow;
use crate::ledger::hour_alerts::{HourAlertRow, HourKind};

/// An alert of the running period, also one raised again after re-arming.
#[derive(Debug, Serialize)]
struct Level {
    alert: &'static str,
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

/// An alert of one hour: a fuse that had to refuse, or an abnormal rate.
#[derive(Debug, Serialize)]
struct Hour {
    alert: &'static str,
    team: String,
    level: &'static str,
    period: String,
    at: String,
    /// The agent, where it is about one.
    #[serde(skip_serializing_if = "String::is_empty")]
    agent: String,
    /// The conversation, where it is about one.
    #[serde(skip_serializing_if = "String::is_empty")]
    session: String,
    /// What of it: a fuse's limit, or `agent` or `session`.
    about: &'static str,
    /// Its first instant.
    hour: String,
    /// What was spent, or the estimate that was refused.
    used: MicroCredits,
    /// The fuse's limit, or what is usual.
    allowed: MicroCredits,
    /// Until when everything is refused, of a fuse that has blown.
    #[serde(skip_serializing_if = "Option::is_none")]
    blown_until: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Alert {
    Level(Level),
    Hour(Hour),
}

pub(super) async fn list(State(control): State<Arc<Control>>) -> Response {
    let ledger = &control.shared.ledger;
    let period = control.shared.snapshot.load_full().live.books.period.name;
    let names = ledger.teams();
    let name = |team: u32| {
        let at = usize::try_from(team).ok();
        at.and_then(|at| names.get(at).cloned()).unwrap_or_default()
    };
    match ledger.alerts(period).await {
        Ok((levels, hours)) => {
            let levels = levels.into_iter();
            let levels = levels.map(|row| (row.at, Alert::Level(level(&row, name(row.team.0)))));
            let hours = hours.into_iter();
            let hours = hours.map(|row| (row.at, Alert::Hour(hour(&row, name(row.team.0)))));
            let mut alerts: Vec<_> = levels.chain(hours).collect();
            alerts.sort_by_key(|(at, _)| *at);
            let alerts = alerts.into_iter().map(|(_, alert)| alert);
            Json(alerts.collect::<Vec<_>>()).into_response()
        }
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

fn level(row: &AlertRow, team: String) -> Level {
    Level {
        alert: "level",
        team,
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
    }
}

fn hour(row: &HourAlertRow, team: String) -> Hour {
    let (alert, about) = match row.kind {
        HourKind::MaxPerRequest | HourKind::MaxPerHour => ("fuse", row.kind.name()),
        HourKind::AbnormalAgent => ("abnormal_rate", "agent"),
        HourKind::AbnormalSession => ("abnormal_rate", "session"),
    };
    let start_of = |hour: i64| {
        let second = fuse::end_of_hour(hour.saturating_sub(1));
        Timestamp::from_second(second).map_or_else(|_| String::new(), |at| at.to_string())
    };
    Hour {
        alert,
        team,
        level: row.kind.level().name(),
        period: row.period.to_string(),
        at: row.at.to_string(),
        agent: row.agent.clone(),
        session: row.session.clone(),
        about,
        hour: start_of(row.hour),
        used: row.used,
        allowed: row.allowed,
        blown_until: row.blown.then(|| start_of(row.hour.saturating_add(1))),
    }
}
