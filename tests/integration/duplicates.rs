//! The same message again: charged, since Salesforce runs it again; or refused, where the operator asks for that.

use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};

use crate::http::{Connection, Reply, call};
use crate::process::Process;
use crate::stage::{AGENT, Files, SALES_KEY, Stage, allocations, any_port, series, wait_for};
use crate::wall_clock::WallClock;

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;
const AGAIN: (&str, &str) = ("Last-Event-ID", "1747859972614-REQ");
const REFUSE: &str = "[mode]\nduplicate_turns = \"refuse\"\n";

fn path(session: &str, stream: bool) -> String {
    let stream = if stream { "/stream" } else { "" };
    format!("/einstein/ai-agent/v1/sessions/{session}/messages{stream}")
}

/// What was charged is what was billed, in whole credits of the published card.
fn check_billed(stage: &Stage, credits: i64) {
    wait_for("nothing runs", Duration::from_secs(5), || {
        stage.simulator.billed().running == 0
    });
    let billed = stage.simulator.billed().flex.total_micro_credits;
    assert_eq!(billed, credits * 1_000_000);
    assert_eq!(stage.team("sales", "used"), credits.to_string());
    assert_eq!(stage.team("sales", "reserved"), "0");
}

fn check_duplicate(reply: &Reply) {
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert_eq!(reply.refusal(), Some("duplicate_request"));
    let body = reply.json();
    assert_eq!(
        (&body["status"], &body["error"]),
        (&409.into(), &"duplicate_request".into())
    );
    assert_eq!(body["breakerbox"]["team"], "sales");
}

/// As `eventsource-client` does: whenever the stream ends, the same message again, until somebody closes it.
fn event_source(stage: &Stage, session: &str, first: &[(&str, &str)], most: usize) -> Vec<Reply> {
    let path = path(session, true);
    let mut replies = vec![stage.post(&path, first, TURN)];
    while replies.len() < most {
        let reply = stage.post(&path, &[KEY, AGAIN, ("x-sim-actions", "1")], TURN);
        let is_over = reply.status == 200 || reply.status == 409;
        replies.push(reply);
        if is_over {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    replies
}

#[test]
fn a_stream_that_ended_early_and_is_posted_again_is_charged_twice_as_it_is_billed() {
    let stage = Stage::on_card("flex-2026-08", "12_000_000");
    let session = stage.open_session();
    let cut = [
        KEY,
        ("x-sim-actions", "1"),
        ("x-sim-cut-after", "1"),
        ("x-sim-chunk-delay-ms", "100"),
    ];
    let replies = event_source(&stage, &session, &cut, 100);
    let (first, last) = (&replies[0], replies.last().unwrap());
    assert_eq!((first.status, first.whole), (200, false), "it ended early");
    assert_eq!((last.status, last.whole), (200, true));
    let between = &replies[1..replies.len() - 1];
    assert!(!between.is_empty(), "the turn goes on at Salesforce");
    for reply in between {
        assert_eq!(
            (reply.status, reply.refusal()),
            (423, None),
            "Salesforce's own"
        );
    }
    check_billed(&stage, 40);
    let reposted = "breakerbox_reposted_turns_total{team=\"sales\"}";
    assert_eq!(
        series(&stage.metrics(), reposted),
        "1",
        "those Salesforce took"
    );
}

#[test]
fn a_stream_that_ended_early_and_is_posted_again_is_refused_where_that_is_asked_for() {
    let stage = Stage::configured(&allocations("flex-2026-08", "12_000_000"), REFUSE);
    let session = stage.open_session();
    let cut = [KEY, ("x-sim-actions", "1"), ("x-sim-cut-after", "1")];
    let replies = event_source(&stage, &session, &cut, 100);
    assert_eq!(replies.len(), 2);
    check_duplicate(&replies[1]);
    check_billed(&stage, 20);
    let id = replies[1].header("breakerbox-request-id").expect("an id");
    let record = stage.ask(&format!("/api/v1/decisions/{id}"));
    let detail = record["detail"].as_str().expect("a detail");
    let first = replies[0].header("breakerbox-request-id").expect("an id");
    assert!(
        detail.contains(first) && detail.contains("duplicate_turns"),
        "{detail}"
    );
    let metrics = stage.metrics();
    let refused = "breakerbox_refusals_total{team=\"sales\",class=\"critical\",refusal=\"duplicate_request\"}";
    assert_eq!(series(&metrics, refused), "1");
    let reposted = "breakerbox_reposted_turns_total{team=\"sales\"}";
    assert_eq!(series(&metrics, reposted), "0", "it was not charged");
}

#[test]
fn only_the_same_message_to_the_same_session_that_salesforce_may_have_run_is_a_duplicate() {
    let stage = Stage::configured(&allocations("flex-2026-08", "12_000_000"), REFUSE);
    let (session, other) = (stage.open_session(), stage.open_session());
    let one_action = ("x-sim-actions", "1");
    let check = |session: &str, stream: bool, header: (&str, &str), body: &str, want: u16| {
        let reply = stage.post(&path(session, stream), &[KEY, one_action, header], body);
        assert_eq!(
            reply.status,
            want,
            "{stream} {header:?} {body}: {}",
            reply.text()
        );
        reply
    };
    let usual = ("x-other", "1");
    check(&session, true, ("x-sim-status", "503"), TURN, 503);
    check(&session, true, ("x-sim-status", "423"), TURN, 423);
    check(&session, true, usual, TURN, 200); // what Salesforce refused was not made
    check_duplicate(&check(&session, true, usual, TURN, 409));
    check_duplicate(&check(&session, false, usual, TURN, 409)); // by whichever way
    check(&other, true, usual, TURN, 200);
    let next = TURN.replace("\"sequenceId\":1", "\"sequenceId\":2");
    check(&session, true, usual, &next, 200);
    check_duplicate(&check(&session, true, usual, TURN, 409)); // not only the last one
    check(&session, true, usual, &format!("{TURN} "), 200); // to the byte
    check_billed(&stage, 80);
}

#[test]
fn a_turn_that_is_over_is_a_duplicate_though_its_stream_is_still_open() {
    let stage = Stage::configured(&allocations("flex-2026-08", "12_000_000"), REFUSE);
    let session = stage.open_session();
    let mut client = Connection::open(stage.proxy());
    let headers = [KEY, ("x-sim-actions", "1"), ("x-sim-delay-ms", "1000")];
    let path = path(&session, true);
    client.ask("POST", &path, &headers, TURN).expect("send");
    wait_for("in flight", Duration::from_secs(5), || {
        series(&stage.metrics(), "breakerbox_turns_in_flight") == "1"
    });
    let mut refusals = Vec::<String>::new();
    while refusals.len() < 5_000 && refusals.last().is_none_or(|last| last == "turn_in_flight") {
        let reply = stage.post(&path, &[KEY, ("x-sim-actions", "1")], TURN);
        refusals.push(reply.refusal().expect("no gap between the two").to_owned());
    }
    assert_eq!(refusals.pop().as_deref(), Some("duplicate_request"));
    assert!(!refusals.is_empty(), "it was in flight before");
    assert_eq!(client.read_reply().expect("an answer").status, 200);
    check_billed(&stage, 20);
}

#[test]
fn shadow_mode_refuses_duplicates_too_as_neither_budget_nor_identity_say_no() {
    let more = format!("{REFUSE}enforce = false\n");
    let stage = Stage::configured(&allocations("flex-2026-08", "12_000_000"), &more);
    let session = stage.open_session();
    let post = || stage.post(&path(&session, true), &[KEY, ("x-sim-actions", "1")], TURN);
    assert_eq!(post().status, 200);
    check_duplicate(&post());
    check_billed(&stage, 20);
}

/// It is forwarded and charged: nobody looked.
#[test]
fn a_message_too_large_to_be_read_ahead_is_no_duplicate() {
    let more = format!("{REFUSE}[limits]\nprice_body_bytes = \"1KiB\"\n");
    let stage = Stage::configured(&allocations("flex-2026-08", "12_000_000"), &more);
    let session = stage.open_session();
    let long = TURN.replace("Hello", &"Hello ".repeat(400));
    for _ in 0..2 {
        let reply = stage.post(&path(&session, true), &[KEY, ("x-sim-actions", "1")], &long);
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    check_billed(&stage, 40);
}

#[test]
fn after_two_minutes_the_same_message_is_a_new_one() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(
        simulator.address,
        &allocations("flex-2026-08", "12_000_000"),
    );
    let text = std::fs::read_to_string(files.config()).expect("read");
    std::fs::write(files.config(), format!("{text}\n{REFUSE}")).expect("write");
    let Some(clock) = WallClock::at(&files, "2026-11-20T12:00:00Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    let open = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let opened = call(
        process.proxy,
        "POST",
        &open,
        &[KEY],
        r#"{"externalSessionKey":"1"}"#,
    );
    let session = opened.json()["sessionId"]
        .as_str()
        .expect("a session")
        .to_owned();
    let check = |at: &str, want: u16| {
        clock.set(at);
        let headers = [KEY, ("x-sim-actions", "1")];
        let reply = call(
            process.proxy,
            "POST",
            &path(&session, false),
            &headers,
            TURN,
        );
        assert_eq!(reply.status, want, "at {at}: {}", reply.text());
    };
    check("2026-11-20T12:00:10Z", 200);
    check("2026-11-20T12:01:00Z", 409);
    check("2026-11-20T12:02:05Z", 409);
    check("2026-11-20T12:02:20Z", 200);
    check("2026-11-20T12:04:00Z", 409);
    assert_eq!(process.used(), simulator.billed().flex.total_micro_credits);
}
