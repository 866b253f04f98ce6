//! A wall clock that tests move while the real binary runs, by libfaketime; the clocks since boot stay as they are.

use std::path::PathBuf;
use std::process::Command;

use jiff::Timestamp;

use crate::stage::{Files, is_here};

pub(crate) struct WallClock {
    offset: PathBuf,
    library: String,
}

/// Where libfaketime is, by the word of its own command.
fn library() -> Option<String> {
    let asked = ["-m", "now", "printenv", "LD_PRELOAD"];
    let told = Command::new("faketime").args(asked).output().ok()?;
    let path = String::from_utf8(told.stdout).ok()?;
    Some(path.trim().to_owned()).filter(|path| !path.is_empty())
}

impl WallClock {
    /// Nothing where libfaketime is not installed.
    pub(crate) fn at(files: &Files, instant: &str) -> Option<Self> {
        let library = library();
        is_here("faketime", library.is_some());
        let clock = Self {
            offset: files.folder.path().join("offset"),
            library: library?,
        };
        clock.set(instant);
        Some(clock)
    }

    /// The time from now on.
    pub(crate) fn set(&self, instant: &str) {
        let instant: Timestamp = instant.parse().expect("an instant");
        let ahead = instant.duration_since(Timestamp::now()).as_secs();
        let new = self.offset.with_extension("new");
        std::fs::write(&new, format!("{ahead:+}\n")).expect("write");
        std::fs::rename(&new, &self.offset).expect("rename");
    }

    /// The real binary under this clock.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_breakerbox"));
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.offset)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command
    }
}
