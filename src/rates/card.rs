//! What a rate card says, checked: one line an operation, each with a bound.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::budget::credits::MicroCredits;
use crate::budget::operation::Operation;

/// Prices of every operation from a date on.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    /// The name chosen in `rate_card`.
    pub name: String,
    /// The first day the prices hold.
    pub effective: Date,
    /// One line an operation, in the order of [`Operation::ALL`].
    lines: Vec<Line>,
}

/// How one operation is priced.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// Not on the card: costs nothing, by decision.
    Free,
    /// Each call the same.
    PerCall {
        /// Price of a call.
        price: MicroCredits,
        /// A dearer price for large calls.
        large: Option<Large>,
        /// The most a call may cost.
        max: MicroCredits,
    },
    /// By action run in a turn.
    PerAction {
        /// Price of an action.
        price: MicroCredits,
        /// Expected price of a turn.
        estimate: MicroCredits,
        /// The most a turn may cost.
        max: MicroCredits,
        /// The most a whole conversation may cost, its opening included.
        conversation_max: Option<MicroCredits>,
    },
    /// By counted unit: rows, records, inputs, profiles.
    PerUnit {
        /// Price of `per` units.
        price: MicroCredits,
        /// Units the price is for.
        per: u64,
        /// What to count where the request does not tell.
        unread: Unread,
    },
    /// By started block of tokens, in and out together, by the model's tier.
    PerTokens {
        /// Tokens in a block.
        per: u64,
        /// Price of a block by tier.
        tiers: BTreeMap<String, MicroCredits>,
        /// Tier by model name.
        models: BTreeMap<String, String>,
        /// Price of a block for a model not listed.
        default_price: MicroCredits,
        /// Output tokens to expect where the request sets no limit.
        output_tokens: u64,
    },
}

/// A dearer price: over so many tokens, or more than one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Large {
    /// Tokens (in and out) a call may have at the normal price.
    pub over_tokens: u64,
    /// Price of a call beyond that.
    pub price: MicroCredits,
}

/// What to count where a request's units cannot be read: never less than there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// A fixed number of units.
    Units(u64),
    /// One unit for each so many bytes of the body, rounded up.
    BytesPerUnit(u64),
}

impl Card {
    /// A card; `None` unless there is exactly one line for each operation.
    pub fn new(name: String, effective: Date, lines: BTreeMap<Operation, Line>) -> Option<Self> {
        let complete = lines.len() == Operation::ALL.len();
        // A BTreeMap's values come in the order of the enum, which is the order of ALL.
        complete.then(|| Self {
            name,
            effective,
            lines: lines.into_values().collect(),
        })
    }

    /// How an operation is priced.
    pub fn line(&self, operation: Operation) -> &Line {
        self.lines.get(operation.index()).unwrap_or(&Line::Free)
    }
}
