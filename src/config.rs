//! Configuration in three shapes: raw as written, checked as meant, and (in `proxy`) a snapshot indexed for
//! the request path.
//!
//! Everything that is wrong in all files is said at once, with file, line and column.

pub mod checked;
