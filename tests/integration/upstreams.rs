//! Upstreams that stall, answer too early, or say no: whose fault it is, and what is left behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::http::{Connection, Reply, get};
use crate::raw::{gateway_before, in_pieces, read_head, upstream};
use crate::stage::{CHAT, MODEL_PATH, SALES_KEY, any_port, series, wait_for};

const TURN_PATH: &str = "/einstein/ai-agent/v1/sessions/s/messages";
/// More than the sockets on the way hold.
const MUCH: usize = 40_000_000;

fn is_refused(reply: &Reply, status: u16, refusal: &str) {
    assert_eq!(
        (reply.status, reply.refusal()),
        (status, Some(refusal)),
        "{}",
        reply.text()
    );
}

/// A turn whose body is `length` bytes; the head alone.
fn head(length: usize) -> String {
    format!(
        "POST {TURN_PATH} HTTP/1.1\r\nhost: x\r\nbreakerbox-key: {SALES_KEY}\r\ncontent-length: {length}\r\n\r\n"
    )
}

#[test]
fn an_upstream_that_stops_reading_is_not_the_clients_fault() {
    let salesforce = upstream(|mut stream| {
        read_head(&mut stream);
        std::thread::park_timeout(Duration::from_secs(20));
    });
    let (_files, gateway) = gateway_before(salesforce, "idle_body_timeout = \"1s\"");
    let mut connection = Connection::open(gateway.proxy);
    connection.send(head(MUCH).as_bytes()).expect("send");
    // Blocks once nobody reads; what is not taken is left when the answer comes.
    let mut sending = connection.try_clone().expect("a socket");
    std::thread::spawn(move || {
        let _reset = sending.write_all(&vec![b' '; MUCH]);
    });
    is_refused(
        &connection.read_reply().expect("an answer"),
        504,
        "upstream_timeout",
    );
    let team = get(gateway.admin, "/api/v1/teams/sales").json();
    assert_eq!(
        (team["used"].to_string(), team["reserved"].to_string()),
        ("0".to_owned(), "0".to_owned()),
        "the request never was whole"
    );
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn a_client_that_stops_sending_is_its_own_fault() {
    let salesforce = upstream(|mut stream| {
        let _ended = stream.read_to_end(&mut Vec::new());
    });
    let (_files, gateway) = gateway_before(salesforce, "idle_body_timeout = \"1s\"");
    let mut connection = Connection::open(gateway.proxy);
    connection.send(head(100).as_bytes()).expect("send");
    connection.send(b"{").expect("send");
    is_refused(
        &connection.read_reply().expect("an answer"),
        400,
        "bad_request",
    );
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

/// An address that neither takes a connection nor refuses it: its queue is full.
fn hanging() -> (SocketAddr, Vec<std::net::TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&any_port().into()).expect("bind");
    socket.listen(0).expect("listen");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("address");
    let mut waiting = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300))
    {
        waiting.push(stream);
    }
    Box::leak(Box::new(listener)); // it must go on not accepting
    (address, waiting)
}

#[test]
fn a_connect_that_hangs_is_the_upstreams_fault() {
    let (salesforce, _waiting) = hanging();
    let limits = "idle_body_timeout = \"1s\"\nconnect_timeout = \"2s\"";
    let (_files, gateway) = gateway_before(salesforce, limits);
    let mut connection = Connection::open(gateway.proxy);
    connection.send(head(2).as_bytes()).expect("send");
    connection.send(b"{}").expect("send");
    is_refused(
        &connection.read_reply().expect("an answer"),
        502,
        "upstream_unreachable",
    );
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn an_early_answer_leaves_no_connection_behind() {
    let salesforce = upstream(|mut stream| {
        read_head(&mut stream);
        let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nmuch";
        stream.write_all(answer.as_bytes()).expect("write");
        // Neither reads on nor closes.
        std::thread::park_timeout(Duration::from_secs(60));
    });
    let (_files, gateway) = gateway_before(salesforce, "");
    let mut connection = Connection::open(gateway.proxy);
    connection.send(head(MUCH).as_bytes()).expect("send");
    let mut sending = connection.try_clone().expect("a socket");
    std::thread::spawn(move || {
        let _reset = sending.write_all(&vec![b' '; MUCH]);
    });
    let reply = connection.read_reply().expect("an answer");
    assert_eq!(
        (reply.status, reply.text().as_str(), reply.refusal()),
        (413, "much", None)
    );
    assert_eq!(reply.header("connection"), Some("close"));
    let asked = Instant::now();
    wait_for("the connection is gone", Duration::from_secs(5), || {
        let metrics = get(gateway.admin, "/metrics").text();
        series(
            &metrics,
            "breakerbox_upstream_connections{upstream=\"api\"}",
        ) == "0"
    });
    assert!(asked.elapsed() < Duration::from_secs(5));
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn what_the_upstream_refuses_still_says_whose_call_it_was() {
    let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone".to_vec();
    let (_files, gateway) = gateway_before(in_pieces(vec![answer], Duration::ZERO), "");
    let key = [("breakerbox-key", SALES_KEY)];
    let reply = crate::http::call(gateway.proxy, "POST", MODEL_PATH, &key, CHAT);
    assert_eq!((reply.status, reply.text().as_str()), (404, "none"));
    let told = ["team", "breaker", "remaining", "credits"]
        .map(|name| reply.header(&format!("breakerbox-{name}")));
    assert_eq!(told, [Some("sales"), Some("closed"), Some("350"), None]);
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}
