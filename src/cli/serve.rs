//! `breakerbox serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::logging::{self, LogArgs};
use super::{NO, USAGE, complain};
use crate::config::load::Sources;
use crate::gateway::{ConnectorChoice, Gateway, Start};

/// Run the gateway.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox serve --config config/breakerbox.toml
  breakerbox serve --config /etc/breakerbox/breakerbox.toml --log json

SIGHUP reads the configuration again; SIGTERM and SIGINT finish what is in flight and end.")]
pub struct ServeArgs {
    /// The gateway's file; allocations.toml and rates/ lie beside it.
    #[arg(long, default_value = "config/breakerbox.toml")]
    config: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

/// How often it is looked whether the ledger thread runs.
const WATCHDOG: std::time::Duration = std::time::Duration::from_millis(500);

/// Serves until a signal says to stop.
pub fn run(args: ServeArgs) -> ExitCode {
    let guard = logging::start(args.log);
    let sources = Sources::new(args.config);
    let start = Start {
        sources,
        connector: ConnectorChoice::Platform,
    };
    let code = match Gateway::start(start) {
        Ok(gateway) => serve(gateway),
        Err(error) => {
            complain(&format!("breakerbox: {error}\n"));
            ExitCode::from(USAGE)
        }
    };
    drop(guard); // writes what is left of the log
    code
}

fn serve(gateway: Gateway) -> ExitCode {
    // Before anybody is told that it runs: a signal that comes at once must end it as any other.
    let signals = Signals::new();
    super::print(&format!(
        "proxy  http://{}\nadmin  http://{}\n",
        gateway.proxy, gateway.admin
    ));
    if let Err(error) = signals.and_then(|signals| signals.wait(&gateway)) {
        complain(&format!("breakerbox: cannot wait for signals: {error}\n"));
    }
    let limit = gateway
        .control
        .shared
        .snapshot
        .load_full()
        .checked
        .gateway
        .limits
        .drain_timeout;
    tracing::info!(
        drain_timeout_s = limit.as_secs(),
        "stopping: finishing what is in flight"
    );
    match gateway.stop(limit) {
        Ok(()) => {
            tracing::info!("stopped: everything is written down");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!(
                "breakerbox: the ledger's last batch was not written: {error}\n"
            ));
            ExitCode::from(NO)
        }
    }
}

/// SIGTERM and SIGINT, heard from when this is made.
struct Signals {
    runtime: tokio::runtime::Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        drop(entered);
        Ok(Self {
            runtime,
            terminate,
            interrupt,
        })
    }

    /// Waits for a signal, or for the ledger thread to end: without it only a restart helps.
    fn wait(mut self, gateway: &Gateway) -> std::io::Result<()> {
        self.runtime.block_on(async {
            let mut watchdog = tokio::time::interval(WATCHDOG);
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => return Ok(()),
                    _ = self.interrupt.recv() => return Ok(()),
                    _ = watchdog.tick() => if !gateway.control.shared.ledger.is_alive() {
                        tracing::error!("the ledger thread has ended: stopping, so that a restart brings it back");
                        return Ok(());
                    },
                }
            }
        })
    }
}
