//! What a request is reserved at and an answer is charged at, rule by rule.

use super::*;

const EMBED: Operation = Operation::ModelEmbed;

fn credits(text: &str) -> MicroCredits {
    MicroCredits::parse(text).unwrap()
}

/// A card on which one operation has a price.
fn card(operation: Operation, line: Line) -> Card {
    let lines = Operation::ALL.iter().map(|other| match *other {
        other if other == operation => (other, line.clone()),
        other => (other, Line::Free),
    });
    let day = "2026-08-31".parse().unwrap();
    Card::new("own".into(), day, lines.collect()).unwrap()
}

/// Started blocks of 2,000 tokens, as on the published card.
fn tokens(output_tokens: u64) -> Line {
    let tiers = [("standard", "4"), ("advanced", "16")];
    Line::PerTokens {
        per: 2_000,
        tiers: tiers
            .map(|(tier, price)| (tier.into(), credits(price)))
            .into(),
        models: [("Dear_Model".into(), "advanced".into())].into(),
        default_price: credits("4"),
        output_tokens,
    }
}

fn per_unit() -> Line {
    Line::PerUnit {
        price: credits("0.1"),
        per: 1,
        unread: Unread::BytesPerUnit(4),
    }
}

fn per_call() -> Line {
    Line::PerCall {
        price: credits("1"),
        large: Some(Large {
            over_tokens: 2_000,
            price: credits("2"),
        }),
        max: credits("2"),
    }
}

fn asked(units: Option<u64>, body_bytes: u64) -> Asked<'static> {
    Asked {
        units,
        body_bytes,
        ..Asked::default()
    }
}

/// What is reserved, which is also the bound.
fn check(line: Line, asked: &Asked<'_>, want: &str) {
    let quote = card(EMBED, line).quote(EMBED, asked).quote;
    let got = (quote.estimate, quote.bound);
    assert_eq!(got, (credits(want), credits(want)), "{asked:?}");
}

#[test]
fn a_hundred_inputs_in_one_call_are_one_call() {
    check(tokens(0), &asked(Some(100), 8_000), "4");
    check(tokens(0), &asked(Some(100), 8_001), "8");
    check(per_call(), &asked(Some(100), 8_000), "2");
    check(per_unit(), &asked(Some(100), 8_000), "10");
    let base = card(EMBED, tokens(0)).quote(EMBED, &asked(Some(100), 8_000));
    assert_eq!(base.quote.base, credits("4"));
}

#[test]
fn nothing_counted_is_reserved_as_one() {
    check(tokens(0), &asked(None, 0), "4");
    check(tokens(0), &asked(Some(0), 0), "4");
    check(per_unit(), &asked(Some(0), 12), "0.1");
    check(per_unit(), &asked(None, 0), "0.1");
    check(per_unit(), &asked(None, 13), "0.4");
}

#[test]
fn a_number_made_up_stays_within_what_there_is() {
    let prompt = |generations, output_tokens| Asked {
        generations,
        output_tokens,
        ..Asked::default()
    };
    check(tokens(8_192), &prompt(None, None), "20");
    check(tokens(8_192), &prompt(Some(3), Some(1_000)), "8");
    check(tokens(8_192), &prompt(Some(0), Some(1_000)), "4");
    check(tokens(8_192), &prompt(Some(100_000_000), None), "2100"); // 128 generations
    check(tokens(8_192), &prompt(None, Some(u64::MAX)), "264"); // 131,072 tokens
    check(tokens(200_000), &prompt(None, None), "400"); // a card may know better
}

#[test]
fn a_model_has_its_tier_in_any_spelling() {
    let check_model = |model, want| {
        let asked = Asked {
            model,
            ..asked(None, 1)
        };
        check(tokens(0), &asked, want);
    };
    check_model("Dear_Model", "16");
    check_model("dear_MODEL", "16");
    check_model("Dear_Model2", "4");
}

#[test]
fn only_what_is_proven_to_cost_nothing_is_free() {
    let check_free = |operation, line: Line, asked: &Asked<'_>, want: bool| {
        let terms = card(operation, line.clone()).quote(operation, asked);
        assert_eq!(terms.is_free(), want, "{line:?} {asked:?}");
    };
    let preview = Asked {
        preview: true,
        ..Asked::default()
    };
    check_free(EMBED, Line::Free, &asked(None, 1), true);
    check_free(EMBED, tokens(0), &preview, true);
    for line in [tokens(0), per_unit(), per_call()] {
        check_free(EMBED, line, &asked(Some(0), 0), false);
    }
    let turn = Line::PerAction {
        price: credits("1"),
        estimate: credits("2"),
        max: credits("6"),
        conversation_max: Some(credits("8")),
    };
    let charged = |charged: &str| Asked {
        conversation: Conversation {
            charged: credits(charged),
            opening_owed: false,
        },
        ..Asked::default()
    };
    check_free(Operation::AgentTurn, turn.clone(), &charged("7.9"), false);
    check_free(Operation::AgentTurn, turn.clone(), &charged("8"), true);
    check_free(Operation::AgentTurn, turn, &charged("9"), true);
}
