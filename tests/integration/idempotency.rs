//! `Idempotency-Key`: a paid call is made once a key and team, whatever became of its answer.

use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};

use crate::http::{Connection, Reply, call, get};
use crate::process::Process;
use crate::stage::{
    CHAT, Files, MODEL_PATH, PREDICT_PATH, PROMPT, PROMPT_PATH, SALES_KEY, SUPPORT_KEY, Stage,
    allocations, any_port, series, wait_for,
};
use crate::wall_clock::WallClock;

const SALES: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const SUPPORT: (&str, &str) = ("Breakerbox-Key", SUPPORT_KEY);
const OTHER_CHAT: &str = r#"{"messages":[{"role":"user","content":"Goodbye"}]}"#;
const SOON: Duration = Duration::from_secs(5);
const DUPLICATE: (u16, Option<&str>) = (409, Some("duplicate_request"));
const MISMATCH: (u16, Option<&str>) = (422, Some("idempotency_mismatch"));
const MADE: (u16, Option<&str>) = (200, None);

fn chat(stage: &Stage, headers: &[(&str, &str)], body: &str) -> Reply {
    stage.post(MODEL_PATH, headers, body)
}

fn check(reply: &Reply, want: (u16, Option<&str>), case: &str) {
    let got = (reply.status, reply.refusal());
    assert_eq!(got, want, "{case}: {}", reply.text());
}

/// What was charged is what was billed.
fn check_billed(stage: &Stage, micro_credits: i64) {
    wait_for("nothing runs", SOON, || {
        stage.simulator.billed().running == 0
    });
    assert_eq!(
        stage.simulator.billed().guide.total_micro_credits,
        micro_credits
    );
    let used = ["sales", "support"].map(|team| stage.team(team, "used"));
    let used = used.map(|used| used.parse::<i64>().expect("whole credits"));
    assert_eq!(used.iter().sum::<i64>() * 1_000_000, micro_credits);
    wait_for("nothing is reserved", SOON, || {
        ["sales", "support"].map(|team| stage.team(team, "reserved")) == ["0", "0"]
    });
}

#[test]
fn a_call_is_made_once_a_key_and_team() {
    let stage = Stage::on_card("guide", "12_000");
    let (quoted, bare) = (
        ("Idempotency-Key", "\"8e03978e\""),
        ("idempotency-key", "8e03978e"),
    );
    check(&chat(&stage, &[SALES, quoted], CHAT), MADE, "the first");
    check(&chat(&stage, &[SALES, quoted], CHAT), DUPLICATE, "again");
    check(
        &chat(&stage, &[SALES, bare], CHAT),
        DUPLICATE,
        "without quotes",
    );
    check(
        &chat(&stage, &[SALES, bare], OTHER_CHAT),
        MISMATCH,
        "another body",
    );
    let path = MODEL_PATH.replace("chat-generations", "generations");
    let reply = stage.post(&path, &[SALES, bare], CHAT);
    check(&reply, MISMATCH, "another path");
    check(&chat(&stage, &[SUPPORT, bare], CHAT), MADE, "another team");
    check(
        &chat(&stage, &[SUPPORT, bare], CHAT),
        DUPLICATE,
        "which has used it up now",
    );
    let other = ("Idempotency-Key", "\"8e03978f\"");
    check(&chat(&stage, &[SALES, other], CHAT), MADE, "another key");
    check(&chat(&stage, &[SALES], CHAT), MADE, "no key");
    check(&chat(&stage, &[SALES], CHAT), MADE, "no key");
    check_billed(&stage, 5_000_000);
    let metrics = stage.metrics();
    let refused = |team: &str, refusal: &str| {
        let labels = format!("{{team=\"{team}\",class=\"standard\",refusal=\"{refusal}\"}}");
        series(&metrics, &format!("breakerbox_refusals_total{labels}"))
    };
    assert_eq!(refused("sales", "duplicate_request"), "2");
    assert_eq!(refused("sales", "idempotency_mismatch"), "2");
    assert_eq!(refused("support", "duplicate_request"), "1");
    assert_eq!(series(&metrics, "breakerbox_idempotency_keys"), "3");
}

#[test]
fn whoever_is_refused_learns_by_which_request_in_the_shape_of_its_api() {
    let stage = Stage::on_card("guide", "12_000");
    let key = ("Idempotency-Key", "k");
    let first = chat(&stage, &[SALES, key], CHAT);
    let models = chat(&stage, &[SALES, key], CHAT);
    let told = models.json();
    assert_eq!(told["messageCode"], "duplicate_request");
    assert_eq!(told["breakerbox"]["team"], "sales");
    let id = models.header("breakerbox-request-id").expect("an id");
    let record = stage.ask(&format!("/api/v1/decisions/{id}"));
    assert_eq!(
        (&record["team"], &record["estimate"]),
        (&"sales".into(), &2.into())
    );
    let detail = record["detail"].as_str().expect("a detail");
    let first = first.header("breakerbox-request-id").expect("an id");
    assert!(
        detail.contains(first) && detail.contains("ended at 20"),
        "{detail}"
    );
    let core = stage.post(PROMPT_PATH, &[SALES, key], PROMPT).json();
    assert!(
        core[0]["message"]
            .as_str()
            .unwrap()
            .contains("idempotency_mismatch")
    );
}

#[test]
fn a_key_is_taken_while_its_call_is_in_flight() {
    let stage = Stage::on_card("guide", "12_000");
    let (key, slow) = (("Idempotency-Key", "k"), ("x-sim-delay-ms", "1500"));
    let session = stage.open_session();
    let turn = format!("/einstein/ai-agent/v1/sessions/{session}/messages");
    for (path, body) in [(MODEL_PATH, CHAT), (turn.as_str(), "{\"message\":{}}")] {
        let key = (key.0, path);
        let headers = [SALES, key, slow, ("x-sim-actions", "1")];
        let mut client = Connection::open(stage.proxy());
        client.ask("POST", path, &headers, body).expect("send");
        wait_for("in flight", SOON, || stage.simulator.billed().running == 1);
        let reply = stage.post(path, &[SALES, key], body);
        check(&reply, DUPLICATE, "in flight, also as a turn");
        assert!(
            reply.text().contains("is in flight since"),
            "{}",
            reply.text()
        );
        let reply = stage.post(path, &[SALES, key], "{}");
        check(&reply, MISMATCH, "another body");
        assert_eq!(client.read_reply().expect("an answer").status, 200);
        check(&stage.post(path, &[SALES, key], body), DUPLICATE, "ended");
    }
    check_billed(&stage, 4_000_000);
}

#[test]
fn a_key_is_free_again_where_nothing_was_made() {
    let stage = Stage::on_card("guide", "12_000");
    for (case, header) in [
        ("bad request", ("x-sim-status", "400")),
        ("too many", ("x-sim-status", "429")),
        ("an error", ("x-sim-status", "500")),
        ("refused by us", ("Breakerbox-Class", "urgent")),
    ] {
        let key = ("Idempotency-Key", case.split(' ').next_back().unwrap());
        for _ in 0..2 {
            let reply = chat(&stage, &[SALES, key, header], CHAT);
            assert_ne!(reply.status, 409, "{case}");
        }
        check(&chat(&stage, &[SALES, key], CHAT), MADE, case);
        check(&chat(&stage, &[SALES, key], CHAT), DUPLICATE, case);
    }
    let mut client = Connection::open(stage.proxy());
    let head = format!(
        "POST {MODEL_PATH} HTTP/1.1\r\nhost: x\r\nbreakerbox-key: {SALES_KEY}\r\nidempotency-key: half\r\n\
         content-length: 500\r\n\r\n{{"
    );
    client.send(head.as_bytes()).expect("send");
    drop(client);
    let key = ("Idempotency-Key", "half");
    check(
        &chat(&stage, &[SALES, key], CHAT),
        MADE,
        "a body that never ended",
    );
    check_billed(&stage, 5_000_000);
    let stage = Stage::on_card("guide", "12"); // sales: 0.35 credits a month
    for _ in 0..2 {
        let reply = chat(&stage, &[SALES, key], CHAT);
        check(&reply, (429, Some("team_exhausted")), "no credits");
    }
    assert_eq!(series(&stage.metrics(), "breakerbox_idempotency_keys"), "0");
}

#[test]
fn a_key_stays_taken_where_salesforce_may_have_run_the_call() {
    let more = "[limits]\nresponse_timeout = \"1s\"\n";
    let stage = Stage::configured(&allocations("guide", "12_000"), more);
    let key = ("Idempotency-Key", "hang");
    let reply = chat(
        &stage,
        &[
            SALES,
            key,
            ("x-sim-hang", "60000"),
            ("x-sim-tokens", "3000"),
        ],
        CHAT,
    );
    check(&reply, (504, Some("upstream_timeout")), "no answer");
    check(&chat(&stage, &[SALES, key], CHAT), DUPLICATE, "no answer");
    let key = ("Idempotency-Key", "cut");
    let cut = chat(&stage, &[SALES, key, ("x-sim-cut-after", "1")], CHAT);
    assert!(!cut.whole);
    check(
        &chat(&stage, &[SALES, key], CHAT),
        DUPLICATE,
        "an answer that broke off",
    );
    let key = ("Idempotency-Key", "left");
    let mut client = Connection::open(stage.proxy());
    let headers = [
        SALES,
        key,
        ("x-sim-delay-ms", "1500"),
        ("x-sim-tokens", "3000"),
    ];
    client
        .ask("POST", MODEL_PATH, &headers, CHAT)
        .expect("send");
    wait_for("in flight", SOON, || stage.simulator.billed().running == 1);
    drop(client);
    let mut told = String::new();
    wait_for("the client's leaving is seen", SOON, || {
        told = chat(&stage, &[SALES, key], CHAT).text();
        told.contains("was made and ended at")
    });
    check_billed(&stage, 5_000_000);
}

#[test]
fn a_key_that_cannot_be_read_is_said_to_be_so_on_paid_calls_only() {
    let stage = Stage::on_card("guide", "12_000");
    let long = "k".repeat(256);
    let (a, b) = (("Idempotency-Key", "a"), ("Idempotency-Key", "b"));
    for (headers, says) in [
        (&[SALES, a, b][..], "more than one"),
        (&[SALES, ("Idempotency-Key", "")], "empty"),
        (&[SALES, ("Idempotency-Key", "\"a")], "in quotes"),
        (&[SALES, ("Idempotency-Key", "a, b")], "not one token"),
        (&[SALES, ("Idempotency-Key", &long)], "longer than 255"),
    ] {
        let reply = chat(&stage, headers, CHAT);
        check(&reply, (400, Some("bad_request")), says);
        assert!(reply.text().contains(says), "{}", reply.text());
        let free = call(stage.proxy(), "GET", "/services/data", headers, "");
        assert_eq!(free.status, 200, "a free call does not mind: {says}");
    }
    check_billed(&stage, 0);
}

#[test]
fn a_call_charged_a_flat_amount_has_keys_too_and_a_large_body_is_not_compared() {
    let more = "[unpriced]\norg = \"charge:1\"\n[limits]\nprice_body_bytes = \"1KiB\"\n";
    let stage = Stage::configured(&allocations("guide", "12_000"), more);
    let apex = "/services/apexrest/mine";
    let key = ("Idempotency-Key", "apex");
    let post = |headers: &[(&str, &str)], body: &str| stage.post(apex, headers, body);
    check(
        &post(&[SALES, key], "{}"),
        (404, None),
        "Salesforce knows no such path: void",
    );
    check(
        &post(&[SALES, key], "[]"),
        (404, None),
        "so the key is free",
    );
    let key = ("Idempotency-Key", "rows");
    let long = format!(
        r#"{{"predictionDefinition":"1OR","type":"RawData","columnNames":["{}"],"rows":[["1"]]}}"#,
        "a".repeat(2_000)
    );
    let predict = |body: &str| stage.post(PREDICT_PATH, &[SALES, key], body);
    assert_eq!(predict(&long).refusal(), None);
    check(&predict(&long), DUPLICATE, "nobody read it");
    check(
        &predict(&format!("{long} ")),
        DUPLICATE,
        "nor can say that it differs",
    );
    check(&predict("{}"), DUPLICATE, "likewise");
    check(
        &stage.post(MODEL_PATH, &[SALES, key], CHAT),
        MISMATCH,
        "another path",
    );
    assert_eq!(stage.simulator.billed().units.predictions.calls, 1);
}

#[test]
fn keys_survive_a_restart_and_a_crash() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let chat = |process: &Process, key: &str, body: &str| {
        call(
            process.proxy,
            "POST",
            MODEL_PATH,
            &[SALES, ("Idempotency-Key", key)],
            body,
        )
    };
    let process = Process::serve(&files);
    check(&chat(&process, "a", CHAT), MADE, "a");
    assert_eq!(process.stop(), Some(0));
    let process = Process::serve(&files);
    check(&chat(&process, "\"a\"", CHAT), DUPLICATE, "after a restart");
    check(
        &chat(&process, "a", OTHER_CHAT),
        MISMATCH,
        "after a restart",
    );
    check(&chat(&process, "b", CHAT), MADE, "b");
    let written = || -> i64 {
        let database = rusqlite::Connection::open(files.ledger()).expect("open");
        let sql = "SELECT count(*) FROM idempotency";
        database
            .query_row(sql, [], |row| row.get(0))
            .expect("a count")
    };
    wait_for("it is on disk", SOON, || written() == 2);
    process.kill();
    let process = Process::serve(&files);
    check(&chat(&process, "b", CHAT), DUPLICATE, "after kill -9");
    check(&chat(&process, "a", CHAT), DUPLICATE, "after kill -9");
    let keys = series(&process.metrics(), "breakerbox_idempotency_keys");
    assert_eq!(keys, "2");
    assert_eq!(simulator.billed().guide.total_micro_credits, 2_000_000);
    let events = get(process.admin, "/api/v1/usage?group_by=team");
    assert_eq!(events.status, 200);
}

#[test]
fn a_key_can_be_used_again_after_a_day() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let Some(clock) = WallClock::at(&files, "2026-11-20T12:00:00Z") else {
        return;
    };
    let at = |at: &str, want: (u16, Option<&str>)| {
        clock.set(at);
        let process = Process::serve_with(&files, clock.command());
        let headers = [SALES, ("Idempotency-Key", "daily")];
        let reply = call(process.proxy, "POST", MODEL_PATH, &headers, CHAT);
        check(&reply, want, at);
        assert_eq!(process.stop(), Some(0));
    };
    at("2026-11-20T12:00:00Z", MADE);
    at("2026-11-21T11:59:00Z", DUPLICATE);
    at("2026-11-21T12:01:00Z", MADE);
    at("2026-11-21T12:02:00Z", DUPLICATE);
    assert_eq!(simulator.billed().guide.total_micro_credits, 2_000_000);
}
