//! The simulator over real sockets, read byte by byte: a small client, and what it asks.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Settings, Simulator};

mod agent;
mod calls;

const AGENT: &str = "0XxHn000000AAAAKA4";
const MESSAGE: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"promotions?"}}"#;
const DEADLINE: Duration = Duration::from_secs(20);

/// An answer, read until the connection closed.
struct Reply {
    status: u16,
    head: String,
    /// Chunks, or the one body that has a length.
    frames: Vec<String>,
    /// Whether the message's end was there.
    complete: bool,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.frames.concat()).unwrap()
    }
}

fn start(settings: Settings) -> Simulator {
    Simulator::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings).unwrap()
}

/// Sends `METHOD path`, with `name: value` lines, and leaves the answer unread.
async fn send(sim: &Simulator, request: &str, headers: &[&str], body: &str) -> TcpStream {
    let mut text = format!("{request} HTTP/1.1\r\nhost: sim.test\r\nconnection: close\r\n");
    let usual = [
        "content-type: application/json;charset=utf-8",
        "authorization: Bearer test",
        "x-sfdc-app-context: EinsteinGPT",
        "x-client-feature-id: ai-platform-models-connected-app",
    ];
    let name = |header: &str| header.split(':').next().map(str::to_owned);
    let is_given = |usual: &str| headers.iter().any(|header| name(header) == name(usual));
    for header in headers
        .iter()
        .chain(usual.iter().filter(|usual| !is_given(usual)))
    {
        text.push_str(&format!("{header}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    let mut stream = TcpStream::connect(sim.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

async fn ask(sim: &Simulator, request: &str, headers: &[&str], body: &str) -> Reply {
    let mut stream = send(sim, request, headers, body).await;
    let mut bytes = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let Some((head, mut rest)) = text.split_once("\r\n\r\n") else {
        return Reply {
            status: 0,
            head: text,
            frames: Vec::new(),
            complete: false,
        };
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let (head, mut frames) = (head.to_ascii_lowercase(), Vec::new());
    if !head.contains("transfer-encoding: chunked") {
        frames.push(rest.to_owned());
        return Reply {
            status,
            head,
            frames,
            complete: true,
        };
    }
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        let (frame, tail) = tail.split_at(size);
        rest = tail.strip_prefix("\r\n").unwrap();
        if size == 0 {
            return Reply {
                status,
                head,
                frames,
                complete: true,
            };
        }
        frames.push(frame.to_owned());
    }
    Reply {
        status,
        head,
        frames,
        complete: false,
    }
}

async fn open(sim: &Simulator) -> String {
    let path = format!("POST /einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let reply = ask(sim, &path, &["x-sim-status: 200"], "{}").await;
    reply.json()["sessionId"].as_str().unwrap().to_owned()
}

fn stream_of(session: &str) -> String {
    format!("POST /einstein/ai-agent/v1/sessions/{session}/messages/stream")
}

fn messages_of(session: &str) -> String {
    format!("POST /einstein/ai-agent/v1/sessions/{session}/messages")
}

async fn until(case: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "{case}");
}

/// Both cards' totals, in credits' tenths.
fn check(case: &str, sim: &Simulator, guide: i64, flex: i64) {
    let billed = sim.billed();
    let totals = (
        billed.guide.total_micro_credits,
        billed.flex.total_micro_credits,
    );
    assert_eq!(
        totals,
        (guide * 100_000, flex * 100_000),
        "{case}: {billed:?}"
    );
}
