//! `breakerbox ledger audit`.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::super::format::{self, Format, FormatArgs};
use super::{ConfigArgs, USAGE, complain, print, refuse};
use crate::config::units;
use crate::ledger::audit::{self, Entry};
use crate::ledger::export;

/// Who decided what, when and why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox ledger audit
  breakerbox ledger audit --from 2026-11-01 --to 2026-12-01 --format csv > november-decisions.csv

Overrides and mode with their ends, corrections, accepted clocks, and which configuration was in
force since when; the newest first, at most 1,000. Works beside a running `serve`.")]
pub(super) struct AuditArgs {
    /// The first instant: a day, or an instant as in 2026-11-01T00:00:00Z; by default the first there is.
    #[arg(long)]
    from: Option<String>,
    /// The first instant left out; by default none is.
    #[arg(long)]
    to: Option<String>,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs `ledger audit`.
pub(super) fn run(args: &AuditArgs) -> Result<ExitCode, ExitCode> {
    let path = args.config.ledger()?;
    let zone = export::zone(&path).map_err(refuse)?;
    let at = |option: &str, text: &Option<String>, usual| match text {
        None => Ok(usual),
        Some(text) => units::instant(text, &zone).map_err(|wrong| {
            complain(&format!("breakerbox: {option}: {text:?} is {wrong}\n"));
            ExitCode::from(USAGE)
        }),
    };
    let from = at("--from", &args.from, Timestamp::UNIX_EPOCH)?;
    let to = at("--to", &args.to, Timestamp::MAX)?;
    let entries = audit::read(&path, from, to).map_err(refuse)?;
    print(&match args.format.format {
        Format::Table => table(&entries),
        Format::Json => format::json(&entries),
        Format::Csv => format::csv(HEADS, entries.iter().map(cells)),
    });
    Ok(ExitCode::SUCCESS)
}

const HEADS: [&str; 9] = [
    "at", "action", "override", "team", "what", "until", "reason", "author", "remote",
];

fn cells(entry: &Entry) -> [String; 9] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        format!("{:.3}", entry.at),
        entry.action.clone(),
        entry
            .override_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        text(&entry.team),
        entry.what.clone(),
        entry
            .until
            .map(|until| until.to_string())
            .unwrap_or_default(),
        text(&entry.reason),
        text(&entry.author),
        text(&entry.remote),
    ]
}

/// A line for what was decided, a line for why.
fn table(entries: &[Entry]) -> String {
    let told = entries.iter().map(|entry| {
        let [at, action, id, team, what, until, reason, author, remote] = cells(entry);
        let named = |name: &str, value: String| match value.is_empty() {
            true => String::new(),
            false => format!("  {name} {value}"),
        };
        let first = [
            named("override", id),
            named("team", team),
            named("until", until),
        ]
        .concat();
        let second = [
            named("by", author),
            named("from", remote),
            named("because", reason),
        ]
        .concat();
        let second = if second.is_empty() {
            second
        } else {
            format!("    {second}\n")
        };
        format!("{at}  {action:14}  {what}{first}\n{second}")
    });
    told.collect()
}
