//! `breakerbox ledger export`.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::super::progress::Progress;
use super::super::quoted;
use super::{ConfigArgs, NO, USAGE, complain, instant, refuse};
use crate::clock;
use crate::ledger::export::{self, Span};
use crate::ledger::stored::Stored;
use crate::ledger::{LedgerError, OpenError};

/// Every event of a time, one line each.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox ledger export --from 2026-11-01 --to 2026-12-01 --format csv > november.csv
  breakerbox ledger export --from 2026-11-24T00:00:00Z --format jsonl | gzip > today.jsonl.gz

Days begin in the pool's time zone; --to is the first instant left out, by default now. JSON lines
are CloudEvents 1.0: subject is the team, type breakerbox.credits.settled, and source with id is
unique. The same question gives the same bytes. Works beside a running `serve`.")]
pub(super) struct ExportArgs {
    /// The first instant: a day, or an instant as in 2026-11-01T00:00:00Z.
    #[arg(long)]
    from: String,
    /// The first instant left out; by default now.
    #[arg(long)]
    to: Option<String>,
    /// How to write it.
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Jsonl,
}

/// A CloudEvent (JSON format, CloudEvents 1.0).
#[derive(Debug, Serialize)]
struct CloudEvent<'e> {
    specversion: &'static str,
    id: String,
    source: &'e str,
    #[serde(rename = "type")]
    kind: &'static str,
    subject: &'e str,
    time: String,
    datacontenttype: &'static str,
    data: &'e Stored,
}

/// Runs `ledger export`.
pub(super) fn run(args: &ExportArgs) -> Result<ExitCode, ExitCode> {
    let checked = args.config.read()?;
    let zone = checked.allocations.pool.calendar.zone().clone();
    let usage = |fault: String| {
        complain(&format!("breakerbox: {fault}\n"));
        ExitCode::from(USAGE)
    };
    let from = instant(&args.from, &zone).map_err(usage)?;
    let to = args.to.as_deref().map(|to| instant(to, &zone));
    let to = to.transpose().map_err(usage)?.unwrap_or_else(clock::now);
    let path = checked.gateway.ledger.path;
    let source = format!("/breakerbox/{}", export::node(&path).map_err(refuse)?);
    let mut out = BufWriter::new(io::stdout().lock());
    if args.format == Format::Csv
        && let Err(error) = writeln!(out, "{}", CSV_HEADS.join(","))
    {
        return ended(error);
    }
    let mut take = |stored: &Stored| match args.format {
        Format::Csv => writeln!(out, "{}", csv(stored)),
        Format::Jsonl => {
            serde_json::to_writer(&mut out, &cloud_event(stored, &source))?;
            out.write_all(b"\n")
        }
    };
    let mut bar = Progress::new();
    let done = export::export(&path, Span { from, to }, &mut take, &mut |at, of, day| {
        bar.show(at, of, day);
    });
    bar.end();
    let exported = match done {
        Ok(exported) => exported,
        Err(LedgerError::Open(OpenError::Output(error))) => return ended(error),
        Err(error) => return Err(refuse(error)),
    };
    if let Err(error) = out.flush() {
        return ended(error);
    }
    if !exported.dropped.is_empty() {
        complain(&format!(
            "not exported, since retention dropped their rows: {}\n",
            exported.dropped.join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A reader that went away (`| head`) is no error of ours; a full disk is.
fn ended(error: io::Error) -> Result<ExitCode, ExitCode> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(ExitCode::SUCCESS);
    }
    complain(&format!(
        "breakerbox: the output cannot be written: {error}\n"
    ));
    Err(ExitCode::from(NO))
}

/// A request's event has the request's id; adjustments and corrections have none of their own.
fn id(stored: &Stored) -> String {
    match stored.kind {
        "crash_adjustment" | "correction" => stored.event.to_string(),
        _ => stored.request.to_string(),
    }
}

fn cloud_event<'e>(stored: &'e Stored, source: &'e str) -> CloudEvent<'e> {
    CloudEvent {
        specversion: "1.0",
        id: id(stored),
        source,
        kind: "breakerbox.credits.settled",
        subject: &stored.team,
        time: time(stored),
        datacontenttype: "application/json",
        data: stored,
    }
}

fn time(stored: &Stored) -> String {
    format!("{:.3}", stored.at)
}

const CSV_HEADS: [&str; 25] = [
    "id",
    "event",
    "time",
    "period",
    "team",
    "operation",
    "class",
    "source",
    "credits",
    "estimate",
    "kind",
    "confidence",
    "shadow",
    "continued",
    "named_kind",
    "named",
    "agent_type",
    "key",
    "tags",
    "session",
    "units",
    "input_tokens",
    "output_tokens",
    "status",
    "note",
];

fn csv(stored: &Stored) -> String {
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells: [String; 25] = [
        id(stored),
        stored.event.to_string(),
        time(stored),
        stored.period.to_string(),
        stored.team.clone(),
        stored.operation.name().to_owned(),
        stored.class.name().to_owned(),
        stored.source.name().to_owned(),
        stored.credits.to_string(),
        stored.estimate.to_string(),
        stored.kind.to_owned(),
        stored.confidence.to_owned(),
        stored.shadow.to_string(),
        stored.continued.to_string(),
        or_empty(&stored.named_kind),
        or_empty(&stored.named),
        or_empty(&stored.agent_type),
        or_empty(&stored.key),
        or_empty(&stored.tags),
        or_empty(&stored.session),
        stored.units.to_string(),
        stored.input_tokens.to_string(),
        stored.output_tokens.to_string(),
        stored.status.to_string(),
        or_empty(&stored.note),
    ];
    cells.map(|cell| quoted(&cell)).join(",")
}
