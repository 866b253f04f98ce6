//! What a user relies on, through sockets: the real gateway, a real ledger, a simulated Salesforce.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::integer_division,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests block, panic and print; what they test may not"
)]

mod between_periods;
mod clock_faults;
mod conservation;
mod conversation;
mod corrections;
mod crash;
mod damage;
mod disk;
mod evasion;
mod explain;
mod explain_asked;
mod export;
mod http;
mod mode;
mod override_ends;
mod override_rules;
mod overrides;
mod process;
mod refusals;
mod reload;
mod retention;
mod rollover;
mod rooms;
mod scrape;
mod stage;
mod streams;
mod tls;
mod trip_point;
mod verify;
mod wall_clock;
mod why;
