//! From a backup back to a ledger. Nothing is deleted: what was there is set aside.
//!
//! A backup is older than what was spent since. So unless lower counters are accepted, day files that are sound and
//! know more than the backup stay, and a mark says how far the accounts had come: the next start counts both in.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::backup::{MAIN, Progress, sync, sync_folder};
use super::days::{self, DayFile};
use super::lock::Lock;
use super::mark::{self, Mark};
use super::verify::{self, Asked, Verdict};
use super::{LedgerError, OpenError, only_ours, recovery, sqlite};

/// What a restore did.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the backup holds.
    pub verdict: Verdict,
    /// Day files taken from the backup.
    pub days: usize,
    /// Day files that stayed, because they know as much or more.
    pub kept: usize,
    /// Where everything is that was replaced, if anything was.
    pub aside: Option<PathBuf>,
}

/// Puts a backup in a ledger's place.
///
/// # Errors
/// While a process holds the ledger, when the backup is not sound, or the disk does not take it.
pub fn restore(
    path: &Path,
    backup: &Path,
    accept_lower: bool,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<Restored, LedgerError> {
    recovery::create_folder(path)?;
    let _lock = Lock::take(path)?;
    let mut asked = Asked {
        thorough: true,
        progress,
    };
    let verdict = verify::verify(&backup.join(MAIN), &mut asked)?;
    if !verdict.is_sound() {
        return Err(LedgerError::Refused(format!(
            "{} is not sound, so nothing was changed: {}",
            backup.display(),
            verdict.faults.first().map_or("sums differ", String::as_str)
        )));
    }
    let stamp = now.strftime("%Y%m%dT%H%M%SZ");
    let aside = folder_of(path).join(format!("before-restore-{stamp}"));
    place(path, backup, accept_lower, &Moves { aside }, verdict)
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn place(
    path: &Path,
    backup: &Path,
    accept_lower: bool,
    moves: &Moves,
    verdict: Verdict,
) -> Result<Restored, LedgerError> {
    let current = mark_of(path);
    let (folder, from) = (days::folder(path), backup.join("events"));
    let (live, saved) = (days::list(&folder), days::list(&from));
    let is_newer = |file: &DayFile| {
        let known = verify::knows_all_of(&backup.join(MAIN), file, verdict.batch);
        !accept_lower && known.unwrap_or(false)
    };
    let kept: Vec<_> = live.iter().filter(|file| is_newer(file)).cloned().collect();
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        moves.away(Path::new(&file), "")?;
    }
    for file in live.iter().filter(|file| !kept.contains(file)) {
        for suffix in ["", "-wal", "-shm"] {
            let mut file = file.path.as_os_str().to_owned();
            file.push(suffix);
            moves.away(Path::new(&file), "events")?;
        }
    }
    if accept_lower {
        moves.away(&mark::path(path), "")?;
    } else if let Some(current) = current {
        let written = current.write(path);
        written.map_err(|cause| unwritable(&mark::path(path), cause))?;
    }
    std::fs::create_dir_all(&folder).map_err(|cause| unwritable(&folder, cause))?;
    let mut days = 0_usize;
    for file in &saved {
        if !kept.iter().any(|kept| kept.day == file.day) {
            copy(&file.path, &days::path(&folder, file.day))?;
            days = days.saturating_add(1);
        }
    }
    copy(&backup.join(MAIN), path)?;
    Ok(Restored {
        verdict,
        days,
        kept: kept.len(),
        aside: moves.aside.exists().then(|| moves.aside.clone()),
    })
}

/// How far the ledger that is replaced had come; nothing where it cannot be trusted: its mark stays then.
fn mark_of(path: &Path) -> Option<Mark> {
    let main = sqlite::open_to_read(path).ok()?;
    let damage = verify::damage(&main, false).ok()?;
    damage.is_none().then(|| Mark::read_from(&main).ok())?
}

/// What is set aside, and where.
struct Moves {
    aside: PathBuf,
}

impl Moves {
    fn away(&self, file: &Path, below: &str) -> Result<(), OpenError> {
        if !file.exists() {
            return Ok(());
        }
        let to = self.aside.join(below);
        let moved = std::fs::create_dir_all(&to)
            .and_then(|()| std::fs::rename(file, to.join(file.file_name().unwrap_or_default())));
        moved.map_err(|cause| unwritable(file, cause))
    }
}

/// Under another name first, so that a cut-off copy is never taken for a ledger.
fn copy(from: &Path, to: &Path) -> Result<(), OpenError> {
    let mut new = to.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    std::fs::copy(from, &new).map_err(|cause| unwritable(&new, cause))?;
    only_ours(&new);
    sync(&new)?;
    std::fs::rename(&new, to)
        .and_then(|()| sync_folder(&folder_of(to)))
        .map_err(|cause| unwritable(to, cause))
}

fn unwritable(path: &Path, cause: std::io::Error) -> OpenError {
    OpenError::Unwritable {
        path: path.to_owned(),
        cause,
    }
}
