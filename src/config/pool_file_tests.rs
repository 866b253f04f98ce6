use super::*;

#[test]
fn the_pool_is_complete() {
    let (_, faults, _) = findings("[pool]\n");
    let missing: Vec<_> = faults
        .iter()
        .map(|fault| fault.split(" (").next().unwrap())
        .collect();
    let want = [
        "annual_cost",
        "annual_credits",
        "contract_start",
        "rate_card",
        "time_zone",
        "unattributed",
    ];
    assert_eq!(
        missing,
        want.map(|key| format!("allocations.toml:1:1: [pool] has no {key}"))
    );
    let (_, faults, warnings) = findings("# nothing\n");
    assert!(
        faults[0].contains("1:1: the file has no [pool] (required: annual_credits"),
        "{faults:?}"
    );
    assert!(warnings[0].contains("no [[team]]"), "{warnings:?}");
}

#[test]
fn credits_and_cost_are_exact() {
    check_pool(
        "1_200_000",
        "0",
        "2:18: annual_credits is not between 1 and 1000000000000",
    );
    check_pool(
        "1_200_000",
        "1_000_000_000_001",
        "2:18: annual_credits is not between",
    );
    check_pool("1_200_000", "-5", "2:18: annual_credits: below zero");
    check_pool(
        "1_200_000",
        "1e6",
        "2:18: annual_credits is a float, which is not exact (write it in quotes",
    );
    check_pool("1_200_000", "99999999999999999999", "2:18: ");
    check_pool(
        "1_200_000",
        "\"many\"",
        "2:18: annual_credits: not a number of credits",
    );
    check_pool(
        "\"36000.00\"",
        "36000.00",
        "3:26: amount is a float, which is not exact",
    );
    check_pool("\"36000.00\"", "\"-1\"", "3:26: amount: below zero");
    check_pool(
        "amount = \"36000.00\",",
        "",
        "3:15: annual_cost has no amount",
    );
    check_pool(
        "\"USD\"",
        "\"usd\"",
        "currency: no ISO 4217 code like \"USD\"",
    );
    check_pool(
        "{ amount = \"36000.00\", currency = \"USD\" }",
        "36_000",
        "3:15: annual_cost is an integer, not a table",
    );
}

/// A time of day was dropped.
#[test]
fn a_contract_starts_with_a_day() {
    for written in ["\"2026-02-01T17:00:00\"", "2026-02-01T17:00:00"] {
        let want = "4:18: contract_start: not a date like \"2026-02-01\", without a time of day";
        check_pool("\"2026-02-01\"", written, want);
    }
}

#[test]
fn the_contract_is_plausible() {
    check_pool(
        "\"2026-02-01\"",
        "\"2026-02-30\"",
        "4:18: contract_start: not a date like",
    );
    check_pool(
        "\"2026-02-01\"",
        "\"2026-11-24\"",
        "4:18: the contract starts in the future, on 2026-11-24",
    );
    check_pool(
        "\"2026-02-01\"",
        "2027-01-01",
        "4:18: the contract starts in the future",
    );
    check_pool(
        "\"2026-02-01\"",
        "20260201",
        "4:18: contract_start is an integer, not a date",
    );
    check_pool(
        "America/Los_Angeles",
        "America/Los_Angelas",
        "5:13: no time zone is called \"America/Los_Angelas\" (did you mean \"America/Los_Angeles\"?)",
    );
    check_pool(
        "America/Los_Angeles",
        "Mars",
        "5:13: no time zone is called \"Mars\" (an IANA name",
    );
    check_pool(
        "rate_card = \"flex-2026-08\"\n",
        "",
        "1:1: [pool] has no rate_card (there is no default; choose one of: flex-2026-08, guide)",
    );
    check_pool(
        "\"flex-2026-08\"",
        "\"flex\"",
        "6:13: no rate card is called \"flex\" (known: flex-2026-08, guide)",
    );
    check_pool(
        "\"refuse\"",
        "\"salse\"",
        "7:16: no team is called \"salse\" (did you mean \"sales\"?)",
    );
    check_pool(
        "[pool]",
        "[pool]\ntrip = 90",
        "2:8: trip is an integer, not a string in quotes",
    );
    check_pool(
        "[pool]",
        "[pool]\nburst = \"101%\"",
        "2:9: burst: over 100%",
    );
    check_pool(
        "[pool]",
        "[pool]\ntime_zon = \"UTC\"",
        "2:1: unknown key \"time_zon\" in [pool] (did you mean \"time_zone\"?)",
    );
    check_pool(
        "[pool]",
        "[pool]\nclient_tags = [\"a b\"]",
        "2:16: \"a b\" cannot be a tag",
    );
    check_pool(
        "[pool]",
        "[pool]\nclient_tags = [1]",
        "2:16: client_tags is an integer, not a list of strings",
    );
}
