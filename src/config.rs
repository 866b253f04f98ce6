//! Configuration in three shapes: raw as written, checked as meant, and (in `proxy`) a snapshot indexed for
//! the request path.
//!
//! Everything that is wrong in all files is said at once, with file, line and column.

mod allocations_file;
mod card_file;
pub mod changes;
pub mod checked;
pub mod faults;
mod files;
mod gateway_file;
mod gateway_settings;
mod labels;
mod limits_file;
pub mod load;
mod payers_file;
mod pool_file;
mod reader;
mod source;
mod suggest;
mod team_file;
pub mod units;
pub mod watch;
