//! Streams: byte for byte, event by event, and over when either side leaves.

use std::io::Write;
use std::time::Duration;

use crate::http::Connection;
use crate::raw::{gateway_before, in_pieces, read_head, upstream};
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
        let pieces: Vec<_> = std::iter::once(head)
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

/// The next event is sent only after the last one arrived: one that was held back would be waited for in vain.
#[test]
fn an_event_leaves_as_soon_as_it_arrives() {
    let (send, pieces) = std::sync::mpsc::channel::<Vec<u8>>();
    let salesforce = upstream(move |mut stream| {
        read_head(&mut stream);
        for piece in &pieces {
            stream.write_all(&piece).expect("write");
        }
    });
    let (_files, gateway) = gateway_before(salesforce, "");
    let mut connection = Connection::open(gateway.proxy);
    let path = "/einstein/ai-agent/v1/sessions/s/messages/stream";
    connection.ask("POST", path, &[KEY], TURN).expect("send");
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    send.send(head.to_vec()).expect("the upstream");
    while !connection.read_line().is_empty() {}
    for at in 0..5 {
        let event = format!("event: TEXT_CHUNK\ndata: {{\"offset\":{at}}}\n\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        send.send(chunk.into_bytes()).expect("the upstream");
        let arrived = connection.read_chunk();
        let arrived = arrived.unwrap_or_else(|error| panic!("event {at} is held back: {error}"));
        assert_eq!(arrived, event.as_bytes());
    }
    send.send(b"0\r\n\r\n".to_vec()).expect("the upstream");
    assert_eq!(connection.read_chunk().expect("the end"), b"");
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
        let path = format!("/einstein/ai-agent/v1/sessions/{session}/messages/stream");
        let headers = [KEY, ("x-sim-actions", "5"), ("x-sim-delay-ms", "10000")];
        connection.ask("POST", &path, &headers, TURN).expect("send");
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
