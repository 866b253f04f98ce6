//! Why a ledger is not opened, and why a question is not answered.

use std::io;
use std::path::PathBuf;

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
    #[error("the ledger {} is damaged: {detail}. Restore it from a backup, or move it away to start from nothing; it is never opened as empty", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        detail: String,
    },
    /// Gone, while its events are still there.
    #[error("the ledger {} is missing, but its events are there. Restore it from a backup, or move the events folder away to start from nothing", path.display())]
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
    /// SQLite's own.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
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
    /// The ledger thread is gone, or the disk stalls.
    #[error("the ledger does not answer")]
    NoAnswer,
    /// An answer of more lines than anybody reads.
    #[error(
        "the answer has more than {} lines; ask for a shorter time or fewer dimensions",
        query::ROWS_MAX
    )]
    TooMany,
}
