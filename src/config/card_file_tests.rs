use super::*;
use crate::rates;

fn faults(text: &str) -> (Option<Card>, Vec<String>) {
    let source = Source::new("rates/own.toml", text);
    let guide = Source::new("guide", rates::GUIDE);
    let guide = read(&guide, &BTreeMap::new()).unwrap();
    let known = BTreeMap::from([(guide.name.clone(), Arc::new(guide))]);
    let card = read(&source, &known);
    (card, source.into_findings().0.lines())
}

/// The guide under another name, with one edit, has one fault.
fn check(from: &str, to: &str, want: &str) {
    let text = rates::GUIDE.replacen("name = \"guide\"", "name = \"own\"", 1);
    assert!(text.contains(from), "{from} is not in the card");
    let (_, faults) = faults(&text.replacen(from, to, 1));
    assert_eq!(faults.len(), 1, "{to}: {faults:?}");
    assert!(faults[0].contains(want), "{to}: {}", faults[0]);
}

#[test]
fn the_shipped_cards_are_valid_and_named_as_listed() {
    for (name, text) in rates::SHIPPED {
        let source = Source::new(name, text);
        let card = read(&source, &BTreeMap::new());
        assert_eq!(source.into_findings().0.lines(), Vec::<String>::new());
        assert_eq!(card.unwrap().name, name);
    }
}

#[test]
fn a_card_is_read_as_written() {
    let (card, faults) = faults(
        &rates::FLEX_2026_08
            .replacen("name = \"flex-2026-08\"", "name = \"own\"", 1)
            .replacen("effective = \"2026-08-31\"", "effective = 2026-09-30", 1),
    );
    assert_eq!(faults, Vec::<String>::new());
    let card = card.unwrap();
    assert_eq!(
        (card.name.as_str(), card.effective.to_string()),
        ("own", "2026-09-30".to_owned())
    );
    let credits = |text| MicroCredits::parse(text).unwrap();
    assert_eq!(card.line(Operation::EinsteinPredict), &Line::Free);
    let turn = Line::PerAction {
        price: credits("20"),
        estimate: credits("20"),
        max: credits("200"),
        conversation_max: None,
    };
    assert_eq!(card.line(Operation::AgentTurn), &turn);
    let ingest = Line::PerUnit {
        price: credits("3500"),
        per: 1_000_000,
        unread: Unread::BytesPerUnit(3),
    };
    assert_eq!(card.line(Operation::DataIngest), &ingest);
}

#[test]
fn names_are_unique() {
    check(
        "name = \"own\"",
        "name = \"guide\"",
        "3:8: another card is called \"guide\" already (names are unique",
    );
    check("name = \"own\"", "", "1:1: the file has no name");
    check(
        "effective = \"2026-01-01\"",
        "effective = \"soon\"",
        "4:13: effective: not a date like",
    );
}

#[test]
fn every_operation_has_a_line() {
    let (_, faults) = faults(
        "name = \"own\"\neffective = \"2026-01-01\"\n[operation.\"data.query\"]\nmeasure = \"free\"\n",
    );
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(
        faults[0].contains("no price for agent.conversation, agent.turn, "),
        "{faults:?}"
    );
    assert!(!faults[0].contains("data.query"), "{faults:?}");
}

#[test]
fn every_line_has_a_bound() {
    check(
        "max = \"2\"",
        "",
        "6:1: agent.conversation has no max (the most one may cost",
    );
    check("max = \"6\"", "", "11:1: agent.turn has no max");
    check(
        "unread = { units = 200 }",
        "",
        "einstein.predict has no unread (the bound where a request does not tell",
    );
    check(
        "{ units = 200 }",
        "{ units = 200, bytes_per_unit = 4 }",
        "unread has one of units and bytes_per_unit",
    );
    check(
        "{ units = 200 }",
        "{}",
        "unread has one of units and bytes_per_unit",
    );
    check(
        "{ units = 200 }",
        "{ units = 0 }",
        "units: not between 1 and 1000000000000",
    );
    check(
        "{ bytes_per_unit = 4 }",
        "{ bytes_per_unit = 0 }",
        "bytes_per_unit: not between 1",
    );
    check(
        "max = \"2\"",
        "max = \"1\"",
        "9:7: max is 1, less than the price of 2",
    );
    check(
        "max = \"6\"",
        "max = \"6\"\nestimat = 1",
        "16:1: unknown key \"estimat\" in agent.turn (did you mean \"estimate\"?)",
    );
}

#[test]
fn prices_are_exact_and_estimates_within_their_bound() {
    check(
        "price = \"0.1\"",
        "price = 0.1",
        "price is a float, which is not exact (write it in quotes: price = \"0.1\")",
    );
    check("price = \"0.1\"", "price = \"-0.1\"", "price: below zero");
    check(
        "price = \"0.1\"",
        "price = \"0.0000001\"",
        "price: finer than a micro-credit",
    );
    check(
        "estimate = \"2\"",
        "estimate = \"7\"",
        "estimate is 7, max is 6 (an estimate is above 0",
    );
    check(
        "estimate = \"2\"",
        "estimate = \"0\"",
        "estimate is 0, max is 6",
    );
    check(
        "large = { over_tokens = 2000, price = \"2\" }",
        "large = { over_tokens = 2000 }",
        "large has no price",
    );
    check("per = 1000", "per = 0", "per: not between 1");
}

#[test]
fn words_are_known() {
    check(
        "measure = \"call\"",
        "measure = \"cal\"",
        "measure = \"cal\" is unknown (did you mean \"call\"?)",
    );
    check(
        "measure = \"unit\"",
        "measure = \"action\"",
        "model.embed runs no actions",
    );
}

#[test]
fn an_unknown_operation_is_a_fault() {
    let text = rates::GUIDE.replacen("name = \"guide\"", "name = \"own\"", 1);
    let (_, faults) = faults(&text.replacen("\"agent.turn\"", "\"agent.turns\"", 1));
    assert!(
        faults.iter().any(|fault| fault.contains(
            "11:12: no operation is called \"agent.turns\" (did you mean \"agent.turn\"?)"
        )),
        "{faults:?}"
    );
    assert!(
        faults
            .iter()
            .any(|fault| fault.contains("no price for agent.turn ")),
        "{faults:?}"
    );
}

#[test]
fn tiers_are_known_to_models() {
    let edit = |from: &str, to: &str, want: &str| {
        let text = rates::FLEX_2026_08.replacen("name = \"flex-2026-08\"", "name = \"own\"", 1);
        assert!(text.contains(from), "{from} is not in the card");
        let (_, faults) = faults(&text.replacen(from, to, 1));
        assert_eq!(faults.len(), 1, "{to}: {faults:?}");
        assert!(faults[0].contains(want), "{to}: {}", faults[0]);
    };
    edit(
        "default_tier = \"standard\"",
        "default_tier = \"standrad\"",
        "no tier is called \"standrad\" (did you mean \"standard\"?)",
    );
    edit(
        "Omni\" = \"standard\"",
        "Omni\" = \"best\"",
        "no tier is called \"best\" (known: advanced, basic, standard, starter)",
    );
    edit(
        "starter = \"2\"",
        "starter = 0.5",
        "starter is a float, which is not exact",
    );
    edit("starter = \"2\"", "starter = \"-2\"", "starter: below zero");
    edit(
        "output_tokens = 8192",
        "",
        "prompt.generate has no output_tokens (the bound where",
    );
    edit("per = 2000", "", "prompt.generate has no per");
}
