//! Structured logs on standard error, written by a thread of their own: a slow reader of the log must not slow a
//! request. Lines that do not fit its bounded queue are dropped and counted.

use clap::{Args, ValueEnum};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines waiting to be written; about 20 MB at most.
const QUEUE_LINES: usize = 64_000;

/// How to log.
#[derive(Clone, Copy, Debug, Args)]
pub struct LogArgs {
    /// Log lines as text, or as JSON objects.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub log: Format,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Starts logging; keep the guard until the end. `BREAKERBOX_LOG` filters, as in `warn,breakerbox=debug`.
pub fn start(args: LogArgs) -> WorkerGuard {
    let filter =
        EnvFilter::try_from_env("BREAKERBOX_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUE_LINES)
        .lossy(true)
        .finish(std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false);
    // Fails where a test of ours has set a subscriber already.
    let _set = match args.log {
        Format::Text => tracing::subscriber::set_global_default(builder.with_ansi(false).finish()),
        Format::Json => {
            tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
        }
    };
    guard
}
