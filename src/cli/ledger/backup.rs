//! `breakerbox ledger backup` and `restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::super::format::{self, Format, FormatArgs, csv};
use super::super::progress::Progress;
use super::{ConfigArgs, print, refuse};
use crate::clock;
use crate::ledger::restore::Restored;
use crate::ledger::{backup, restore};

/// Copy the ledger into a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox ledger backup /var/backups/breakerbox/2026-11-24
  breakerbox ledger backup backup --format json --config /etc/breakerbox/breakerbox.toml

The folder gets breakerbox.db and events/, as they were at one commit; the copy is checked before
it gets its name. Exit code 1: the folder is there already, or the copy is not sound.")]
pub(super) struct BackupArgs {
    /// A folder that is not there yet.
    folder: PathBuf,
    #[command(flatten)]
    print: FormatArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Put a backup in the ledger's place.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox ledger restore /var/backups/breakerbox/2026-11-24
  breakerbox ledger restore backup --accept-lower --config /etc/breakerbox/breakerbox.toml

What is replaced is set aside, not deleted. What was spent since the backup is not forgotten: the
next `serve` counts in the rows of day files that know more, and charges what was granted by the
time of the ledger's mark. Exit code 1: a `serve` runs on the ledger, or the backup is not sound.")]
pub(super) struct RestoreArgs {
    /// What `breakerbox ledger backup` made.
    folder: PathBuf,
    /// Take the backup as the truth: counters may become lower than what was spent.
    #[arg(long)]
    accept_lower: bool,
    #[command(flatten)]
    print: FormatArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs `ledger backup`.
pub(super) fn run(args: &BackupArgs) -> Result<ExitCode, ExitCode> {
    let path = args.config.ledger()?;
    let mut bar = Progress::new();
    let done = backup::backup(&path, &args.folder, &mut |at, of, name| {
        bar.show(at, of, name);
    });
    bar.end();
    let verdict = done.map_err(refuse)?;
    let folder = args.folder.display().to_string();
    let (batch, rows, files) = (verdict.batch, verdict.rows, verdict.files);
    print(&match args.print.format {
        Format::Table => {
            format!("{folder}: batch {batch}, {rows} event rows in {files} files, checked\n")
        }
        Format::Json => {
            format::json(&json!({ "folder": folder, "batch": batch, "rows": rows, "files": files }))
        }
        Format::Csv => {
            let [batch, rows] = [batch.to_string(), rows.to_string()];
            let row = [folder, batch, rows, files.to_string()];
            csv(["folder", "batch", "rows", "files"], [row])
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Runs `ledger restore`.
pub(super) fn restore(args: &RestoreArgs) -> Result<ExitCode, ExitCode> {
    let path = args.config.ledger()?;
    let (mut bar, now) = (Progress::new(), clock::now());
    let done = restore::restore(
        &path,
        &args.folder,
        args.accept_lower,
        now,
        &mut |at, of, name| bar.show(at, of, name),
    );
    bar.end();
    let restored = done.map_err(refuse)?;
    print(&match args.print.format {
        Format::Table => told(&restored, args.accept_lower),
        Format::Json => format::json(&json!({
            "batch": restored.verdict.batch,
            "days": restored.days,
            "kept": restored.kept,
            "aside": restored.aside,
            "accept_lower": args.accept_lower,
        })),
        Format::Csv => {
            let aside = restored.aside.unwrap_or_default().display().to_string();
            let row = [
                restored.verdict.batch.to_string(),
                restored.days.to_string(),
                restored.kept.to_string(),
                aside,
                args.accept_lower.to_string(),
            ];
            csv(["batch", "days", "kept", "aside", "accept_lower"], [row])
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn told(restored: &Restored, accept_lower: bool) -> String {
    let (batch, days, kept) = (restored.verdict.batch, restored.days, restored.kept);
    let aside = restored.aside.as_ref().map_or_else(String::new, |folder| {
        format!("what was replaced is in {}\n", folder.display())
    });
    let next = match accept_lower {
        true => "counters are those of the backup",
        false => "the next `breakerbox serve` counts in what was spent since the backup",
    };
    format!(
        "restored: batch {batch}, {days} days from the backup, {kept} that know more kept\n{aside}{next}\n"
    )
}
