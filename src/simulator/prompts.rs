//! Prompt templates, by their own resource and as an invocable action.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::Value;

use super::body::{Body, json};
use super::book::Counts;
use super::call::Call;
use super::errors::{Fault, quoted};
use super::price::{self, Charge};
use super::state::State;
use crate::budget::operation::Operation;

/// Generations one call may ask for.
const GENERATIONS_MOST: u64 = 20;

/// Prompts one invocable call may hold.
const INPUTS_MOST: usize = 200;

/// `POST /services/data/vNN.0/einstein/prompt-templates/{name}/generations`
pub(crate) fn generations(
    state: &State,
    call: &mut Call,
    name: &str,
) -> Result<Response<Body>, Fault> {
    let request = call.json()?;
    let preview = request
        .get("isPreview")
        .ok_or_else(|| missing("isPreview"))?;
    let inputs = request
        .get("inputParams")
        .ok_or_else(|| missing("inputParams"))?;
    let config = request
        .get("additionalConfig")
        .ok_or_else(|| missing("additionalConfig"))?;
    let count = config
        .get("numGenerations")
        .and_then(Value::as_u64)
        .unwrap_or(1);
    let count = count.clamp(1, GENERATIONS_MOST);
    let prompt = resolved(name, inputs);

    let generated = if is_true(preview) {
        String::new()
    } else {
        let text = call.text();
        let all_text = usize::try_from(count)
            .unwrap_or(1)
            .saturating_mul(text.len());
        let tokens = call.tokens(prompt.len(), all_text).total();
        let counts = Counts {
            calls: 1,
            tokens,
            ..Counts::default()
        };
        let charge = price::generation(tokens, count, price::STANDARD);
        state.bill(call, Operation::PromptGenerate, counts, charge);
        let text = quoted(&escaped(&text));
        let parts: Vec<String> = (0..count)
            .map(|index| generation(call, &text, index))
            .collect();
        parts.join(",")
    };
    let (prompt, name, id) = (quoted(&escaped(&prompt)), quoted(name), call.uuid());
    let body = format!(
        r#"{{"generations":[{generated}],"isSummarized":false,"parameters":null,"prompt":{prompt},"promptTemplateDevName":{name},"requestId":"chatcmpl-{id}"}}"#
    );
    Ok(json(StatusCode::CREATED, Bytes::from(body)))
}

/// `POST /services/data/vNN.0/actions/custom/generatePromptResponse/{template}`: a prompt for each
/// of its `inputs`.
pub(crate) fn invocable(
    state: &State,
    call: &mut Call,
    template: &str,
) -> Result<Response<Body>, Fault> {
    let request = call.json()?;
    let inputs = request
        .get("inputs")
        .and_then(Value::as_array)
        .ok_or_else(|| missing("inputs"))?;
    if inputs.is_empty() || inputs.len() > INPUTS_MOST {
        let message = format!("inputs holds {}, not 1 to {INPUTS_MOST}", inputs.len());
        return Err(Fault::new(
            StatusCode::BAD_REQUEST,
            "INVALID_ARGUMENT_VALUE",
            message,
        ));
    }
    let text = call.text();
    let (mut counts, mut charge) = (Counts::default(), Charge::default());
    for input in inputs {
        let prompt = resolved(template, input);
        let tokens = call.tokens(prompt.len(), text.len()).total();
        let one = price::generation(tokens, 1, price::STANDARD);
        counts.calls += 1;
        counts.tokens += tokens;
        charge = Charge {
            guide: charge.guide + one.guide,
            flex: charge.flex + one.flex,
        };
    }
    state.bill(call, Operation::PromptGenerate, counts, charge);
    let text = quoted(&escaped(&text));
    let output = format!(
        r#"{{"actionName":"generatePromptResponse","errors":null,"invocationId":null,"isSuccess":true,"outcome":null,"outputValues":{{"promptResponse":{text}}},"sortOrder":-1,"version":1}}"#
    );
    Ok(json(
        StatusCode::OK,
        Bytes::from(format!("[{}]", vec![output; inputs.len()].join(","))),
    ))
}

/// One entry of `generations`; `parameters` is a Java map's text, not JSON.
fn generation(call: &mut Call, text: &str, index: u64) -> String {
    let id = call.uuid();
    format!(
        r#"{{"text":{text},"responseId":"{id}","parameters":"{{finish_reason=stop, index={index}, logprobs=null}}","safetyScoreRepresentation":{{"safetyScore":1.0,"toxicityScore":0.0}}}}"#
    )
}

/// The template with its inputs filled in.
fn resolved(name: &str, inputs: &Value) -> String {
    let mut prompt = format!("You are a helpful assistant. Fulfil {name} with:");
    fill(inputs, &mut prompt);
    prompt
}

/// Every text in the inputs, on a line of its own.
fn fill(inputs: &Value, prompt: &mut String) {
    match inputs {
        Value::String(text) => {
            prompt.push('\n');
            prompt.push_str(text);
        }
        Value::Array(items) => items.iter().for_each(|item| fill(item, prompt)),
        Value::Object(fields) => fields.values().for_each(|item| fill(item, prompt)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Real clients send a boolean, or the text of one.
fn is_true(value: &Value) -> bool {
    value
        .as_bool()
        .unwrap_or_else(|| value.as_str() == Some("true"))
}

/// As Salesforce escapes prompt and text.
fn escaped(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

fn missing(field: &str) -> Fault {
    let message = format!("Required fields are missing: [{field}]");
    Fault::new(StatusCode::BAD_REQUEST, "REQUIRED_FIELD_MISSING", message)
}
