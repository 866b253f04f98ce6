//! The Agent API: sessions, messages, feedback.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::de::IgnoredAny;
use tokio::sync::mpsc;

use super::body::{Body, empty, events, json};
use super::call::{Call, uuid};
use super::errors::{Fault, Shape, quoted};
use super::messages::{self, Kind};
use super::sessions::Unavailable;
use super::state::{Lock, State};
use super::turn::{self, Rest, Turn};

/// An answer, and what is still to be done once its head is out.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    pub(crate) rest: Option<Rest>,
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Self {
            response,
            rest: None,
        }
    }
}

/// `POST /einstein/ai-agent/v1/agents/{agent}/sessions`
pub(crate) fn open_session(
    state: &State,
    call: &mut Call,
    agent: &str,
) -> Result<Response<Body>, Fault> {
    check_json(call)?;
    if !agent.bytes().all(|byte| byte.is_ascii_alphanumeric()) || !matches!(agent.len(), 15 | 18) {
        let message = format!("{agent} is not a valid agent ID");
        return Err(Fault::new(
            StatusCode::BAD_REQUEST,
            "BadRequestException",
            message,
        ));
    }
    let session = state.open_session(call, agent);
    let links = links(&call.api_url(&state.settings), &session, agent);
    let id = call.uuid();
    let greeting = "Hi, I'm an AI service assistant. How can I help you?";
    Ok(ok(format!(
        r#"{{"sessionId":"{session}",{links},"messages":[{{"type":"Inform","id":"{id}","feedbackId":"","planId":"","isContentSafe":true,"message":"{greeting}","result":[],"citedReferences":[]}}]}}"#
    )))
}

/// `POST /einstein/ai-agent/v1/sessions/{session}/messages` and `.../messages/stream`
pub(crate) fn message(
    state: &State,
    call: &mut Call,
    session: &str,
    lock: Lock,
    streamed: bool,
) -> Result<Answer, Fault> {
    check_json(call)?;
    let actions = turn::actions(call, state.settings.actions_max);
    let turn = Turn::begin(call, session, lock);
    if streamed {
        return Ok(stream(call, turn, actions));
    }
    for action in &actions {
        turn.run(action);
    }
    let links = links(&call.api_url(&state.settings), session, turn.agent());
    let text = call.text();
    let kinds = match (call.controls.error_frame, actions.is_empty()) {
        (false, _) => call.controls.says.messages.clone(),
        (true, false) => vec![Kind::Inform], // what ran before the error
        (true, true) => Vec::new(),
    };
    let mut said: Vec<_> = kinds
        .into_iter()
        .map(|kind| kind.message(&mut call.rng, &text, &actions))
        .collect();
    if call.controls.error_frame {
        said.push(messages::error(&mut call.rng));
    }
    drop(turn);
    Ok(ok(format!(r#"{{"messages":[{}],{links}}}"#, said.join(","))).into())
}

fn stream(call: &mut Call, turn: Turn, actions: Vec<turn::Action>) -> Answer {
    let steps = turn::plan(call, actions);
    let pace = call.controls.chunk_delay;
    if pace.is_zero() {
        return events(Body::frames(turn.at_once(steps))).into();
    }
    let (frames, body) = mpsc::channel(steps.len());
    let rest = Some(Rest {
        turn,
        steps,
        pace,
        frames,
    });
    Answer {
        response: events(Body::turn(body)),
        rest,
    }
}

/// `DELETE /einstein/ai-agent/v1/sessions/{session}`
pub(crate) fn end_session(
    state: &State,
    call: &mut Call,
    session: &str,
) -> Result<Response<Body>, Fault> {
    if call
        .header("x-session-end-reason")
        .is_none_or(str::is_empty)
    {
        let code = "MissingRequestHeaderException";
        return Err(Fault::without_header(code, "x-session-end-reason"));
    }
    let agent = state
        .end_session(session)
        .map_err(|why| unavailable(why, session))?;
    let links = links(&call.api_url(&state.settings), session, &agent);
    let id = uuid(&mut call.rng);
    Ok(ok(format!(
        r#"{{"messages":[{{"type":"SessionEnded","id":"{id}","reason":"ClientRequest","feedbackId":""}}],{links}}}"#
    )))
}

/// `POST /einstein/ai-agent/v1/sessions/{session}/feedback`, whatever its content type.
pub(crate) fn feedback(state: &State, session: &str) -> Result<Response<Body>, Fault> {
    match state.knows_session(session) {
        true => Ok(empty(StatusCode::CREATED)),
        false => Err(unavailable(Unavailable::Unknown, session)),
    }
}

/// Why a session cannot be had, in the API's words.
pub(crate) fn unavailable(why: Unavailable, session: &str) -> Fault {
    match why {
        Unavailable::Unknown => {
            let message = format!("Session {session} was not found");
            Fault::new(StatusCode::NOT_FOUND, "SessionNotFoundException", message)
        }
        Unavailable::Locked => Fault::told(StatusCode::LOCKED, Shape::Agent),
    }
}

fn check_json(call: &Call) -> Result<(), Fault> {
    if !call.says_json() {
        let code = "HttpMediaTypeNotSupportedException";
        return Err(Fault::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            code,
            "Unsupported Media Type",
        ));
    }
    match serde_json::from_slice::<IgnoredAny>(&call.body) {
        Ok(IgnoredAny) => Ok(()),
        Err(error) => {
            let code = "HttpMessageNotReadableException";
            Err(Fault::new(StatusCode::BAD_REQUEST, code, error.to_string()))
        }
    }
}

fn links(api: &str, session: &str, agent: &str) -> String {
    let base = format!("{api}/einstein/ai-agent/v1");
    let here = format!("{base}/sessions/{session}");
    let href = |link: String| format!(r#"{{"href":{}}}"#, quoted(&link));
    format!(
        r#""_links":{{"self":null,"messages":{},"messagesStream":{},"session":{},"end":{}}}"#,
        href(format!("{here}/messages")),
        href(format!("{here}/messages/stream")),
        href(format!("{base}/agents/{agent}/sessions")),
        href(here.clone()),
    )
}

fn ok(body: String) -> Response<Body> {
    json(StatusCode::OK, Bytes::from(body))
}
