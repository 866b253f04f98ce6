//! `GET /api/v1/usage?from=&to=&group_by=`.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{asked, problem};
use crate::gateway::control::Control;
use crate::ledger::LedgerError;
use crate::ledger::query::{Dimension, UsageQuery, UsageRow};

/// The question, as asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    from: Option<String>,
    to: Option<String>,
    group_by: Option<String>,
}

/// What was used in a time, by default the running period, summed by team unless told otherwise.
pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Query(asked): Query<Asked>,
) -> Response {
    let query = match query(&control, &asked) {
        Ok(query) => query,
        Err(fault) => return problem(StatusCode::BAD_REQUEST, &fault),
    };
    let dimensions = query.group_by.clone();
    // Also made into text over there: a hundred thousand lines take their time.
    let answer = control.shared.ledger.usage(query, move |rows| {
        let rows = rows.into_iter().map(|row| told(row, &dimensions));
        Value::from_iter(rows).to_string()
    });
    match answer.await {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error @ LedgerError::TooMany) => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())
        }
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

fn query(control: &Control, asked: &Asked) -> Result<UsageQuery, String> {
    let snapshot = control.shared.snapshot.load_full();
    let zone = snapshot.checked.allocations.pool.calendar.zone().clone();
    let at = |text: &Option<String>| match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => asked::instant(text, &zone).map(Some),
    };
    let (from, to) = (at(&asked.from)?, at(&asked.to)?);
    let running = snapshot.live.books.period;
    let dimensions = asked
        .group_by
        .as_deref()
        .unwrap_or("team")
        .split(',')
        .map(str::trim);
    let dimensions = dimensions.filter(|name| !name.is_empty()).map(|name| {
        Dimension::parse(name).ok_or_else(|| {
            format!(
                "cannot group by {name:?}; there are team, agent, agent_type, operation, service, class, source, \
                 confidence, tag:<key>, hour, day"
            )
        })
    });
    Ok(UsageQuery {
        from: from.unwrap_or(running.start),
        to,
        period: from.is_none().then_some(running.name),
        group_by: dimensions.collect::<Result<_, _>>()?,
        zone,
    })
}

fn told(row: UsageRow, dimensions: &[Dimension]) -> Value {
    let mut told = Map::new();
    for (dimension, key) in dimensions.iter().zip(row.keys) {
        told.insert(dimension.name(), Value::String(key));
    }
    told.insert("requests".into(), row.requests.into());
    told.insert(
        "credits".into(),
        serde_json::to_value(row.credits).unwrap_or_default(),
    );
    told.insert("units".into(), row.units.into());
    told.insert("input_tokens".into(), row.input_tokens.into());
    told.insert("output_tokens".into(), row.output_tokens.into());
    Value::Object(told)
}
