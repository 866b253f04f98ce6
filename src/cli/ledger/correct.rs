//! `breakerbox ledger correct`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::super::progress::Progress;
use super::{ConfigArgs, USAGE, complain, print, refuse};
use crate::budget::credits::MicroCredits;
use crate::clock;
use crate::ledger::correct::{self, Outcome};

/// How long the command waits for a running gateway to book it.
const WAIT: Duration = Duration::from_secs(3);

/// Say what an event shall have cost.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox ledger correct 8e03978e40d543e8bc936894a57f9324 --credits 1 --reason \"INC-117: billed twice\"
  breakerbox ledger correct 2026-11-24.17 --credits 0.5 --reason \"wrong card\" --author ops@example.com

EVENT is a request's id (Breakerbox-Request-Id), or day and row as `ledger export` prints them. The
difference to what holds now becomes an event of its own, in the period of the first one; it shows
in usage with confidence adjusted. A running `serve` books it within a second, else the next one.")]
pub(super) struct CorrectArgs {
    /// Which event.
    event: String,
    /// What it shall have cost, in credits.
    #[arg(long)]
    credits: String,
    /// Why; kept with the correction.
    #[arg(long)]
    reason: String,
    /// Who decides; by default the user who runs the command.
    #[arg(long)]
    author: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs `ledger correct`.
pub(super) fn run(args: &CorrectArgs) -> Result<ExitCode, ExitCode> {
    let usage = |fault: String| {
        complain(&format!("breakerbox: {fault}\n"));
        ExitCode::from(USAGE)
    };
    let credits = MicroCredits::parse(&args.credits)
        .map_err(|error| usage(format!("--credits {}: {error}", args.credits)))?;
    if credits < MicroCredits::ZERO {
        return Err(usage(
            "--credits: an event costs nothing at least".to_owned(),
        ));
    }
    if args.reason.trim().is_empty() {
        return Err(usage(
            "--reason: say why, for whoever reads it later".to_owned(),
        ));
    }
    let path = args.config.ledger()?;
    let mut bar = Progress::new();
    let found = correct::find(&path, &args.event, &mut |at, of, day| {
        bar.show(at, of, day);
    });
    bar.end();
    let stored = found.map_err(refuse)?;
    let author = args.author.clone().or_else(|| std::env::var("USER").ok());
    let author = author.unwrap_or_else(|| "unknown".to_owned());
    let why = (args.reason.trim(), author.as_str());
    let id = correct::ask(&path, &stored, credits, why, clock::now()).map_err(refuse)?;
    print(&format!(
        "{}: {} {} of {} in {}, {} credits when it was settled, shall have cost {credits}\n",
        stored.event,
        stored.team,
        stored.operation.name(),
        stored.at,
        stored.period,
        stored.credits,
    ));
    for _ in 0..WAIT.as_millis().div_euclid(50) {
        match correct::outcome(&path, id).map_err(refuse)? {
            Some(Outcome::Added(change)) => {
                print(&format!("booked: {change} credits added\n"));
                return Ok(ExitCode::SUCCESS);
            }
            Some(Outcome::Refused(why)) => return Err(refuse(why)),
            None => {}
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    print("written down; the next `breakerbox serve` books it\n");
    Ok(ExitCode::SUCCESS)
}
