//! Models API: generations, chat generations, embeddings (Salesforce's `models.yaml`, July 2026).

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::facts::RequestFacts;
use super::tokens::{self, TokenUsage};
use crate::budget::usage::Usage;

#[derive(Deserialize)]
struct EmbeddingsRequest {
    input: Inputs,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Inputs {
    Many(Vec<IgnoredAny>),
    One(IgnoredAny),
}

/// What an embeddings request says about its cost: its inputs.
pub fn read_embeddings(body: &[u8]) -> RequestFacts {
    let inputs =
        serde_json::from_slice::<EmbeddingsRequest>(body)
            .ok()
            .map(|request| match request.input {
                Inputs::Many(inputs) => inputs.len(),
                Inputs::One(_) => 1,
            });
    RequestFacts {
        units: inputs.and_then(|count| u64::try_from(count).ok()),
        ..RequestFacts::default()
    }
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    usage: Option<TokenUsage>,
}

#[derive(Deserialize)]
struct Generated<'a> {
    #[serde(default, borrow, rename = "generatedText")]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerationAnswer<'a> {
    #[serde(default, borrow)]
    generation: Option<Generated<'a>>,
    #[serde(default, borrow)]
    more_generations: Option<Vec<Generated<'a>>>,
    #[serde(default, borrow)]
    prompt: Option<Cow<'a, str>>,
    #[serde(default)]
    parameters: Option<Parameters>,
}

/// What a generation used: the answer's `parameters.usage`, else estimated from its text.
pub fn generation_usage(request_bytes: u64, answer: &[u8]) -> Option<Usage> {
    if let Some(stated) = tokens::stated_once(answer) {
        return Some(stated);
    }
    let answer: GenerationAnswer<'_> = serde_json::from_slice(answer).ok()?;
    let stated = answer
        .parameters
        .and_then(|parameters| parameters.usage?.usage());
    let text = answer
        .generation
        .iter()
        .chain(answer.more_generations.iter().flatten());
    let bytes: usize = text
        .filter_map(|generated| generated.text.as_ref())
        .map(|text| text.len())
        .sum();
    let prompt = tokens::bytes(answer.prompt.as_deref(), request_bytes);
    Some(stated.unwrap_or_else(|| tokens::estimated(prompt, bytes)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChatAnswer<'a> {
    #[serde(borrow)]
    generation_details: ChatDetails<'a>,
}

#[derive(Deserialize)]
struct ChatDetails<'a> {
    #[serde(default, borrow)]
    generations: Vec<ChatGeneration<'a>>,
    #[serde(default)]
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct ChatGeneration<'a> {
    #[serde(default, borrow)]
    content: Option<Cow<'a, str>>,
}

/// What a chat generation used: `generationDetails.parameters.usage`, else estimated from its text.
pub fn chat_usage(request_bytes: u64, answer: &[u8]) -> Option<Usage> {
    if let Some(stated) = tokens::stated_once(answer) {
        return Some(stated);
    }
    let details = serde_json::from_slice::<ChatAnswer<'_>>(answer)
        .ok()?
        .generation_details;
    let stated = details
        .parameters
        .and_then(|parameters| parameters.usage?.usage());
    let text = details
        .generations
        .iter()
        .filter_map(|generation| generation.content.as_ref());
    let bytes: usize = text.map(|text| text.len()).sum();
    Some(stated.unwrap_or_else(|| tokens::estimated(request_bytes, bytes)))
}

#[derive(Deserialize)]
struct EmbeddingsAnswer {
    embeddings: Vec<IgnoredAny>,
    #[serde(default)]
    parameters: Option<Parameters>,
}

/// What embeddings used: one unit an embedding, and the tokens stated.
pub fn embeddings_usage(request_bytes: u64, answer: &[u8]) -> Option<Usage> {
    let answer: EmbeddingsAnswer = serde_json::from_slice(answer).ok()?;
    let stated = answer
        .parameters
        .and_then(|parameters| parameters.usage?.usage());
    let usage = stated.unwrap_or_else(|| tokens::estimated(request_bytes, 0));
    Some(Usage {
        units: u64::try_from(answer.embeddings.len()).ok()?,
        ..usage
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(got: Option<Usage>, want: (u64, u64, u64, bool)) {
        let usage = got.expect("readable");
        assert_eq!(
            (
                usage.units,
                usage.input_tokens,
                usage.output_tokens,
                usage.estimated
            ),
            want
        );
    }

    #[test]
    fn usage_is_read_where_each_endpoint_has_it() {
        let generation = br#"{"id":"x","generation":{"generatedText":"hello"},"moreGenerations":null,
            "parameters":{"model":"m","usage":{"prompt_tokens":14,"completion_tokens":15,"total_tokens":29}}}"#;
        check(generation_usage(40, generation), (0, 14, 15, false));
        let chat = br#"{"generationDetails":{"generations":[{"content":"hi"}],
            "parameters":{"usage":{"completion_tokens":235,"prompt_tokens":91,"total_tokens":326}}}}"#;
        check(chat_usage(40, chat), (0, 91, 235, false));
        let embeddings =
            br#"{"embeddings":[{"embedding":[0.1],"index":0},{"embedding":[],"index":1}],
            "parameters":{"usage":{"prompt_tokens":11,"total_tokens":11}}}"#;
        check(embeddings_usage(40, embeddings), (2, 11, 0, false));
    }

    #[test]
    fn without_usage_text_is_counted() {
        let generation = br#"{"generation":{"generatedText":"12345678\u0041"},"parameters":null}"#;
        check(generation_usage(41, generation), (0, 11, 3, true));
        let told = br#"{"generation":{"generatedText":"1"},"prompt":"12345"}"#;
        check(generation_usage(41, told), (0, 2, 1, true));
        assert_eq!(generation_usage(41, b"<html>"), None);
    }

    #[test]
    fn inputs_are_counted_and_doubt_stays_doubt() {
        let check = |body: &[u8], want| assert_eq!(read_embeddings(body).units, want);
        check(br#"{"input":["a","b"]}"#, Some(2));
        check(br#"{"input":"a"}"#, Some(1));
        check(br#"{"input":["a"],"input":["b","c"]}"#, None);
        check(br#"{"inputs":[]}"#, None);
        check(b"\xff", None);
    }
}
