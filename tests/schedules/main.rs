//! The counters of `budget` under schedules: every one of a few threads' (loom), many of more (shuttle), and
//! those that real threads take (the oracle). What each proves, and how to look longer: docs/PROOFS.md.
#![expect(
    clippy::duplicate_mod,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "the same scenarios twice; tests panic and print"
)]

mod oracle;
mod under_loom;
mod under_shuttle;

/// How much longer than in a plain `cargo test` to look.
fn effort() -> usize {
    let times = std::env::var("BREAKERBOX_TEST_EFFORT").ok();
    times.and_then(|times| times.parse().ok()).unwrap_or(1)
}
