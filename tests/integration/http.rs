//! A blocking HTTP/1.1 client over a plain socket, so that what is on the wire is what is tested.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What Salesforce asks of every caller. Sent with every call, unless it brings its own.
pub(crate) const CREDENTIALS: [(&str, &str); 3] = [
    ("authorization", "Bearer 00DHn000000AAAA!test"),
    ("x-sfdc-app-context", "EinsteinGPT"),
    ("x-client-feature-id", "ai-platform-models-connected-app"),
];

/// The same as lines of a head that is written by hand.
pub(crate) fn credentials() -> String {
    let lines = CREDENTIALS.map(|(name, value)| format!("{name}: {value}\r\n"));
    lines.concat()
}

/// An answer, byte for byte.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The body ended as its framing said it would.
    pub(crate) whole: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The refusal named in the header.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.header("breakerbox-refusal")
    }
}

/// A keep-alive connection.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Self {
        Self::try_open(address).expect("connect")
    }

    pub(crate) fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// The same socket, to send from another thread.
    pub(crate) fn try_clone(&self) -> std::io::Result<TcpStream> {
        self.stream.get_ref().try_clone()
    }

    /// Writes bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub(crate) fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<Reply> {
        self.ask(method, path, headers, body)?;
        self.read_reply()
    }

    /// Sends a request, and reads nothing.
    pub(crate) fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> std::io::Result<()> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n",
            self.stream.get_ref().peer_addr()?
        );
        let is_given = |name: &str| {
            headers
                .iter()
                .any(|(given, _)| given.eq_ignore_ascii_case(name))
        };
        let credentials = CREDENTIALS.iter().filter(|(name, _)| !is_given(name));
        for (name, value) in headers.iter().chain(credentials) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            request.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            ));
        }
        self.send(format!("{request}\r\n{body}").as_bytes())
    }

    pub(crate) fn read_reply(&mut self) -> std::io::Result<Reply> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status =
            status.ok_or_else(|| std::io::Error::other(format!("no status line: {line:?}")))?;
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
                None => break,
            }
        }
        let mut reply = Reply {
            status,
            headers,
            body: Vec::new(),
            whole: false,
        };
        let length = reply
            .header("content-length")
            .and_then(|length| length.parse::<u64>().ok());
        reply.whole = match (reply.header("transfer-encoding"), length) {
            (Some(_), _) => self.read_chunks(&mut reply.body).is_ok(),
            (None, Some(length)) => {
                let read = (&mut self.stream).take(length).read_to_end(&mut reply.body);
                read.is_ok_and(|read| u64::try_from(read) == Ok(length))
            }
            (None, None) => {
                matches!(status, 100 | 204) || self.stream.read_to_end(&mut reply.body).is_ok()
            }
        };
        Ok(reply)
    }

    /// A line of the head; empty at its end.
    pub(crate) fn read_line(&mut self) -> String {
        self.try_read_line().expect("a line")
    }

    pub(crate) fn try_read_line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// One chunk; empty at the end.
    pub(crate) fn read_chunk(&mut self) -> std::io::Result<Vec<u8>> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
        let mut chunk = Vec::new();
        (&mut self.stream).take(size).read_to_end(&mut chunk)?;
        let mut end = [0; 2];
        self.stream.read_exact(&mut end)?;
        if u64::try_from(chunk.len()) != Ok(size) || end != *b"\r\n" {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(chunk)
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> std::io::Result<()> {
        loop {
            let chunk = self.read_chunk()?;
            if chunk.is_empty() {
                return Ok(());
            }
            body.extend(chunk);
        }
    }
}

/// One call on a connection of its own.
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Reply {
    Connection::open(address)
        .call(method, path, headers, body)
        .expect("an answer")
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Reply {
    call(address, "GET", path, &[], "")
}
