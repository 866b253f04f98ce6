//! How a quote came about, line by line: what the card says, what the request says, and what follows.
//!
//! Figures are the quote's own; where one is derived, it is derived by what the quote was.

use serde::Serialize;

use super::{Asked, Rule, Terms, tier_of};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Operation;
use crate::budget::usage::BYTES_PER_TOKEN;
use crate::rates::card::{Card, Large, Line, Unread};

/// A line of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PriceLine {
    /// What is told.
    pub what: &'static str,
    /// In words and figures.
    pub value: String,
}

fn line(what: &'static str, value: impl ToString) -> PriceLine {
    PriceLine {
        what,
        value: value.to_string(),
    }
}

fn rounding() -> PriceLine {
    line("rounding", "up, to the next millionth of a credit")
}

impl Card {
    /// Why a call has these terms on this card.
    pub fn lines(&self, operation: Operation, asked: &Asked<'_>, terms: &Terms) -> Vec<PriceLine> {
        let mut lines = vec![line(
            "rate card",
            format_args!("{}, effective {}", self.name, self.effective),
        )];
        if asked.preview {
            let why = "a preview only resolves its template, and runs no model";
            lines.push(line("price", format_args!("nothing: {why}")));
        } else {
            lines.extend(self.of_line(operation, asked, terms));
        }
        lines.push(rounding());
        lines
    }

    /// What the card says of an operation, in a few words.
    pub fn tariff(&self, operation: Operation) -> String {
        match self.line(operation) {
            Line::Free => "nothing".to_owned(),
            Line::PerCall { price, large, .. } => match large {
                None => format!("{price} a call"),
                Some(large) => format!(
                    "{price} a call, {} over {} tokens or for more than one generation",
                    large.price, large.over_tokens
                ),
            },
            Line::PerAction {
                price,
                conversation_max,
                ..
            } => match conversation_max {
                None => format!("{price} an action"),
                Some(most) => format!("{price} an action, {most} at most for the conversation"),
            },
            Line::PerUnit { price, per: 1, .. } => format!("{price} a unit"),
            Line::PerUnit { price, per, .. } => format!("{price} for {per} units"),
            Line::PerTokens { per, .. } => {
                format!("each started {per} tokens, by the model's tier")
            }
        }
    }

    fn of_line(&self, operation: Operation, asked: &Asked<'_>, terms: &Terms) -> Vec<PriceLine> {
        match self.line(operation) {
            Line::Free => vec![line("price", "nothing: this card does not charge for it")],
            Line::PerCall { price, large, max } => per_call(asked, (*price, *max), large.as_ref()),
            Line::PerAction {
                price,
                estimate,
                max,
                conversation_max,
            } => per_action(asked, terms, (*price, *estimate, *max), *conversation_max),
            Line::PerUnit { price, per, unread } => per_unit(asked, (*price, *per), *unread),
            Line::PerTokens {
                per,
                models,
                output_tokens,
                ..
            } => {
                let tier = tier_of(models, asked.model);
                let mut lines = per_tokens(asked, *per, *output_tokens);
                lines.push(match tier {
                    Some(tier) => line("tier", format_args!("{tier}, that of {}", asked.model)),
                    None => line("tier", "the card's default: the model is not on it"),
                });
                lines.push(line(
                    "price",
                    format_args!("{} a started block", terms.price),
                ));
                lines
            }
        }
    }
}

impl Terms {
    /// Why a call no card knows has these terms.
    pub fn flat_lines(&self) -> Vec<PriceLine> {
        vec![line(
            "price",
            format_args!("{}: a flat amount, as [unpriced] says", self.price),
        )]
    }
}

fn per_call(
    asked: &Asked<'_>,
    (price, max): (MicroCredits, MicroCredits),
    large: Option<&Large>,
) -> Vec<PriceLine> {
    let mut lines = vec![
        line("measure", "the call"),
        line("price", format_args!("{price} a call")),
    ];
    if let Some(large) = large {
        lines.push(line(
            "large",
            format_args!(
                "{} a call over {} tokens or for more than one generation",
                large.price, large.over_tokens
            ),
        ));
    }
    if let Some(generations) = asked.generations {
        lines.push(line("generations", generations));
    }
    lines.push(line("max", format_args!("{max} a call")));
    lines
}

fn per_action(
    asked: &Asked<'_>,
    terms: &Terms,
    (price, estimate, max): (MicroCredits, MicroCredits, MicroCredits),
    conversation_max: Option<MicroCredits>,
) -> Vec<PriceLine> {
    let mut lines = vec![
        line("measure", "each distinct action of the turn"),
        line("price", format_args!("{price} an action")),
        line("turn", format_args!("{estimate} expected, {max} at most")),
    ];
    if let Some(most) = conversation_max {
        let so_far = asked.conversation.charged;
        lines.push(line(
            "conversation",
            format_args!(
                "{most} at most with its opening; {so_far} so far, turns in flight included"
            ),
        ));
    }
    if !terms.opening.is_zero() {
        lines.push(line(
            "opening",
            format_args!(
                "{}: it was not seen, so this turn pays for it",
                terms.opening
            ),
        ));
    }
    if let (Some(_), Rule::Actions { left }) = (conversation_max, terms.rule) {
        lines.push(line("left", format_args!("{left} of the conversation")));
    }
    lines
}

fn per_unit(
    asked: &Asked<'_>,
    (price, per): (MicroCredits, u64),
    unread: Unread,
) -> Vec<PriceLine> {
    let units = match (asked.units, unread) {
        (Some(units), _) => format!("{units}, read from the body"),
        (None, Unread::Units(units)) => {
            format!("{units}: the body does not tell, and that is the most there can be")
        }
        (None, Unread::BytesPerUnit(bytes)) => format!(
            "{}: the body does not tell, so one for each {bytes} of its {} bytes",
            unread.units(asked.body_bytes),
            asked.body_bytes
        ),
    };
    vec![
        line("measure", "each unit: row, record, input"),
        line(
            "price",
            match per {
                1 => format!("{price} a unit"),
                per => format!("{price} for {per} units"),
            },
        ),
        line("units", units),
    ]
}

fn per_tokens(asked: &Asked<'_>, per: u64, output_tokens: u64) -> Vec<PriceLine> {
    let expected = asked.expected(output_tokens);
    let output = match asked.output_tokens {
        Some(_) => "as the request allows",
        None => "as the card expects where the request sets no limit",
    };
    vec![
        line(
            "measure",
            format_args!("each started {per} tokens, in and out"),
        ),
        line(
            "input",
            format_args!(
                "{} tokens: {} bytes of body at {BYTES_PER_TOKEN} a token",
                expected.input, asked.body_bytes
            ),
        ),
        line(
            "output",
            format_args!("{} tokens, {output}", expected.output),
        ),
        line("blocks", expected.tokens().div_ceil(per).max(1)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rates::quote::Conversation;

    fn credits(text: &str) -> MicroCredits {
        MicroCredits::parse(text).unwrap()
    }

    fn card(operation: Operation, its: Line) -> Card {
        let lines = Operation::ALL.iter().map(|other| (*other, Line::Free));
        let mut lines: std::collections::BTreeMap<_, _> = lines.collect();
        let opening = Line::PerCall {
            price: credits("2"),
            large: None,
            max: credits("2"),
        };
        lines.insert(Operation::AgentConversation, opening);
        lines.insert(operation, its);
        Card::new("test".to_owned(), "2026-08-31".parse().unwrap(), lines).unwrap()
    }

    /// Estimate and bound, and the value of each line that is named.
    fn check(
        operation: Operation,
        its: Line,
        asked: &Asked<'_>,
        quote: (&str, &str),
        want: &[(&str, &str)],
    ) {
        let card = card(operation, its);
        let terms = card.quote(operation, asked);
        let got = (terms.quote.estimate, terms.quote.bound);
        assert_eq!(got, (credits(quote.0), credits(quote.1)), "{operation}");
        let lines = card.lines(operation, asked, &terms);
        for (what, value) in want {
            let line = lines.iter().find(|line| line.what == *what);
            let got = line.map(|line| line.value.as_str()).unwrap_or_default();
            assert!(got.starts_with(value), "{operation} {what}: {got}");
        }
    }

    #[test]
    fn each_line_shows_the_figures_the_quote_was_made_of() {
        let turn = Line::PerAction {
            price: credits("1"),
            estimate: credits("2"),
            max: credits("6"),
            conversation_max: Some(credits("8")),
        };
        let unseen = Conversation {
            charged: credits("3"),
            opening_owed: true,
        };
        let asked = Asked {
            conversation: unseen,
            ..Asked::default()
        };
        check(
            Operation::AgentTurn,
            turn,
            &asked,
            ("4", "5"),
            &[("opening", "2:"), ("left", "3 ")],
        );
        let rows = Line::PerUnit {
            price: credits("0.2"),
            per: 3,
            unread: Unread::Units(200),
        };
        let read = Asked {
            units: Some(10),
            ..Asked::default()
        };
        check(
            Operation::EinsteinPredict,
            rows.clone(),
            &read,
            ("0.666667", "0.666667"),
            &[("units", "10, read")],
        );
        check(
            Operation::EinsteinPredict,
            rows,
            &Asked::default(),
            ("13.333334", "13.333334"),
            &[("units", "200:"), ("price", "0.2 for 3 units")],
        );
        let tokens = Line::PerTokens {
            per: 2_000,
            tiers: [("large".to_owned(), credits("16"))].into(),
            models: [("m".to_owned(), "large".to_owned())].into(),
            default_price: credits("4"),
            output_tokens: 8_192,
        };
        let asked = Asked {
            body_bytes: 41,
            model: "m",
            ..Asked::default()
        };
        check(
            Operation::ModelGenerate,
            tokens,
            &asked,
            ("80", "80"),
            &[
                ("input", "11 tokens"),
                ("output", "8192 tokens, as the card"),
                ("blocks", "5"),
                ("tier", "large"),
            ],
        );
    }

    #[test]
    fn a_preview_and_what_is_not_on_the_card_cost_nothing() {
        let asked = Asked {
            preview: true,
            ..Asked::default()
        };
        let call = Line::PerCall {
            price: credits("1"),
            large: None,
            max: credits("2"),
        };
        check(
            Operation::PromptGenerate,
            call,
            &asked,
            ("0", "0"),
            &[("price", "nothing: a preview")],
        );
        check(
            Operation::EinsteinSearch,
            Line::Free,
            &Asked::default(),
            ("0", "0"),
            &[("price", "nothing: this card"), ("rounding", "up")],
        );
    }
}
