//! The command line: one file a command. Exit codes: 0 done; 1 it ran, and the answer is no; 2 usage or
//! configuration.

mod admin;
pub mod check;
pub mod demo;
pub mod explain;
mod format;
pub mod key;
pub mod ledger;
pub mod logging;
mod progress;
pub mod serve;
mod sheet;
pub mod simulator;
pub mod why;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::clock;
use crate::config::checked::Checked;
use crate::config::faults::Faults;
use crate::config::load::{self, Files, Sources};

/// It ran, and the answer is no.
pub const NO: u8 = 1;
/// Usage or configuration.
pub const USAGE: u8 = 2;

/// A streaming circuit-breaker gateway for Salesforce Flex Credits.
#[derive(Debug, Parser)]
#[command(version, about, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  breakerbox demo --for 60s                         see it work, with a simulated Salesforce
  breakerbox check --config config/breakerbox.toml  every fault of all files, with its place
  breakerbox key new --name batch-scorer            a key, and the lines for allocations.toml
  breakerbox serve --config config/breakerbox.toml  run the gateway
  breakerbox why 8e03978e40d543e8bc936894a57f9324   what was decided of a request";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::ServeArgs),
    /// Gateway, simulated Salesforce and traffic of several teams in one process.
    Demo(demo::DemoArgs),
    /// Check the configuration; say every fault at once.
    Check(check::CheckArgs),
    /// How a request would be priced and judged, line by line.
    Explain(explain::ExplainArgs),
    /// What was decided of a request, and what it cost.
    Why(why::WhyArgs),
    /// Make and hash keys.
    Key(key::KeyArgs),
    /// The ledger's own commands.
    Ledger(ledger::LedgerArgs),
    /// A simulated Salesforce, which also says what it would have billed.
    Simulator(simulator::SimulatorArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // The one process-wide choice rustls needs; fails only when it was made already.
    let _already_chosen = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Why(args) => why::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Ledger(args) => ledger::run(&args),
        Command::Simulator(args) => simulator::run(args),
    }
}

/// The configuration of a gateway's file.
pub(crate) fn checked(config: &Path) -> Result<Checked, Faults> {
    let files = Files::read(&Sources::new(config.to_owned()))?;
    let (checked, _) = load::check(&files, clock::now())?;
    Ok(checked)
}

/// Prints to standard output. A reader that went away (`| head`) is no error of ours.
pub(crate) fn print(text: &str) {
    use std::io::Write;
    let _closed = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Prints to standard error.
pub(crate) fn complain(text: &str) {
    use std::io::Write;
    let _closed = std::io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn check(command: &clap::Command) {
            for command in command.get_subcommands() {
                let help = command.get_after_help().map(ToString::to_string);
                let shows = help.is_some_and(|help| help.contains("breakerbox "));
                assert!(shows, "{} has no example", command.get_name());
                check(command);
            }
        }
        check(&Cli::command());
    }
}
