//! A conversation, a prompt, a prediction: exactly the card's credits, on both cards.

use std::time::Duration;

use crate::http::{Connection, call, credentials, get};
use crate::stage::{AGENT, PREDICT_PATH, PROMPT, PROMPT_PATH, SALES_KEY, Stage, series, wait_for};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;

fn turn(stage: &Stage, session: &str, stream: bool, actions: &str) -> Vec<u8> {
    turn_with(stage, session, stream, &[KEY, ("x-sim-actions", actions)])
}

fn turn_with(stage: &Stage, session: &str, stream: bool, headers: &[(&str, &str)]) -> Vec<u8> {
    let path = format!(
        "/einstein/ai-agent/v1/sessions/{session}/messages{}",
        if stream { "/stream" } else { "" }
    );
    let reply = stage.post(&path, headers, TURN);
    assert_eq!((reply.status, reply.whole), (200, true), "{}", reply.text());
    reply.body
}

fn check(stage: &Stage, used: &str) {
    assert_eq!(stage.team("sales", "used"), used);
    assert_eq!(stage.team("sales", "reserved"), "0");
}

#[test]
fn the_guide_card_to_the_micro_credit() {
    let stage = Stage::on_card("guide", "12_000");
    let session = stage.open_session();
    check(&stage, "2");
    turn(&stage, &session, false, "1");
    check(&stage, "3");
    turn(&stage, &session, true, "2");
    check(&stage, "5");
    turn(&stage, &session, true, "6"); // at most 8 for the whole conversation
    check(&stage, "8");
    turn(&stage, &session, false, "3"); // and then it is free
    check(&stage, "8");
    assert_eq!(stage.post(PROMPT_PATH, &[], PROMPT).status, 201);
    check(&stage, "9");
    let rows = r#"{"predictionDefinition":"1OR","rows":[["1"],["2"],["3"]],"columnNames":["a"],"type":"RawData"}"#;
    assert_eq!(stage.post(PREDICT_PATH, &[KEY], rows).status, 201);
    check(&stage, "9.6");
    assert_eq!(
        stage.simulator.billed().guide.total_micro_credits,
        9_600_000
    );
}

#[test]
fn the_published_card_to_the_micro_credit() {
    let stage = Stage::on_card("flex-2026-08", "1_200_000");
    let session = stage.open_session();
    check(&stage, "0");
    turn(&stage, &session, false, "1");
    check(&stage, "20");
    turn(&stage, &session, true, "3");
    check(&stage, "80");
    turn(&stage, &session, true, "0");
    check(&stage, "80");
    let reply = stage.post(
        crate::stage::MODEL_PATH,
        &[KEY, ("x-sim-tokens", "6500")],
        crate::stage::CHAT,
    );
    assert_eq!(reply.status, 200);
    check(&stage, "96"); // 6,500 tokens are 4 prompts of 4
    assert_eq!(stage.post(PROMPT_PATH, &[], PROMPT).status, 201);
    let billed = stage.simulator.billed().flex.total_micro_credits;
    assert_eq!(
        stage.team("sales", "used"),
        (billed / 1_000_000).to_string()
    );
}

/// An action that is asked about has not run: only what ran is charged, and exactly that.
#[test]
fn a_turn_may_end_with_a_question_a_failure_or_a_person() {
    let stage = Stage::on_card("flex-2026-08", "1_200_000");
    let session = stage.open_session();
    let ends = [
        "Inquire",
        "Confirm",
        "Failure",
        "Escalate",
        "Inform,Escalate",
    ];
    for (end, credits) in ends.into_iter().zip((20..).step_by(20)) {
        let says = |actions| [KEY, ("x-sim-actions", actions), ("x-sim-messages", end)];
        let whole = turn_with(&stage, &session, false, &says("0"));
        let streamed = turn_with(&stage, &session, true, &says("1"));
        for answer in [whole, streamed] {
            let last = end.rsplit(',').next().expect("a type");
            let kind = format!("\"type\":\"{last}\"");
            let answer = String::from_utf8_lossy(&answer);
            assert!(answer.contains(&kind), "{end}: {answer}");
        }
        check(&stage, &credits.to_string());
    }
    let taken_back = [
        KEY,
        ("x-sim-actions", "1"),
        ("x-sim-validation-failure", "1"),
    ];
    let answer = turn_with(&stage, &session, true, &taken_back);
    assert!(String::from_utf8_lossy(&answer).contains("ValidationFailureChunk"));
    check(&stage, "120");
    let metrics = stage.metrics();
    let mut turns = metrics
        .lines()
        .filter(|line| line.contains("operation=\"agent.turn\""));
    assert!(turns.all(|line| !line.contains("outcome=\"uncertain\"") || line.ends_with(" 0")));
}

#[test]
fn what_sessions_have_cost_survives_a_restart() {
    let mut stage = Stage::on_card("guide", "12_000");
    let session = stage.open_session();
    turn(&stage, &session, true, "4");
    check(&stage, "6");
    stage.restart();
    check(&stage, "6");
    turn(&stage, &session, true, "5"); // 2 are left of the conversation's 8
    check(&stage, "8");
}

/// A session that was opened past the gateway.
fn opened_elsewhere(stage: &Stage) -> String {
    let path = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let body = r#"{"externalSessionKey":"1"}"#;
    let direct = call(stage.simulator.address, "POST", &path, &[], body);
    let session = &direct.json()["sessionId"];
    session.as_str().expect("a session").to_owned()
}

#[test]
fn a_turn_of_a_session_not_seen_opened_pays_for_the_opening_once() {
    let stage = Stage::on_card("guide", "12_000");
    let session = opened_elsewhere(&stage);
    turn(&stage, &session, false, "1");
    check(&stage, "3");
    turn(&stage, &session, false, "1");
    check(&stage, "4");
}

/// A conversation is at its cap with the estimate of a turn in flight. What would be free then is not once that turn
/// came to nothing, however long a client keeps its body back.
#[test]
fn a_turn_that_is_free_no_more_needs_somebody_who_pays() {
    let stage = Stage::on_card("guide", "12_000");
    let session = opened_elsewhere(&stage);
    let path = format!("/einstein/ai-agent/v1/sessions/{session}/messages");
    turn(&stage, &session, false, "4");
    let reserved = |credits: &'static str| {
        wait_for("reserved", Duration::from_secs(5), || {
            stage.team("sales", "reserved") == credits
        });
    };
    let mut void = Connection::open(stage.proxy());
    let headers = [KEY, ("x-sim-delay-ms", "1500"), ("x-sim-status", "503")];
    void.ask("POST", &path, &headers, TURN).expect("send");
    reserved("2"); // 6 and 2 are the 8 a conversation costs at most
    let mut stranger = Connection::open(stage.proxy());
    let length = TURN.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{}idempotency-key: k\r\ncontent-length: {length}\r\n\r\n",
        credentials()
    );
    stranger.send(head.as_bytes()).expect("send");
    wait_for("its head came", Duration::from_secs(1), || {
        series(&stage.metrics(), "breakerbox_in_flight_requests") == "2"
    });
    assert_eq!(void.read_reply().expect("an answer").status, 503);
    reserved("0");
    stranger.send(TURN.as_bytes()).expect("send");
    let reply = stranger.read_reply().expect("an answer");
    assert_eq!((reply.status, reply.refusal()), (403, Some("unattributed")));
    assert_eq!(series(&stage.metrics(), "breakerbox_turns_in_flight"), "0");
    assert_eq!(series(&stage.metrics(), "breakerbox_idempotency_keys"), "0");
    check(&stage, "6");
}

#[test]
fn a_turn_finds_its_payer_by_the_sessions_agent() {
    let stage = Stage::on_card("guide", "12_000");
    let session = stage.open_session();
    let path = format!("/einstein/ai-agent/v1/sessions/{session}/messages");
    let reply = stage.post(&path, &[("x-sim-actions", "1")], TURN);
    assert_eq!(reply.header("breakerbox-team"), Some("sales"));
    check(&stage, "3");
}

#[test]
fn free_calls_need_nobody() {
    let stage = Stage::on_card("guide", "12_000");
    let token = stage.post(
        "/services/oauth2/token",
        &[],
        "grant_type=client_credentials",
    );
    assert_eq!(token.status, 200, "{}", token.text());
    assert_eq!(get(stage.proxy(), "/services/data").status, 200);
    let preview = PROMPT.replace("\"isPreview\":false", "\"isPreview\":true");
    assert_eq!(
        stage
            .post(
                &PROMPT_PATH.replace("Quote_Summary", "Unknown"),
                &[],
                &preview
            )
            .status,
        201
    );
    check(&stage, "0");
}

#[test]
fn a_void_call_costs_nothing_and_a_broken_turn_its_estimate() {
    let stage = Stage::on_card("guide", "12_000");
    let session = stage.open_session();
    let path = format!("/einstein/ai-agent/v1/sessions/{session}/messages/stream");
    for status in ["400", "423", "429", "500", "503"] {
        let reply = stage.post(&path, &[KEY, ("x-sim-status", status)], TURN);
        assert_eq!(reply.status.to_string(), status);
        assert_eq!(
            reply.refusal(),
            None,
            "an upstream's error passes untouched"
        );
    }
    check(&stage, "2");
    let cut = stage.post(
        &path,
        &[KEY, ("x-sim-actions", "1"), ("x-sim-cut-after", "1")],
        TURN,
    );
    assert!(
        !cut.whole,
        "an upstream's truncation reaches the client as a broken answer"
    );
    check(&stage, "4"); // the estimate of 2, more than the 1 action seen
    wait_for("flagged as estimated", Duration::from_secs(5), || {
        stage
            .ask("/api/v1/usage?group_by=operation,confidence")
            .to_string()
            .contains("estimated")
    });
}

#[test]
fn usage_is_told_by_agent_type_and_tag() {
    let stage = Stage::on_card("guide", "12_000");
    stage.open_session();
    let tagged = [KEY, ("Breakerbox-Tags", "project=atlas, secret=no")];
    assert_eq!(
        stage
            .post(crate::stage::MODEL_PATH, &tagged, crate::stage::CHAT)
            .status,
        200
    );
    let check = |group: &str, want: &str| {
        wait_for(want, Duration::from_secs(5), || {
            stage
                .ask(&format!("/api/v1/usage?group_by={group}"))
                .to_string()
                .contains(want)
        });
    };
    check("agent_type", r#""agent_type":"sdr""#);
    check("tag:project", r#""tag:project":"atlas""#);
    check("service", r#""service":"agentforce""#);
    check("class", r#""class":"critical""#);
}
