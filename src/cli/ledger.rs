//! `breakerbox ledger`.

mod audit;
mod backup;
mod correct;
mod export;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{NO, USAGE, complain, print};
use crate::clock;
use crate::config::load::{self, Sources};

/// The ledger's own commands.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox ledger verify --config config/breakerbox.toml
  breakerbox ledger backup /var/backups/breakerbox/2026-11-24 --config config/breakerbox.toml
  breakerbox ledger accept-clock --config config/breakerbox.toml")]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Check every file, and that events, rollups and accounts agree.
    Verify(verify::VerifyArgs),
    /// Every event of a time, one line each: CSV, or CloudEvents as JSON lines.
    Export(export::ExportArgs),
    /// Who decided what, when and why: overrides, mode, corrections, clocks, configurations.
    Audit(audit::AuditArgs),
    /// Say what an event shall have cost: by a line of its own, never by changing what was written.
    Correct(correct::CorrectArgs),
    /// Copy the ledger into a folder, beside a running `serve` or without one, and check the copy.
    Backup(backup::BackupArgs),
    /// Put a backup in the ledger's place, while no `serve` runs.
    Restore(backup::RestoreArgs),
    /// Say that the wall clock is right, after it jumped or nothing ran for a month: a held period goes on.
    #[command(after_help = "\
Example:
  breakerbox ledger accept-clock --config config/breakerbox.toml

Works beside a running `serve`, which takes it up within a second.")]
    AcceptClock(ConfigArgs),
}

/// Which ledger.
#[derive(Debug, Args)]
struct ConfigArgs {
    /// The gateway's file.
    #[arg(long, default_value = "config/breakerbox.toml")]
    config: PathBuf,
}

impl ConfigArgs {
    /// The ledger's file, or the exit code after it was said why it is not known.
    fn ledger(&self) -> Result<PathBuf, ExitCode> {
        match load::ledger(&Sources::new(self.config.clone())) {
            Ok(settings) => Ok(settings.path),
            Err(faults) => {
                complain(&format!("{faults}\n"));
                Err(ExitCode::from(USAGE))
            }
        }
    }
}

/// Runs `ledger`.
pub fn run(args: &LedgerArgs) -> ExitCode {
    let done = match &args.command {
        LedgerCommand::Verify(args) => verify::run(args),
        LedgerCommand::Export(args) => export::run(args),
        LedgerCommand::Audit(args) => audit::run(args),
        LedgerCommand::Correct(args) => correct::run(args),
        LedgerCommand::Backup(args) => backup::run(args),
        LedgerCommand::Restore(args) => backup::restore(args),
        LedgerCommand::AcceptClock(args) => accept_clock(args),
    };
    done.unwrap_or_else(|code| code)
}

fn accept_clock(args: &ConfigArgs) -> Result<ExitCode, ExitCode> {
    let now = clock::now();
    crate::ledger::wall_clock::accept(&args.ledger()?, now).map_err(refuse)?;
    print(&format!("accepted: it is {now}\n"));
    Ok(ExitCode::SUCCESS)
}

/// Says why the answer is no.
fn refuse(error: impl std::fmt::Display) -> ExitCode {
    complain(&format!("breakerbox: {error}\n"));
    ExitCode::from(NO)
}
