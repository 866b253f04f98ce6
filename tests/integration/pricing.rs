//! What a call is charged where its body or its answer does not say it plainly: never less than it can have used.

use std::time::Duration;

use crate::http::{Connection, credentials};
use crate::origin::{Behind, answering, chunked, whole};
use crate::stage::{
    CHAT, MODEL_PATH, PREDICT_PATH, PROMPT, PROMPT_PATH, SALES_KEY, Stage, allocations, series,
    wait_for,
};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;
const TURN_PATH: &str = "/einstein/ai-agent/v1/sessions/s/messages";
const MANY: &str = "12_000_000_000";
/// What every raw request sends beside its own.
const JSON: &str = "authorization: Bearer 00DHn000000AAAA!test\r\nx-sfdc-app-context: EinsteinGPT\r\nx-client-feature-id: ai-platform-models-connected-app\r\ncontent-type: application/json";

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

/// A flex prompt whose grounded template has 240,000 tokens: 121 prompts of 4, where 5 were expected.
fn dear_answer() -> String {
    let prompt = "x".repeat(960_000);
    format!(r#"{{"generations":[{{"text":"done"}}],"prompt":"{prompt}"}}"#)
}

#[test]
fn an_answer_over_its_bound_is_cut_before_its_end_where_that_is_wanted() {
    let cut = flex().replace("share = \"35%\"", "share = \"35%\"\non_bound = \"cut\"");
    let answer = dear_answer();
    for answer in [
        whole("201 Created", answer.as_bytes()),
        chunked("201 Created", answer.as_bytes(), 500_000),
    ] {
        let behind = Behind::start(answering(answer), &cut, "");
        let reply = behind.post(PROMPT_PATH, &[], PROMPT);
        assert_eq!((reply.status, reply.whole), (201, false));
        behind.comes_to("sales", "used", "484"); // it ran all the same
    }
}

#[test]
fn an_answer_over_its_bound_is_covered_before_its_last_byte_passes() {
    let answer = dear_answer();
    for sent in [
        whole("201 Created", answer.as_bytes()),
        chunked("201 Created", answer.as_bytes(), 500_000),
    ] {
        let behind = Behind::start(answering(sent), &flex(), "");
        let reply = behind.post(PROMPT_PATH, &[], PROMPT);
        assert!(reply.whole && reply.text() == answer);
        assert_eq!(behind.team("sales", "used"), "484");
        let granted: f64 = behind.team("sales", "granted").parse().expect("credits");
        assert!(granted >= 484.0, "{granted}");
    }
}

#[test]
fn an_answer_in_chunks_is_passed_on_whole_and_read_whole() {
    let answer = "{\"predictions\":[{},{\"a\":\"}\"},{}]\n}\r\n";
    for bytes in [1, 2, 3, 7, answer.len()] {
        let sent = chunked("201 Created", answer.as_bytes(), bytes);
        let behind = Behind::start(answering(sent), &guide(), "");
        let mut connection = Connection::open(behind.proxy());
        for calls in 1..=2 {
            let reply = connection.call("POST", PREDICT_PATH, &[KEY], r#"{"rows":[]}"#);
            let reply = reply.expect("an answer");
            assert_eq!(
                (reply.text().as_str(), reply.whole),
                (answer, true),
                "{bytes}"
            );
            let want = if calls == 1 { "0.6" } else { "1.2" };
            assert_eq!(behind.team("sales", "used"), want, "{bytes}");
        }
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
fn turns_at_once_of_a_session_not_seen_opened_pay_for_one_opening() {
    let behind = Behind::start(answering(Vec::new()), &guide(), "");
    let turn = behind.ask(TURN_PATH, &[KEY], TURN);
    behind.comes_to("sales", "reserved", "4"); // an opening of 2, and 2 for the turn
    for _ in 0..4 {
        let reply = behind.post(TURN_PATH, &[KEY], TURN);
        assert_eq!(reply.refusal(), Some("turn_in_flight"));
    }
    assert_eq!(behind.team("sales", "reserved"), "4");
    drop(turn);
    behind.comes_to("sales", "used", "4");
    assert_eq!(behind.team("sales", "reserved"), "0");
    let _turn = behind.ask(TURN_PATH, &[KEY], TURN);
    behind.comes_to("sales", "reserved", "2"); // the opening is paid
}

/// As often as `END_OF_TURN` lets the next one come while a stream stays open.
#[test]
fn turns_whose_streams_are_still_open_pay_for_one_conversation() {
    let ended = "data: {\"message\":{\"type\":\"EndOfTurn\"}}\n\n";
    let open = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{ended}\r\n",
        ended.len()
    );
    let behind = Behind::start(answering(open.into_bytes()), &guide(), "");
    let streams: Vec<_> = ["4", "6", "8"]
        .into_iter()
        .map(|reserved| {
            let stream = behind.ask(&format!("{TURN_PATH}/stream"), &[KEY], TURN);
            behind.comes_to("sales", "reserved", reserved);
            let over = "breakerbox_turns_in_flight";
            wait_for("it is over", Duration::from_secs(5), || {
                series(&behind.metrics(), over) == "0"
            });
            stream
        })
        .collect();
    drop(streams);
    behind.comes_to("sales", "reserved", "0");
    assert_eq!(behind.team("sales", "used"), "2", "an opening, no action");
}

#[test]
fn a_refused_first_turn_leaves_the_opening_to_the_next() {
    let behind = Behind::start(answering(Vec::new()), &guide(), "");
    let stranger = behind.post(TURN_PATH, &[], TURN);
    assert_eq!(stranger.refusal(), Some("unattributed"));
    let _turn = behind.ask(TURN_PATH, &[KEY], TURN);
    behind.comes_to("sales", "reserved", "4");
}

/// A request in chunks, as a client sends one whose length it does not know.
fn in_chunks(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{JSON}\r\n{headers}transfer-encoding: chunked\r\n\r\n{:x}\r\n",
        body.len()
    );
    [head.as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
}

#[test]
fn a_size_that_is_not_known_is_the_most_it_can_be() {
    let behind = Behind::start(answering(Vec::new()), &flex(), "");
    let key = format!("breakerbox-key: {SALES_KEY}\r\n");
    let chat = |bytes: usize| CHAT.replace("Hello", &"x".repeat(bytes));
    let check = |headers: &str, body: &[u8], want: &str| {
        let mut connection = Connection::open(behind.proxy());
        let request = in_chunks(MODEL_PATH, &(key.clone() + headers), body);
        connection.send(&request).expect("send");
        behind.comes_to("sales", "reserved", want);
        drop(connection);
        behind.comes_to("sales", "reserved", "0");
    };
    check("", chat(5).as_bytes(), "20"); // 8,192 tokens, and a few
    check("", chat(40_000).as_bytes(), "40"); // and 10,000
    check("", chat(1 << 20).as_bytes(), "83904"); // over price_body_bytes: it may be of 160 MiB
    check("content-encoding: gzip\r\n", &[0x1f; 1_000], "536"); // may unfold to 1,032,000 bytes
    check("content-encoding: br\r\n", &[0x1f; 1_000], "83904");
}

/// Bytes between a client and a port of this machine that the kernel still has (proc(5), `/proc/net/tcp`).
fn unread(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let port = format!(":{port:04X}");
    let queues = table.lines().filter_map(|line| {
        let field: Vec<_> = line.split_whitespace().collect();
        let [_, local, remote, _, queues, ..] = field[..] else {
            return None;
        };
        let (sent, received) = queues.split_once(':')?;
        (local.ends_with(&port) || remote.ends_with(&port)).then_some([sent, received])
    });
    let hex = |bytes: &str| u64::from_str_radix(bytes, 16).unwrap_or(0);
    queues.flatten().map(hex).sum()
}

#[test]
fn a_body_for_which_there_is_no_room_is_not_free() {
    let behind = Behind::start(answering(Vec::new()), &guide(), "");
    let embed = MODEL_PATH.replace("chat-generations", "embeddings");
    let asked = r#"{"input":["a"]}"#;
    // 64 MiB but 4 bytes, by requests that never end.
    let most = (1 << 20) - 1;
    let held: Vec<_> = std::iter::repeat_n(most, 64)
        .chain([60])
        .map(|sent| {
            let mut connection = Connection::open(behind.proxy());
            let head = format!(
                "POST {PREDICT_PATH} HTTP/1.1\r\nhost: x\r\n{JSON}\r\ncontent-length: {}\r\n\r\n",
                sent + 1
            );
            connection.send(head.as_bytes()).expect("send");
            connection.send(&vec![b' '; sent]).expect("send");
            connection
        })
        .collect();
    let port = behind.proxy().port();
    wait_for("all of it is read", Duration::from_secs(20), || {
        unread(port) == 0
    });
    let mut connection = Connection::open(behind.proxy());
    let request = in_chunks(&embed, "", asked.as_bytes());
    connection.send(&request).expect("send");
    let reply = connection.read_reply().expect("an answer");
    assert_eq!((reply.status, reply.refusal()), (503, Some("overloaded")));
    assert!(reply.header("retry-after").is_some());
    // Its length is known, so it is priced by that: an input for every 4 bytes.
    let mut connection = Connection::open(behind.proxy());
    let head = format!(
        "POST {embed} HTTP/1.1\r\nhost: x\r\nbreakerbox-key: {SALES_KEY}\r\n{JSON}\r\ncontent-length: {}\r\n\r\n",
        asked.len()
    );
    connection.send(head.as_bytes()).expect("send");
    connection.send(&asked.as_bytes()[..10]).expect("send");
    behind.comes_to("sales", "reserved", "0.4");
    drop(held);
    wait_for("room again", Duration::from_secs(5), || {
        series(&behind.metrics(), "breakerbox_in_flight_requests") == "1"
    });
    let _asked = behind.ask(&embed, &[KEY], asked);
    behind.comes_to("sales", "reserved", "0.5");
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

#[test]
fn a_chat_is_sent_on_while_it_comes() {
    let stage = Stage::on_card("guide", MANY);
    let (first, rest) = CHAT.split_at(10);
    let mut connection = Connection::open(stage.proxy());
    let head = format!(
        "POST {MODEL_PATH} HTTP/1.1\r\nhost: x\r\nbreakerbox-key: {SALES_KEY}\r\n{}{JSON}\r\ncontent-length: {}\r\n\r\n",
        credentials(),
        CHAT.len()
    );
    connection.send(head.as_bytes()).expect("send");
    connection.send(first.as_bytes()).expect("send");
    // Admitted by its stated length: nothing waits for the rest.
    wait_for("reserved", Duration::from_secs(5), || {
        stage.team("sales", "reserved") == "2"
    });
    connection.send(rest.as_bytes()).expect("send");
    assert_eq!(connection.read_reply().expect("an answer").status, 200);
    assert_eq!(stage.team("sales", "used"), "1");
}

#[test]
fn a_slow_upload_is_neither_the_gateways_time_nor_the_upstreams() {
    let stage = Stage::on_card("guide", MANY);
    for (path, body) in [(MODEL_PATH, CHAT), (PROMPT_PATH, PROMPT)] {
        let (first, rest) = body.split_at(10);
        let mut connection = Connection::open(stage.proxy());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nbreakerbox-key: {SALES_KEY}\r\n{}{JSON}\r\ncontent-length: {}\r\n\r\n",
            credentials(),
            body.len()
        );
        connection.send(head.as_bytes()).expect("send");
        connection.send(first.as_bytes()).expect("send");
        std::thread::park_timeout(Duration::from_millis(1_500));
        connection.send(rest.as_bytes()).expect("send");
        let status = connection.read_reply().expect("an answer").status;
        assert!(status == 200 || status == 201, "{status}");
    }
    for name in ["overhead_seconds", "upstream_duration_seconds"] {
        let metrics = stage.metrics();
        let sum = series(&metrics, &format!("breakerbox_{name}_sum"));
        let seconds: f64 = sum.parse().expect("seconds");
        assert!(seconds > 0.0 && seconds < 1.4, "{name}: {seconds}");
    }
}
