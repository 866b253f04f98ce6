//! `breakerbox demo`: gateway, simulated Salesforce and the traffic of several teams in one process.
//!
//! Nothing here is a mock-up: the gateway is the one `serve` runs, with a real ledger in a temporary folder, and
//! the traffic goes through its socket.

mod panel;
mod setting;
mod traffic;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use self::panel::Scene;
use self::setting::Setting;
use self::traffic::Tally;
use super::{NO, USAGE, complain, print};
use crate::config::load::Sources;
use crate::gateway::{ConnectorChoice, Gateway, Start};
use crate::simulator::{Latency, Settings, Simulator};

/// See it work.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox demo                 until Ctrl-C
  breakerbox demo --for 60s       ends by itself
  breakerbox demo --for 60s | cat plain lines instead of the panel

While it runs, ask the gateway itself:
  curl -s localhost:9090/api/v1/teams | jq
  curl -s localhost:9090/metrics | grep breakerbox_team")]
pub struct DemoArgs {
    /// End after this time; traffic is paced so that breakers trip within it.
    #[arg(long = "for", value_name = "TIME", value_parser = crate::config::units::duration)]
    run_for: Option<Duration>,
    /// Seeds traffic and simulator.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Address of the proxy; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    proxy: std::net::SocketAddr,
    /// Address of the admin API; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:9090")]
    admin: std::net::SocketAddr,
}

/// The time the demo's traffic is made for where none is given.
const USUAL: Duration = Duration::from_secs(60);

/// Runs `demo`.
pub fn run(args: DemoArgs) -> ExitCode {
    match play(&args) {
        Ok(code) => code,
        Err(fault) => {
            complain(&format!("breakerbox: {fault}\n"));
            ExitCode::from(USAGE)
        }
    }
}

fn play(args: &DemoArgs) -> Result<ExitCode, String> {
    let latency = Latency {
        min_ms: 5,
        max_ms: 40,
    };
    let settings = Settings {
        seed: args.seed,
        latency,
        ..Settings::default()
    };
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let simulator = Simulator::start(any_port, settings).map_err(|error| error.to_string())?;
    let setting = Setting::write(args.proxy, args.admin, simulator.address)
        .map_err(|error| format!("cannot write the demo's configuration: {error}"))?;
    let start = Start {
        sources: Sources::new(setting.config()),
        connector: ConnectorChoice::Platform,
    };
    let gateway = Gateway::start(start).map_err(|error| error.to_string())?;
    print(&format!(
        "admin API  http://{admin}/api/v1/teams   metrics  http://{admin}/metrics\n\
         proxy      http://{proxy}   simulated Salesforce  http://{salesforce}\n\n",
        admin = gateway.admin,
        proxy = gateway.proxy,
        salesforce = simulator.address,
    ));
    let tally = Arc::new(Tally::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let until = args
        .run_for
        .and_then(|time| Instant::now().checked_add(time));
    let pace = args.run_for.unwrap_or(USUAL);
    let scene = Scene {
        control: Arc::clone(&gateway.control),
        tally: Arc::clone(&tally),
        until,
    };
    runtime.block_on(async {
        let stopped = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let over = async {
            tokio::select! {
                () = stopped => {}
                _ = tokio::signal::ctrl_c() => {}
                () = scene.play(std::io::stdout().is_terminal()) => {}
            }
        };
        let (tally, made) = (Arc::clone(&tally), (args.seed, pace));
        traffic::run(gateway.proxy, &setting, tally, made, over).await;
    });
    Ok(end(gateway, &simulator, &tally))
}

/// Lets everything settle, and says what was seen: counted against billed.
fn end(gateway: Gateway, simulator: &Simulator, tally: &Tally) -> ExitCode {
    let control = Arc::clone(&gateway.control);
    let stopped = gateway.stop(Duration::from_secs(5));
    print(&panel::summary(&control, tally, &simulator.billed()));
    match stopped {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("breakerbox: {error}\n"));
            ExitCode::from(NO)
        }
    }
}
