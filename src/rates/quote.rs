//! From a request's facts to estimate and bound, and from what was used to the price.

pub mod lines;

use super::card::{Card, Large, Line, Unread};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Operation;
use crate::budget::settlement::Quote;
use crate::budget::usage::Usage;

/// What a request says about its own cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Rows, records, inputs or prompts in the body; `None` where they could not be read.
    pub units: Option<u64>,
    /// Bytes of the body.
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
    Call { large: Option<Large>, calls: u64 },
    Actions { left: MicroCredits },
    Units { per: u64 },
    Tokens { per: u64 },
}

/// Bytes that make a token where nobody counted them (design.md, section 8).
pub const BYTES_PER_TOKEN: u64 = 4;

/// Tokens of so many bytes of text, rounded up.
pub fn tokens_of(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

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
                let calls = asked.calls();
                let bound = times(*max, calls);
                terms(
                    bound,
                    bound,
                    *price,
                    Rule::Call {
                        large: *large,
                        calls,
                    },
                    times(*price, calls),
                )
            }
            Line::PerAction {
                price,
                estimate,
                max,
                conversation_max,
            } => self.quote_turn(asked, (*price, *estimate, *max), *conversation_max),
            Line::PerUnit { price, per, unread } => {
                let units = asked
                    .units
                    .unwrap_or_else(|| unread.units(asked.body_bytes));
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
                let tier = models.get(asked.model).and_then(|tier| tiers.get(tier));
                let price = *tier.unwrap_or(default_price);
                let calls = asked.calls();
                let each = times(price, asked.expected(*output_tokens).blocks(*per));
                let bound = times(each, calls);
                terms(
                    bound,
                    bound,
                    price,
                    Rule::Tokens { per: *per },
                    times(price, calls),
                )
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
    /// Calls in one: at least this one.
    pub(super) fn calls(&self) -> u64 {
        self.units.unwrap_or(1).max(1)
    }

    /// Tokens of each, where nobody has counted any yet.
    pub(super) fn expected(&self, output_tokens: u64) -> Expected {
        let output = self.output_tokens.unwrap_or(output_tokens);
        Expected {
            input: tokens_of(self.body_bytes),
            output: output.saturating_mul(self.generations.unwrap_or(1).max(1)),
        }
    }
}

/// Tokens to expect of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) input: u64,
    pub(super) output: u64,
}

impl Expected {
    /// Started blocks of so many tokens.
    pub(super) fn blocks(self, per: u64) -> u64 {
        self.input.saturating_add(self.output).div_ceil(per)
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
        let rule = Rule::Call {
            large: None,
            calls: 1,
        };
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
            Rule::Call { large: None, calls } => Some(times(self.price, calls)),
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
            Rule::Call {
                large: Some(large),
                calls,
            } if usage.generations > 1
                || usage.tokens() > large.over_tokens.saturating_mul(calls) =>
            {
                times(large.price, calls)
            }
            Rule::Call { calls, .. } => times(self.price, calls),
            Rule::Actions { left } => add(self.opening, times(self.price, usage.units).min(left)),
            Rule::Units { per } => units_price(self.price, usage.units, per),
            Rule::Tokens { per } => times(self.price, usage.tokens().div_ceil(per).max(1)),
        }
    }

    /// Whether the price depends on tokens, so that an answer without them is estimated from its text.
    pub const fn counts_tokens(&self) -> bool {
        matches!(
            self.rule,
            Rule::Tokens { .. } | Rule::Call { large: Some(_), .. }
        )
    }

    /// Whether the call costs nothing, whatever it uses.
    pub const fn is_free(&self) -> bool {
        self.quote.bound.is_zero() && self.quote.estimate.is_zero()
    }
}

impl Unread {
    pub(super) fn units(self, body_bytes: u64) -> u64 {
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

fn times(price: MicroCredits, count: u64) -> MicroCredits {
    units_price(price, count, 1)
}

fn units_price(price: MicroCredits, units: u64, per: u64) -> MicroCredits {
    price.for_units(units, per).unwrap_or(MicroCredits::MAX)
}
