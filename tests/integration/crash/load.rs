//! The load of a round: model calls, and turns that stream; some refused, some cut, some left by their client.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::http::Connection;
use crate::stage::{AGENT, CHAT, MODEL_PATH, SALES_KEY};

/// Connections that call models, and connections that hold streams.
pub(super) const CALLERS: u64 = 6;
pub(super) const READERS: u64 = 24;

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
/// Two credits a call, whatever becomes of its answer.
const TOKENS: (&str, &str) = ("x-sim-tokens", "2500");
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;

/// What clients know of a round.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Streams that are being read.
    pub(super) open: AtomicU64,
    /// Answers of models that broke off.
    pub(super) cut: AtomicU64,
    /// Sessions whose turn was left, or answered with an error after its actions ran.
    pub(super) apart: Mutex<BTreeSet<String>>,
}

/// Calls a model until the process is gone.
pub(super) fn call_models(at: SocketAddr, seen: &Seen, seed: u64) {
    let mut chance = fastrand::Rng::with_seed(seed);
    while let Ok(mut connection) = Connection::try_open(at) {
        loop {
            let fate = match chance.u32(0..100) {
                0..3 => ("x-sim-status", "503"),
                3..6 => ("x-sim-cut-after", "1"),
                _ => ("x-sim-status", "200"),
            };
            let pieces = ("x-sim-chunk-bytes", "64");
            let headers = [KEY, TOKENS, fate, pieces];
            let Ok(reply) = connection.call("POST", MODEL_PATH, &headers, CHAT) else {
                break;
            };
            if !reply.whole {
                if fate.0 == "x-sim-cut-after" {
                    seen.cut.fetch_add(1, Ordering::SeqCst);
                }
                break;
            }
        }
    }
}

/// Opens sessions and reads a streamed turn in each, until the process is gone.
pub(super) fn read_turns(at: SocketAddr, seen: &Seen, seed: u64) {
    let mut chance = fastrand::Rng::with_seed(seed);
    while let Ok(mut connection) = Connection::try_open(at) {
        while let Ok(stays) = turn(&mut connection, seen, &mut chance) {
            if !stays {
                break;
            }
        }
    }
}

/// One session with one turn; whether the connection is still good.
fn turn(connection: &mut Connection, seen: &Seen, chance: &mut fastrand::Rng) -> io::Result<bool> {
    let open = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let body = r#"{"externalSessionKey":"1"}"#;
    let kept = ("x-sim-status", "200");
    let opened = connection.call("POST", &open, &[KEY, kept], body)?;
    if opened.status != 200 || !opened.whole {
        return Ok(false);
    }
    let session = opened.json()["sessionId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let path = format!("/einstein/ai-agent/v1/sessions/{session}/messages/stream");
    let actions = chance.u32(0..=4).to_string();
    let pace = chance.u32(5..60).to_string();
    let mut headers = vec![
        KEY,
        ("x-sim-actions", &*actions),
        ("x-sim-chunk-delay-ms", &*pace),
    ];
    let apart = || seen.apart.lock().unwrap().insert(session.clone());
    let mut events = u32::MAX;
    match chance.u32(0..100) {
        0..5 => headers.push(("x-sim-status", "503")),
        5..10 => {
            apart();
            headers.push(("x-sim-late", "1"));
        }
        10..25 => {
            apart();
            events = chance.u32(0..6);
            headers.push(kept);
        }
        _ => headers.push(kept),
    }
    connection.ask("POST", &path, &headers, TURN)?;
    let status = connection.try_read_line()?;
    if !status.contains(" 200 ") {
        while !connection.try_read_line()?.is_empty() {}
        return Ok(false); // an error's body is not read
    }
    while !connection.try_read_line()?.is_empty() {}
    let _reading = Reading::begin(seen);
    for _ in 0..events {
        if connection.read_chunk()?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false) // left: the connection is closed
}

/// A stream that is being read.
struct Reading<'s>(&'s Seen);

impl<'s> Reading<'s> {
    fn begin(seen: &'s Seen) -> Self {
        seen.open.fetch_add(1, Ordering::SeqCst);
        Self(seen)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
