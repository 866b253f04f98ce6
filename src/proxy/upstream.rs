//! The upstream side of one worker: a bounded pool of its own connections, and the seam where an upstream can
//! be replaced in a test ([`tower::Service`]).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tower::Service;

use super::body::{ForwardBody, Progress};
use super::connect::Connector;
use super::counters::WorkerCounters;
use super::snapshot::{Held, UpstreamEntry};
use super::tasks::Tasks;
use crate::counters::Count;
use crate::salesforce::call::UpstreamName;

/// Idle connections kept for each upstream by each worker; more would be idle for good.
const IDLE_MAX: usize = 512;
/// An idle connection is not used after this: load balancers in front of Salesforce close theirs later.
const IDLE_LIFE: Duration = Duration::from_secs(15);
/// A connection is not used again after this, so that address changes are followed.
const LIFE: Duration = Duration::from_secs(300);
/// A request that was never sent is tried again on at most so many connections; the last is a fresh one.
const ATTEMPTS: usize = 3;

/// One request to one upstream.
pub struct Forward {
    /// Which upstream.
    pub name: UpstreamName,
    /// The config that says where it is.
    pub held: Held,
    /// The request.
    pub request: Request<ForwardBody>,
    /// How far it gets.
    pub progress: Rc<Progress>,
}

/// Why there is no response head.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection, or none that took the request: nothing was sent.
    #[error("cannot connect to {upstream}: {cause}")]
    Unreachable {
        /// Host and port.
        upstream: String,
        /// What went wrong.
        cause: io::Error,
    },
    /// The connection broke after something was sent.
    #[error("the upstream closed the connection before answering")]
    Broken(#[source] hyper::Error),
}

/// One worker's connections to all upstreams.
#[derive(Clone)]
pub struct Upstreams(Rc<Pool>);

struct Pool {
    idle: [RefCell<Vec<Idle>>; UpstreamName::ALL.len()],
    connector: Connector,
    counters: Arc<Vec<WorkerCounters>>,
    worker: usize,
    tasks: Tasks,
    /// Moved by the worker's tick: exact enough for lives of seconds.
    now: Cell<Instant>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection. Dropped while an exchange uses it, it is closed at once: left to itself it would wait, without a
/// limit, for an upstream that takes no more of a body.
struct Connection {
    sender: SendRequest<ForwardBody>,
    to: Arc<UpstreamEntry>,
    opened: Instant,
    in_use: bool,
    /// Reads and writes it.
    task: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.in_use {
            self.task.abort();
        }
    }
}

impl Upstreams {
    /// An empty pool.
    pub fn new(
        connector: Connector,
        counters: Arc<Vec<WorkerCounters>>,
        worker: usize,
        tasks: Tasks,
    ) -> Self {
        Self(Rc::new(Pool {
            idle: Default::default(),
            connector,
            counters,
            worker,
            tasks,
            now: Cell::new(Instant::now()),
        }))
    }

    /// Closes connections that were idle for too long. Called by the worker's tick.
    pub fn close_idle(&self) {
        let now = Instant::now();
        self.0.now.set(now);
        for idle in &self.0.idle {
            idle.borrow_mut().retain(|idle| idle.is_usable(now));
        }
    }
}

impl Idle {
    fn is_usable(&self, now: Instant) -> bool {
        now.duration_since(self.since) < IDLE_LIFE
            && now.duration_since(self.connection.opened) < LIFE
            && !self.connection.sender.is_closed()
    }
}

impl Service<Forward> for Upstreams {
    type Response = Response<UpstreamBody>;
    type Error = ForwardError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ForwardError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ForwardError>> {
        Poll::Ready(Ok(())) // requests in flight are bounded before they come here
    }

    fn call(&mut self, forward: Forward) -> Self::Future {
        Box::pin(Rc::clone(&self.0).send(forward))
    }
}

impl Pool {
    /// Sends on an idle connection or a new one; only an unsent request is tried again.
    async fn send(
        self: Rc<Self>,
        forward: Forward,
    ) -> Result<Response<UpstreamBody>, ForwardError> {
        let Forward {
            name,
            held,
            mut request,
            progress,
        } = forward;
        let Some(to) = held.upstream(name) else {
            let cause = io::Error::other("not configured");
            return Err(ForwardError::Unreachable {
                upstream: name.name().to_owned(),
                cause,
            });
        };
        for attempt in 1..=ATTEMPTS {
            let idle = if attempt < ATTEMPTS {
                self.take_idle(name, to).await
            } else {
                None
            };
            let mut connection = match idle {
                Some(connection) => connection,
                None => {
                    let timeout = held.checked.gateway.limits.connect_timeout;
                    // Boxed: rare, and large with its TLS handshake; every request would carry its size.
                    Box::pin(self.open(name, to, timeout)).await?
                }
            };
            request.body().sending();
            match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    let lease = Lease {
                        pool: Rc::clone(&self),
                        name,
                        connection,
                        took_all: progress.body_ended.get(),
                    };
                    return Ok(response.map(|body| UpstreamBody::new(body, lease)));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => {
                        progress.unsent();
                        request = unsent;
                    }
                    None => return Err(ForwardError::Broken(error.into_error())),
                },
            }
        }
        let cause =
            io::Error::other("the upstream closes every connection before taking the request");
        Err(ForwardError::Unreachable {
            upstream: to.at.authority.to_string(),
            cause,
        })
    }

    /// The connection idle for the shortest time that still takes a request.
    async fn take_idle(&self, name: UpstreamName, to: &Arc<UpstreamEntry>) -> Option<Connection> {
        loop {
            let idle = self.idle(name).borrow_mut().pop()?;
            if !idle.is_usable(self.now.get()) || !Arc::ptr_eq(&idle.connection.to, to) {
                continue;
            }
            let mut connection = idle.connection;
            connection.in_use = true;
            // Ready as a rule; otherwise its task has not yet seen that the last answer is over.
            if connection.sender.is_ready() || connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    fn put_idle(&self, name: UpstreamName, mut connection: Connection) {
        connection.in_use = false;
        let idle = Idle {
            connection,
            since: self.now.get(),
        };
        let mut known = self.idle(name).borrow_mut();
        if known.len() < IDLE_MAX && idle.is_usable(idle.since) {
            known.push(idle);
        }
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "the table is as long as the enum that indexes it"
    )]
    fn idle(&self, name: UpstreamName) -> &RefCell<Vec<Idle>> {
        &self.idle[name.index()]
    }

    async fn open(
        self: &Rc<Self>,
        name: UpstreamName,
        to: &Arc<UpstreamEntry>,
        timeout: Duration,
    ) -> Result<Connection, ForwardError> {
        let unreachable = |cause| ForwardError::Unreachable {
            upstream: to.at.authority.to_string(),
            cause,
        };
        let io = self
            .connector
            .connect(&to.at, timeout)
            .await
            .map_err(unreachable)?;
        let handshake = http1::Builder::new()
            .writev(false)
            .handshake(TokioIo::new(io))
            .await;
        let (sender, connection) =
            handshake.map_err(|error| unreachable(io::Error::other(error)))?;
        let open = Open::new(Arc::clone(&self.counters), self.worker, name);
        let task = self.tasks.spawn(async move {
            let _open = open;
            if let Err(error) = connection.await {
                tracing::debug!(%error, upstream = name.name(), "upstream connection ended");
            }
        });
        Ok(Connection {
            sender,
            to: Arc::clone(to),
            opened: self.now.get(),
            in_use: true,
            task,
        })
    }
}

/// An open connection, counted until its task ends, however it does.
struct Open {
    counters: Arc<Vec<WorkerCounters>>,
    worker: usize,
    name: UpstreamName,
}

impl Open {
    fn new(counters: Arc<Vec<WorkerCounters>>, worker: usize, name: UpstreamName) -> Self {
        let open = Self {
            counters,
            worker,
            name,
        };
        open.count().inspect(|count| count.add(1));
        open
    }

    fn count(&self) -> Option<&Count> {
        let counters = self.counters.get(self.worker);
        counters.map(|counters| counters.upstream_connection(self.name))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count().inspect(|count| count.sub(1));
    }
}

/// A connection that goes back to the pool when the answer is over.
struct Lease {
    pool: Rc<Pool>,
    name: UpstreamName,
    connection: Connection,
    /// The request was over before its answer began. An answer before that leaves half a request behind, in the
    /// connection's buffer or in the upstream's.
    took_all: bool,
}

/// An upstream's answer. Dropped before its end it takes the connection with it, so that the upstream learns at
/// once that nobody listens.
pub struct UpstreamBody {
    inner: Incoming,
    lease: Option<Lease>,
}

impl UpstreamBody {
    fn new(inner: Incoming, lease: Lease) -> Self {
        let mut body = Self {
            inner,
            lease: Some(lease),
        };
        body.give_back_at_end();
        body
    }

    fn give_back_at_end(&mut self) {
        if self.inner.is_end_stream() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        if let Some(Lease {
            pool,
            name,
            connection,
            took_all: true,
        }) = self.lease.take()
        {
            pool.put_idle(name, connection);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(_)) => self.give_back_at_end(),
            Some(Err(_)) => self.lease = None,
            None => self.give_back(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
