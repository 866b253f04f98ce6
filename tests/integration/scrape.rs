//! `/metrics`, probes and the admin API as strangers use them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::http::{call, get};
use crate::stage::{CHAT, MODEL_PATH, SALES_KEY, Stage, has};

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    if !has("promtool") {
        return;
    }
    let stage = Stage::on_card("guide", "12");
    stage.post(MODEL_PATH, &[("Breakerbox-Key", SALES_KEY)], CHAT);
    stage.post("/services/data/v64.0/unknown", &[], "{}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    promtool
        .stdin
        .take()
        .expect("stdin")
        .write_all(stage.metrics().as_bytes())
        .expect("write");
    let said = promtool.wait_with_output().expect("promtool");
    let said = [said.stdout, said.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
}

/// The words in backticks of a cell, without what is in parentheses.
fn words(cell: &str) -> BTreeSet<&str> {
    let cell = cell.split('(').next().unwrap_or_default();
    cell.split('`').skip(1).step_by(2).collect()
}

/// The labels of a metric's samples; nothing where it has no sample.
fn labels<'m>(metrics: &'m str, name: &str) -> Option<BTreeSet<&'m str>> {
    let own = |line: &&str| {
        let rest = line.strip_prefix("breakerbox_")?.strip_prefix(name)?;
        let rest = rest.strip_prefix("_bucket").unwrap_or(rest);
        rest.starts_with(['{', ' ']).then_some(())
    };
    let sample = metrics.lines().find(|line| own(line).is_some())?;
    let pairs = sample.split(['{', '"', ',', ' ']);
    Some(
        pairs
            .filter_map(|part| part.strip_suffix('='))
            .filter(|label| *label != "le")
            .collect(),
    )
}

#[test]
fn every_metric_of_the_readme_is_there_with_its_labels() {
    let stage = Stage::on_card("guide", "12_000");
    stage.post(MODEL_PATH, &[("Breakerbox-Key", SALES_KEY)], CHAT);
    stage.post(MODEL_PATH, &[("Breakerbox-Key", "unknown")], CHAT);
    let metrics = stage.metrics();
    let readme = include_str!("../../README.md");
    let (_, table) = readme.split_once("### Metrics").expect("the table");
    let (table, _) = table.split_once("\n## ").expect("its end");
    // Counted only once something of the kind happened.
    let rare = ["shadow_refusals_total", "alerts_total"];
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').collect();
        for name in words(cells[1])
            .into_iter()
            .filter(|name| !rare.contains(name))
        {
            assert_eq!(labels(&metrics, name), Some(words(cells[2])), "{name}");
        }
    }
}

#[test]
fn every_refusal_of_the_code_is_in_the_readme_with_its_status() {
    let readme = include_str!("../../README.md");
    for refusal in breakerbox::proxy::refusal::Refusal::ALL {
        let row = format!("| `{}` | {} |", refusal.name(), refusal.status().as_u16());
        assert!(readme.contains(&row), "{row}");
    }
}

#[test]
fn what_no_question_has_is_not_passed_over() {
    let stage = Stage::on_card("guide", "12_000");
    for path in [
        "/api/v1/usage?fromm=2026-11-01",
        "/api/v1/audit?since=2026-11-01",
    ] {
        let reply = get(stage.admin(), path);
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
    }
}

#[test]
fn probes_answer_and_strangers_do_not_get_in() {
    let stage = Stage::on_card("guide", "12_000");
    assert_eq!(get(stage.admin(), "/livez").status, 200);
    assert_eq!(get(stage.admin(), "/readyz").status, 200);
    let verbose = get(stage.admin(), "/readyz?verbose").json();
    assert_eq!(verbose["ledger"]["writing"], true);
    let stranger = [("Origin", "http://evil.example")];
    assert_eq!(
        call(
            stage.admin(),
            "POST",
            "/api/v1/config/reload",
            &stranger,
            ""
        )
        .status,
        403
    );
    assert_eq!(get(stage.admin(), "/api/v1/teams/nobody").status, 404);
    let teams = stage.ask("/api/v1/teams");
    let names: Vec<_> = teams
        .as_array()
        .unwrap()
        .iter()
        .map(|team| team["team"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["sales", "support"]);
    assert_eq!(stage.ask("/api/v1/pool")["allocation"].to_string(), "1000");
}
