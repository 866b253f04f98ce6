//! What each thing costs on the two shipped cards, written out a second time on purpose.
//!
//! The simulator is the oracle of the tests: its totals are "really spent". Were it to ask the
//! gateway's own rate cards, a wrong price would agree with itself. So this file knows nothing of
//! them; the figures are those of design.md, section 8, and salesforce-apis.md, section 6.1.

/// Micro-credits in a credit.
pub(crate) const CREDIT: i64 = 1_000_000;

/// Tokens a chunk holds; each one begun is billed.
const CHUNK_TOKENS: u64 = 2_000;

/// The most a conversation costs on the guide card, with its opening.
const CONVERSATION_MOST: i64 = 8 * CREDIT;

/// Credits a chunk of tokens costs on the flex card for a model nobody named a tier for.
pub(crate) const STANDARD: u32 = 4;

/// Credits a chunk costs on the flex card where the customer brings the model.
pub(crate) const STARTER: u32 = 2;

/// The price of one thing on both cards, in micro-credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) guide: i64,
    pub(crate) flex: i64,
}

/// A session opened.
pub(crate) const fn conversation() -> Charge {
    Charge {
        guide: 2 * CREDIT,
        flex: 0,
    }
}

/// One action run in a conversation that has cost `spent` on the guide card so far.
///
/// The guide card counts distinct actions of a turn up to the conversation's 8 credits; the flex
/// card counts every run.
pub(crate) fn action(spent: i64, first_of_its_name: bool) -> Charge {
    let room = CONVERSATION_MOST.saturating_sub(spent).max(0);
    let guide = if first_of_its_name {
        CREDIT.min(room)
    } else {
        0
    };
    Charge {
        guide,
        flex: 20 * CREDIT,
    }
}

/// One call of a model for text: a prompt, a chat, a generation.
pub(crate) fn generation(tokens: u64, generations: u64, chunk_credits: u32) -> Charge {
    let large = tokens > CHUNK_TOKENS || generations > 1;
    Charge {
        guide: if large { 2 * CREDIT } else { CREDIT },
        flex: chunks(tokens, chunk_credits),
    }
}

/// `inputs` texts embedded in one call.
pub(crate) fn embedding(inputs: u64, tokens: u64, chunk_credits: u32) -> Charge {
    Charge {
        guide: tenths(inputs),
        flex: chunks(tokens, chunk_credits),
    }
}

/// `rows` rows or records predicted; not on the flex card.
pub(crate) fn prediction(rows: u64) -> Charge {
    Charge {
        guide: 2 * tenths(rows),
        flex: 0,
    }
}

fn chunks(tokens: u64, chunk_credits: u32) -> i64 {
    let begun = tokens.max(1).div_ceil(CHUNK_TOKENS);
    i64::try_from(begun)
        .unwrap_or(i64::MAX)
        .saturating_mul(i64::from(chunk_credits) * CREDIT)
}

fn tenths(count: u64) -> i64 {
    i64::try_from(count)
        .unwrap_or(i64::MAX)
        .saturating_mul(CREDIT.div_euclid(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(case: &str, charge: Charge, guide: i64, flex: i64) {
        assert_eq!(charge, Charge { guide, flex }, "{case}");
    }

    #[test]
    fn both_cards_price_every_unit() {
        check("conversation", conversation(), 2_000_000, 0);
        check(
            "first action",
            action(2 * CREDIT, true),
            1_000_000,
            20_000_000,
        );
        check(
            "the same action again",
            action(3 * CREDIT, false),
            0,
            20_000_000,
        );
        check("at the cap", action(8 * CREDIT, true), 0, 20_000_000);
        check(
            "2,000 tokens",
            generation(2_000, 1, STANDARD),
            1_000_000,
            4_000_000,
        );
        check(
            "2,001 tokens",
            generation(2_001, 1, STANDARD),
            2_000_000,
            8_000_000,
        );
        check(
            "6,500 tokens are 4 prompts",
            generation(6_500, 1, 16),
            2_000_000,
            64_000_000,
        );
        check(
            "two generations",
            generation(10, 2, STARTER),
            2_000_000,
            2_000_000,
        );
        check("embeddings", embedding(3, 30, STANDARD), 300_000, 4_000_000);
        check("200 rows", prediction(200), 40_000_000, 0);
    }
}
