//! Percentages as integers: shares, trip points, alert levels.

use std::fmt;

use super::credits::MicroCredits;

/// A percentage in basis points (1/100 of a percent).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u32);

/// Why a text is not a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParsePercentError {
    /// No trailing `%`, or no number before it.
    #[error("not a percentage; write it like \"35%\" or \"12.5%\"")]
    NotAPercentage,
    /// More than two digits after the point.
    #[error("finer than a basis point; at most two digits after the point")]
    TooFine,
    /// Above 100 %.
    #[error("over 100%")]
    OverAll,
}

impl Percent {
    /// Basis points in the whole.
    pub const WHOLE_BP: u32 = 10_000;
    /// 0 %.
    pub const ZERO: Self = Self(0);
    /// 100 %.
    pub const WHOLE: Self = Self(Self::WHOLE_BP);

    /// From basis points, at most 10,000.
    pub const fn from_bp(bp: u32) -> Option<Self> {
        if bp <= Self::WHOLE_BP {
            Some(Self(bp))
        } else {
            None
        }
    }

    /// Whole percents; 100 % for anything above.
    pub const fn whole(percents: u32) -> Self {
        match Self::from_bp(percents.saturating_mul(100)) {
            Some(percent) => percent,
            None => Self::WHOLE,
        }
    }

    /// The basis points.
    pub const fn bp(self) -> u32 {
        self.0
    }

    /// Reads `35%`, `12.5%`, `0%`.
    ///
    /// # Errors
    /// When it is no percentage, is finer than a basis point, or is over 100 %.
    pub fn parse(text: &str) -> Result<Self, ParsePercentError> {
        let number = text
            .strip_suffix('%')
            .ok_or(ParsePercentError::NotAPercentage)?
            .trim_end();
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(ParsePercentError::NotAPercentage);
        }
        if fraction.len() > 2 {
            return Err(ParsePercentError::TooFine);
        }
        let bp: u32 = format!("{whole}{fraction:0<2}")
            .parse()
            .map_err(|_| ParsePercentError::OverAll)?;
        Self::from_bp(bp).ok_or(ParsePercentError::OverAll)
    }

    /// This share of `amount`, rounded down to a micro-credit.
    ///
    /// For `c <= limit` comparisons this floor is exact: `10000 * c <= bp * amount` holds exactly
    /// when `c <= floor(bp * amount / 10000)`, since `c` is an integer.
    pub fn of(self, amount: MicroCredits) -> MicroCredits {
        let product = i128::from(self.0).saturating_mul(i128::from(amount.micros()));
        let share = product.div_euclid(i128::from(Self::WHOLE_BP));
        // At most the amount itself, which fits.
        MicroCredits::from_micros(i64::try_from(share).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0.div_euclid(100), self.0.rem_euclid(100));
        match fraction {
            0 => write!(f, "{whole}%"),
            _ => write!(
                f,
                "{}%",
                format!("{whole}.{fraction:02}").trim_end_matches('0')
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read_exactly() {
        let check = |text, want: Result<u32, ParsePercentError>, shown: &str| {
            let got = Percent::parse(text);
            assert_eq!(got.map(Percent::bp), want, "{text}");
            if let Ok(percent) = got {
                assert_eq!(percent.to_string(), shown, "{text}");
            }
        };
        check("35%", Ok(3_500), "35%");
        check("12.5%", Ok(1_250), "12.5%");
        check("0.01%", Ok(1), "0.01%");
        check("100%", Ok(10_000), "100%");
        check("100.01%", Err(ParsePercentError::OverAll), "");
        check("99999999999%", Err(ParsePercentError::OverAll), "");
        check("33.333%", Err(ParsePercentError::TooFine), "");
        for text in ["35", "%", "-1%", ".5%", "5.%", "five%", "0x1%"] {
            check(text, Err(ParsePercentError::NotAPercentage), "");
        }
    }

    #[test]
    fn a_share_is_rounded_down() {
        let share = Percent::parse("77.77%")
            .unwrap()
            .of(MicroCredits::from_micros(1_000_999_999));
        assert_eq!(share.micros(), 778_477_699);
    }
}
