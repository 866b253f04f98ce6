//! One process per ledger: an exclusive lock on a file beside it, with the holder's pid in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{OpenError, private, recovery};
use crate::config::checked::LedgerSettings;

/// Holds the lock for as long as it lives; the kernel lets go of it when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a ledger, whose folder is made where it is missing.
    ///
    /// # Errors
    /// When another process has it, or the folder cannot be written.
    pub fn of(settings: &LedgerSettings) -> Result<Self, OpenError> {
        recovery::create_folder(&settings.path)?;
        Self::take(&settings.path)
    }

    /// Takes the lock beside this file.
    pub(super) fn take(ledger: &Path) -> Result<Self, OpenError> {
        let path = lock_path(ledger);
        let unwritable = OpenError::unwritable(&path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options
            .mode(private::FILE)
            .open(&path)
            .map_err(&unwritable)?;
        private::only_ours(&file, &path);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Without its pid the holder is merely unknown.
                let _read = file.read_to_string(&mut holder);
                return Err(OpenError::Locked {
                    holder: holder.trim().to_owned(),
                    path: path.clone(),
                });
            }
            Err(TryLockError::Error(cause)) => return Err(unwritable(cause)),
        }
        let written = file.set_len(0).and_then(|()| file.rewind());
        written
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(unwritable)?;
        Ok(Self { _file: file })
    }
}

fn lock_path(ledger: &Path) -> PathBuf {
    let mut path = ledger.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}
