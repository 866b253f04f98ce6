//! `breakerbox ledger audit`.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp;

use super::super::quoted;
use super::super::sheet::Format;
use super::{ConfigArgs, USAGE, complain, instant, print, refuse};
use crate::ledger::audit::{self, Entry};

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
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs `ledger audit`.
pub(super) fn run(args: &AuditArgs) -> Result<ExitCode, ExitCode> {
    let checked = args.config.read()?;
    let zone = checked.allocations.pool.calendar.zone();
    let at = |text: &Option<String>, usual| match text {
        None => Ok(usual),
        Some(text) => instant(text, zone).map_err(|fault| {
            complain(&format!("breakerbox: {fault}\n"));
            ExitCode::from(USAGE)
        }),
    };
    let (from, to) = (
        at(&args.from, Timestamp::UNIX_EPOCH)?,
        at(&args.to, Timestamp::MAX)?,
    );
    let entries = audit::read(&checked.gateway.ledger.path, from, to).map_err(refuse)?;
    print(&match args.format {
        Format::Table => table(&entries),
        Format::Json => format!("{}\n", serde_json::to_string(&entries).map_err(refuse)?),
        Format::Csv => csv(&entries),
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

fn csv(entries: &[Entry]) -> String {
    let line = |cells: [String; 9]| format!("{}\n", cells.map(|cell| quoted(&cell)).join(","));
    let rows = entries.iter().map(|entry| line(cells(entry)));
    std::iter::once(line(HEADS.map(str::to_owned)))
        .chain(rows)
        .collect()
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
