//! `breakerbox check`.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::format::{Format, FormatArgs, csv, json};
use super::{USAGE, complain, print};
use crate::budget::allocation;
use crate::budget::credits::MicroCredits;
use crate::clock;
use crate::config::checked::{Allocations, Checked, Team};
use crate::config::faults::{Fault, Warnings};
use crate::config::load::{self, Files, Sources};
use crate::gateway::periods;
use crate::rates;

/// Check the configuration.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox check
  breakerbox check --config /etc/breakerbox/breakerbox.toml
  breakerbox check --format json | jq .teams
  mkdir -p config/rates && breakerbox check --print-card flex-2026-08 > config/rates/ours.toml

Exit code 0: valid. 2: it has faults; all of them are printed, with file, line and column.")]
pub struct CheckArgs {
    /// The gateway's file; allocations.toml and rates/ lie beside it.
    #[arg(long, default_value = "config/breakerbox.toml")]
    config: PathBuf,
    /// Print a rate card that is built in: guide or flex-2026-08.
    #[arg(long, value_name = "NAME")]
    print_card: Option<String>,
    #[command(flatten)]
    print: FormatArgs,
}

/// Runs `check`.
pub fn run(args: &CheckArgs) -> ExitCode {
    if let Some(name) = &args.print_card {
        return print_card(name);
    }
    let files = Files::read(&Sources::new(args.config.clone()));
    let checked = files.and_then(|files| {
        let now = periods::latest(&files, clock::now());
        let (checked, warnings) = load::check(&files, now)?;
        Ok(Figures::of(&checked, &warnings, now))
    });
    let format = args.print.format;
    match checked {
        Ok(figures) => {
            for warning in figures.warnings.iter().filter(|_| format != Format::Json) {
                complain(&format!("warning: {warning}\n"));
            }
            print(&match format {
                Format::Table => figures.table(),
                Format::Json => json(&figures),
                Format::Csv => figures.csv(),
            });
            ExitCode::SUCCESS
        }
        Err(faults) => {
            let all: Vec<_> = faults.iter().collect();
            match format {
                Format::Json => print(&json(&json!({ "valid": false, "faults": all }))),
                Format::Table | Format::Csv => complain(&format!("{faults}\n")),
            }
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

/// What each team may spend in the running period; its JSON is what `--format json` prints.
#[derive(Serialize)]
struct Figures {
    valid: bool,
    warnings: Vec<Fault>,
    config: String,
    rate_card: String,
    keys: usize,
    period: String,
    allocation: MicroCredits,
    central_buffer: MicroCredits,
    unassigned: MicroCredits,
    teams: Vec<TeamFigures>,
}

#[derive(Serialize)]
struct TeamFigures {
    team: String,
    allocation: MicroCredits,
    trips_at: MicroCredits,
}

impl Figures {
    fn of(checked: &Checked, warnings: &Warnings, now: Timestamp) -> Self {
        let Allocations {
            pool, teams, keys, ..
        } = &checked.allocations;
        let period = pool.calendar.period_at(now);
        let month =
            allocation::month_pool(pool.annual_credits, period.map_or(0, |period| period.month));
        let split = checked.allocations.split(month);
        let split = split.expect("shares that do not fit are a fault");
        let team = |(team, allocation): (&Team, &MicroCredits)| TeamFigures {
            team: team.name.clone(),
            allocation: *allocation,
            trips_at: team.trip.of(*allocation),
        };
        Self {
            valid: true,
            warnings: warnings.iter().cloned().collect(),
            config: checked.hash.clone(),
            rate_card: pool.rate_card.clone(),
            keys: keys.len(),
            period: period.map_or_else(String::new, |period| period.name.to_string()),
            allocation: month,
            central_buffer: split.buffer,
            unassigned: split.unassigned,
            teams: teams.iter().zip(&split.allocations).map(team).collect(),
        }
    }

    fn table(&self) -> String {
        let mut text = format!(
            "valid: {} teams, {} keys, rate card {}, config {}\n\nperiod {}: {} credits\n",
            self.teams.len(),
            self.keys,
            self.rate_card,
            self.config,
            self.period,
            self.allocation
        );
        let names = self.teams.iter().map(|team| team.team.len());
        let width = names.max().unwrap_or(0).max(14);
        // Writing to a String cannot fail.
        for team in &self.teams {
            let (name, allocation) = (&team.team, team.allocation.to_string());
            let trips_at = team.trips_at;
            _ = writeln!(
                text,
                "  {name:width$}  {allocation:>16} credits, trips at {trips_at}"
            );
        }
        for (name, credits) in self.rest() {
            let credits = credits.to_string();
            _ = writeln!(text, "  {name:width$}  {credits:>16} credits");
        }
        text
    }

    fn csv(&self) -> String {
        let teams = self.teams.iter().map(|team| {
            let figures = [team.allocation, team.trips_at].map(|credits| credits.to_string());
            let [allocation, trips_at] = figures;
            ["team".to_owned(), team.team.clone(), allocation, trips_at]
        });
        let rest = self.rest().map(|(name, credits)| {
            let none = String::new;
            [name.to_owned(), none(), credits.to_string(), none()]
        });
        csv(
            ["kind", "team", "allocation", "trips_at"],
            teams.chain(rest),
        )
    }

    /// What no team has.
    fn rest(&self) -> [(&'static str, MicroCredits); 2] {
        [
            ("central buffer", self.central_buffer),
            ("unassigned", self.unassigned),
        ]
    }
}
