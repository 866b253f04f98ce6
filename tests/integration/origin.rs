//! An upstream that answers byte for byte as it is told, and a gateway before it: what no simulator sends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use breakerbox::config::load::Sources;
use breakerbox::gateway::{ConnectorChoice, Gateway, Start};

use crate::http::{Connection, Reply, call, get};
use crate::stage::{Files, any_port};

/// A gateway and its files.
pub(crate) struct Behind {
    files: Files,
    gateway: Option<Gateway>,
}

impl Behind {
    /// Before an upstream; `more` is added to `breakerbox.toml`.
    pub(crate) fn start(upstream: SocketAddr, allocations: &str, more: &str) -> Self {
        let files = Files::write(upstream, allocations);
        let text = std::fs::read_to_string(files.config()).expect("read");
        let text = text.replace("workers = 2", "workers = 1"); // what one worker holds is held by all
        std::fs::write(files.config(), text + more).expect("write");
        Self::on(files)
    }

    fn on(files: Files) -> Self {
        let start = Start {
            sources: Sources::new(files.config()),
            connector: ConnectorChoice::Platform,
        };
        let gateway = Gateway::start(start).unwrap_or_else(|error| panic!("{error}"));
        Self {
            files,
            gateway: Some(gateway),
        }
    }

    fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().expect("running")
    }

    pub(crate) fn proxy(&self) -> SocketAddr {
        self.gateway().proxy
    }

    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        call(self.proxy(), "POST", path, headers, body)
    }

    /// Sends a request and leaves its answer unread; it is in flight until the connection is dropped.
    pub(crate) fn ask(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Connection {
        let mut connection = Connection::open(self.proxy());
        connection.ask("POST", path, headers, body).expect("sent");
        connection
    }

    /// A figure of a team, as written: exact.
    pub(crate) fn team(&self, team: &str, field: &str) -> String {
        let reply = get(self.gateway().admin, &format!("/api/v1/teams/{team}"));
        reply.json()[field].to_string()
    }

    pub(crate) fn metrics(&self) -> String {
        get(self.gateway().admin, "/metrics").text()
    }

    /// Waits until a team's figure is this.
    pub(crate) fn comes_to(&self, team: &str, field: &str, want: &str) {
        let what = || format!("{field} is {}, not {want}", self.team(team, field));
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while self.team(team, field) != want {
            assert!(std::time::Instant::now() < until, "{}", what());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Usage of the running period, summed so.
    pub(crate) fn usage(&self, by: &str) -> Vec<serde_json::Value> {
        let path = format!("/api/v1/usage?group_by={by}");
        let reply = get(self.gateway().admin, &path);
        reply.json().as_array().cloned().expect("a list")
    }

    /// Stops, and starts again with what was counted.
    pub(crate) fn restarted(self) -> Self {
        Self::on(self.stop())
    }

    /// Stops; what was counted is in the files.
    pub(crate) fn stop(mut self) -> Files {
        let gateway = self.gateway.take().expect("running");
        gateway.stop(Duration::from_secs(5)).expect("a clean stop");
        self.files
    }
}

/// An upstream whose every answer is these bytes; one without any never answers.
pub(crate) fn answering(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind(any_port()).expect("bind");
    let address = listener.local_addr().expect("address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || converse(stream, &answer));
        }
    });
    address
}

/// A head and its body, with its length stated.
pub(crate) fn whole(head: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// A head and its body in chunks of this many bytes.
pub(crate) fn chunked(head: &str, body: &[u8], bytes: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\ntransfer-encoding: chunked\r\n\r\n");
    let mut sent = head.into_bytes();
    for chunk in body.chunks(bytes) {
        sent.extend(format!("{:x}\r\n", chunk.len()).bytes());
        sent.extend([chunk, b"\r\n"].concat());
    }
    sent.extend(b"0\r\n\r\n");
    sent
}

fn converse(stream: TcpStream, answer: &[u8]) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        read_request(&mut stream)?;
        if answer.is_empty() {
            return stream.read_to_end(&mut Vec::new()).ok().map(drop);
        }
        stream.get_mut().write_all(answer).ok()?;
    }
}

fn read_request(stream: &mut BufReader<TcpStream>) -> Option<()> {
    let (mut length, mut in_chunks) = (0, false);
    loop {
        let line = read_line(stream)?;
        let line = line.to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", stated)) => length = stated.parse().ok()?,
            Some(("transfer-encoding", _)) => in_chunks = true,
            Some(_) => {}
            None if line.is_empty() => break,
            None => {}
        }
    }
    if !in_chunks {
        return skip(stream, length);
    }
    loop {
        let size = u64::from_str_radix(&read_line(stream)?, 16).ok()?;
        skip(stream, size + 2)?;
        if size == 0 {
            return Some(());
        }
    }
}

fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

fn skip(stream: &mut BufReader<TcpStream>, bytes: u64) -> Option<()> {
    let skipped = std::io::copy(&mut stream.take(bytes), &mut std::io::sink()).ok()?;
    (skipped == bytes).then_some(())
}
