use super::*;

#[test]
fn a_team_is_complete() {
    check_team(
        "name = \"sales\"\n",
        "",
        "8:1: [[team]] has no name (as in name = \"sales\")",
    );
    check_team(
        "owner = \"o@example.com\"\n",
        "",
        "8:1: [[team]] has no owner (who answers",
    );
    check_team("\"o@example.com\"", "\"\"", "10:9: owner cannot be \"\"");
    check_team(
        "share = \"35%\"\n",
        "",
        "8:1: [[team]] has no share (share = \"35%\", or monthly_credits",
    );
    check_team(
        "share = \"35%\"",
        "share = \"35%\"\nmonthly_credits = 5",
        "12:19: a team has one of share and monthly_credits",
    );
    check_team(
        "\"35%\"",
        "\"35\"",
        "11:9: share: not a percentage; write it like \"35%\"",
    );
    check_team(
        "\"35%\"",
        "\"33.333%\"",
        "11:9: share: finer than a basis point",
    );
    check_team(
        "\"35%\"",
        "35",
        "11:9: share is an integer, not a string in quotes",
    );
    check_team(
        "[[team]]",
        "[[team]]\nonwer = 1",
        "9:1: unknown key \"onwer\" in [[team]] (did you mean \"owner\"?)",
    );
}

#[test]
fn a_teams_name_is_a_label() {
    for name in [
        "",
        " sales",
        "sales ",
        "sa/les",
        "sa\\u0000les",
        "b\u{fc}cher",
        "..",
        &"x".repeat(65),
    ] {
        check_team("\"sales\"", &format!("\"{name}\""), "9:8: ");
    }
    check_team(
        "\"sales\"",
        "\"unattributed\"",
        "9:8: \"unattributed\" is no name for a team",
    );
    check_team(
        "\"sales\"",
        "\"refuse\"",
        "9:8: \"refuse\" is no name for a team",
    );
    for name in [
        "x",
        "Data & AI".replace(" & ", ".").as_str(),
        "a b_c.d-9",
        &"x".repeat(64),
    ] {
        valid(&format!("{POOL}{}", SALES.replacen("sales", name, 1)));
    }
    check(
        &SALES.replace("35%", "5%"),
        "13:8: another team is called \"sales\" already",
    );
}

#[test]
fn a_teams_settings_are_known() {
    check("trip = \"9O%\"", "12:8: trip: not a percentage");
    check("alerts = [\"50%\", \"110%\"]", "12:18: alerts: over 100%");
    check(
        "alerts = \"50%\"",
        "12:10: alerts is a string, not a list of strings",
    );
    check(
        "class = \"urgent\"",
        "12:9: class = \"urgent\" is unknown (known: background, critical, standard)",
    );
    check(
        "on_trip = { standard = \"rejct\" }",
        "12:24: standard = \"rejct\" is unknown (did you mean \"reject\"?)",
    );
    check(
        "on_trip = { rate = \"6/h\" }",
        "12:20: rate: not a rate; write it like \"6/min\", at least 1",
    );
    check("on_trip = { rate = \"0/min\" }", "12:20: rate: not a rate");
    check(
        "on_trip = \"reject\"",
        "12:11: on_trip is a string, not a table",
    );
    check(
        "on_bound = \"stop\"",
        "12:12: on_bound = \"stop\" is unknown (known: cut, extend)",
    );
    check(
        "enforce = 1",
        "12:11: enforce is an integer, not true or false",
    );
    check("emergency = \"1\"", "12:13: emergency: not a percentage");
    check(
        "project = \"a\"\ntags = { project = \"b\" }",
        "12:11: project is in tags as well",
    );
    check(
        "tags = { cost = 4100 }",
        "12:17: cost is an integer, not a string in quotes",
    );
    check("tags = { \"\" = \"x\" }", "12:10: \"\" cannot be a tag");
    check("max_per_hour = 0.5", "12:16: max_per_hour is a float");
    check(
        "max_per_request = \"-1\"",
        "12:19: max_per_request: below zero",
    );
    check_warning(
        "max_per_hour = 0",
        "12:16: max_per_hour = 0 refuses every call that costs anything",
    );
    check_warning(
        "on_trip = { standard = \"pace\", rate = \"6/min\" }",
        "12:39: rate has no effect: standard traffic is paced",
    );
    check_warning(
        "on_trip = { standard = \"reject\", rate = \"6/min\" }",
        "12:41: rate has no effect",
    );
}
