//! A client's connection below HTTP: the stream hyper reads and writes, and how its answers stand.
//!
//! Three things can be done nowhere else. An answer whose only end is the connection's looks whole wherever it is
//! cut, so cut short it ends in a reset. A head that hyper cannot take is answered by hyper, in words of its own:
//! those are held back. And what a refused client still sends is read off behind its answer, or closing would reset
//! the answer away.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::watch::Watch;

/// What a refused client may still send, so that its answer is not lost to a reset (design.md, section 6).
pub(super) const DRAIN_BYTES: usize = 64 << 10;
/// For how long.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How a connection's answers stand: facts, noted by the exchange and asked by the stream.
#[derive(Debug, Default)]
pub struct Line {
    /// An answer is on its way and not all written out.
    owes: Cell<bool>,
    /// The answer on its way has no end but the connection's.
    ends_it: Cell<bool>,
    /// The client was answered before all it sends was read.
    unread: Cell<bool>,
}

impl Line {
    /// A request began: what hyper writes from now on is its answer.
    pub(super) fn owes(&self) {
        self.owes.set(true);
    }

    /// The answer that begins now is over when the connection is.
    pub(super) fn ends_with_answer(&self) {
        self.ends_it.set(true);
    }

    /// The answer that begins now is the last: the client still sends what nobody will read.
    pub(super) fn leaves_unread(&self) {
        self.unread.set(true);
    }

    /// Whether the client still sends what nobody will read.
    pub(super) fn is_unread(&self) -> bool {
        self.unread.get()
    }

    /// Whether every answer is written out: what hyper writes now, it says by itself.
    pub(super) fn owes_nothing(&self) -> bool {
        !self.owes.get()
    }
}

/// The stream under hyper.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TcpStream,
    watch: Rc<Watch>,
}

impl Stream {
    /// A client's connection, watched by `watch`.
    pub(super) fn new(tcp: TcpStream, watch: Rc<Watch>) -> Self {
        Self { tcp, watch }
    }

    /// Answers where hyper could not.
    pub(super) async fn answer(mut self, response: &Response<Bytes>) {
        let written = timeout(DRAIN_TIME, self.tcp.write_all(&on_the_wire(response))).await;
        if matches!(written, Ok(Ok(()))) {
            self.read_off().await;
        }
    }

    /// The last answer is out: says so, and reads off what the client still sends.
    pub(super) async fn read_off(mut self) {
        let reading = async {
            self.tcp.shutdown().await?;
            let (mut buffer, mut left) = ([0; 4096], DRAIN_BYTES);
            while left > 0 {
                match self.tcp.read(&mut buffer).await? {
                    0 => return Ok(()),
                    read => left = left.saturating_sub(read),
                }
            }
            // No more is read, but the client has time to: closing now would reset what it has not read yet.
            std::future::pending::<io::Result<()>>().await
        };
        // However it ends, the connection is over.
        let _ended = timeout(DRAIN_TIME, reading).await;
    }
}

/// A whole answer as bytes.
fn on_the_wire(response: &Response<Bytes>) -> Vec<u8> {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or_default();
    let mut wire = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            wire.extend_from_slice(part);
        }
    }
    let length = format!("content-length: {}\r\n\r\n", response.body().len());
    wire.extend_from_slice(length.as_bytes());
    wire.extend_from_slice(response.body());
    wire
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.watch.line.owes_nothing() {
            return Poll::Ready(Ok(buf.len())); // hyper's own words: whoever holds the connection answers
        }
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    /// Called when all there was is written.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.is_idle() {
            self.watch.line.owes.set(false);
        }
        Poll::Ready(Ok(())) // TCP holds nothing back
    }

    /// Called when the connection ended in order. The socket itself says so when it is dropped, or read off.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch.line.ends_it.set(false);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.watch.line.ends_it.get() {
            // Cut short: a reset, since the end of the connection would look like the answer's.
            let _gone = SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO));
        }
    }
}
