//! One turn of a session at a time: a second one is told so as Salesforce would, and whatever ends the first lets the
//! next one come.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Barrier;
use std::time::Duration;

use crate::http::{Connection, Reply, credentials};
use crate::stage::{SALES_KEY, Stage, any_port, series, wait_for};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;
const SOON: Duration = Duration::from_secs(5);

fn path(session: &str, stream: bool) -> String {
    let stream = if stream { "/stream" } else { "" };
    format!("/einstein/ai-agent/v1/sessions/{session}/messages{stream}")
}

fn in_flight(stage: &Stage) -> String {
    series(&stage.metrics(), "breakerbox_turns_in_flight")
}

/// Nothing of an earlier turn is left, and the next one is not refused by us. Salesforce may still be at it.
fn check_free(stage: &Stage, session: &str, case: &str) {
    wait_for(case, SOON, || in_flight(stage) == "0");
    let reply = stage.post(&path(session, false), &[KEY], TURN);
    assert_eq!(reply.refusal(), None, "{case}: {}", reply.text());
    assert_eq!(in_flight(stage), "0", "{case}");
    assert_eq!(stage.team("sales", "reserved"), "0", "{case}");
}

/// What a client of Salesforce knows how to read.
fn check_locked(reply: &Reply, path: &str) {
    assert_eq!(reply.status, 423, "{}", reply.text());
    assert_eq!(reply.refusal(), Some("turn_in_flight"));
    assert_eq!(reply.header("retry-after"), Some("1"));
    let body = reply.json();
    assert_eq!(
        (&body["status"], &body["path"]),
        (&423.into(), &path.into())
    );
    assert_eq!(
        body["requestId"],
        *reply.header("breakerbox-request-id").unwrap()
    );
    assert_eq!(body["error"], "turn_in_flight");
    let message = body["message"].as_str().expect("a message");
    assert!(
        message.starts_with("Session Already Locked Exception"),
        "{message}"
    );
    assert!(body["timestamp"].is_i64() && body["breakerbox"]["team"] == "sales");
}

#[test]
fn of_turns_posted_at_once_one_is_forwarded_and_the_others_are_locked_out() {
    let stage = Stage::on_card("flex-2026-08", "12_000_000");
    let (session, rounds, at_once) = (stage.open_session(), 5, 6);
    let slow = [KEY, ("x-sim-actions", "1"), ("x-sim-delay-ms", "500")];
    for round in 0..rounds {
        let start = Barrier::new(at_once);
        let replies: Vec<_> = std::thread::scope(|scope| {
            let post = |at: usize| {
                let path = path(&session, at.is_multiple_of(2));
                let mut connection = Connection::open(stage.proxy());
                start.wait();
                let reply = connection.call("POST", &path, &slow, TURN);
                (path, reply.expect("an answer"))
            };
            let threads: Vec<_> = (0..at_once)
                .map(|at| scope.spawn(move || post(at)))
                .collect();
            let replies = threads.into_iter().map(|thread| thread.join().unwrap());
            replies.collect()
        });
        let (made, refused): (Vec<_>, Vec<_>) =
            replies.iter().partition(|(_, reply)| reply.status == 200);
        assert_eq!(made.len(), 1, "round {round}");
        refused
            .iter()
            .for_each(|(path, reply)| check_locked(reply, path));
    }
    assert_eq!(in_flight(&stage), "0");
    let billed = stage.simulator.billed();
    assert_eq!(billed.units.turns.turns, rounds);
    assert_eq!(billed.requests, 1 + rounds, "the others were not forwarded");
    let used = stage.team("sales", "used");
    assert_eq!(
        used,
        (billed.flex.total_micro_credits / 1_000_000).to_string()
    );
    let refused =
        "breakerbox_refusals_total{team=\"sales\",class=\"critical\",refusal=\"turn_in_flight\"}";
    let want = rounds * (u64::try_from(at_once).unwrap() - 1);
    assert_eq!(series(&stage.metrics(), refused), want.to_string());
}

#[test]
fn whoever_is_locked_out_learns_by_which_request_and_since_when() {
    let stage = Stage::on_card("guide", "12_000");
    let (session, other) = (stage.open_session(), stage.open_session());
    let mut first = Connection::open(stage.proxy());
    let slow = [KEY, ("x-sim-actions", "1"), ("x-sim-delay-ms", "2000")];
    first
        .ask("POST", &path(&session, false), &slow, TURN)
        .expect("send");
    wait_for("the first turn is in flight", SOON, || {
        in_flight(&stage) == "1"
    });
    let before = stage.team("sales", "reserved");
    let locked = stage.post(&path(&session, true), &[KEY], TURN);
    check_locked(&locked, &path(&session, true));
    assert_eq!(
        stage.team("sales", "reserved"),
        before,
        "nothing is reserved"
    );
    let accept = ("Accept", "application/problem+json");
    let problem = stage
        .post(&path(&session, true), &[KEY, accept], TURN)
        .json();
    assert_eq!(
        (&problem["status"], &problem["title"]),
        (&423.into(), &"Locked".into())
    );
    let another = stage.post(&path(&other, false), &[KEY, ("x-sim-actions", "0")], TURN);
    assert_eq!(another.status, 200, "another session is not locked");
    let first = first.read_reply().expect("an answer");
    assert_eq!(first.status, 200);
    let id = locked.header("breakerbox-request-id").expect("an id");
    let record = stage.ask(&format!("/api/v1/decisions/{id}"));
    assert_eq!(record["refusal"], "turn_in_flight");
    assert_eq!(
        (&record["team"], &record["estimate"]),
        (&"sales".into(), &2.into())
    );
    let detail = record["detail"].as_str().expect("a detail");
    let holder = first.header("breakerbox-request-id").expect("an id");
    assert!(
        detail.contains(holder) && detail.contains("in flight since 20"),
        "{detail}"
    );
    assert_eq!(
        stage.team("sales", "used"),
        "5",
        "two openings and one action"
    );
}

#[test]
fn whatever_ends_a_turn_lets_the_next_one_come() {
    let stage = Stage::configured(
        &crate::stage::allocations("guide", "12_000"),
        "[limits]\nresponse_timeout = \"1s\"\n",
    );
    for (case, header, value, stream) in [
        ("an answer", "x-sim-actions", "1", false),
        ("a stream", "x-sim-actions", "1", true),
        ("a stream that is cut", "x-sim-cut-after", "1", true),
        ("an answer that is cut", "x-sim-cut-after", "1", false),
        ("an error inside", "x-sim-error-frame", "1", true),
        ("bad request", "x-sim-status", "400", true),
        ("locked by Salesforce", "x-sim-status", "423", false),
        ("unavailable", "x-sim-status", "503", true),
        ("no content", "x-sim-status", "204", false),
        ("no head in time", "x-sim-hang", "60000", false),
    ] {
        let session = stage.open_session();
        let reply = stage.post(&path(&session, stream), &[KEY, (header, value)], TURN);
        assert_ne!(reply.refusal(), Some("turn_in_flight"), "{case}");
        check_free(&stage, &session, case);
    }
}

#[test]
fn a_client_that_leaves_lets_the_next_turn_come() {
    let stage = Stage::on_card("guide", "12_000");
    let leave = |case: &str, stream: bool, header: (&str, &str), chunks: usize| {
        let session = stage.open_session();
        let mut client = Connection::open(stage.proxy());
        let headers = [KEY, ("x-sim-actions", "3"), header];
        client
            .ask("POST", &path(&session, stream), &headers, TURN)
            .expect("send");
        wait_for(case, SOON, || in_flight(&stage) == "1");
        if chunks > 0 {
            while !client.read_line().is_empty() {}
        }
        for _ in 0..chunks {
            assert!(!client.read_chunk().expect("a chunk").is_empty(), "{case}");
        }
        assert_eq!(in_flight(&stage), "1", "{case}");
        drop(client);
        check_free(&stage, &session, case);
    };
    leave("before the head", false, ("x-sim-delay-ms", "2000"), 0);
    leave("before the stream", true, ("x-sim-delay-ms", "2000"), 0);
    leave("in the stream", true, ("x-sim-chunk-delay-ms", "300"), 2);

    let session = stage.open_session();
    let mut client = Connection::open(stage.proxy());
    let path = path(&session, false);
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\n{}content-length: 500\r\n\r\n{{",
        credentials()
    );
    client.send(head.as_bytes()).expect("send");
    wait_for("before the end of the body", SOON, || {
        in_flight(&stage) == "1"
    });
    drop(client);
    check_free(&stage, &session, "before the end of the body");
}

#[test]
fn a_refused_turn_holds_nothing() {
    let stage = Stage::on_card("guide", "12"); // sales: 0.35 credits a month
    for key in [&[KEY][..], &[]] {
        for _ in 0..2 {
            let reply = stage.post(&path("s", true), key, TURN);
            let want = if key.is_empty() {
                "unattributed"
            } else {
                "team_exhausted"
            };
            assert_eq!(reply.refusal(), Some(want));
            assert_eq!(in_flight(&stage), "0");
        }
    }
    let nobody = TcpListener::bind(any_port()).expect("bind").local_addr();
    let stage = before(&nobody.expect("address").to_string());
    for _ in 0..2 {
        let reply = stage.post(&path("s", true), &[KEY], TURN);
        assert_eq!(reply.refusal(), Some("upstream_unreachable"));
        assert_eq!(in_flight(&stage), "0");
    }
}

/// A gateway in front of another Salesforce than the simulated one.
fn before(salesforce: &str) -> Stage {
    let mut stage = Stage::on_card("guide", "12_000");
    let config = std::fs::read_to_string(stage.files.config()).expect("read");
    let config = config.replace(&stage.simulator.address.to_string(), salesforce);
    std::fs::write(stage.files.config(), config).expect("write");
    stage.restart();
    stage
}

/// Runs as many actions as `x-actions` says, ends the turn, and leaves the stream open.
fn salesforce_that_keeps_streams_open() -> SocketAddr {
    let listener = TcpListener::bind(any_port()).expect("bind");
    let address = listener.local_addr().expect("address");
    let answer = |mut stream: TcpStream| {
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while !seen.ends_with(TURN.as_bytes()) {
            let read = stream.read(&mut buffer).expect("read");
            seen.extend_from_slice(&buffer[..read]);
        }
        let seen = String::from_utf8(seen).expect("text");
        let (_, actions) = seen.split_once("x-actions: ").expect("how many");
        let actions: usize = actions[..1].parse().expect("a digit");
        let results: Vec<_> = (0..actions)
            .map(|at| format!(r#"{{"type":"copilotActionOutput/A_{at}"}}"#))
            .collect();
        let inform = format!(r#"{{"type":"Inform","result":[{}]}}"#, results.join(","));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("write");
        for message in [inform.as_str(), r#"{"type":"EndOfTurn"}"#] {
            let event = format!("data: {{\"message\":{message}}}\n\n");
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            stream.write_all(chunk.as_bytes()).expect("write");
            std::thread::park_timeout(Duration::from_millis(100));
        }
        let _closed_by_the_gateway = stream.read(&mut buffer);
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    address
}

/// And finds its conversation at what the turns before have cost, not at their estimates.
#[test]
fn the_next_turn_may_come_with_end_of_turn_though_the_stream_stays_open() {
    let stage = before(&salesforce_that_keeps_streams_open().to_string());
    let mut streams = Vec::new();
    for actions in ["0", "6", "0"] {
        let mut client = Connection::open(stage.proxy());
        let headers = [KEY, ("x-actions", actions)];
        client
            .ask("POST", &path("s", true), &headers, TURN)
            .expect("send");
        let status = client.read_line();
        assert!(status.contains("200"), "{actions}: {status}");
        while !client.read_line().is_empty() {}
        client.read_chunk().expect("INFORM");
        let locked = stage.post(&path("s", true), &headers, TURN);
        assert_eq!(
            locked.refusal(),
            Some("turn_in_flight"),
            "{actions}: it is not over"
        );
        let end = client.read_chunk().expect("END_OF_TURN");
        assert!(end.windows(9).any(|word| word == b"EndOfTurn"));
        assert_eq!(in_flight(&stage), "0", "{actions}: it is over");
        streams.push(client);
    }
    drop(streams);
    wait_for("settled", SOON, || stage.team("sales", "reserved") == "0");
    assert_eq!(
        stage.team("sales", "used"),
        "8",
        "the opening and 6 actions"
    );
}
