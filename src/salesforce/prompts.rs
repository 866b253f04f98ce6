//! Prompt template generations (Connect REST).
//!
//! The answer carries no token count, but the resolved prompt and the generated text, from which tokens are
//! estimated. `isPreview` only resolves the template; clients send it as a boolean or as a string.

use std::borrow::Cow;

use serde::Deserialize;

use super::facts::RequestFacts;
use super::tokens;
use crate::budget::usage::Usage;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(default, borrow)]
    is_preview: Option<Flag<'a>>,
    #[serde(default)]
    additional_config: Option<AdditionalConfig>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Flag<'a> {
    Bool(bool),
    Text(#[serde(borrow)] Cow<'a, str>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdditionalConfig {
    #[serde(default)]
    num_generations: Option<u64>,
    #[serde(default)]
    max_tokens: Option<u64>,
}

/// What a prompt request says about its cost. A preview must say so in a body that reads in one way only.
pub fn read(body: &[u8]) -> RequestFacts {
    let Ok(request) = serde_json::from_slice::<Request<'_>>(body) else {
        return RequestFacts::default();
    };
    let preview = match request.is_preview {
        Some(Flag::Bool(preview)) => preview,
        Some(Flag::Text(text)) => text == "true",
        None => false,
    };
    let config = request.additional_config.as_ref();
    RequestFacts {
        preview,
        generations: Some(
            config
                .and_then(|config| config.num_generations)
                .unwrap_or(1),
        ),
        output_tokens: config.and_then(|config| config.max_tokens),
        ..RequestFacts::default()
    }
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    generations: Vec<Generation<'a>>,
    #[serde(default, borrow)]
    prompt: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Generation<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
}

/// What a generation used, estimated from the resolved prompt and the texts; units are the generations.
pub fn usage(request_bytes: u64, answer: &[u8]) -> Option<Usage> {
    let answer: Answer<'_> = serde_json::from_slice(answer).ok()?;
    let prompt = tokens::bytes(answer.prompt.as_deref(), request_bytes);
    let texts = answer
        .generations
        .iter()
        .filter_map(|generation| generation.text.as_ref());
    let bytes: usize = texts.map(|text| text.len()).sum();
    let generations = u64::try_from(answer.generations.len()).ok()?;
    Some(Usage {
        units: 1,
        generations,
        ..tokens::estimated(prompt, bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proven_preview_is_one() {
        let check = |body: &str, want: (bool, Option<u64>)| {
            let facts = read(body.as_bytes());
            assert_eq!((facts.preview, facts.generations), want, "{body}");
        };
        check(r#"{"isPreview":true}"#, (true, Some(1)));
        check(r#"{"isPreview":"true"}"#, (true, Some(1)));
        check(
            r#"{"isPreview":"false","additionalConfig":{"numGenerations":3}}"#,
            (false, Some(3)),
        );
        check(r#"{"isPreview":"TRUE"}"#, (false, Some(1)));
        check(r#"{"isPreview":true,"isPreview":false}"#, (false, None));
        check(r#"{"isPreview":true"#, (false, None));
        check("<xml/>", (false, None));
    }

    #[test]
    fn tokens_come_from_prompt_and_text() {
        let answer = br#"{"generations":[{"text":"12345678"},{"text":"1"}],"parameters":null,"prompt":"1234"}"#;
        let usage = usage(100, answer).unwrap();
        assert_eq!(
            (usage.input_tokens, usage.output_tokens, usage.generations),
            (1, 3, 2)
        );
        assert!(usage.estimated);
    }
}
