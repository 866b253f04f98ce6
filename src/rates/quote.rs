//! From a request's facts to estimate and bound, and from what was used to the price.

pub mod lines;

use std::collections::BTreeMap;

use super::card::{Card, Large, Line, Unread};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Operation;
use crate::budget::settlement::Quote;
use crate::budget::usage::{Usage, tokens_of};

/// What a request says about its own cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Rows, records or inputs in the body; `None` where they could not be read.
    pub units: Option<u64>,
    /// Bytes of the body, or the most they can be where nobody knows.
    pub body_bytes: u64,
    /// Output tokens the request allows; `None` where it sets no limit.
    pub output_tokens: Option<u64>,
    /// Generations asked for; `None` where the body could not be read.
    pub generations: Option<u64>,
    /// The model, where the request names one.
    pub model: &'a str,
    /// Where the conversation stands, for its turns.
    pub conversation: Conversation,
    /// Only resolves a template, runs no model.
    pub preview: bool,
}

/// Where a conversation stands before a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversation {
    /// What the conversation cost so far, with the estimates of turns in flight.
    pub charged: MicroCredits,
    /// Its opening was not seen, so this turn pays for it.
    pub opening_owed: bool,
}

/// The terms a call is settled by: fixed when it is admitted, whatever a reload changes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Estimate and bound.
    pub quote: Quote,
    /// The opening this call pays for besides itself.
    pub opening: MicroCredits,
    price: MicroCredits,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Free,
    Call { large: Option<Large> },
    Actions { left: MicroCredits },
    Units { per: u64 },
    Tokens { per: u64 },
}

/// A request that asks for more generations than this is reserved for these: the most `n` of the LLM Open
/// Connector's specification, and no other of these APIs takes more.
const GENERATIONS_MAX: u64 = 128;
/// The same for output tokens: no model offered writes more in one answer. What is used beyond either is charged
/// all the same, and covered before it passes; here it only keeps a made-up number out of the ledger's grants.
const OUTPUT_TOKENS_MAX: u64 = 1 << 17;

impl Card {
    /// Prices a request before it is forwarded.
    pub fn quote(&self, operation: Operation, asked: &Asked<'_>) -> Terms {
        let terms = |estimate, bound, price, rule, base| Terms {
            quote: Quote {
                operation,
                estimate,
                bound,
                base,
            },
            opening: MicroCredits::ZERO,
            price,
            rule,
        };
        let zero = MicroCredits::ZERO;
        if asked.preview {
            return terms(zero, zero, zero, Rule::Free, zero);
        }
        match self.line(operation) {
            Line::Free => terms(zero, zero, zero, Rule::Free, zero),
            Line::PerCall { price, large, max } => {
                let rule = Rule::Call { large: *large };
                terms(*max, *max, *price, rule, *price)
            }
            Line::PerAction {
                price,
                estimate,
                max,
                conversation_max,
            } => self.quote_turn(asked, (*price, *estimate, *max), *conversation_max),
            Line::PerUnit { price, per, unread } => {
                // Nothing asked for is reserved as one: that the answer says nothing was done is not known yet.
                let units = asked
                    .units
                    .unwrap_or_else(|| unread.units(asked.body_bytes))
                    .max(1);
                let bound = units_price(*price, units, *per);
                terms(bound, bound, *price, Rule::Units { per: *per }, bound)
            }
            Line::PerTokens {
                per,
                tiers,
                models,
                default_price,
                output_tokens,
            } => {
                let tier = tier_of(models, asked.model).and_then(|tier| tiers.get(tier));
                let price = *tier.unwrap_or(default_price);
                let bound = tokens_price(price, asked.expected(*output_tokens).tokens(), *per);
                terms(bound, bound, price, Rule::Tokens { per: *per }, price)
            }
        }
    }

    fn quote_turn(
        &self,
        asked: &Asked<'_>,
        (price, estimate, max): (MicroCredits, MicroCredits, MicroCredits),
        conversation_max: Option<MicroCredits>,
    ) -> Terms {
        let opening = self.opening(&asked.conversation);
        let charged = add(asked.conversation.charged, opening);
        let left = conversation_max.map_or(MicroCredits::MAX, |most| {
            most.checked_sub(charged)
                .unwrap_or_default()
                .max(MicroCredits::ZERO)
        });
        let quote = Quote {
            operation: Operation::AgentTurn,
            estimate: add(opening, estimate.min(left)),
            bound: add(opening, max.min(left)),
            base: opening,
        };
        Terms {
            quote,
            opening,
            price,
            rule: Rule::Actions { left },
        }
    }
}

impl Card {
    /// What a turn pays for a conversation's opening that was not seen.
    fn opening(&self, conversation: &Conversation) -> MicroCredits {
        match self.line(Operation::AgentConversation) {
            Line::PerCall { price, .. } if conversation.opening_owed => *price,
            Line::PerCall { .. }
            | Line::Free
            | Line::PerAction { .. }
            | Line::PerUnit { .. }
            | Line::PerTokens { .. } => MicroCredits::ZERO,
        }
    }
}

impl Asked<'_> {
    /// Tokens to expect, where nobody has counted any yet; `output_tokens` where the request sets no limit.
    fn expected(&self, output_tokens: u64) -> Expected {
        let generations = self.generations.unwrap_or(1).clamp(1, GENERATIONS_MAX);
        let output = self.output_tokens.unwrap_or(output_tokens);
        let output = output.min(OUTPUT_TOKENS_MAX.max(output_tokens));
        Expected {
            input: tokens_of(self.body_bytes),
            output: output.saturating_mul(generations),
        }
    }
}

/// Tokens to expect of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expected {
    input: u64,
    output: u64,
}

impl Expected {
    const fn tokens(self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl Terms {
    /// A flat amount for a call no card knows.
    pub const fn flat(operation: Operation, price: MicroCredits) -> Self {
        let quote = Quote {
            operation,
            estimate: price,
            bound: price,
            base: price,
        };
        let rule = Rule::Call { large: None };
        Self {
            quote,
            opening: MicroCredits::ZERO,
            price,
            rule,
        }
    }

    /// The price, where nothing in the answer can change it.
    pub fn fixed_price(&self) -> Option<MicroCredits> {
        match self.rule {
            Rule::Free => Some(MicroCredits::ZERO),
            Rule::Call { large: None } => Some(self.price),
            Rule::Call { large: Some(_), .. }
            | Rule::Actions { .. }
            | Rule::Units { .. }
            | Rule::Tokens { .. } => None,
        }
    }

    /// The price of what was used.
    pub fn price(&self, usage: &Usage) -> MicroCredits {
        match self.rule {
            Rule::Free => MicroCredits::ZERO,
            Rule::Call { large: Some(large) }
                if usage.generations > 1 || usage.tokens() > large.over_tokens =>
            {
                large.price
            }
            Rule::Call { .. } => self.price,
            Rule::Actions { left } => {
                let actions = units_price(self.price, usage.units, 1);
                add(self.opening, actions.min(left))
            }
            Rule::Units { per } => units_price(self.price, usage.units, per),
            Rule::Tokens { per } => tokens_price(self.price, usage.tokens(), per),
        }
    }

    /// Whether the call costs nothing, whatever it uses: by the card, as a preview, or because the conversation has
    /// reached its most. A bound that merely came out as nothing proves nothing.
    pub const fn is_free(&self) -> bool {
        let is_proven = match self.rule {
            Rule::Free | Rule::Actions { .. } => true,
            Rule::Call { .. } | Rule::Units { .. } | Rule::Tokens { .. } => self.price.is_zero(),
        };
        is_proven && self.quote.bound.is_zero() && self.quote.estimate.is_zero()
    }
}

/// A model's tier, in whatever case it is written: names are one whatever their case, and a dearer model must not
/// become a cheap one by its spelling.
fn tier_of<'c>(models: &'c BTreeMap<String, String>, model: &str) -> Option<&'c String> {
    let in_another_case = || {
        let mut models = models.iter();
        models.find_map(|(known, tier)| known.eq_ignore_ascii_case(model).then_some(tier))
    };
    models.get(model).or_else(in_another_case)
}

impl Unread {
    fn units(self, body_bytes: u64) -> u64 {
        match self {
            Self::Units(units) => units,
            // `check` refuses a card with zero here; a division by nothing would be the whole body.
            Self::BytesPerUnit(bytes) => body_bytes.div_ceil(bytes.max(1)),
        }
    }
}

/// Sums and products past 9.2e12 credits stay at that amount, which no allocation can pay.
fn add(a: MicroCredits, b: MicroCredits) -> MicroCredits {
    a.checked_add(b).unwrap_or(MicroCredits::MAX)
}

/// Started blocks of `per` tokens, at least one.
fn tokens_price(block: MicroCredits, tokens: u64, per: u64) -> MicroCredits {
    units_price(block, tokens.div_ceil(per).max(1), 1)
}

fn units_price(price: MicroCredits, units: u64, per: u64) -> MicroCredits {
    price.for_units(units, per).unwrap_or(MicroCredits::MAX)
}

#[cfg(test)]
#[path = "quote_tests.rs"]
mod tests;
