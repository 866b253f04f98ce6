//! What is too much at once, and in which words it is said.

use std::io::Write;
use std::time::Duration;

use crate::http::{Connection, Reply, get};
use crate::raw::{gateway_before, read_head, upstream};
use crate::stage::{CHAT, MODEL_PATH, SALES_KEY, wait_for};

const KEY: (&str, &str) = ("breakerbox-key", SALES_KEY);

/// Refused in the shape of the Models API.
fn is_refused(reply: &Reply, status: u16, refusal: &str) {
    assert_eq!(
        (reply.status, reply.refusal(), reply.header("content-type")),
        (status, Some(refusal), Some("application/json")),
        "{}",
        reply.text()
    );
    assert_eq!(reply.json()["messageCode"], refusal);
}

#[test]
fn as_many_requests_as_in_flight_says_and_not_one_more() {
    let slow = upstream(|mut stream| {
        read_head(&mut stream);
        std::thread::park_timeout(Duration::from_millis(1_500));
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(answer).expect("write");
    });
    let (_files, gateway) = gateway_before(slow, "in_flight = 1");
    let mut first = Connection::open(gateway.proxy);
    first.ask("POST", MODEL_PATH, &[KEY], CHAT).expect("send");
    wait_for("the first is in flight", Duration::from_secs(5), || {
        let metrics = get(gateway.admin, "/metrics").text();
        metrics.contains("breakerbox_in_flight_requests 1")
    });
    for _ in 0..6 {
        let reply = crate::http::call(gateway.proxy, "POST", MODEL_PATH, &[KEY], CHAT);
        is_refused(&reply, 503, "overloaded");
    }
    let reply = first.read_reply().expect("an answer");
    assert_eq!((reply.status, reply.refusal()), (200, None));
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_in_the_apis_own_shape() {
    let nobody = upstream(drop);
    let (_files, gateway) = gateway_before(nobody, "body_bytes = \"16\"");
    let reply = crate::http::call(gateway.proxy, "POST", MODEL_PATH, &[KEY], CHAT);
    is_refused(&reply, 413, "body_too_large");
    gateway.stop(Duration::from_secs(2)).expect("a clean stop");
}
