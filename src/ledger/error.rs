//! Why a ledger is not opened, and why a question is not answered.

use std::io;
use std::path::{Path, PathBuf};

use super::query;

/// Why a ledger is not opened. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("the ledger is in use by process {holder} (lock {}); stop that one first", path.display())]
    Locked {
        /// Its pid.
        holder: String,
        /// The lock file.
        path: PathBuf,
    },
    /// Damaged.
    #[error("the ledger {} is damaged: {detail}. Restore it with `breakerbox ledger restore BACKUP`, or move it and its events folder away to start from nothing; it is never opened as empty", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// A day's events file is damaged.
    #[error("the events of {day} are damaged: {detail}. The counters are not: they are in breakerbox.db. Restore {} with `breakerbox ledger restore BACKUP`, or move it away to go on without that day's rows", path.display())]
    DamagedDay {
        /// The day.
        day: String,
        /// Its file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// Gone, while its events are still there.
    #[error("the ledger {} is missing, but its events or its mark are there. Restore it with `breakerbox ledger restore BACKUP`, or move the events folder and {}.mark away to start from nothing", path.display(), path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Written by a later breakerbox.
    #[error(
        "the ledger has schema {found}, this breakerbox knows up to {known}: run the newer version, or restore a backup made before the upgrade"
    )]
    Newer {
        /// In the file.
        found: i32,
        /// In this binary.
        known: i32,
    },
    /// Written by an earlier one, and nobody has brought it up to date yet.
    #[error(
        "the ledger has schema {found}, this breakerbox reads {known}: start `breakerbox serve` once to bring it up to date"
    )]
    Older {
        /// In the file.
        found: i32,
        /// In this binary.
        known: i32,
    },
    /// Not ours.
    #[error(
        "the file is a database, but no ledger of breakerbox; choose another path in [ledger] store"
    )]
    Foreign,
    /// No permission, no space, no folder.
    #[error("cannot write {}: {cause}; check owner, permissions and free space", path.display())]
    Unwritable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Not there, or not for us to read.
    #[error("cannot read {}: {cause}; is this the ledger's configuration?", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Whoever was to take the rows cannot.
    #[error("{0}")]
    Output(io::Error),
    /// SQLite's own.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl OpenError {
    /// Why a file or folder cannot be written.
    pub(super) fn unwritable(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |cause| Self::Unwritable {
            path: path.to_owned(),
            cause,
        }
    }

    /// The same, of a day's file: damage is named by the day.
    pub(super) fn in_day(self, path: &Path) -> Self {
        let Some(detail) = self.damage() else {
            return self;
        };
        let day = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::DamagedDay {
            day: day.into_owned(),
            path: path.to_owned(),
            detail,
        }
    }

    /// The same, of `breakerbox.db`.
    pub(super) fn in_main(self, path: &Path) -> Self {
        match (&self, self.damage()) {
            (Self::Foreign, _) | (_, None) => self,
            (_, Some(detail)) => Self::Damaged {
                path: path.to_owned(),
                detail,
            },
        }
    }

    fn damage(&self) -> Option<String> {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::Foreign => Some("it is no events file of breakerbox".to_owned()),
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(DatabaseCorrupt | NotADatabase)
            )
            .then(|| error.to_string()),
            _ => None,
        }
    }
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The disk.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The files.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The disk does not take what is written.
    #[error("the ledger cannot be written; /readyz?verbose tells why")]
    Failing,
    /// What was asked cannot be done, and why.
    #[error("{0}")]
    Refused(String),
    /// The ledger thread is gone, or the disk stalls.
    #[error("the ledger does not answer")]
    NoAnswer,
    /// Too many questions wait already.
    #[error("too many questions to the ledger at once; ask again in a moment")]
    Busy,
    /// An answer of more lines than anybody reads.
    #[error(
        "the answer has more than {} lines; ask for a shorter time or fewer dimensions",
        query::ROWS_MAX
    )]
    TooMany,
}
