//! Files and folders nobody else reads: they say what teams spend. They are so from the moment they are made, not
//! once they are whole.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// A file's permissions.
pub(super) const FILE: u32 = 0o600;
const FOLDER: u32 = 0o700;

/// Makes an empty file, or empties the one that is there.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE)
        .open(path)?;
    only_ours(&file, path);
    Ok(file)
}

/// Makes a folder, and those above it that are missing; one that is there stays as it is.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER).create(path)
}

/// Also a file that an earlier version made.
pub(super) fn only_ours(file: &File, path: &Path) {
    if let Err(error) = file.set_permissions(Permissions::from_mode(FILE)) {
        tracing::warn!(%error, path = %path.display(), "permissions cannot be set to 0600");
    }
}
