//! A copy of the ledger as it was at one commit, beside a running gateway or without one.
//!
//! `breakerbox.db` is copied first, in one read transaction; the day files after it, without the rows of later
//! batches, which they hold by then. So the copy is what a stop at that commit would have left. It is checked before
//! it gets its name.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::adopt::DELETE_ABOVE;
use super::verify::{self, Asked, Verdict};
use super::{LedgerError, OpenError, days, files, only_ours, schema, sqlite};

/// The file of a backup that holds everything but rows.
pub(super) const MAIN: &str = "breakerbox.db";

/// Who hears how far it is: files done, of how many, and the name of the next.
pub type Progress<'a> = &'a mut dyn FnMut(usize, usize, &str);

/// Copies a ledger into a new folder; what a check of the copy found, which is sound.
///
/// # Errors
/// When the folder is there already, the disk does not take it, or the copy is not sound.
pub fn backup(path: &Path, to: &Path, progress: Progress<'_>) -> Result<Verdict, LedgerError> {
    let is_taken = std::fs::read_dir(to).map_or(to.exists(), |mut files| files.next().is_some());
    if is_taken {
        return Err(LedgerError::Refused(format!(
            "{} is there already; name a folder that is not",
            to.display()
        )));
    }
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let unwritable = |cause| unwritable(&partial, cause);
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(unwritable)?; // of a backup that was cut short
    }
    drop(schema::open_to_read(path)?); // before anything is made
    std::fs::create_dir_all(partial.join("events")).map_err(unwritable)?;
    if let Err(error) = copy(path, &partial, progress) {
        // A part of a copy is of no use, and may be what fills the disk.
        let _left_behind = std::fs::remove_dir_all(&partial);
        return Err(error);
    }
    let mut asked = Asked {
        thorough: true,
        progress,
    };
    let verdict = verify::verify(&partial.join(MAIN), &mut asked)?;
    if !verdict.is_sound() {
        return Err(LedgerError::Refused(format!(
            "the copy is not sound, since the ledger is not: run `breakerbox ledger verify`. The copy is left at {}",
            partial.display()
        )));
    }
    std::fs::rename(&partial, to).map_err(unwritable)?;
    sync_folder(to.parent().unwrap_or(Path::new("."))).map_err(unwritable)?;
    Ok(verdict)
}

fn copy(path: &Path, to: &Path, progress: Progress<'_>) -> Result<(), LedgerError> {
    let all = days::list(&days::folder(path));
    let total = all.len().saturating_add(1);
    progress(0, total, MAIN);
    let main = to.join(MAIN);
    copy_database(path, &main, schema::MAIN).map_err(|error| error.in_main(path))?;
    let copied = open(&main)?;
    let batch = files::meta(&copied, "batch")?.unwrap_or(0);
    drop(copied);
    for (at, file) in all.iter().enumerate() {
        progress(at.saturating_add(1), total, &days::name(file.day));
        let copy = days::path(&to.join("events"), file.day);
        match copy_database(&file.path, &copy, schema::EVENTS) {
            Err(_) if !file.path.exists() => continue, // dropped meanwhile
            copied => copied.map_err(|error| error.in_day(&file.path))?,
        }
        let later = open(&copy)?.execute(DELETE_ABOVE, [batch])?;
        tracing::debug!(later, "rows of later batches left out of the copy");
        sync(&copy)?;
    }
    sync(&main)?;
    sync_folder(&to.join("events")).map_err(|cause| unwritable(to, cause))?;
    sync_folder(to).map_err(|cause| unwritable(to, cause))?;
    Ok(())
}

/// One file as of one moment, beside its writer; without the write-ahead log, so that it can be read anywhere.
fn copy_database(from: &Path, to: &Path, known: i32) -> Result<(), OpenError> {
    let connection = sqlite::open_to_read(from)?;
    let found = schema::look(&connection, known)?;
    if found < known {
        return Err(OpenError::Older { found, known });
    }
    connection.execute("VACUUM INTO ?", [to.to_string_lossy()])?;
    only_ours(to);
    Ok(())
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

fn unwritable(path: &Path, cause: std::io::Error) -> OpenError {
    OpenError::Unwritable {
        path: path.to_owned(),
        cause,
    }
}

pub(super) fn sync(path: &Path) -> Result<(), OpenError> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|cause| unwritable(path, cause))
}

/// Names are on disk once their folder is.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let here = Path::new(".");
    let path = if path.as_os_str().is_empty() {
        here
    } else {
        path
    };
    File::open(path)?.sync_all()
}
