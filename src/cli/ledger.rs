//! `breakerbox ledger`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{NO, USAGE, complain, print};
use crate::clock;
use crate::config::load::{self, Files, Sources};

/// The ledger's own commands.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  breakerbox ledger accept-clock --config config/breakerbox.toml")]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Say that the wall clock is right, after it jumped: a held period goes on.
    #[command(after_help = "\
Example:
  breakerbox ledger accept-clock --config config/breakerbox.toml

Works beside a running `serve`, which takes it up within a second.")]
    AcceptClock {
        /// The gateway's file.
        #[arg(long, default_value = "config/breakerbox.toml")]
        config: PathBuf,
    },
}

/// Runs `ledger`.
pub fn run(args: &LedgerArgs) -> ExitCode {
    let LedgerCommand::AcceptClock { config } = &args.command;
    let files = Files::read(&Sources::new(config.clone()));
    let checked = match files.and_then(|files| load::check(&files, clock::now())) {
        Ok((checked, _)) => checked,
        Err(faults) => {
            complain(&format!("{faults}\n"));
            return ExitCode::from(USAGE);
        }
    };
    let now = clock::now();
    match crate::ledger::accept_clock(&checked.gateway.ledger.path, now) {
        Ok(()) => {
            print(&format!("accepted: it is {now}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("breakerbox: {error}\n"));
            ExitCode::from(NO)
        }
    }
}
