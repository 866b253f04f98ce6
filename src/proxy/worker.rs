//! One worker thread: a current-thread runtime, a listener of its own, its connections and its upstreams.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::connect::Connector;
use super::converse::converse;
use super::desk::{Desk, Shared};
use super::tasks::Tasks;
use super::upstream::Upstreams;
use super::watch::TICK;
use crate::ledger::queue::EventSink;

/// Connections waiting to be accepted, a worker.
const BACKLOG: i32 = 1_024;
/// After a failed accept (out of file descriptors, as a rule) the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a draining worker goes on accepting what the kernel had queued for it.
const DRAIN_ACCEPT: Duration = Duration::from_millis(100);

/// What the process wants of its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Serve.
    Run,
    /// Finish what is in flight, for at most this long, and end.
    Drain(Duration),
}

/// One listener a worker on the same address; the kernel spreads connections over them.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<StdListener>)> {
    let mut bound = address;
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&bound.into())?;
        socket.listen(BACKLOG)?;
        let listener = StdListener::from(socket);
        bound = listener.local_addr()?; // port 0 is chosen once
        listeners.push(listener);
    }
    Ok((bound, listeners))
}

/// Whether somebody else already listens on the address: with `SO_REUSEPORT` binding alone does not tell.
///
/// # Errors
/// When the address is in use, or cannot be bound at all.
pub fn is_free(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// What a worker thread needs to begin.
pub struct WorkerStart {
    /// Which worker, from 0.
    pub worker: usize,
    /// What all share.
    pub shared: Arc<Shared>,
    /// Its listener.
    pub listener: StdListener,
    /// Its sink of events.
    pub sink: EventSink,
    /// How it connects to upstreams.
    pub connector: Connector,
    /// Seeds its request ids.
    pub seed: u64,
    /// What the process wants.
    pub wanted: watch::Receiver<Wanted>,
}

/// Runs a worker until it is drained.
///
/// # Errors
/// When the runtime or the listener cannot be set up.
pub fn run(start: WorkerStart) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let served = runtime.block_on(serve(start));
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn serve(start: WorkerStart) -> io::Result<()> {
    let WorkerStart {
        worker,
        shared,
        listener,
        sink,
        connector,
        seed,
        mut wanted,
    } = start;
    let listener = TcpListener::from_std(listener)?;
    let tasks = Tasks::default();
    let counters = Arc::clone(&shared.counters);
    let upstreams = Upstreams::new(connector, counters, worker, Tasks::default());
    let desk = Rc::new(Desk::new(worker, shared, sink, seed));
    let connections = Connections {
        desk: Rc::clone(&desk),
        upstreams: upstreams.clone(),
        tasks,
    };
    let ticking = tick(Rc::clone(&desk), upstreams);
    let mut ticking = pin!(ticking);
    let drain = loop {
        tokio::select! {
            biased;
            never = &mut ticking => match never {},
            changed = wanted.changed() => match (changed, *wanted.borrow()) {
                (Ok(()), Wanted::Run) => {}
                (Ok(()), Wanted::Drain(limit)) => break limit,
                (Err(_), _) => break Duration::ZERO,
            },
            accepted = connections.accept(&listener) => connections.open(accepted).await,
        }
    };
    tokio::select! {
        never = &mut ticking => match never {},
        () = connections.drain(listener, drain) => {}
    }
    Ok(())
}

/// Ten times a second: deadlines, idle upstream connections, whatever the sink could not hand over.
async fn tick(desk: Rc<Desk>, upstreams: Upstreams) -> std::convert::Infallible {
    let start = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        desk.watches.tick(start.elapsed());
        desk.tick();
        upstreams.close_idle();
    }
}

struct Connections {
    desk: Rc<Desk>,
    upstreams: Upstreams,
    tasks: Tasks,
}

impl Connections {
    /// The next connection, once there is room for one: a full house costs nothing.
    async fn accept(&self, listener: &TcpListener) -> io::Result<TcpStream> {
        let limit = self.desk.held().checked.gateway.limits.connections;
        let share = limit.div_ceil(self.desk.shared.counters.len().max(1));
        while self.desk.watches.len() >= share {
            sleep(TICK).await;
        }
        listener.accept().await.map(|(stream, _)| stream)
    }

    async fn open(&self, accepted: io::Result<TcpStream>) {
        match accepted.and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => self.spawn(stream),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    fn spawn(&self, stream: TcpStream) {
        let (desk, upstreams) = (Rc::clone(&self.desk), self.upstreams.clone());
        // Ends by itself; the drain waits for it.
        let _conversation = self.tasks.spawn(async move {
            desk.counters().connections.add(1);
            let watched = desk.watches.add();
            converse(&desk, upstreams, &watched, stream).await;
            desk.counters().connections.sub(1);
        });
    }

    /// Accepts what the kernel had queued, ends idle connections, and waits for the others up to the limit.
    async fn drain(&self, listener: TcpListener, limit: Duration) {
        let queued = async {
            loop {
                let accepted = self.accept(&listener).await;
                self.open(accepted).await;
            }
        };
        let _queue_is_empty = timeout(DRAIN_ACCEPT.min(limit), queued).await;
        drop(listener);
        self.desk.watches.wake_all();
        if timeout(limit, self.tasks.ended()).await.is_err() {
            tracing::warn!(
                connections = self.tasks.running(),
                "drain_timeout is over; closing what is left"
            );
        }
    }
}
