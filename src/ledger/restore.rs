//! From a backup back to a ledger. Nothing is deleted: what was there is set aside.
//!
//! A backup is older than what was spent since. So unless lower counters are accepted, day files that are sound and
//! know more than the backup stay, and a mark says how far the accounts had come: the next start counts both in.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::backup::{MAIN, Progress, sync_folder};
use super::days::{self, DayFile};
use super::lock::Lock;
use super::mark::{self, Mark};
use super::verify::{self, Asked, KnownDays, Verdict};
use super::{LedgerError, OpenError, private, recovery, sqlite};

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
        progress: &mut *progress,
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
    let moves = Moves { aside };
    place((backup, path), accept_lower, &moves, verdict, progress)
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

fn place(
    (backup, path): (&Path, &Path),
    accept_lower: bool,
    moves: &Moves,
    verdict: Verdict,
    progress: Progress<'_>,
) -> Result<Restored, LedgerError> {
    let current = mark_of(path);
    let (folder, from) = (days::folder(path), backup.join("events"));
    let (live, saved) = (days::list(&folder), days::list(&from));
    let kept = match accept_lower {
        true => Vec::new(),
        false => newer(&live, &backup.join(MAIN), verdict.batch, progress)?,
    };
    for file in sqlite::files_of(path) {
        moves.away(&file, "")?;
    }
    for file in live.iter().filter(|file| !kept.contains(file)) {
        for file in sqlite::files_of(&file.path) {
            moves.away(&file, "events")?;
        }
    }
    let mark = mark::path(path);
    if accept_lower {
        moves.away(&mark, "")?;
    } else if let Some(current) = current {
        current.write(path).map_err(OpenError::unwritable(&mark))?;
    }
    std::fs::create_dir_all(&folder).map_err(OpenError::unwritable(&folder))?;
    let is_kept = |file: &&DayFile| kept.iter().any(|kept| kept.day == file.day);
    let replaced: Vec<_> = saved.iter().filter(|file| !is_kept(file)).collect();
    for (at, file) in replaced.iter().enumerate() {
        progress(at, replaced.len(), &days::name(file.day));
        copy(&file.path, &days::path(&folder, file.day))?;
    }
    copy(&backup.join(MAIN), path)?;
    Ok(Restored {
        verdict,
        days: replaced.len(),
        kept: kept.len(),
        aside: moves.aside.exists().then(|| moves.aside.clone()),
    })
}

/// Day files that are sound and know what the backup knows of them, and perhaps more.
fn newer(
    live: &[DayFile],
    backup: &Path,
    batch: i64,
    progress: Progress<'_>,
) -> Result<Vec<DayFile>, OpenError> {
    let known = KnownDays::read(backup, batch)?;
    let mut newer = Vec::with_capacity(live.len());
    for (at, file) in live.iter().enumerate() {
        progress(at, live.len(), &days::name(file.day));
        if known.are_all_in(file).unwrap_or(false) {
            newer.push(file.clone());
        }
    }
    Ok(newer)
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
        let moved = private::create_folder(&to)
            .and_then(|()| std::fs::rename(file, to.join(file.file_name().unwrap_or_default())));
        moved.map_err(OpenError::unwritable(file))
    }
}

/// Under another name first, so that a cut-off copy is never taken for a ledger.
fn copy(from: &Path, to: &Path) -> Result<(), OpenError> {
    let mut new = to.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let copied = File::open(from).and_then(|mut from| {
        let mut new = private::create(&new)?;
        std::io::copy(&mut from, &mut new)?;
        new.sync_all()
    });
    copied.map_err(OpenError::unwritable(&new))?;
    std::fs::rename(&new, to)
        .and_then(|()| sync_folder(&folder_of(to)))
        .map_err(OpenError::unwritable(to))
}
