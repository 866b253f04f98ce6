//! Streams: byte for byte, event by event, and over when either side leaves.

use std::time::{Duration, Instant};

use crate::http::Connection;
use crate::raw::{gateway_before, in_pieces};
use crate::stage::{SALES_KEY, Stage, wait_for};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;

#[test]
fn a_stream_is_byte_identical_whatever_its_pieces() {
    // Odd spacing, comments, all line ends, a split in the middle of a character.
    let body = "event: PROGRESS_INDICATOR\nid: 1-REQ\ndata: {\"offset\" :0,\"message\":{\"type\":\"ProgressIndicator\",\
                \"indicatorType\":\"ACTION\" ,\"message\":\"Suche nach Müller …\"}}\n\n: ping\r\n\r\n\
                event: END_OF_TURN\rdata: {\"message\":{\"type\":\"EndOfTurn\"}}\r\r";
    for size in [1, 2, 3, 7, body.len()] {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        let chunks = body
            .as_bytes()
            .chunks(size)
            .map(|piece| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        let pieces = std::iter::once(head)
            .chain(chunks)
            .chain([b"0\r\n\r\n".to_vec()])
            .collect();
        let (_files, gateway) = gateway_before(in_pieces(pieces, Duration::ZERO), "");
        let path = "/einstein/ai-agent/v1/sessions/s/messages/stream";
        let reply = crate::http::call(gateway.proxy, "POST", path, &[KEY], TURN);
        assert_eq!(
            String::from_utf8_lossy(&reply.body),
            body,
            "pieces of {size}"
        );
        assert!(reply.whole, "pieces of {size}");
        gateway.stop(Duration::from_secs(2)).expect("a clean stop");
    }
}

#[test]
fn an_event_leaves_as_soon_as_it_arrives() {
    let stage = Stage::on_card("guide", "12_000");
    let mut connection = Connection::open(stage.proxy());
    let headers =
        format!("breakerbox-key: {SALES_KEY}\r\nx-sim-actions: 1\r\nx-sim-chunk-delay-ms: 300");
    let opened = stage.post(
        &format!(
            "/einstein/ai-agent/v1/agents/{}/sessions",
            crate::stage::AGENT
        ),
        &[KEY],
        r#"{"externalSessionKey":"1"}"#,
    );
    let session = opened.json()["sessionId"]
        .as_str()
        .expect("a session")
        .to_owned();
    let request = format!(
        "POST /einstein/ai-agent/v1/sessions/{session}/messages/stream HTTP/1.1\r\nhost: x\r\n{headers}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{TURN}",
        TURN.len()
    );
    let started = Instant::now();
    connection.send(request.as_bytes()).expect("send");
    let reply = connection.read_reply().expect("an answer");
    let whole = started.elapsed();
    assert!(reply.whole);
    let events = reply.text().matches("\n\n").count();
    assert!(events >= 3, "{events} events");
    // Were events held back until the end, the first would come with the last; see the next test for that.
    assert!(whole >= Duration::from_millis(300), "{whole:?}");
}

#[test]
fn the_first_event_does_not_wait_for_the_second() {
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    let event = |text: &str| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
    let pieces = vec![
        head,
        event("data: first\n\n"),
        event("data: second\n\n"),
        b"0\r\n\r\n".to_vec(),
    ];
    let (_files, gateway) = gateway_before(in_pieces(pieces, Duration::from_millis(700)), "");
    let mut connection = Connection::open(gateway.proxy);
    let request = format!(
        "POST /einstein/ai-agent/v1/sessions/s/messages/stream HTTP/1.1\r\nhost: x\r\nbreakerbox-key: {SALES_KEY}\r\n\
         content-length: {}\r\n\r\n{TURN}",
        TURN.len()
    );
    connection.send(request.as_bytes()).expect("send");
    let mut read_line = || connection.read_line();
    while !read_line().is_empty() {}
    let head_at = Instant::now();
    let first = connection.read_chunk().expect("a chunk");
    assert_eq!(first, b"data: first\n\n");
    assert!(
        head_at.elapsed() < Duration::from_millis(1_100),
        "{:?}",
        head_at.elapsed()
    );
    assert_eq!(
        connection.read_chunk().expect("a chunk"),
        b"data: second\n\n"
    );
    gateway.stop(Duration::from_secs(3)).expect("a clean stop");
}

#[test]
fn a_client_that_leaves_is_charged_once_and_the_upstream_is_dropped() {
    let stage = Stage::on_card("guide", "12_000");
    let open = format!(
        "/einstein/ai-agent/v1/agents/{}/sessions",
        crate::stage::AGENT
    );
    let opened = stage.post(&open, &[KEY], r#"{"externalSessionKey":"1"}"#);
    let session = opened.json()["sessionId"]
        .as_str()
        .expect("a session")
        .to_owned();
    let upstream_connections = || {
        let name = "breakerbox_upstream_connections{upstream=\"api\"}";
        crate::stage::series(&stage.metrics(), name)
            .parse::<u32>()
            .expect("a count")
    };
    let while_in_flight = {
        let mut connection = Connection::open(stage.proxy());
        let request = format!(
            "POST /einstein/ai-agent/v1/sessions/{session}/messages/stream HTTP/1.1\r\nhost: x\r\n\
             breakerbox-key: {SALES_KEY}\r\nx-sim-actions: 5\r\nx-sim-delay-ms: 10000\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{TURN}",
            TURN.len()
        );
        connection.send(request.as_bytes()).expect("send");
        wait_for("the request is in flight", Duration::from_secs(5), || {
            stage.team("sales", "reserved") == "2"
        });
        upstream_connections()
    };
    wait_for("settled at its estimate", Duration::from_secs(5), || {
        stage.team("sales", "used") == "4"
    });
    assert_eq!(stage.team("sales", "reserved"), "0");
    wait_for("the upstream was dropped", Duration::from_secs(5), || {
        upstream_connections() < while_in_flight
    });
}
