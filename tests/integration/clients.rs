//! What old, slow and careless clients get: nothing cut short looks whole, and every refusal arrives.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use breakerbox::gateway::Gateway;

use crate::http::{Connection, Reply, get};
use crate::raw::{gateway_before, in_pieces};
use crate::stage::{CHAT, Files, MODEL_PATH, SALES_KEY, series};

const AT_ONCE: Duration = Duration::from_millis(700);

fn chat(version: &str, headers: &str) -> Vec<u8> {
    let length = CHAT.len();
    format!(
        "POST {MODEL_PATH} {version}\r\nhost: x\r\nbreakerbox-key: {SALES_KEY}\r\n{headers}content-length: {length}\r\n\r\n{CHAT}"
    )
    .into_bytes()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a socket");
    stream
}

/// Everything until the connection ends, and how it ended.
fn to_the_end(stream: &mut TcpStream) -> (String, Option<ErrorKind>) {
    let mut read = Vec::new();
    let ended = stream.read_to_end(&mut read).err();
    let text = String::from_utf8_lossy(&read).into_owned();
    (text, ended.map(|error| error.kind()))
}

/// One answer of an upstream, as a client of some version gets it.
fn answer(upstream: &[&str], version: &str) -> (String, Option<ErrorKind>) {
    let pieces = upstream.iter().map(|piece| piece.as_bytes().to_vec());
    let salesforce = in_pieces(pieces.collect(), Duration::from_millis(150));
    let (_files, gateway) = gateway_before(salesforce, "");
    let mut stream = connect(gateway.proxy);
    stream
        .write_all(&chat(version, "connection: close\r\n"))
        .expect("send");
    let answer = to_the_end(&mut stream);
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
    answer
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[test]
fn an_answer_cut_short_ends_in_a_reset_where_its_end_is_the_connections() {
    let cut = [CHUNKED, "5\r\nfirst\r\n"];
    let (_, ended) = answer(&cut, "HTTP/1.0");
    assert_eq!(ended, Some(ErrorKind::ConnectionReset));
    let whole = [CHUNKED, "5\r\nfirst\r\n", "0\r\n\r\n"];
    let (text, ended) = answer(&whole, "HTTP/1.0");
    assert_eq!(ended, None, "{text}");
    assert!(text.ends_with("\r\n\r\nfirst"), "{text}");
    let short = ["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", "first"];
    let (text, ended) = answer(&short, "HTTP/1.0");
    assert_eq!(ended, None, "the length tells: {text}");
}

#[test]
fn a_client_gets_its_own_version_whatever_the_upstream_speaks() {
    let old = [
        "HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\n",
        "first",
    ];
    let (text, ended) = answer(&old, "HTTP/1.1");
    assert_eq!(ended, None);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    assert!(text.ends_with("5\r\nfirst\r\n0\r\n\r\n"), "{text}");
}

/// A gateway that never has to call anybody.
fn refusing(limits: &str) -> (Files, Gateway) {
    gateway_before(in_pieces(Vec::new(), Duration::ZERO), limits)
}

fn is_refused(reply: &Reply, refusal: &str) {
    assert_eq!(
        (reply.refusal(), reply.header("connection"), reply.whole),
        (Some(refusal), Some("close"), true),
        "{}",
        reply.text()
    );
}

/// Forwarded as it comes, so that nothing of the body is read before the refusal.
const TURN_PATH: &str = "/einstein/ai-agent/v1/sessions/s/messages";

#[test]
fn a_refusal_does_not_wait_for_a_client_that_pauses() {
    let (_files, gateway) = refusing("price_body_bytes = \"1KiB\"\nbody_bytes = \"2KiB\"");
    let check = |head: &str, body: &[u8], more: &[u8], refusal: &str| {
        let mut connection = Connection::open(gateway.proxy);
        let head = format!("{head}\r\nhost: x\r\n\r\n");
        connection.send(head.as_bytes()).expect("send");
        connection.send(body).expect("send");
        let asked = Instant::now();
        let mut reply = connection.read_reply().expect("an answer");
        if reply.status == 100 {
            reply = connection.read_reply().expect("an answer");
        }
        assert!(asked.elapsed() < AT_ONCE, "{head}: {:?}", asked.elapsed());
        is_refused(&reply, refusal);
        // The client goes on sending, and is not reset for it.
        connection.send(more).expect("send");
        assert!(
            connection
                .try_read_line()
                .is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof)
        );
        assert!(connection.send(more).is_ok(), "{head}");
    };
    let paused = format!("POST {TURN_PATH} HTTP/1.1\r\ncontent-length: 2000");
    check(&paused, b"{", &[b' '; 500], "unattributed");
    let large = format!("POST {TURN_PATH} HTTP/1.1\r\ncontent-length: 50000");
    check(&large, b"{", &[b' '; 10_000], "body_too_large");
    let chunk = [b"700\r\n".as_slice(), &[b' '; 0x700], b"\r\n"].concat();
    let chunked = format!("POST {MODEL_PATH} HTTP/1.1\r\ntransfer-encoding: chunked");
    check(&chunked, &chunk, &chunk, "unattributed");
    let expecting = format!("{chunked}\r\nexpect: 100-continue");
    check(&expecting, &chunk, &chunk, "unattributed");
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn a_chunked_body_that_grows_too_large_is_told_so_while_it_is_sent() {
    let (_files, gateway) = gateway_before(
        crate::raw::upstream(|mut stream| {
            let _ended = stream.read_to_end(&mut Vec::new());
        }),
        "body_bytes = \"2KiB\"",
    );
    let mut connection = Connection::open(gateway.proxy);
    let head = format!(
        "POST {TURN_PATH} HTTP/1.1\r\nhost: x\r\nbreakerbox-key: {SALES_KEY}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    connection.send(head.as_bytes()).expect("send");
    let chunk = [b"1000\r\n".as_slice(), &[b' '; 0x1000], b"\r\n"].concat();
    connection.send(&chunk).expect("send");
    let asked = Instant::now();
    is_refused(
        &connection.read_reply().expect("an answer"),
        "body_too_large",
    );
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    connection.send(&chunk).expect("send");
    connection.send(&chunk).expect("not reset");
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn a_refusal_reaches_a_client_that_sends_more_than_is_read_off() {
    let (_files, gateway) = refusing("");
    for round in 0..10 {
        let mut sending = connect(gateway.proxy);
        let mut reading = sending.try_clone().expect("a socket");
        let head =
            format!("POST {TURN_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n");
        let text = std::thread::scope(|scope| {
            scope.spawn(move || {
                // Ends in a reset, sooner or later: more is sent than anybody reads.
                let _reset = sending.write_all(head.as_bytes());
                let _reset = sending.write_all(&vec![b'x'; 8_000_000]);
            });
            let mut text = String::new();
            let mut buffer = [0; 4096];
            while !text.ends_with('}') {
                let read = reading.read(&mut buffer);
                let read = read.unwrap_or_else(|error| panic!("round {round}: {error}: {text}"));
                assert!(read > 0, "round {round}: {text}");
                text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
            text
        });
        assert!(text.contains("breakerbox-refusal: unattributed"), "{text}");
    }
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn a_refusal_of_a_whole_request_leaves_the_connection_open() {
    let (_files, gateway) = refusing("");
    let mut connection = Connection::open(gateway.proxy);
    for _ in 0..5 {
        let reply = connection.call("POST", TURN_PATH, &[], "{\"message\":{}}");
        let reply = reply.expect("the same connection");
        assert_eq!(
            (reply.refusal(), reply.header("connection")),
            (Some("unattributed"), None)
        );
    }
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn a_head_nobody_can_take_is_refused_as_everything_else() {
    let (_files, gateway) = refusing("");
    let check = |head: &str, status: u16, refusal: &str| {
        let mut connection = Connection::open(gateway.proxy);
        connection.send(head.as_bytes()).expect("send");
        let reply = connection.read_reply().expect("an answer");
        assert_eq!(reply.status, status, "{}", reply.text());
        is_refused(&reply, refusal);
        let problem = reply.json();
        assert_eq!(problem["refusal"], refusal);
        let id = reply.header("breakerbox-request-id").expect("an id");
        let decision = get(gateway.admin, &format!("/api/v1/decisions/{id}")).json();
        assert_eq!(decision["refusal"], refusal, "{decision}");
        assert!(connection.try_read_line().is_err(), "closed");
    };
    let long = "x".repeat(20_000);
    check(
        &format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n"),
        431,
        "head_too_large",
    );
    check(
        &format!("GET /{long} HTTP/1.1\r\nhost: x\r\n"),
        431,
        "head_too_large",
    );
    check("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "bad_request");
    check("\u{1}nonsense\r\n\r\n", 400, "bad_request");
    let metrics = get(gateway.admin, "/metrics").text();
    for refusal in ["head_too_large", "bad_request"] {
        let name =
            format!("breakerbox_refusals_total{{team=\"\",class=\"\",refusal=\"{refusal}\"}}");
        assert_eq!(series(&metrics, &name), "2", "{metrics}");
    }
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn a_broken_head_behind_a_good_request_does_not_harm_its_answer() {
    let (_files, gateway) = refusing("");
    let mut connection = Connection::open(gateway.proxy);
    let good = format!("POST {TURN_PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{{}}");
    connection
        .send(format!("{good}{good}GET / HTTP/1.1\r\nno colon\r\n\r\n").as_bytes())
        .expect("send");
    for want in ["unattributed", "unattributed", "bad_request"] {
        let reply = connection.read_reply().expect("an answer");
        assert_eq!((reply.refusal(), reply.whole), (Some(want), true));
    }
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}
