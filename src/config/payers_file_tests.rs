use super::*;

#[test]
fn two_spellings_of_one_thing_are_one() {
    check(
        "[[agent]]\nid = \"0XxHn000000AAAAKA4\"\nteam = \"sales\"\n[[agent]]\nid = \"0XxHn000000AAAA\"\nteam = \"sales\"",
        "16:6: another agent is called \"0XxHn000000AAAA\" already (each belongs to one team; 15 or 18",
    );
    check(
        "[[template]]\nname = \"Quote\"\nteam = \"sales\"\n[[template]]\nname = \"QUOTE\"\nteam = \"sales\"",
        "16:8: another template is called \"QUOTE\" already",
    );
}

#[test]
fn payers_are_known_once_and_have_a_team() {
    check(
        "[[agent]]\nteam = \"sales\"\nname = \"x\"",
        "12:1: [[agent]] has no id",
    );
    check(
        "[[agent]]\nid = \"a\"",
        "12:1: [[agent]] has no team (the team that pays)",
    );
    check(
        "[[agent]]\nid = \"a\"\nteam = \"Sales\"",
        "14:8: no team is called \"Sales\" (did you mean \"sales\"?)",
    );
    check(
        "[[model]]\nname = \"m\"\nteam = \"sales\"\n[[model]]\nname = \"m\"\nteam = \"sales\"",
        "16:8: another model is called \"m\" already",
    );
    check(
        "[[template]]\nname = \"\"\nteam = \"sales\"",
        "13:8: name cannot be \"\"",
    );
    check(
        "[[template]]\nteam = \"sales\"",
        "12:1: [[template]] has no name",
    );
    check(
        "[[template]]\nname = \"t\"\nteam = \"sales\"\ntype = \"x\"",
        "15:1: unknown key \"type\" in [[template]]",
    );
    check(
        "[[template]]\nname = \"t\"\nteam = \"sales\"\nmax_per_hour = 1",
        "15:1: unknown key \"max_per_hour\" in [[template]]",
    );
    check(
        "[[agent]]\nid = \"a\"\nteam = \"sales\"\ntype = \"s/d\"",
        "15:8: type: not a short name like \"sdr\"",
    );
    check(
        "[agent]\nid = \"a\"\nteam = \"sales\"",
        "12:1: agent is a table, not a list of tables: write [[agent]]",
    );
    // One name may be a model's and a template's.
    valid(&format!(
        "{POOL}{SALES}[[model]]\nname = \"m\"\nteam = \"sales\"\n[[template]]\nname = \"m\"\nteam = \"sales\"\n"
    ));
    for (kind, key) in [
        ("prediction", "id"),
        ("prediction", "name"),
        ("source", "name"),
        ("segment", "name"),
        ("client", "id"),
        ("client", "client_id"),
    ] {
        let allocations = valid(&format!(
            "{POOL}{SALES}[[{kind}]]\n{key} = \"x\"\nteam = \"sales\"\n"
        ));
        assert_eq!(
            (
                allocations.named[0].kind.name(),
                allocations.named[0].id.as_str()
            ),
            (kind, "x")
        );
    }
    check_warning(
        "[[agent]]\nid = \"a\"\nteam = \"sales\"\nmax_per_hour = 1\nmax_per_request = \"1.5\"",
        "16:19: max_per_request has no effect: max_per_hour is less",
    );
}

/// They were accepted in silence.
#[test]
fn what_nobody_is_found_by_yet_is_said() {
    for (kind, why) in [
        ("client", "give its callers a [[key]]"),
        ("source", "no call that names one has a price yet"),
        ("segment", "no call that names one has a price yet"),
    ] {
        let table = format!("[[{kind}]]\nname = \"x\"\nteam = \"sales\"");
        let want = format!("12:1: [[{kind}]] has no effect in this version ({why}");
        check_warning(&table, &want);
    }
}

#[test]
fn a_key_is_a_hash() {
    let key = |name: &str, hash: &str| {
        format!("[[key]]\nname = \"{name}\"\nsha256 = \"{hash}\"\nteam = \"sales\"\n")
    };
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    valid(&format!(
        "{POOL}{SALES}{}{}",
        key("one", &a),
        key("two", &b)
    ));
    check(
        &key("one", "secret"),
        "14:10: sha256: no SHA-256: 64 hex digits",
    );
    check(&key("one", &"g".repeat(64)), "14:10: sha256: no SHA-256");
    check(
        &key("one", &a.replacen("aa", "+a", 1)),
        "14:10: sha256: no SHA-256",
    );
    check(
        "[[key]]\nname = \"one\"\nteam = \"sales\"",
        "12:1: [[key]] has no sha256",
    );
    check(
        &format!("{}{}", key("one", &a), key("one", &b)),
        "17:8: another key is called \"one\" already",
    );
    check(
        &format!("{}{}", key("one", &a), key("two", &a.to_uppercase())),
        "18:10: another key has this sha256 already",
    );
    check(
        &format!("{}may_use = [\"sales\", \"suport\"]", key("one", &a)),
        "16:21: no team is called \"suport\"",
    );
    check(
        &format!("{}expires = \"soon\"", key("one", &a)),
        "16:11: expires: no time like 2026-11-01",
    );
    for written in ["2027-01-31T18:00:00", "\"2027-01-31T18:00:00\""] {
        let key = format!("{}expires = {written}", key("one", &a));
        let key = &valid(&format!("{POOL}{SALES}{key}")).keys[0];
        let expires = key.expires.map(|at| at.to_string());
        assert_eq!(
            expires.as_deref(),
            Some("2027-02-01T02:00:00Z"),
            "in Los Angeles"
        );
    }
    let (_, faults, _) = findings(&format!("{POOL}{SALES}{}", key("one", "secret")));
    assert!(!faults[0].contains("secret"), "{faults:?}");
}
