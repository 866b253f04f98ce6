//! `POST /api/v1/explain`: how a request would be priced and judged, line by line. Nothing is reserved or counted,
//! and no key is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::asked::{self, bad};
use crate::budget::usage::Usage;
use crate::clock;
use crate::gateway::control::Control;
use crate::proxy::explain::{Answered, JudgedBy, Question, explain};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'b> {
    method: Option<String>,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    key_name: Option<String>,
    team: Option<String>,
    agent: Option<String>,
    class: Option<String>,
    #[serde(default, borrow)]
    body: Option<&'b RawValue>,
    #[serde(default, borrow)]
    answer: Option<&'b RawValue>,
    usage: Option<AskedUsage>,
}

/// What an answer is said to have used.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AskedUsage {
    units: u64,
    input_tokens: u64,
    output_tokens: u64,
    generations: u64,
}

impl Default for AskedUsage {
    fn default() -> Self {
        Self {
            units: 1,
            input_tokens: 0,
            output_tokens: 0,
            generations: 1,
        }
    }
}

pub(super) async fn show(State(control): State<Arc<Control>>, body: Bytes) -> Response {
    let explained = asked::body(&body).and_then(question).and_then(|question| {
        let shared = &control.shared;
        let state = JudgedBy {
            snapshot: &shared.snapshot.load_full(),
            sessions: &shared.sessions,
            turns: &shared.turns,
        };
        explain(state, &question, clock::now())
    });
    match explained {
        Ok(mut explained) => {
            "the running gateway".clone_into(&mut explained.judged_by);
            Json(explained).into_response()
        }
        Err(fault) => bad(&fault),
    }
}

fn question(asked: Asked<'_>) -> Result<Question, String> {
    let method = asked.method.as_deref().unwrap_or("POST");
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        // A value may be a secret: it is not repeated.
        let header = (HeaderName::try_from(name), HeaderValue::try_from(value));
        let (Ok(name), Ok(value)) = header else {
            return Err(format!("headers: {name:?} cannot be sent so"));
        };
        headers.append(name, value);
    }
    let answer = match (asked.answer, asked.usage) {
        (None, None) => None,
        (Some(_), Some(_)) => return Err("answer or usage: one of them".to_owned()),
        (Some(answer), None) => Some(Answered::Body(content(answer)?)),
        (None, Some(usage)) => Some(Answered::Usage(Usage {
            units: usage.units,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            generations: usage.generations,
            estimated: false,
        })),
    };
    Ok(Question {
        method: Method::try_from(method.to_ascii_uppercase().as_str())
            .map_err(|_| format!("method: {method:?} is none"))?,
        uri: Uri::try_from(&asked.path)
            .map_err(|_| "path: write it as in /einstein/..., without the host".to_owned())?,
        headers,
        key_name: asked.key_name,
        team: asked.team,
        agent: asked.agent.map(Into::into),
        class: asked.class,
        body: asked.body.map(content).transpose()?.unwrap_or_default(),
        answer,
    })
}

/// Text is sent as it is; anything else is sent as the JSON it is.
fn content(raw: &RawValue) -> Result<Bytes, String> {
    let text = raw.get();
    if !text.starts_with('"') {
        return Ok(Bytes::copy_from_slice(text.as_bytes()));
    }
    let text: String = asked::body(text.as_bytes())?;
    Ok(Bytes::from(text))
}
