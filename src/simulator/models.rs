//! The Models API and the LLM Open Connector: text, chat, embeddings, with their tokens.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use super::body::{Body, empty, json};
use super::book::Counts;
use super::call::{Call, Tokens};
use super::clock;
use super::errors::{Fault, quoted};
use super::price;
use super::state::State;
use crate::budget::operation::Operation;

/// `POST /einstein/platform/v1/models/{model}/generations`
pub(crate) fn generate(
    state: &State,
    call: &mut Call,
    model: &str,
) -> Result<Response<Body>, Fault> {
    let request = call.json()?;
    let prompt = request
        .get("prompt")
        .and_then(Value::as_str)
        .ok_or_else(|| missing("prompt"))?;
    let text = call.text();
    let tokens = call.tokens(prompt.len(), text.len());
    bill(
        state,
        call,
        Operation::ModelGenerate,
        tokens,
        tier(state, model),
    );
    let (id, part, usage) = (call.uuid(), call.uuid(), usage(call, tokens));
    let (prompt, text, model) = (quoted(prompt), quoted(&text), quoted(model));
    Ok(ok(format!(
        r#"{{"id":"chatcmpl-{id}","generation":{{"id":"{part}","generatedText":{text},{QUALITY},"parameters":{{"finish_reason":"stop","index":0,"logprobs":null}}}},"moreGenerations":null,"prompt":{prompt},"parameters":{{"model":{model},"object":"chat.completion"{usage}}}}}"#
    )))
}

/// `POST /einstein/platform/v1/models/{model}/chat-generations`
pub(crate) fn chat(state: &State, call: &mut Call, model: &str) -> Result<Response<Body>, Fault> {
    let request = call.json()?;
    let prompt_bytes = message_bytes(&request).ok_or_else(|| missing("messages"))?;
    let text = call.text();
    let tokens = call.tokens(prompt_bytes, text.len());
    bill(
        state,
        call,
        Operation::ModelGenerate,
        tokens,
        tier(state, model),
    );
    let (id, part, usage) = (call.uuid(), call.uuid(), usage(call, tokens));
    let (text, model, now) = (quoted(&text), quoted(model), clock::epoch_s());
    Ok(ok(format!(
        r#"{{"id":"{id}","generationDetails":{{"generations":[{{"id":"{part}","role":"assistant","content":{text},"timestamp":{now},"parameters":{{"finish_reason":"stop"}},{QUALITY}}}],"parameters":{{"model":{model},"object":"text_completion"{usage}}}}}}}"#
    )))
}

/// `POST /einstein/platform/v1/models/{model}/embeddings`
pub(crate) fn embed(state: &State, call: &mut Call, model: &str) -> Result<Response<Body>, Fault> {
    let request = call.json()?;
    let input = request
        .get("input")
        .and_then(Value::as_array)
        .ok_or_else(|| missing("input"))?;
    let bytes = input.iter().filter_map(Value::as_str).map(str::len).sum();
    let tokens = call.tokens(bytes, 0);
    let inputs = u64::try_from(input.len()).unwrap_or(u64::MAX);
    let counts = Counts {
        calls: 1,
        rows: inputs,
        tokens: tokens.total(),
        ..Counts::default()
    };
    let charge = price::embedding(inputs, tokens.total(), tier(state, model));
    state.bill(call, Operation::ModelEmbed, counts, charge);
    let embeddings: Vec<String> = (0..input.len())
        .map(|index| format!(r#"{{"embedding":[0.0125,-0.5,0.25],"index":{index}}}"#))
        .collect();
    let usage = match call.controls.no_usage {
        true => String::new(),
        false => {
            let total = tokens.total();
            format!(r#""usage":{{"prompt_tokens":{total},"total_tokens":{total}}},"#)
        }
    };
    let (embeddings, model) = (embeddings.join(","), quoted(model));
    Ok(ok(format!(
        r#"{{"embeddings":[{embeddings}],"parameters":{{{usage}"model":{model},"object":"list"}}}}"#
    )))
}

/// `POST /einstein/platform/v1/feedback`
pub(crate) fn feedback() -> Response<Body> {
    empty(StatusCode::ACCEPTED)
}

/// `POST /chat/completions`: the customer's own model, called by Salesforce.
pub(crate) fn completions(state: &State, call: &mut Call) -> Result<Response<Body>, Fault> {
    if call.header("api-key").is_none_or(str::is_empty) {
        let message = "Invalid or missing API key";
        return Err(Fault::new(
            StatusCode::UNAUTHORIZED,
            "invalid_api_key",
            message,
        ));
    }
    let request = call.json()?;
    let prompt_bytes = message_bytes(&request).ok_or_else(|| missing("messages"))?;
    let model = request
        .get("model")
        .and_then(Value::as_str)
        .ok_or_else(|| missing("model"))?;
    let choices = request
        .get("n")
        .and_then(Value::as_u64)
        .unwrap_or(1)
        .clamp(1, 128);
    let text = call.text();
    let all_text = usize::try_from(choices)
        .unwrap_or(1)
        .saturating_mul(text.len());
    let tokens = call.tokens(prompt_bytes, all_text);
    bill(
        state,
        call,
        Operation::OpenConnectorChat,
        tokens,
        price::STARTER,
    );
    let (text, model, now) = (quoted(&text), quoted(model), clock::epoch_s());
    let (id, usage) = (call.uuid(), usage(call, tokens));
    let choices: Vec<String> = (0..choices)
        .map(|index| {
            format!(
                r#"{{"index":{index},"finish_reason":"stop","message":{{"role":"assistant","content":{text}}}}}"#
            )
        })
        .collect();
    let choices = choices.join(",");
    Ok(ok(format!(
        r#"{{"id":"chatcmpl-{id}","object":"chat.completion","created":{now},"model":{model},"choices":[{choices}]{usage}}}"#
    )))
}

const QUALITY: &str = r#""contentQuality":{"scanToxicity":{"isDetected":false,"categories":[{"categoryName":"profanity","score":0.0}]}}"#;

fn bill(state: &State, call: &Call, operation: Operation, tokens: Tokens, chunk_credits: u32) {
    let counts = Counts {
        calls: 1,
        tokens: tokens.total(),
        ..Counts::default()
    };
    let charge = price::generation(tokens.total(), 1, chunk_credits);
    state.bill(call, operation, counts, charge);
}

fn tier(state: &State, model: &str) -> u32 {
    state
        .settings
        .tiers
        .get(model)
        .copied()
        .unwrap_or(price::STANDARD)
}

/// `,"usage":{..}`, or nothing if it is to be kept back.
fn usage(call: &Call, tokens: Tokens) -> String {
    match call.controls.no_usage {
        true => String::new(),
        false => format!(r#","usage":{}"#, tokens.usage()),
    }
}

/// Bytes of all `messages[].content`; nothing without a message.
fn message_bytes(request: &Value) -> Option<usize> {
    let messages = request.get("messages").and_then(Value::as_array)?;
    let content = |message: &Value| message.get("content")?.as_str().map(str::len);
    let bytes = messages.iter().filter_map(content).sum();
    Some(bytes).filter(|_| !messages.is_empty())
}

fn missing(field: &str) -> Fault {
    let message = format!("The {field} field is required.");
    Fault::new(StatusCode::BAD_REQUEST, "REQUIRED_FIELD_MISSING", message)
}

fn ok(body: String) -> Response<Body> {
    json(StatusCode::OK, Bytes::from(body))
}
