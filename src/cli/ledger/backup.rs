//! `breakerbox ledger backup` and `restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::progress::Progress;
use super::{ConfigArgs, print, refuse};
use crate::clock;
use crate::ledger::{backup, restore};

/// Copy the ledger into a folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  breakerbox ledger backup /var/backups/breakerbox/2026-11-24
  breakerbox ledger backup backup --config /etc/breakerbox/breakerbox.toml

The folder gets breakerbox.db and events/, as they were at one commit; the copy is checked before
it gets its name. Exit code 1: the folder is there already, or the copy is not sound.")]
pub(super) struct BackupArgs {
    /// A folder that is not there yet.
    folder: PathBuf,
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
    config: ConfigArgs,
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Runs `ledger backup`.
pub(super) fn run(args: &BackupArgs) -> Result<ExitCode, ExitCode> {
    let path = args.config.ledger()?;
    let mut bar = Progress::new();
    let done = backup::backup(&path, &args.folder, &mut |at, of, name| {
        bar.show(count(at), count(of), name);
    });
    bar.end();
    let verdict = done.map_err(refuse)?;
    print(&format!(
        "{}: batch {}, {} event rows in {} files, checked\n",
        args.folder.display(),
        verdict.batch,
        verdict.rows,
        verdict.files
    ));
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
        &mut |at, of, name| bar.show(count(at), count(of), name),
    );
    bar.end();
    let restored = done.map_err(refuse)?;
    let aside = restored.aside.map_or_else(String::new, |folder| {
        format!("what was replaced is in {}\n", folder.display())
    });
    print(&format!(
        "restored: batch {}, {} days from the backup, {} that know more kept\n{aside}{}\n",
        restored.verdict.batch,
        restored.days,
        restored.kept,
        match args.accept_lower {
            true => "counters are those of the backup",
            false => "the next `breakerbox serve` counts in what was spent since the backup",
        }
    ));
    Ok(ExitCode::SUCCESS)
}
