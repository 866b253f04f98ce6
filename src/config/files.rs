//! Reading configuration files: bounded, regular files only, and with a fault that says what to do.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::faults::Fault;

/// The most bytes of one file: some fifty thousand keys.
const FILE_MAX: u64 = 8 << 20;
/// The most cards in `rates/`.
const CARDS_MAX: usize = 100;

/// One file's content, and what people call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) text: String,
}

pub(super) fn read(path: &Path) -> Result<File, Fault> {
    let name = path.display().to_string();
    let unreadable = |error: &std::io::Error| {
        let help = match error.kind() {
            ErrorKind::NotFound => {
                "--config names breakerbox.toml, and allocations.toml lies beside it"
            }
            ErrorKind::PermissionDenied => "let the user breakerbox runs as read it",
            _ => "",
        };
        Fault::in_file(&name, format!("cannot be read: {error}"), help)
    };
    let is_file = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !is_file.is_file() {
        // Opening a named pipe would wait for its writer.
        return Err(Fault::in_file(&name, "is no regular file", ""));
    }
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(&error))?;
    if u64::try_from(bytes.len()).map_or(true, |length| length > FILE_MAX) {
        let help = format!("at most {} MiB", FILE_MAX >> 20);
        return Err(Fault::in_file(&name, "is too large", help));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(File { name, text }),
        Err(error) => {
            let valid = error.as_bytes().get(..error.utf8_error().valid_up_to());
            let before = String::from_utf8_lossy(valid.unwrap_or_default());
            Err(Fault::after(&name, &before, "is not UTF-8 here", ""))
        }
    }
}

/// `rates/*.toml`, in order; a missing folder has none. Hidden files are editors' own.
pub(super) fn cards(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let name = folder.display().to_string();
    let unreadable =
        |error: std::io::Error| Fault::in_file(&name, format!("cannot be read: {error}"), "");
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let is_card = |path: &PathBuf| {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        !hidden && path.extension().is_some_and(|ext| ext == "toml")
    };
    let mut cards = Vec::new();
    for entry in entries {
        cards.extend(Some(entry.map_err(unreadable)?.path()).filter(is_card));
        if cards.len() > CARDS_MAX {
            let help = format!("at most {CARDS_MAX}");
            return Err(Fault::in_file(&name, "has too many rate cards", help));
        }
    }
    cards.sort();
    Ok(cards)
}
