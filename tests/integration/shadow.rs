//! Shadow mode: what would have been refused passes, is counted once under its own name, and is charged.

use crate::raw::{gateway_before, in_pieces};
use crate::stage::{
    AGENT, CHAT, MODEL_PATH, PROMPT, SALES_KEY, SUPPORT_KEY, Stage, allocations, series, sha256,
};

const OLD_KEY: &str = "33333333333333333333333333333333cccccccccccccccccccccccccccccccc";

/// Support's refusals are only noted; one of its keys has expired.
fn in_shadow() -> Stage {
    let text = allocations("guide", "12_000").replace(
        "name = \"support\"\nshare",
        "name = \"support\"\nenforce = false\nshare",
    );
    let old = format!(
        "\n[[key]]\nname = \"old\"\nsha256 = \"{}\"\nteam = \"support\"\nexpires = \"2026-02-01\"\n",
        sha256(OLD_KEY)
    );
    Stage::start(&format!("{text}{old}"))
}

fn refusals(stage: &Stage, kind: &str, team: &str, class: &str, refusal: &str) -> String {
    let name = format!(
        "breakerbox_{kind}_total{{team=\"{team}\",class=\"{class}\",refusal=\"{refusal}\"}}"
    );
    series(&stage.metrics(), &name)
}

/// Verdict and name of every decision there is, in order of the alphabet: each worker collects its own.
fn decisions(stage: &Stage) -> Vec<String> {
    let all = stage.ask("/api/v1/decisions");
    let all = all.as_array().expect("a list").iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let told = all.map(|one| format!("{} {}", text(&one["verdict"]), text(&one["refusal"])));
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

#[test]
fn a_call_of_nobody_is_noted_once_and_booked_as_unattributed() {
    let mut stage = Stage::on_card("guide", "12_000");
    let config = std::fs::read_to_string(stage.files.config()).expect("read");
    stage.stop();
    let shadow = format!("{config}\n[mode]\nenforce = false\n");
    std::fs::write(stage.files.config(), shadow).expect("write");
    stage.restart();
    let reply = stage.post(MODEL_PATH, &[], CHAT);
    assert_eq!(
        (reply.status, reply.refusal()),
        (200, None),
        "{}",
        reply.text()
    );
    assert_eq!(decisions(&stage), ["would_refuse unattributed"]);
    let noted = |kind, team, class, refusal| refusals(&stage, kind, team, class, refusal);
    assert_eq!(
        noted("shadow_refusals", "", "", "unattributed"),
        "1",
        "{}",
        stage.metrics()
    );
    assert_eq!(noted("refusals", "", "", "unattributed"), "0");
    let budget = noted(
        "shadow_refusals",
        "unattributed",
        "standard",
        "team_exhausted",
    );
    assert_eq!(budget, "0", "it was not asked whether there is room");
    assert_eq!(stage.team("unattributed", "used"), "1");
}

#[test]
fn a_team_in_shadow_mode_has_its_identity_refusals_noted_too() {
    let stage = in_shadow();
    let open = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let check = |path: &str, key: &str, body: &str, refusal: &str, used: &str| {
        let reply = stage.post(path, &[("Breakerbox-Key", key)], body);
        assert_eq!(
            (reply.status, reply.refusal()),
            (200, None),
            "{refusal}: {}",
            reply.text()
        );
        assert_eq!(reply.header("breakerbox-team"), Some("support"));
        let noted = refusals(&stage, "shadow_refusals", "support", "standard", refusal);
        assert_eq!(noted, "1", "{}", stage.metrics());
        assert_eq!(
            stage.team("support", "used"),
            used,
            "its own, whatever the limit"
        );
    };
    check(&open, SUPPORT_KEY, "{}", "team_mismatch", "2");
    check(MODEL_PATH, OLD_KEY, CHAT, "unknown_key", "3");
    assert_eq!(
        decisions(&stage),
        ["would_refuse team_mismatch", "would_refuse unknown_key"]
    );
    let other = [("Breakerbox-Key", "44444444")];
    assert_eq!(
        stage.post(MODEL_PATH, &other, CHAT).refusal(),
        Some("unknown_key"),
        "nobody's shadow mode"
    );
    assert_eq!(
        stage.post(MODEL_PATH, &[], CHAT).refusal(),
        Some("unattributed")
    );
}

#[test]
fn a_free_call_of_nobody_is_no_shadow() {
    let stage = Stage::on_card("guide", "12_000");
    let preview = PROMPT.replace("false", "true");
    let path = "/services/data/v64.0/einstein/prompt-templates/Unlisted/generations";
    let reply = stage.post(path, &[], &preview);
    assert_eq!(
        (reply.status, reply.refusal()),
        (201, None),
        "{}",
        reply.text()
    );
    assert!(decisions(&stage).is_empty());
    let events = stage.files.folder.path().join("data/events");
    let flags = || {
        let files = std::fs::read_dir(&events).ok()?.flatten();
        let mut files = files.map(|file| file.path());
        let file = files.find(|file| file.extension().is_some_and(|end| end == "db"))?;
        let events = rusqlite::Connection::open(file).ok()?;
        let sql = "SELECT flags FROM event";
        events.query_row(sql, [], |row| row.get::<_, i64>(0)).ok()
    };
    crate::stage::wait_for("an event", std::time::Duration::from_secs(5), || {
        flags().is_some()
    });
    assert_eq!(flags(), Some(0));
}

#[test]
fn an_enforced_key_of_another_team_stays_refused() {
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec();
    let salesforce = in_pieces(vec![answer], std::time::Duration::ZERO);
    let (_files, gateway) = gateway_before(salesforce, "");
    let open = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let reply = |key| {
        let key = [("Breakerbox-Key", key)];
        crate::http::call(gateway.proxy, "POST", &open, &key, "{}")
    };
    assert_eq!(reply(SUPPORT_KEY).refusal(), Some("team_mismatch"));
    assert_eq!(reply(SALES_KEY).status, 200);
    gateway
        .stop(std::time::Duration::from_secs(2))
        .expect("a clean stop");
}
