//! Overrides across restarts, reloads and periods, and how they end by themselves.

use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};
use serde_json::{Value, json};

use crate::http::{call, get};
use crate::overrides::{SALES, SOON, asked, audited, in_seconds, limits, made, pool, standard};
use crate::process::Process;
use crate::stage::{CHAT, Files, MODEL_PATH, SUPPORT_KEY, Stage, allocations, any_port, wait_for};
use crate::wall_clock::WallClock;

/// Who ended overrides, in order.
fn ends(stage: &Stage) -> Vec<String> {
    let entries = audited(stage).into_iter();
    let ends = entries.filter(|entry| entry["action"] == "override_ended");
    ends.map(|entry| entry["author"].as_str().expect("an author").to_owned())
        .collect()
}

#[test]
fn it_survives_a_restart_and_ends_by_itself() {
    let mut stage = Stage::on_card("guide", "12_000");
    made(&stage, json!({ "credits": 50 }));
    made(&stage, json!({ "credits": 5, "until": in_seconds(3) }));
    made(&stage, json!({ "breaker": "open", "until": in_seconds(3) }));
    stage.restart();
    assert_eq!(stage.team("sales", "by_override"), "55");
    assert_eq!(standard(&stage).refusal(), Some("team_breaker_open"));
    assert_eq!(stage.team("sales", "breaker"), "open");
    wait_for("the end", SOON, || {
        stage.team("sales", "by_override") == "50"
    });
    wait_for("the end", SOON, || stage.team("sales", "held") == "null");
    assert_eq!(standard(&stage).status, 200);
    assert_eq!(stage.team("sales", "breaker"), "closed");
    wait_for("audited", SOON, || {
        ends(&stage) == ["breakerbox", "breakerbox"]
    });
}

#[test]
fn it_ends_by_itself_also_while_nothing_runs() {
    let mut stage = Stage::on_card("guide", "12_000");
    made(&stage, json!({ "credits": 50 }));
    made(&stage, json!({ "credits": 5, "until": in_seconds(1) }));
    made(&stage, json!({ "breaker": "open", "until": in_seconds(1) }));
    assert_eq!(stage.team("sales", "breaker"), "open");
    stage.stop();
    std::thread::park_timeout(Duration::from_millis(1100));
    stage.restart();
    assert_eq!(
        standard(&stage).status,
        200,
        "over from the first request on"
    );
    wait_for("closed", SOON, || {
        stage.team("sales", "breaker") == "closed"
    });
    assert_eq!(limits(&stage), "400 50 360 1000 100");
    let rows = stage.ask("/api/v1/overrides");
    let rows = rows.as_array().expect("overrides").iter();
    assert_eq!(rows.filter(|row| row["in_force"] == true).count(), 1);
    wait_for("audited", SOON, || ends(&stage).len() == 2);
}

#[test]
fn a_removed_teams_override_gives_its_credits_back_until_the_team_is_back() {
    let stage = Stage::on_card("guide", "12_000");
    made(&stage, json!({ "credits": 50 }));
    let text = allocations("guide", "12_000");
    let reload = |text: &str| {
        std::fs::write(stage.files.allocations(), text).expect("write");
        let reply = call(stage.admin(), "POST", "/api/v1/config/reload", &[], "");
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    reload(&text.replace("\"sales\"", "\"sales2\""));
    let given = (pool(&stage, "buffer"), pool(&stage, "buffer_given"));
    assert_eq!(given, ("150".into(), "0".into()));
    reload(&text);
    assert_eq!(limits(&stage), "400 50 360 1000 100");
}

/// November ends; the override and what is unused of it end with it, whatever is carried over.
#[test]
fn a_new_period_begins_without_the_old_ones_credits_and_carries_none_of_them() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let burst = "burst = \"15%\"\n";
    let carries = format!("{burst}carry_over = \"team\"\n");
    let text = allocations("guide", "12_000").replace(burst, &carries);
    let files = Files::write(simulator.address, &text);
    let Some(clock) = WallClock::at(&files, "2026-11-30T23:59:55Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    let team = |field: &str| {
        let told = get(process.admin, "/api/v1/teams/sales").json();
        told[field].to_string().trim_matches('"').to_owned()
    };
    let make = |body: Value| {
        let body = asked(body).to_string();
        let reply = call(process.admin, "POST", SALES, &[], &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    make(json!({ "credits": 50 }));
    make(json!({ "breaker": "open", "until": "2026-12-05T00:00:00Z" }));
    assert_eq!(
        (team("period"), team("allocation")),
        ("2026-11".into(), "400".into())
    );
    wait_for("the new month", Duration::from_secs(15), || {
        team("period") == "2026-12"
    });
    let now = ["allocation", "carried", "by_override", "held", "breaker"].map(team);
    assert_eq!(
        now,
        ["700", "350", "0", "open", "open"],
        "nothing was spent of 350 and 50: 350 are carried; the breaker is held over the edge"
    );
    let support = [("Breakerbox-Key", SUPPORT_KEY)];
    let reply = call(process.proxy, "POST", MODEL_PATH, &support, CHAT);
    assert_eq!(reply.status, 200, "{}", reply.text());
    clock.set("2026-12-05T00:00:01Z"); // a jump: the period is held, a hold ends all the same
    wait_for("the hold's end", SOON, || team("held") == "null");
    assert_eq!(process.stop(), Some(0));
}
