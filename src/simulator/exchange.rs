//! One request's way: read it, take the session, wait, do the work, answer.
//!
//! Work that takes time runs in a task of its own, which its caller cannot stop by leaving:
//! what Salesforce began it finishes, and bills.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::{mpsc, oneshot};

use super::agent::{self, Answer};
use super::body::{Body, BrokenOff, empty, json};
use super::call::Call;
use super::controls::Controls;
use super::errors::{Fault, Shape};
use super::route::Route;
use super::state::{Lock, State};
use super::{credentials, models, org, prompts};

/// Longest request body read.
const BODY_MOST_BYTES: usize = 160 << 20;

/// Work that goes on without its caller.
pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Answers one request; an error closes the connection without a head.
pub(crate) async fn exchange(
    state: Arc<State>,
    jobs: mpsc::Sender<Job>,
    request: Request<Incoming>,
) -> Result<Response<Body>, BrokenOff> {
    let (head, body) = request.into_parts();
    if let Some(question) = head.uri.path().strip_prefix("/_sim/") {
        return Ok(about_itself(&state, &head, question));
    }
    let (number, mut rng) = state.count_request();
    let id = request_id(&head, number);
    let route = Route::of(&head.method, head.uri.path());
    let streamed = route.is_streamed();
    let controls = match Controls::read(&head.headers, &state.settings, streamed, &mut rng) {
        Ok(controls) => controls,
        Err(message) => return Ok(no(StatusCode::BAD_REQUEST, "UNKNOWN_CONTROL", &message)),
    };
    let Some(body) = read(body).await? else {
        return Ok(no(
            StatusCode::PAYLOAD_TOO_LARGE,
            "REQUEST_TOO_LARGE",
            "The body is too large",
        ));
    };

    let Controls {
        hang,
        chunk_bytes,
        cut_after,
        ..
    } = controls;
    let shown_id = String::from_utf8_lossy(id.as_bytes()).into_owned();
    let call = Call::new(head, body, controls, rng, shown_id);
    let answer = answer(state, jobs, call, route).await;
    if let Some(hang) = hang {
        tokio::time::sleep(hang).await;
        return Err(BrokenOff);
    }
    let mut response = answer.map(|body| body.told(chunk_bytes, cut_after));
    response.headers_mut().insert("x-request-id", id);
    Ok(response)
}

/// Does the work, in a task of its own where it takes time.
async fn answer(
    state: Arc<State>,
    jobs: mpsc::Sender<Job>,
    mut call: Call,
    route: Route,
) -> Response<Body> {
    let lock = match &route {
        Route::Message { session, .. }
            if says_at_once(&call).is_none()
                && credentials::refusal(&state, &call, &route).is_none() =>
        {
            match state.lock_session(session) {
                Ok(lock) => Some(lock),
                Err(why) => return said(&call, &route, &agent::unavailable(why, session)),
            }
        }
        _ => None,
    };
    let paced = route.is_streamed() && !call.controls.chunk_delay.is_zero();
    if call.controls.delay.is_zero() && !paced {
        return work(&state, &mut call, &route, lock).response;
    }

    let Some(permit) = state.permit() else {
        return said(
            &call,
            &route,
            &Fault::told(StatusCode::SERVICE_UNAVAILABLE, route.shape()),
        );
    };
    let (to_caller, answered) = oneshot::channel();
    let job = async move {
        tokio::time::sleep(call.controls.delay).await;
        let Answer { response, rest } = work(&state, &mut call, &route, lock);
        match rest {
            Some(rest) if call.controls.late => {
                rest.run().await;
                drop(to_caller.send(response));
            }
            Some(rest) => {
                drop(to_caller.send(response));
                rest.run().await;
            }
            None => drop(to_caller.send(response)),
        }
        drop(permit);
    };
    // The queue is emptied as fast as tasks can be made; waiting for it is brief.
    if jobs.send(Box::pin(job)).await.is_err() {
        return empty(StatusCode::SERVICE_UNAVAILABLE);
    }
    answered
        .await
        .unwrap_or_else(|_| empty(StatusCode::SERVICE_UNAVAILABLE))
}

/// Runs what the request asks for, unless it is told to fail first.
fn work(state: &State, call: &mut Call, route: &Route, lock: Option<Lock>) -> Answer {
    if let Some(status) = says_at_once(call) {
        return told(call, route, status).into();
    }
    if let Some(fault) = credentials::refusal(state, call, route) {
        return said(call, route, &fault).into();
    }
    let answer =
        run(state, call, route, lock).unwrap_or_else(|fault| said(call, route, &fault).into());
    if call.controls.late {
        let status = call
            .controls
            .status
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return Answer {
            response: told(call, route, status),
            ..answer
        };
    }
    answer
}

fn run(state: &State, call: &mut Call, route: &Route, lock: Option<Lock>) -> Result<Answer, Fault> {
    let response = match route {
        Route::Message { session, streamed } => {
            let lock = lock.ok_or_else(|| Fault::told(StatusCode::LOCKED, Shape::Agent))?;
            return agent::message(state, call, session, lock, *streamed);
        }
        Route::OpenSession { agent } => agent::open_session(state, call, agent)?,
        Route::EndSession { session } => agent::end_session(state, call, session)?,
        Route::SessionFeedback { session } => agent::feedback(state, session)?,
        Route::PromptTemplate { name } => prompts::generations(state, call, name)?,
        Route::PromptInvocable { template } => prompts::invocable(state, call, template)?,
        Route::Generate { model } => models::generate(state, call, model)?,
        Route::Chat { model } => models::chat(state, call, model)?,
        Route::Embed { model } => models::embed(state, call, model)?,
        Route::ModelsFeedback => models::feedback(),
        Route::ChatCompletions => models::completions(state, call)?,
        Route::Predict => org::predict(state, call)?,
        Route::Token => org::token(state, call)?,
        Route::DataToken => org::data_token(state, call),
        Route::Versions => org::versions(),
        Route::Limits => org::limits(),
        Route::Sobjects => org::sobjects(call),
        Route::Unknown => return Err(Fault::told(StatusCode::NOT_FOUND, Shape::Rest)),
    };
    Ok(response.into())
}

/// The status that takes the place of any work.
fn says_at_once(call: &Call) -> Option<StatusCode> {
    call.controls.status.filter(|_| !call.controls.late)
}

fn told(call: &Call, route: &Route, status: StatusCode) -> Response<Body> {
    match status.as_u16() {
        ..400 => empty(status),
        _ => said(call, route, &Fault::told(status, route.shape())),
    }
}

fn said(call: &Call, route: &Route, fault: &Fault) -> Response<Body> {
    fault.answer(route.shape(), call.path(), call.id())
}

fn no(status: StatusCode, code: &'static str, message: &str) -> Response<Body> {
    Fault::new(status, code, message).answer(Shape::Rest, "", "")
}

/// The caller's id for the request, or one that repeats with the run.
fn request_id(head: &Parts, number: u64) -> HeaderValue {
    let own = || HeaderValue::from_str(&format!("sim-{number}")).ok();
    let given = head.headers.get("x-request-id").cloned();
    given
        .or_else(own)
        .unwrap_or_else(|| HeaderValue::from_static("sim"))
}

/// The body; nothing if it is too long, an error if it never ended.
async fn read(body: Incoming) -> Result<Option<Bytes>, BrokenOff> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads bodies; limited"
    )]
    let collected = Limited::new(body, BODY_MOST_BYTES).collect().await;
    match collected {
        Ok(body) => Ok(Some(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(_) => Err(BrokenOff),
    }
}

/// `/_sim/billed` and `/_sim/reset`.
fn about_itself(state: &State, head: &Parts, question: &str) -> Response<Body> {
    let billed = match (&head.method, question, head.uri.query().unwrap_or_default()) {
        (&Method::POST, "reset", _) => {
            state.reset();
            state.billed()
        }
        (&Method::GET, "billed", "") => state.billed(),
        (&Method::GET, "billed", "by=request") => state.billed_by_request(),
        (&Method::GET, "billed", "by=header:x-sim-team" | "by=header%3Ax-sim-team") => {
            state.billed_by_team()
        }
        _ => {
            return no(
                StatusCode::NOT_FOUND,
                "NOT_FOUND",
                "The simulator has no such page",
            );
        }
    };
    match serde_json::to_vec(&billed) {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => no(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN_EXCEPTION",
            &error.to_string(),
        ),
    }
}
