//! What callers show to Salesforce is Salesforce's to judge: it passes as it is, and so does the answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use breakerbox::config::load::Sources;
use breakerbox::gateway::{ConnectorChoice, Gateway, Start};

use crate::http::call;
use crate::stage::{CHAT, Files, MODEL_PATH, SALES_KEY, Stage, allocations, any_port};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);

/// An upstream that tells the head of its one request, and answers it.
fn upstream() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind(any_port()).expect("bind");
    let address = listener.local_addr().expect("an address");
    let (send, heads) = channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
            let read = stream.read(&mut buffer).expect("read");
            seen.extend_from_slice(&buffer[..read]);
        }
        send.send(String::from_utf8(seen).expect("text"))
            .expect("the test");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer).expect("write");
    });
    (address, heads)
}

#[test]
fn what_a_caller_shows_arrives_as_it_was_sent() {
    let (address, heads) = upstream();
    let files = Files::write(address, &allocations("guide", "12_000"));
    let start = Start {
        sources: Sources::new(files.config()),
        connector: ConnectorChoice::Platform,
    };
    let gateway = Gateway::start(start).unwrap_or_else(|error| panic!("{error}"));
    let shown = [
        ("authorization", "Bearer 00DHn!a.b-c=="),
        ("x-sfdc-app-context", "EinsteinGPT"),
        ("x-client-feature-id", "ai-platform-models-connected-app"),
        ("cookie", "sid=00DHn!a; theme=dark"),
        ("x-client-name", "afdx"),
        ("x-b3-traceid", "463ac35c9f6413ad48485a3953bb6124"),
        ("x-nobody-knows-this", "\"as it is\", twice"),
    ];
    let headers = [&[KEY], &shown[..]].concat();
    let reply = call(gateway.proxy, "POST", MODEL_PATH, &headers, CHAT);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let head = heads.recv_timeout(Duration::from_secs(5)).expect("a head");
    let lines: Vec<_> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    for (name, value) in shown {
        let sent: Vec<_> = lines
            .iter()
            .filter(|(sent, _)| sent.eq_ignore_ascii_case(name))
            .collect();
        assert_eq!(sent.len(), 1, "{name}: {head}");
        assert_eq!(sent[0].1, value, "{name}");
    }
    let own = |name: &str| name.to_ascii_lowercase().starts_with("breakerbox-");
    assert!(!lines.iter().any(|(name, _)| own(name)), "{head}");
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn an_upstream_that_wants_a_token_says_so_itself_and_nothing_is_charged() {
    let stage = Stage::on_card("guide", "12_000");
    let check = |missing: &str, want: (u16, &str)| {
        let reply = stage.post(MODEL_PATH, &[KEY, (missing, "")], CHAT);
        assert_eq!((reply.status, reply.refusal()), (want.0, None), "{missing}");
        assert_eq!(reply.json()["errorCode"], want.1, "{missing}");
        let figures = ["used", "reserved"].map(|field| stage.team("sales", field));
        assert_eq!(figures, ["0", "0"], "{missing}");
    };
    check("authorization", (401, "INVALID_AUTH"));
    check("x-sfdc-app-context", (400, "REQUIRED_FIELD_MISSING"));
}
