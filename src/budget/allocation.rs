//! How the contract's credits become each month's pool, and the pool each team's allocation.
//!
//! Everything is floored to a micro-credit. What flooring the shares leaves over goes to the buffer;
//! a share given to nobody stays unassigned and is reported, not spread.

use super::credits::MicroCredits;
use super::percent::Percent;

/// Months in a contract year.
pub const MONTHS: i64 = 12;

/// A team's share as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// A part of the month's pool.
    OfPool(Percent),
    /// A fixed amount each month.
    Monthly(MicroCredits),
    /// A part of the central buffer, carved out of it.
    OfBuffer(Percent),
}

/// One month's pool, divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The month's pool.
    pub month: MicroCredits,
    /// What is left in the central buffer, rounding dust included.
    pub buffer: MicroCredits,
    /// Each team's allocation, in the order of the shares given.
    pub allocations: Vec<MicroCredits>,
    /// What no share claims.
    pub unassigned: MicroCredits,
}

/// Shares that do not fit into the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shares claim {claimed} of {available} credits")]
pub struct OverAllocated {
    /// What is claimed.
    pub claimed: MicroCredits,
    /// What there is.
    pub available: MicroCredits,
}

/// The month's pool: a twelfth, the remainder one micro-credit to each of the last months.
///
/// `month` counts from 0 at the contract year's start.
pub fn month_pool(annual: MicroCredits, month: u8) -> MicroCredits {
    let base = annual.micros().div_euclid(MONTHS);
    let remainder = annual.micros().rem_euclid(MONTHS);
    let is_late = i64::from(month) >= MONTHS.saturating_sub(remainder);
    MicroCredits::from_micros(base.saturating_add(i64::from(is_late)))
}

/// Divides one month's pool.
///
/// # Errors
/// When shares and buffer claim more than the pool, or buffer shares more than the buffer.
pub fn split(
    month: MicroCredits,
    buffer: Percent,
    shares: &[Share],
) -> Result<Split, OverAllocated> {
    let pool_bp = shares.iter().map(|share| match share {
        Share::OfPool(percent) => i128::from(percent.bp()),
        Share::Monthly(_) | Share::OfBuffer(_) => 0,
    });
    let claimed_bp = pool_bp
        .sum::<i128>()
        .saturating_add(i128::from(buffer.bp()));
    let whole = i128::from(month.micros());
    let claimed_by_percent = claimed_bp
        .saturating_mul(whole)
        .div_euclid(i128::from(Percent::WHOLE_BP));
    let fixed = shares.iter().map(|share| match share {
        Share::Monthly(credits) => i128::from(credits.micros()),
        Share::OfPool(_) | Share::OfBuffer(_) => 0,
    });
    let claimed = claimed_by_percent.saturating_add(fixed.sum::<i128>());
    let over = |claimed: i128, available: MicroCredits| OverAllocated {
        claimed: MicroCredits::from_micros(i64::try_from(claimed).unwrap_or(i64::MAX)),
        available,
    };
    if claimed > whole {
        return Err(over(claimed, month));
    }
    let given_out = shares.iter().map(|share| match share {
        Share::OfPool(percent) => i128::from(percent.of(month).micros()),
        Share::Monthly(_) | Share::OfBuffer(_) => 0,
    });
    // What percentages claim, less what they were given after flooring: the buffer and the dust.
    let buffer_whole = micros(claimed_by_percent.saturating_sub(given_out.sum::<i128>()));
    let allocations: Vec<_> = shares
        .iter()
        .map(|share| match share {
            Share::OfPool(percent) => percent.of(month),
            Share::Monthly(credits) => *credits,
            Share::OfBuffer(percent) => percent.of(buffer_whole),
        })
        .collect();
    let carved = shares
        .iter()
        .zip(&allocations)
        .map(|(share, allocation)| match share {
            Share::OfBuffer(_) => i128::from(allocation.micros()),
            Share::OfPool(_) | Share::Monthly(_) => 0,
        });
    let carved = carved.sum::<i128>();
    if carved > i128::from(buffer_whole.micros()) {
        return Err(over(carved, buffer_whole));
    }
    Ok(Split {
        month,
        buffer: micros(i128::from(buffer_whole.micros()).saturating_sub(carved)),
        allocations,
        unassigned: micros(whole.saturating_sub(claimed)),
    })
}

/// A part of an amount that fits, so fits itself.
fn micros(amount: i128) -> MicroCredits {
    MicroCredits::from_micros(i64::try_from(amount).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credits(text: &str) -> MicroCredits {
        MicroCredits::parse(text).unwrap()
    }

    fn percent(text: &str) -> Percent {
        Percent::parse(text).unwrap()
    }

    #[test]
    fn twelve_months_are_the_year_to_the_micro_credit() {
        for annual in ["7200000", "1", "0.000011", "999999.999999"] {
            let annual = credits(annual);
            let months: Vec<_> = (0..12).map(|month| month_pool(annual, month)).collect();
            assert_eq!(
                months.iter().copied().sum::<Option<_>>(),
                Some(annual),
                "{annual}"
            );
            assert!(
                months.is_sorted(),
                "the remainder goes to the last months: {months:?}"
            );
        }
    }

    #[test]
    fn dust_goes_to_the_buffer_and_unclaimed_shares_to_nobody() {
        let check = |month: &str, buffer, shares: &[Share], want: (&str, &[&str], &str)| {
            let split = split(credits(month), percent(buffer), shares).unwrap();
            let shown: Vec<_> = split.allocations.iter().map(ToString::to_string).collect();
            let got = (
                split.buffer.to_string(),
                shown,
                split.unassigned.to_string(),
            );
            assert_eq!(
                got,
                (
                    want.0.into(),
                    want.1.iter().map(|s| (*s).into()).collect(),
                    want.2.into()
                )
            );
        };
        let third = Share::OfPool(percent("33.33%"));
        check(
            "600000",
            "15%",
            &[Share::OfPool(percent("35%"))],
            ("90000", &["210000"], "300000"),
        );
        check(
            "0.000010",
            "0.01%",
            &[third; 3],
            ("0.000001", &["0.000003"; 3], "0"),
        );
        check(
            "100",
            "50%",
            &[Share::OfBuffer(percent("30%"))],
            ("35", &["15"], "50"),
        );
        check(
            "100",
            "0%",
            &[Share::Monthly(credits("99.5"))],
            ("0", &["99.5"], "0.5"),
        );
    }

    #[test]
    fn more_than_all_is_refused() {
        let check = |buffer, shares: &[Share]| {
            assert!(
                split(credits("100"), percent(buffer), shares).is_err(),
                "{shares:?}"
            );
        };
        check("15%", &[Share::OfPool(percent("85.01%"))]);
        check("0%", &[Share::Monthly(credits("100.000001"))]);
        check(
            "10%",
            &[
                Share::OfBuffer(percent("60%")),
                Share::OfBuffer(percent("41%")),
            ],
        );
    }
}
