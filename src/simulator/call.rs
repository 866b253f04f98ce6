//! One request as the routes see it: head, body, controls and its own chance.

use bytes::Bytes;
use fastrand::Rng;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use serde_json::Value;

use super::Settings;
use super::controls::Controls;
use super::errors::Fault;

/// A request, read.
#[derive(Debug)]
pub(crate) struct Call {
    head: Parts,
    pub(crate) body: Bytes,
    pub(crate) controls: Controls,
    pub(crate) rng: Rng,
    id: String,
}

impl Call {
    pub(crate) fn new(head: Parts, body: Bytes, controls: Controls, rng: Rng, id: String) -> Self {
        Self {
            head,
            body,
            controls,
            rng,
            id,
        }
    }

    /// The caller's `x-request-id`, or the simulator's.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Whose request it is, as the caller says.
    pub(crate) fn team(&self) -> Option<&str> {
        self.header("x-sim-team")
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    }

    /// Whether the body calls itself JSON.
    pub(crate) fn says_json(&self) -> bool {
        let media_type = self
            .header(CONTENT_TYPE.as_str())
            .and_then(|text| text.split(';').next());
        media_type.is_some_and(|text| text.trim().eq_ignore_ascii_case("application/json"))
    }

    /// Where links to the Agent API go.
    pub(crate) fn api_url(&self, settings: &Settings) -> String {
        settings.api_url.clone().unwrap_or_else(|| self.own_url())
    }

    /// Where links to the org go.
    pub(crate) fn org_url(&self, settings: &Settings) -> String {
        settings.org_url.clone().unwrap_or_else(|| self.own_url())
    }

    /// The body as JSON; of two equal keys the last one counts.
    pub(crate) fn json(&self) -> Result<Value, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Fault::new(
                StatusCode::BAD_REQUEST,
                "JSON_PARSER_ERROR",
                error.to_string(),
            )
        })
    }

    /// A version 4 UUID.
    pub(crate) fn uuid(&mut self) -> String {
        uuid(&mut self.rng)
    }

    /// The model's words, padded to the length asked for.
    pub(crate) fn text(&self) -> String {
        let mut text = TEXT.to_owned();
        while text.len() < self.controls.body_bytes {
            text.push_str(PADDING);
        }
        text.truncate(self.controls.body_bytes.max(TEXT.len()));
        text
    }

    /// The tokens of a model call: as told, or a quarter of the bytes.
    pub(crate) fn tokens(&self, prompt_bytes: usize, text_bytes: usize) -> Tokens {
        let quarter = |bytes: usize| u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX);
        let total = self
            .controls
            .tokens
            .unwrap_or_else(|| quarter(prompt_bytes + text_bytes));
        let prompt = quarter(prompt_bytes).min(total);
        Tokens {
            prompt,
            completion: total - prompt,
        }
    }

    fn own_url(&self) -> String {
        format!(
            "http://{}",
            self.header(HOST.as_str()).unwrap_or("localhost")
        )
    }
}

const TEXT: &str = "Here are the promotions I found for you. Shall I send them to your customer?";
const PADDING: &str = " There is more to say about each of them, and so the answer goes on.";

/// Tokens in and out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
}

impl Tokens {
    pub(crate) const fn total(self) -> u64 {
        self.prompt + self.completion
    }

    /// `{"prompt_tokens","completion_tokens","total_tokens"}`
    pub(crate) fn usage(self) -> String {
        format!(
            r#"{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{}}}"#,
            self.prompt,
            self.completion,
            self.total()
        )
    }
}

/// A version 4 UUID.
pub(crate) fn uuid(rng: &mut Rng) -> String {
    let (a, b, c, d) = (
        rng.u32(..),
        rng.u16(..),
        rng.u16(..0x1000),
        rng.u16(0x8000..0xc000),
    );
    format!(
        "{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{:012x}",
        rng.u64(..1 << 48)
    )
}
