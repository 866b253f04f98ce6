//! What a call is charged where its body or its answer does not say it plainly: never less than it can have used.

use crate::origin::{Behind, answering, whole};
use crate::stage::{MODEL_PATH, PREDICT_PATH, PROMPT, PROMPT_PATH, SALES_KEY, Stage, allocations};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;
const TURN_PATH: &str = "/einstein/ai-agent/v1/sessions/s/messages";
const MANY: &str = "12_000_000_000";
fn flex() -> String {
    allocations("flex-2026-08", MANY)
}

fn guide() -> String {
    allocations("guide", MANY)
}

#[test]
fn tokens_nobody_states_are_counted_from_request_and_answer() {
    let stage = Stage::on_card("flex-2026-08", MANY);
    let mut want = 0;
    let mut check = |endpoint: &str, body: &str, credits: u32| {
        let path = MODEL_PATH.replace("chat-generations", endpoint);
        let reply = stage.post(&path, &[KEY, ("x-sim-no-usage", "1")], body);
        assert_eq!(reply.status, 200, "{}", reply.text());
        want += credits;
        assert_eq!(stage.team("sales", "used"), want.to_string(), "{endpoint}");
        let billed = stage.simulator.billed().flex.total_micro_credits;
        assert_eq!(billed, i64::from(want) * 1_000_000, "{endpoint}");
    };
    let long = "x".repeat(100_000); // 25,000 tokens are 13 prompts of 4
    let chat = format!(r#"{{"messages":[{{"role":"user","content":"{long}"}}]}}"#);
    check("chat-generations", &chat, 52);
    check("generations", &format!(r#"{{"prompt":"{long}"}}"#), 52);
    let inputs = vec![format!("\"{}\"", "x".repeat(2_000)); 6].join(","); // 3,000 tokens
    check("embeddings", &format!(r#"{{"input":[{inputs}]}}"#), 8);
}

#[test]
fn a_prompt_that_is_not_told_is_as_long_as_its_request() {
    let answer = whole("201 Created", br#"{"generations":[{"text":"done"}]}"#);
    let behind = Behind::start(answering(answer), &flex(), "");
    let input = "x".repeat(10_000); // 2,500 tokens
    let prompt = PROMPT.replace(
        "\"valueMap\":{}",
        &format!(r#""valueMap":{{"a":{{"value":"{input}"}}}}"#),
    );
    assert_eq!(behind.post(PROMPT_PATH, &[], &prompt).status, 201);
    assert_eq!(behind.team("sales", "used"), "8");
}

#[test]
fn more_than_one_generation_asked_for_is_more_than_one() {
    let three = PROMPT.replace(
        r#""applicationName":"t""#,
        r#""applicationName":"t","numGenerations":3"#,
    );
    for (answer, body, credits) in [
        (r#"{"generations":[]}"#, &*three, "2"),
        (r#"{"generations":[{"text":"a"}]}"#, &*three, "2"),
        (
            r#"{"generations":[{"text":"a"},{"text":"b"}]}"#,
            PROMPT,
            "2",
        ),
        (r#"{"generations":[{"text":"a"}]}"#, PROMPT, "1"),
    ] {
        let upstream = answering(whole("201 Created", answer.as_bytes()));
        let behind = Behind::start(upstream, &guide(), "");
        assert_eq!(behind.post(PROMPT_PATH, &[], body).status, 201);
        assert_eq!(behind.team("sales", "used"), credits, "{body} {answer}");
    }
}

#[test]
fn a_turn_that_cannot_be_read_costs_the_most_a_turn_can() {
    let text = "x".repeat(2_000);
    let long = format!(r#"{{"messages":[{{"type":"Inform","message":"{text}","result":[]}}]}}"#);
    let limits = "[limits]\nprice_body_bytes = \"1KiB\"\n";
    for (answer, path, credits) in [
        (whole("200 OK\r\ncontent-encoding: gzip", b"\x1f\x8b"), TURN_PATH.to_owned(), "8"),
        (whole("200 OK", long.as_bytes()), TURN_PATH.to_owned(), "8"),
        (whole("200 OK", b"<html>"), TURN_PATH.to_owned(), "8"),
        (
            whole("200 OK", format!("event: INFORM\ndata: {long}\n\nevent: END_OF_TURN\ndata: {{\"message\":{{\"type\":\"EndOfTurn\"}}}}\n\n").as_bytes()),
            format!("{TURN_PATH}/stream"),
            "8",
        ),
        (
            whole("200 OK", br#"{"messages":[{"type":"Inform","result":[]}]}"#),
            TURN_PATH.to_owned(),
            "2",
        ),
    ] {
        let behind = Behind::start(answering(answer), &guide(), limits);
        assert_eq!(behind.post(&path, &[KEY], TURN).status, 200);
        assert_eq!(behind.team("sales", "used"), credits, "{path}");
    }
}

#[test]
fn a_question_back_does_not_end_a_stream() {
    let turn = |event: &str, kind: &str| {
        format!("event: {event}\ndata: {{\"message\":{{\"type\":\"{kind}\"}}}}\n\n")
    };
    let inform = turn("INFORM", "Inform");
    for (stream, credits) in [
        (turn("CONFIRM", "Confirm"), "4"), // the opening, and the estimate of 2
        (turn("FAILURE", "Failure"), "4"),
        (turn("ESCALATE", "Escalate"), "4"),
        (inform.clone() + &turn("INQUIRE", "Inquire"), "4"),
        (
            turn("CONFIRM", "Confirm") + &turn("END_OF_TURN", "EndOfTurn"),
            "2",
        ),
        (
            turn("FAILURE", "Failure") + &turn("SESSION_ENDED", "SessionEnded"),
            "2",
        ),
        (inform, "2"),
    ] {
        let upstream = answering(whole("200 OK", stream.as_bytes()));
        let behind = Behind::start(upstream, &guide(), "");
        let reply = behind.post(&format!("{TURN_PATH}/stream"), &[KEY], TURN);
        assert_eq!(reply.text(), stream);
        assert_eq!(behind.team("sales", "used"), credits, "{stream}");
    }
}

#[test]
fn nothing_asked_for_is_not_free() {
    let answer = whole("201 Created", br#"{"predictions":[]}"#);
    let behind = Behind::start(answering(answer), &guide(), "");
    let none = r#"{"predictionDefinition":"1OR","rows":[],"columnNames":["a"]}"#;
    let reply = behind.post(PREDICT_PATH, &[], none);
    assert_eq!(reply.refusal(), Some("unattributed"));
    assert_eq!(behind.post(PREDICT_PATH, &[KEY], none).status, 201);
    assert_eq!(behind.team("sales", "used"), "0"); // the answer says so
}
