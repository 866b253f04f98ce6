//! What the ledger takes: billable events a second with a row each, and how it answers with ten million of them.
//!
//! ```sh
//! cargo bench --bench ledger                              # 20,000 events a second for 10 s
//! cargo bench --bench ledger -- --seconds 60              # for a minute, as docs/PERFORMANCE.md has it
//! cargo bench --bench ledger -- --history 10000000        # fill, then query and start; about four minutes, 3 GB
//! ```
//! `--dir DIR` keeps the ledger there. Exit code 1 where a goal is missed.
#![allow(
    missing_docs,
    unused_qualifications,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::integer_division,
    clippy::float_arithmetic,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::excessive_nesting,
    clippy::disallowed_methods,
    reason = "a bench"
)]

mod events;
mod history;
mod process;
mod throughput;

use std::path::PathBuf;
use std::process::ExitCode;

struct Asked {
    seconds: u64,
    rate: u64,
    history: Option<u64>,
    folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

fn asked() -> Asked {
    let temporary = tempfile::tempdir().unwrap();
    let mut asked = Asked {
        seconds: 10,
        rate: 20_000,
        history: None,
        folder: temporary.path().to_owned(),
        _temporary: Some(temporary),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap();
        match argument.as_str() {
            "--seconds" => asked.seconds = value().parse().unwrap(),
            "--rate" => asked.rate = value().parse().unwrap(),
            "--history" => asked.history = Some(value().parse().unwrap()),
            "--dir" => {
                asked.folder = value().into();
                asked._temporary = None;
            }
            _ => {} // what cargo adds
        }
    }
    asked
}

fn main() -> ExitCode {
    let asked = asked();
    let met = match asked.history {
        Some(events) => history::run(&asked.folder, events),
        None => throughput::run(&asked.folder, asked.rate, asked.seconds),
    };
    if met {
        ExitCode::SUCCESS
    } else {
        println!("a goal is MISSED");
        ExitCode::FAILURE
    }
}
