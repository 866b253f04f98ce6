//! What a request body says.

use compact_str::CompactString;

use super::NamedKind;

/// What a request body says about the call's cost and payer. `None`: it could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// Rows, records or inputs.
    pub units: Option<u64>,
    /// Generations asked for.
    pub generations: Option<u64>,
    /// Output tokens allowed.
    pub output_tokens: Option<u64>,
    /// Only resolves a template.
    pub preview: bool,
    /// What the body names.
    pub named: Option<(NamedKind, CompactString)>,
}
