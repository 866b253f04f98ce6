//! Tokens as answers state them, in every spelling seen, or as estimated from text.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::budget::usage::{Usage, tokens_of};

/// The `usage` object of a model's answer.
#[derive(Debug, Default)]
pub struct TokenUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
}

impl TokenUsage {
    /// Where a field's number goes; `None` for fields that say nothing of the price.
    fn field(&mut self, name: &[u8]) -> Option<&mut Option<u64>> {
        match name {
            b"prompt_tokens" | b"input_tokens" | b"inputTokenCount" | b"promptTokens" => {
                Some(&mut self.prompt_tokens)
            }
            b"completion_tokens" | b"output_tokens" | b"outputTokenCount" | b"completionTokens" => {
                Some(&mut self.completion_tokens)
            }
            b"total_tokens" | b"totalTokenCount" | b"totalTokens" => Some(&mut self.total_tokens),
            _ => None,
        }
    }

    /// The tokens stated, if any; where the total is larger than its parts, the total counts.
    pub fn usage(&self) -> Option<Usage> {
        let input = self.prompt_tokens.unwrap_or(0);
        let output = self.completion_tokens.unwrap_or(0);
        let stated = self
            .total_tokens
            .or(self.prompt_tokens)
            .or(self.completion_tokens)?;
        let rest = stated
            .max(input.saturating_add(output))
            .saturating_sub(input);
        Some(Usage {
            input_tokens: input,
            output_tokens: rest,
            ..Usage::default()
        })
    }
}

impl<'de> Deserialize<'de> for TokenUsage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UsageVisitor)
    }
}

struct UsageVisitor;

impl<'de> Visitor<'de> for UsageVisitor {
    type Value = TokenUsage;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of token counts")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<TokenUsage, M::Error> {
        let mut usage = TokenUsage::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match usage.field(name.as_bytes()) {
                Some(Some(_)) => return Err(M::Error::custom("a token count is stated twice")),
                Some(count) => *count = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(usage)
    }
}

const USAGE: &[u8] = br#""usage""#;

/// The tokens an answer states in its one `"usage":{...}`, without reading the rest of it.
///
/// `None` where that is not plain to see: no such object, several, or one that holds more than whole numbers. Then
/// the answer has to be read whole. Text cannot feign one: inside a string the quotes would be escaped.
pub fn stated_once(answer: &[u8]) -> Option<Usage> {
    static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(USAGE));
    let at = FINDER.find(answer)?;
    let (before, from) = answer.split_at_checked(at)?;
    let after = from.get(USAGE.len()..)?;
    if before.ends_with(b"\\") || FINDER.find(after).is_some() {
        return None;
    }
    let mut object = Flat(after);
    object.eat(b':')?;
    object.eat(b'{')?;
    let mut usage = TokenUsage::default();
    loop {
        let name = object.name()?;
        object.eat(b':')?;
        let number = object.number()?;
        match usage.field(name) {
            Some(Some(_)) => return None,
            Some(count) => *count = Some(number),
            None => {}
        }
        if object.eat(b',').is_none() {
            object.eat(b'}')?;
            return usage.usage();
        }
    }
}

/// What is left of a JSON object that holds whole numbers only.
struct Flat<'a>(&'a [u8]);

impl<'a> Flat<'a> {
    fn eat(&mut self, want: u8) -> Option<()> {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.0 {
            self.0 = rest;
        }
        let (first, rest) = self.0.split_first()?;
        (*first == want).then(|| self.0 = rest)
    }

    fn name(&mut self) -> Option<&'a [u8]> {
        self.eat(b'"')?;
        let (name, rest) = self
            .0
            .split_at_checked(memchr::memchr2(b'"', b'\\', self.0)?)?;
        self.0 = rest.strip_prefix(b"\"")?;
        Some(name)
    }

    fn number(&mut self) -> Option<u64> {
        while let [b' ', rest @ ..] = self.0 {
            self.0 = rest;
        }
        let mut number = 0_u64;
        let mut digits = 0_usize;
        while let [digit @ b'0'..=b'9', rest @ ..] = self.0 {
            number = number
                .checked_mul(10)?
                .checked_add(u64::from(digit & 0x0f))?;
            digits = digits.saturating_add(1);
            self.0 = rest;
        }
        (digits > 0).then_some(number)
    }
}

/// Tokens nobody counted, of so many bytes of prompt and of text.
pub fn estimated(input_bytes: u64, output_bytes: usize) -> Usage {
    let output_bytes = u64::try_from(output_bytes).unwrap_or(u64::MAX);
    Usage {
        input_tokens: tokens_of(input_bytes),
        output_tokens: tokens_of(output_bytes),
        estimated: true,
        ..Usage::default()
    }
}

/// Bytes of the prompt an answer tells; of one it does not, those of the request.
pub fn bytes(prompt: Option<&str>, request_bytes: u64) -> u64 {
    prompt.map_or(request_bytes, |prompt| {
        u64::try_from(prompt.len()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
        let check = |json: &str, want: Option<(u64, u64)>| {
            let usage: TokenUsage = serde_json::from_str(json).unwrap();
            let got = usage
                .usage()
                .map(|usage| (usage.input_tokens, usage.output_tokens));
            assert_eq!(got, want, "{json}");
        };
        check(
            r#"{"prompt_tokens":14,"completion_tokens":15,"total_tokens":29}"#,
            Some((14, 15)),
        );
        check(r#"{"input_tokens":14,"output_tokens":15}"#, Some((14, 15)));
        check(
            r#"{"inputTokenCount":14,"outputTokenCount":15,"totalTokenCount":40}"#,
            Some((14, 26)),
        );
        check(r#"{"prompt_tokens":11,"total_tokens":11}"#, Some((11, 0)));
        check(r#"{"total_tokens":6500}"#, Some((0, 6500)));
        check(r#"{"other":1}"#, None);
    }

    #[test]
    fn text_is_rounded_up_to_tokens() {
        assert_eq!(estimated(9, 4).tokens(), 4);
        assert_eq!(estimated(0, 0).tokens(), 0);
    }

    #[test]
    fn what_is_plain_to_see_is_what_a_whole_reading_finds() {
        let check = |json: &str, want: Option<(u64, u64)>| {
            let got = stated_once(json.as_bytes());
            let got = got.map(|usage| (usage.input_tokens, usage.output_tokens));
            assert_eq!(got, want, "{json}");
        };
        check(
            r#"{"parameters":{"usage":{"completion_tokens":35,"prompt_tokens":91,"total_tokens":126}}}"#,
            Some((91, 35)),
        );
        check(
            "{ \"usage\" : {\n \"inputTokenCount\" : 9 ,\t\"outputTokenCount\": 4, \"other\": 7 } }",
            Some((9, 4)),
        );
        // Said by the model, not by the API.
        check(r#"{"content":"\"usage\":{\"prompt_tokens\":1}"}"#, None);
        check(r#"{"content":"my \"usage","x":1}"#, None);
        check(
            r#"{"content":"\"usage\":{\"prompt_tokens\":1}","usage":{"prompt_tokens":91}}"#,
            Some((91, 0)),
        );
        // Not plain: read whole.
        for json in [
            r#"{"usage":null}"#,
            r#"{"usage":{}}"#,
            r#"{"kind":"usage"}"#,
            r#"{"usage":{"prompt_tokens":1},"usage":{"prompt_tokens":2}}"#,
            r#"{"usage":{"prompt_tokens":1,"prompt_tokens":2}}"#,
            r#"{"usage":{"prompt_tokens":1.5}}"#,
            r#"{"usage":{"prompt_tokens":1e3}}"#,
            r#"{"usage":{"prompt_tokens":-1}}"#,
            r#"{"usage":{"prompt_tokens":99999999999999999999}}"#,
            r#"{"usage":{"prompt\u005ftokens":1}}"#,
            r#"{"usage":{"details":{"cached":1},"prompt_tokens":1}}"#,
            r#"{"usage":{"prompt_tokens":1"#,
            r#"{"usage""#,
        ] {
            check(json, None);
        }
    }
}
