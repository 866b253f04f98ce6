//! `breakerbox check`.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::{USAGE, complain, print};
use crate::budget::allocation;
use crate::clock;
use crate::config::checked::Checked;
use crate::config::load::{self, Files, Sources};
use crate::gateway::periods;
use crate::rates;

/// Check the configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox check
  breakerbox check --config /etc/breakerbox/breakerbox.toml
  breakerbox check --print-card flex-2026-08 > config/rates/ours.toml

Exit code 0: valid. 2: it has faults; all of them are printed, with file, line and column.")]
pub struct CheckArgs {
    /// The gateway's file; allocations.toml and rates/ lie beside it.
    #[arg(long, default_value = "config/breakerbox.toml")]
    config: PathBuf,
    /// Print a rate card that is built in: guide or flex-2026-08.
    #[arg(long, value_name = "NAME")]
    print_card: Option<String>,
}

/// Runs `check`.
pub fn run(args: &CheckArgs) -> ExitCode {
    if let Some(name) = &args.print_card {
        return print_card(name);
    }
    let files = Files::read(&Sources::new(args.config.clone()));
    let checked = files.and_then(|files| {
        let now = periods::latest(&files, clock::now());
        load::check(&files, now).map(|checked| (checked, now))
    });
    match checked {
        Ok(((checked, warnings), now)) => {
            for warning in warnings.lines() {
                complain(&format!("warning: {warning}\n"));
            }
            print(&summary(&checked, now));
            ExitCode::SUCCESS
        }
        Err(faults) => {
            complain(&format!("{faults}\n"));
            ExitCode::from(USAGE)
        }
    }
}

fn print_card(name: &str) -> ExitCode {
    match rates::SHIPPED.iter().find(|(known, _)| *known == name) {
        Some((_, text)) => {
            print(text);
            ExitCode::SUCCESS
        }
        None => {
            let names: Vec<_> = rates::SHIPPED.iter().map(|(name, _)| *name).collect();
            complain(&format!(
                "breakerbox: no built-in card {name:?}; there are {}\n",
                names.join(" and ")
            ));
            ExitCode::from(USAGE)
        }
    }
}

/// What each team may spend in the running period.
fn summary(checked: &Checked, now: Timestamp) -> String {
    let pool = &checked.allocations.pool;
    let mut text = format!(
        "valid: {} teams, {} keys, ",
        checked.allocations.teams.len(),
        checked.allocations.keys.len()
    );
    let period = pool.calendar.period_at(now);
    let month =
        allocation::month_pool(pool.annual_credits, period.map_or(0, |period| period.month));
    let Ok(split) = checked.allocations.split(month) else {
        return text;
    };
    let name = period.map_or_else(String::new, |period| period.name.to_string());
    // Writing to a String cannot fail.
    _ = writeln!(
        text,
        "rate card {}, config {}\n\nperiod {name}: {month} credits",
        pool.rate_card, checked.hash
    );
    let width = checked
        .allocations
        .teams
        .iter()
        .map(|team| team.name.len())
        .max()
        .unwrap_or(0)
        .max(14);
    for (team, credits) in checked.allocations.teams.iter().zip(&split.allocations) {
        let trips = team.trip.of(*credits);
        _ = writeln!(
            text,
            "  {:width$}  {credits:>16} credits, trips at {trips}",
            team.name
        );
    }
    _ = writeln!(
        text,
        "  {:width$}  {:>16} credits",
        "central buffer", split.buffer
    );
    _ = writeln!(
        text,
        "  {:width$}  {:>16} credits",
        "unassigned", split.unassigned
    );
    text
}
