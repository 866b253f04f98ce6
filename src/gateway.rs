//! The gateway as a whole: ledger, workers, the owner of changes and the admin listener, started and stopped.
//!
//! Used by `serve`, `demo` and tests alike.

pub mod build;
mod changing;
pub mod conservation;
pub mod control;
mod fuses;
mod index;
mod limits;
pub mod offline;
pub mod overrides;
mod owner;
pub mod periods;
mod reload;
mod status;
pub mod why;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tokio::sync::watch as wanted;

use self::build::{BuildError, Builder};
use self::control::Control;
use self::overrides::Overrides;
use self::periods::PeriodClock;
use crate::admin;
use crate::clock;
use crate::config::checked::{Checked, Listen};
use crate::config::faults::Faults;
use crate::config::load::{self, Files, Sources};
use crate::ledger::event::TeamId;
use crate::ledger::{Ledger, LedgerError, Lock, OpenError};
use crate::proxy::connect::Connector;
use crate::proxy::counters::WorkerCounters;
use crate::proxy::decision::DecisionRings;
use crate::proxy::desk::Shared;
use crate::proxy::idempotency::Idempotency;
use crate::proxy::sessions::Sessions;
use crate::proxy::snapshot::Snapshot;
use crate::proxy::turns::Turns;
use crate::proxy::worker::{self, Wanted, WorkerStart};

/// How a gateway is started.
#[derive(Clone, Debug)]
pub struct Start {
    /// Its configuration.
    pub sources: Sources,
    /// How it connects to upstreams.
    pub connector: ConnectorChoice,
}

/// Whose certificates upstreams are believed by.
#[derive(Clone, Debug, Default)]
pub enum ConnectorChoice {
    /// The platform's.
    #[default]
    Platform,
    /// These, for tests with a certificate of their own.
    Tls(Arc<rustls::ClientConfig>),
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has faults.
    #[error("{0}")]
    Config(Faults),
    /// The ledger cannot be opened.
    #[error("{0}")]
    Ledger(#[from] OpenError),
    /// The ledger cannot be written.
    #[error("the ledger cannot be written: {0}")]
    Write(#[from] LedgerError),
    /// The first snapshot cannot be built.
    #[error("{0}")]
    Build(#[from] BuildError),
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {cause}; is another process using it?")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        cause: io::Error,
    },
    /// The system has no certificate store, no threads or no randomness.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The contract starts after now.
    #[error("the contract has not started yet: no period contains this moment; see contract_start")]
    NoPeriod,
}

/// A running gateway.
pub struct Gateway {
    /// The proxy's address.
    pub proxy: SocketAddr,
    /// The admin listener's address.
    pub admin: SocketAddr,
    /// The health listener's address.
    pub health: Option<SocketAddr>,
    /// What the admin listener asks.
    pub control: Arc<Control>,
    wanted: wanted::Sender<Wanted>,
    workers: Vec<JoinHandle<io::Result<()>>>,
    /// The owner's and the admin listener's.
    threads: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Reads the configuration, opens the ledger, binds, and serves.
    ///
    /// # Errors
    /// When any of that is not possible; nothing keeps running then.
    pub fn start(start: Start) -> Result<Self, StartError> {
        let files = Files::read(&start.sources).map_err(StartError::Config)?;
        let now = clock::now();
        let checked = load::check(&files, periods::latest(&files, now));
        let (checked, warnings) = checked.map_err(StartError::Config)?;
        for warning in warnings.lines() {
            tracing::warn!("{warning}");
        }
        let listen = checked.gateway.listen.clone();
        let count = worker_count(listen.workers);
        // Before the addresses: a second process has the same ones, and is told who the first one is.
        let lock = Lock::of(&checked.gateway.ledger)?;
        let bound = Bound::new(&listen, count)?;
        let connector = connector(start.connector)?;
        let (ledger, restart) = Ledger::open_locked(&checked.gateway.ledger, lock, count, now)?;
        report_restart(&restart);
        let checked = Arc::new(checked);
        let mut clock = PeriodClock::new(&ledger, restart.last_write, now);
        let (builder, snapshot, grown) = begin(&ledger, checked, &mut clock, count)?;
        let shared = Arc::new(Shared {
            presences: ArcSwap::from_pointee(builder.presences()),
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            sessions: Sessions::restored(restart.sessions),
            turns: Turns::default(),
            idempotency: Idempotency::restored(restart.idempotency),
            decisions: DecisionRings::new(count),
            counters: worker_counters(count),
            draining: false.into(),
            ledger,
        });
        shared.ledger.begin_serving();
        let (control, owner) = owner::new(
            Arc::clone(&shared),
            (builder, &grown),
            clock,
            &start.sources,
            &files,
            &warnings,
        );
        let Bound {
            proxy,
            listeners,
            admin,
            admin_listener,
            health,
            health_listener,
        } = bound;
        let (wanted, workers) = spawn_workers(&shared, listeners, &connector)?;
        let served = Listeners {
            admin: admin_listener,
            health: health_listener,
            metrics: listen.health_metrics,
        };
        let threads = vec![
            spawn("control", &control, owner.run())?,
            spawn("admin", &control, serve_admin(Arc::clone(&control), served))?,
        ];
        tracing::info!(%proxy, %admin, workers = count, "serving");
        Ok(Self {
            proxy,
            admin,
            health,
            control,
            wanted,
            workers,
            threads,
        })
    }

    /// Finishes what is in flight for at most `limit`, settles, hands grants back, and ends.
    ///
    /// # Errors
    /// When the ledger cannot write its last batch.
    pub fn stop(self, limit: Duration) -> Result<(), LedgerError> {
        let shared = Arc::clone(&self.control.shared);
        shared.draining.store(true, Ordering::SeqCst);
        // A worker that is gone already needs no message.
        let _sent = self.wanted.send(Wanted::Drain(limit));
        for worker in self.workers {
            match worker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a worker ended with an error"),
                Err(_) => tracing::error!("a worker panicked"),
            }
        }
        self.control.stop();
        for thread in self.threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            if thread.join().is_err() {
                tracing::error!(name, "a thread panicked");
            }
        }
        shared.ledger.stop()
    }
}

/// All addresses, bound before anything is started.
struct Bound {
    proxy: SocketAddr,
    listeners: Vec<StdListener>,
    admin: SocketAddr,
    admin_listener: StdListener,
    health: Option<SocketAddr>,
    health_listener: Option<StdListener>,
}

impl Bound {
    fn new(listen: &Listen, workers: usize) -> Result<Self, StartError> {
        let in_use = |address| move |cause| StartError::Listen { address, cause };
        worker::is_free(listen.proxy).map_err(in_use(listen.proxy))?;
        let (proxy, listeners) =
            worker::bind(listen.proxy, workers).map_err(in_use(listen.proxy))?;
        let admin_listener = std_listener(listen.admin).map_err(in_use(listen.admin))?;
        let health_listener = match listen.health {
            Some(address) => Some(std_listener(address).map_err(in_use(address))?),
            None => None,
        };
        Ok(Self {
            proxy,
            listeners,
            admin: admin_listener.local_addr()?,
            admin_listener,
            health: health_listener
                .as_ref()
                .map(StdListener::local_addr)
                .transpose()?,
            health_listener,
        })
    }
}

fn report_restart(restart: &crate::ledger::Restart) {
    for adjustment in &restart.adjustments {
        tracing::warn!(
            team = %adjustment.team,
            period = %adjustment.period,
            source = adjustment.source.name(),
            credits = %adjustment.credits,
            "the last process ended without settling: what was granted is charged as crash_adjustment"
        );
    }
}

fn connector(choice: ConnectorChoice) -> io::Result<Connector> {
    match choice {
        ConnectorChoice::Platform => Connector::platform(),
        ConnectorChoice::Tls(config) => Ok(Connector::with_tls((*config).clone())),
    }
}

/// The first snapshot, in force and written down; with it, the teams that have more than when the last process ended.
fn begin(
    ledger: &Ledger,
    checked: Arc<Checked>,
    clock: &mut PeriodClock,
    workers: usize,
) -> Result<(Builder, Snapshot, Vec<TeamId>), StartError> {
    let now = clock::now();
    let period = clock.current(&checked.allocations.pool.calendar, now);
    let period = period.ok_or(StartError::NoPeriod)?;
    let mut builder = Builder::new(ledger.clone(), workers);
    builder.overrides = Overrides::restored(ledger.open_overrides()?);
    let now = clock.latest(now);
    let snapshot = builder.build(checked, &period, None, now)?;
    let grown = builder.in_force(&snapshot);
    ledger.config_used(changing::used(&snapshot), now)?;
    Ok((builder, snapshot, grown))
}

/// 0 is one per core.
fn worker_count(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
        count => count,
    }
}

fn worker_counters(workers: usize) -> Arc<Vec<WorkerCounters>> {
    let counters = std::iter::repeat_with(WorkerCounters::default);
    Arc::new(counters.take(workers).collect())
}

fn std_listener(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

type Workers = (wanted::Sender<Wanted>, Vec<JoinHandle<io::Result<()>>>);

fn spawn_workers(
    shared: &Arc<Shared>,
    listeners: Vec<StdListener>,
    connector: &Connector,
) -> io::Result<Workers> {
    let (sender, wanted) = wanted::channel(Wanted::Run);
    let random = SystemRandom::new();
    let mut workers = Vec::with_capacity(listeners.len());
    for (worker, listener) in listeners.into_iter().enumerate() {
        let mut seed = [0; 8];
        random
            .fill(&mut seed)
            .map_err(|_| io::Error::other("the system has no randomness"))?;
        let start = WorkerStart {
            worker,
            shared: Arc::clone(shared),
            listener,
            sink: shared.ledger.sink(worker),
            connector: connector.clone(),
            seed: u64::from_le_bytes(seed),
            wanted: wanted.clone(),
        };
        let thread = std::thread::Builder::new().name(format!("worker-{worker}"));
        workers.push(thread.spawn(move || worker::run(start))?);
    }
    Ok((sender, workers))
}

struct Listeners {
    admin: StdListener,
    health: Option<StdListener>,
    metrics: bool,
}

/// Runs a task on a thread of its own until the control is stopped. Owner and admin listener have one each: the
/// owner may wait for the ledger, and probes must be answered meanwhile.
fn spawn(
    name: &str,
    control: &Control,
    task: impl Future<Output = ()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stopped = control.stopped();
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(move || {
        runtime.block_on(async move {
            tokio::select! {
                () = task => {}
                () = stopped => {}
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
    })
}

async fn serve_admin(control: Arc<Control>, listeners: Listeners) {
    let serve = |listener: StdListener, router: axum::Router| async move {
        let served = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                let service = router.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, service).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::error!(%error, "a listener ended");
        }
    };
    let admin = serve(listeners.admin, admin::router(Arc::clone(&control)));
    match listeners.health {
        Some(health) => {
            let health = serve(health, admin::health_router(control, listeners.metrics));
            tokio::join!(admin, health);
        }
        None => admin.await,
    }
}
