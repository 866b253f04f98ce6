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
mod clients;
mod clock_faults;
mod conservation;
mod conversation;
mod corrections;
mod crash;
mod credentials;
mod damage;
mod demo;
mod deploy;
mod disk;
mod disk_reload;
mod duplicates;
mod evasion;
mod explain;
mod explain_asked;
mod export;
mod formats;
mod fuses;
mod http;
mod idempotency;
mod limits;
mod long_questions;
mod mode;
mod names;
mod origin;
mod override_ends;
mod override_rules;
mod overrides;
mod pacing;
mod pricing;
mod process;
mod rates;
mod raw;
mod readme;
mod refusals;
mod reload;
mod retention;
mod rollover;
mod rooms;
mod scrape;
mod shadow;
mod shown;
mod stage;
mod starting;
mod streams;
mod tls;
mod trip_point;
mod turn_in_flight;
mod upstreams;
mod verify;
mod wall_clock;
mod why;
