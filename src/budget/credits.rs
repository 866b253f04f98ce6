//! Credits as integers: one credit is 1,000,000 micro-credits.
//!
//! A balance may be negative: a debt is shown as a debt. Nothing here saturates or rounds in silence.

use std::fmt;
use std::iter::Sum;

use serde::{Serialize, Serializer};

/// An amount of Flex Credits in micro-credits (10^-6 credit). May be negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MicroCredits(i64);

/// Why a text is not an amount of credits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseCreditsError {
    /// Not a decimal number.
    #[error("not a number of credits; write it like 1500 or 0.25")]
    NotANumber,
    /// More than six digits after the point.
    #[error("finer than a micro-credit; at most six digits after the point")]
    TooFine,
    /// Does not fit 64 bits of micro-credits.
    #[error("too large; at most 9,223,372,036,854 credits")]
    TooLarge,
}

impl MicroCredits {
    /// Micro-credits in one credit.
    pub const PER_CREDIT: i64 = 1_000_000;
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount; stands for "no ceiling" in admission.
    pub const MAX: Self = Self(i64::MAX);

    /// An amount from its count of micro-credits.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The count of micro-credits.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// An amount of whole credits; `None` where it does not fit.
    pub const fn from_credits(credits: i64) -> Option<Self> {
        match credits.checked_mul(Self::PER_CREDIT) {
            Some(micros) => Some(Self(micros)),
            None => None,
        }
    }

    /// Sum; `None` on overflow.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// Difference, which may be a debt; `None` on overflow.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Whole credits, rounded towards minus infinity: never shows more than there is.
    pub const fn whole_credits(self) -> i64 {
        self.0.div_euclid(Self::PER_CREDIT)
    }

    /// True for an amount of exactly nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Reads `1500`, `1_500.25`, `-0.000001`.
    ///
    /// # Errors
    /// When the text is no decimal number, is finer than a micro-credit, or does not fit.
    pub fn parse(text: &str) -> Result<Self, ParseCreditsError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
        let starts = |part: &str| part.bytes().next().is_some_and(|b| b.is_ascii_digit());
        if !starts(whole) || !is_digits(whole) || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseCreditsError::NotANumber);
        }
        if digits.ends_with('.') || digits.ends_with('_') {
            return Err(ParseCreditsError::NotANumber);
        }
        if fraction.len() > 6 {
            return Err(ParseCreditsError::TooFine);
        }
        let digits = whole.bytes().filter(|b| *b != b'_').chain(fraction.bytes());
        let zeros = std::iter::repeat_n(b'0', 6_usize.saturating_sub(fraction.len()));
        let micros = digits.chain(zeros).try_fold(0_i64, |sum, digit| {
            sum.checked_mul(10)?
                .checked_add(i64::from(digit).checked_sub(i64::from(b'0'))?)
        });
        let micros = micros.ok_or(ParseCreditsError::TooLarge)?;
        Ok(Self(if negative {
            micros.checked_neg().ok_or(ParseCreditsError::TooLarge)?
        } else {
            micros
        }))
    }

    /// The price of `units` when `per` units cost `self`, rounded **up** to the next micro-credit.
    ///
    /// `None` when `per` is zero or the product does not fit.
    pub fn for_units(self, units: u64, per: u64) -> Option<Self> {
        let product = i128::from(self.0).checked_mul(i128::from(units))?;
        let per = i128::from(per);
        let quotient = product.checked_div_euclid(per)?;
        let exact = quotient.checked_mul(per)? == product;
        let rounded = if exact {
            quotient
        } else {
            quotient.checked_add(1)?
        };
        i64::try_from(rounded).ok().map(Self)
    }
}

/// The exact decimal, without trailing zeros: `8`, `0.2`, `-1.000001`.
impl fmt::Display for MicroCredits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micros = self.0.unsigned_abs();
        let per_credit = Self::PER_CREDIT.unsigned_abs();
        let whole = micros.div_euclid(per_credit);
        let fraction = micros.rem_euclid(per_credit);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let decimals = format!("{fraction:06}");
        write!(f, "{sign}{whole}.{}", decimals.trim_end_matches('0'))
    }
}

impl fmt::Debug for MicroCredits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A JSON number with up to six decimals, digit for digit (no float in between).
impl Serialize for MicroCredits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::value::RawValue::from_string(self.to_string())
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

/// The exact sum, `None` where it does not fit.
impl Sum<MicroCredits> for Option<MicroCredits> {
    fn sum<I: Iterator<Item = MicroCredits>>(mut amounts: I) -> Self {
        amounts.try_fold(MicroCredits::ZERO, MicroCredits::checked_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Result<i64, ParseCreditsError>, shown: &str) {
        let got = MicroCredits::parse(text);
        assert_eq!(got.map(MicroCredits::micros), want, "{text}");
        if let Ok(credits) = got {
            assert_eq!(credits.to_string(), shown, "{text}");
            assert_eq!(serde_json::to_string(&credits).unwrap(), shown, "{text}");
        }
    }

    #[test]
    fn amounts_are_read_and_written_digit_for_digit() {
        check("8", Ok(8_000_000), "8");
        check("0.2", Ok(200_000), "0.2");
        check("7_200_000", Ok(7_200_000_000_000), "7200000");
        check("-1.000001", Ok(-1_000_001), "-1.000001");
        check("9223372036854.775807", Ok(i64::MAX), "9223372036854.775807");
        check("9223372036854.775808", Err(ParseCreditsError::TooLarge), "");
        check("0.0000001", Err(ParseCreditsError::TooFine), "");
        for text in [
            "", ".", "1.", ".5", "1e3", "_1", "1_", "+1", "0x1", "--1", "1.2.3", "١",
        ] {
            check(text, Err(ParseCreditsError::NotANumber), "");
        }
    }

    #[test]
    fn a_price_that_does_not_divide_is_rounded_up() {
        let check = |price: i64, units, per, want| {
            let price = MicroCredits::from_micros(price);
            assert_eq!(
                price.for_units(units, per).map(MicroCredits::micros),
                want,
                "{price} x {units}/{per}"
            );
        };
        check(200_000, 50_000, 1, Some(10_000_000_000));
        check(3_500_000_000, 1, 1_000_000, Some(3_500));
        check(1, 1, 3, Some(1));
        check(1, 3, 3, Some(1));
        check(1, 4, 3, Some(2));
        check(0, 9, 3, Some(0));
        check(i64::MAX, 2, 1, None);
        check(1, 1, 0, None);
    }

    #[test]
    fn whole_credits_never_show_more_than_there_is() {
        let check = |micros, want| {
            assert_eq!(MicroCredits::from_micros(micros).whole_credits(), want);
        };
        check(2_999_999, 2);
        check(3_000_000, 3);
        check(-1, -1);
        let three = MicroCredits::from_credits(3);
        assert_eq!(three.map(MicroCredits::micros), Some(3_000_000));
        assert_eq!(MicroCredits::from_credits(i64::MAX), None);
        assert_eq!(format!("{three:?}"), "Some(3)");
    }

    #[test]
    fn a_debt_stays_a_debt() {
        let one = MicroCredits::from_micros(1);
        assert_eq!(
            MicroCredits::ZERO.checked_sub(one),
            Some(MicroCredits::from_micros(-1))
        );
        assert_eq!(MicroCredits::from_micros(-1).whole_credits(), -1);
    }
}
