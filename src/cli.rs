//! The command line: one file a command. Exit codes: 0 done; 1 it ran, and the answer is no; 2 usage or
//! configuration.

pub mod check;
pub mod demo;
mod format;
pub mod key;
pub mod ledger;
pub mod logging;
mod progress;
pub mod serve;
pub mod simulator;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
  breakerbox serve --config config/breakerbox.toml  run the gateway";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::ServeArgs),
    /// Gateway, simulated Salesforce and traffic of several teams in one process.
    Demo(demo::DemoArgs),
    /// Check the configuration; say every fault at once.
    Check(check::CheckArgs),
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
        Command::Key(args) => key::run(&args),
        Command::Ledger(args) => ledger::run(&args),
        Command::Simulator(args) => simulator::run(args),
    }
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
