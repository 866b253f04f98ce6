//! Numbers that must be exact in JSON.

use serde::{Serialize, Serializer};

use crate::budget::credits::MicroCredits;

/// A percentage with two decimals, rounded down; `null` of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PercentOf {
    bp: Option<i128>,
}

impl PercentOf {
    /// `part` of `whole`.
    pub(super) fn new(part: MicroCredits, whole: MicroCredits) -> Self {
        let product = i128::from(part.micros()).saturating_mul(10_000);
        Self {
            bp: product.checked_div_euclid(i128::from(whole.micros())),
        }
    }
}

impl Serialize for PercentOf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(bp) = self.bp else {
            return serializer.serialize_none();
        };
        let (sign, size) = (if bp < 0 { "-" } else { "" }, bp.unsigned_abs());
        let text = format!("{sign}{}.{:02}", size.div_euclid(100), size.rem_euclid(100));
        let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
        let raw = serde_json::value::RawValue::from_string(text);
        raw.map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_rounded_down_and_of_nothing_null() {
        let check = |part: i64, whole: i64, want: &str| {
            let micros = MicroCredits::from_micros;
            let got = serde_json::to_string(&PercentOf::new(micros(part), micros(whole))).unwrap();
            assert_eq!(got, want, "{part} of {whole}");
        };
        check(899_999, 1_000_000, "89.99");
        check(900_000, 1_000_000, "90");
        check(1, 3, "33.33");
        check(5, 2, "250");
        check(1, 200, "0.5");
        check(0, 0, "null");
        check(7, 0, "null");
    }
}
