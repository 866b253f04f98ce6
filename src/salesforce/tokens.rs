//! Tokens as answers state them, in every spelling seen, or as estimated from text.

use serde::Deserialize;

use crate::budget::usage::Usage;

/// The `usage` object of a model's answer.
#[derive(Debug, Default, Deserialize)]
pub struct TokenUsage {
    #[serde(
        default,
        alias = "input_tokens",
        alias = "inputTokenCount",
        alias = "promptTokens"
    )]
    prompt_tokens: Option<u64>,
    #[serde(
        default,
        alias = "output_tokens",
        alias = "outputTokenCount",
        alias = "completionTokens"
    )]
    completion_tokens: Option<u64>,
    #[serde(default, alias = "totalTokenCount", alias = "totalTokens")]
    total_tokens: Option<u64>,
}

impl TokenUsage {
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

/// Tokens nobody counted: a token for every four bytes of text, rounded up (design.md, section 8).
pub fn estimated(input_bytes: usize, output_bytes: usize) -> Usage {
    let tokens = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(4);
    Usage {
        input_tokens: tokens(input_bytes),
        output_tokens: tokens(output_bytes),
        estimated: true,
        ..Usage::default()
    }
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
}
