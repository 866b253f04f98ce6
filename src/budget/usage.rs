//! What a call used, in the units its price is counted in.

/// Units seen on the wire, before they are priced. Zero where an operation does not count the unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Actions, rows, records, inputs, profiles or calls: whatever the operation is counted in.
    pub units: u64,
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Generations asked for; 0 and 1 mean one.
    pub generations: u64,
    /// True when a figure was derived from sizes instead of being stated by the upstream.
    pub estimated: bool,
}

/// Bytes that make a token where nobody counted them (design.md, section 8).
pub const BYTES_PER_TOKEN: u64 = 4;

/// Tokens of so many bytes of text, rounded up.
pub const fn tokens_of(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

impl Usage {
    /// `units` and nothing else.
    pub fn of_units(units: u64) -> Self {
        Self {
            units,
            ..Self::default()
        }
    }

    /// Tokens in and out together.
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}
