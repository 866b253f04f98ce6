//! The threads the simulator serves from, each with its own runtime.
//!
//! All accept from the one socket. A thread owns the tasks of its connections and the work that
//! outlives them, and ends them all when it is told to stop.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::exchange::{Job, exchange};
use super::state::State;

/// Connections and jobs a thread holds; beyond them new connections wait in the kernel's queue.
const TASKS_MOST: usize = 100_000;

/// Jobs on their way from a connection to their task: emptied at every turn of the loop.
const JOBS_WAITING: usize = 1_024;

/// How long to wait when the system has no connection to give, for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Starts `count` threads that serve `listener` until `stop` changes.
pub(crate) fn start(
    listener: &TcpListener,
    state: &Arc<State>,
    count: usize,
    stop: &watch::Receiver<bool>,
) -> io::Result<Vec<JoinHandle<()>>> {
    listener.set_nonblocking(true)?;
    let mut threads = Vec::with_capacity(count);
    for number in 0..count.max(1) {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (listener, state, stop) = (listener.try_clone()?, Arc::clone(state), stop.clone());
        let thread = thread::Builder::new().name(format!("simulator-{number}"));
        threads.push(thread.spawn(move || serve(&runtime, listener, state, stop))?);
    }
    Ok(threads)
}

fn serve(runtime: &Runtime, listener: TcpListener, state: Arc<State>, stop: watch::Receiver<bool>) {
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        accept(listener, state, stop).await;
        io::Result::Ok(())
    });
    if let Err(error) = served {
        tracing::error!(%error, "the simulator cannot accept connections");
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    state: Arc<State>,
    mut stop: watch::Receiver<bool>,
) {
    let (jobs, mut waiting) = mpsc::channel(JOBS_WAITING);
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            // An error means that the simulator was dropped.
            _ = stop.changed() => return,
            Some(job) = waiting.recv() => drop(tasks.spawn(job)),
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept(), if tasks.len() < TASKS_MOST => match accepted {
                Ok((stream, _)) => {
                    drop(tasks.spawn(converse(stream, Arc::clone(&state), jobs.clone())));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

/// Serves one connection until either side ends it.
async fn converse(stream: TcpStream, state: Arc<State>, jobs: mpsc::Sender<Job>) {
    // Without it frames would wait for one another; a socket that refuses is slower, not wrong.
    drop(stream.set_nodelay(true));
    let service = service_fn(|request| exchange(Arc::clone(&state), jobs.clone(), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that broke, by either side's wish, needs no remark.
    drop(connection.await);
}
