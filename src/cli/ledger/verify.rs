//! `breakerbox ledger verify`.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::super::format::{Format, FormatArgs, csv};
use super::super::progress::Progress;
use super::{ConfigArgs, NO, print, refuse};
use crate::ledger::verify::{self, AccountVerdict, Asked, Verdict};

/// Check every file, and that events, rollups and accounts agree.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox ledger verify
  breakerbox ledger verify --thorough --format json --config /etc/breakerbox/breakerbox.toml

Works beside a running `serve`. For each period, team and source it compares what the rows of the
events files cost, with what was folded, with the rollups and with the account, and checks that no
more was settled than granted. Where no event was folded and no day dropped, events and rollups are
also compared in what they are booked under: operation, class, confidence, name, key, tags, hour.
Exit code 0: all agree. 1: something differs or is damaged, or there is no ledger. 2: usage or configuration.")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Check every index against its table too (`PRAGMA integrity_check`); slower.
    #[arg(long)]
    thorough: bool,
    #[command(flatten)]
    print: FormatArgs,
}

/// Runs `ledger verify`.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode, ExitCode> {
    let path = args.config.ledger()?;
    let mut bar = Progress::new();
    let mut asked = Asked {
        thorough: args.thorough,
        progress: &mut |at, of, name| bar.show(at, of, name),
    };
    let verdict = verify::verify(&path, &mut asked);
    bar.end();
    let verdict = verdict.map_err(refuse)?;
    print(&match args.print.format {
        Format::Table => table(&verdict),
        Format::Json => json(&verdict),
        Format::Csv => csv(HEADS, verdict.accounts.iter().map(cells)),
    });
    Ok(if verdict.is_sound() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NO)
    })
}

const HEADS: [&str; 9] = [
    "period",
    "team",
    "source",
    "events",
    "folded",
    "rollups",
    "settled",
    "granted",
    "difference",
];

fn cells(account: &AccountVerdict) -> [String; 9] {
    [
        account.period.to_string(),
        account.team.clone(),
        account.source.name().to_owned(),
        account.events.to_string(),
        account.folded.to_string(),
        account.rollups.to_string(),
        account.settled.to_string(),
        account.granted.to_string(),
        account.difference().to_string(),
    ]
}

/// What is wrong with an account, in words.
fn faults(account: &AccountVerdict) -> Vec<String> {
    let of = format!(
        "{} {} {}",
        account.period,
        account.team,
        account.source.name()
    );
    let mut said = Vec::new();
    if !account.difference().is_zero() {
        let apart = account.difference();
        said.push(format!(
            "{of}: events, rollups and account differ by {apart} credits"
        ));
    }
    if account.granted < account.settled {
        let (granted, settled) = (account.granted, account.settled);
        said.push(format!(
            "{of}: {settled} credits settled, only {granted} granted"
        ));
    }
    let (events, rollups) = account.requests;
    if events != rollups {
        said.push(format!("{of}: {events} events, {rollups} in the rollups"));
    }
    said
}

fn all_faults(verdict: &Verdict) -> Vec<String> {
    let accounts = verdict.accounts.iter().flat_map(faults);
    verdict.faults.iter().cloned().chain(accounts).collect()
}

fn table(verdict: &Verdict) -> String {
    let rows: Vec<_> = verdict.accounts.iter().map(cells).collect();
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    let mut write = |row: &[String]| {
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Writing to a String cannot fail. Words to the left, figures to the right.
            _ = match at < 3 {
                true => write!(text, "{cell:width$}  "),
                false => write!(text, "{cell:>width$}  "),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    write(&HEADS.map(str::to_owned));
    rows.iter().for_each(|row| write(row));
    _ = writeln!(
        text,
        "\nbatch {}: {} event rows in {} files",
        verdict.batch, verdict.rows, verdict.files
    );
    let faults = all_faults(verdict);
    for fault in &faults {
        _ = writeln!(text, "FAULT  {fault}");
    }
    if faults.is_empty() {
        text.push_str("sound: events, rollups and accounts agree\n");
    }
    text
}

fn json(verdict: &Verdict) -> String {
    let accounts = verdict.accounts.iter().map(|account| {
        let cells: serde_json::Map<_, _> = HEADS
            .into_iter()
            .zip(cells(account))
            .map(|(head, cell)| (head.to_owned(), cell.into()))
            .collect();
        serde_json::Value::Object(cells)
    });
    let told = json!({
        "sound": verdict.is_sound(),
        "batch": verdict.batch,
        "rows": verdict.rows,
        "files": verdict.files,
        "faults": all_faults(verdict),
        "accounts": accounts.collect::<Vec<_>>(),
    });
    format!("{told}\n")
}
