//! Billing months and contract years in the pool's time zone.
//!
//! A period is computed from the contract start and an instant, nowhere else. Nothing is ever reset at
//! its edge: counters are kept by period, and the next period simply has counters of its own.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::allocation::MONTHS;

/// A period's name, `YYYY-MM` after the month it starts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeriodName {
    year: i16,
    month: i8,
}

impl PeriodName {
    /// Reads `2026-11`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        if year.len() != 4 || month.len() != 2 {
            return None;
        }
        let (year, month) = (year.parse().ok()?, month.parse().ok()?);
        (1..=12).contains(&month).then_some(Self { year, month })
    }
}

impl PeriodName {
    /// `YYYYMM`, for storage.
    pub fn code(self) -> i64 {
        i64::from(self.year)
            .saturating_mul(100)
            .saturating_add(i64::from(self.month))
    }

    /// The name stored so.
    pub fn from_code(code: i64) -> Option<Self> {
        let (year, month) = (code.div_euclid(100), code.rem_euclid(100));
        let (year, month) = (i16::try_from(year).ok()?, i8::try_from(month).ok()?);
        (1..=12).contains(&month).then_some(Self { year, month })
    }
}

impl fmt::Display for PeriodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// One billing month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// `YYYY-MM`.
    pub name: PeriodName,
    /// The first instant of the period.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
    /// Which contract year: `YYYYMM` of its first month. A new contract start begins a new year.
    pub year: u32,
    /// Which month of the contract year, 0 to 11.
    pub month: u8,
}

impl Period {
    /// Whole seconds until the period ends; 0 afterwards.
    pub fn seconds_left(&self, now: Timestamp) -> u64 {
        let left = self.end.as_second().saturating_sub(now.as_second());
        u64::try_from(left).unwrap_or(0)
    }

    /// Whether `now` lies in the period.
    pub fn contains(&self, now: Timestamp) -> bool {
        self.start <= now && now < self.end
    }
}

/// The contract's calendar: periods from a start date in a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    start: Date,
    zone: TimeZone,
}

impl Calendar {
    /// Periods that begin on `start`'s day of each month, at the first instant of that day in `zone`.
    pub fn new(start: Date, zone: TimeZone) -> Self {
        Self { start, zone }
    }

    /// The contract's time zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The contract's first day.
    pub fn contract_start(&self) -> Date {
        self.start
    }

    /// The `index`-th period from the contract start; `None` before the start or beyond year 9999.
    pub fn period(&self, index: u32) -> Option<Period> {
        let first = self.first_day(index)?;
        let start = self.midnight(first)?;
        let end = self.midnight(self.first_day(index.checked_add(1)?)?)?;
        let months = u32::try_from(MONTHS).ok()?;
        Some(Period {
            name: PeriodName {
                year: first.year(),
                month: first.month(),
            },
            start,
            end,
            year: self.year_of(index.div_euclid(months))?,
            month: u8::try_from(index.rem_euclid(months)).ok()?,
        })
    }

    /// The period `now` falls in; `None` before the contract start.
    pub fn period_at(&self, now: Timestamp) -> Option<Period> {
        let today = now.to_zoned_datetime(self.zone.clone()).date();
        let years = i32::from(today.year()).checked_sub(i32::from(self.start.year()))?;
        let months = i32::from(today.month()).checked_sub(i32::from(self.start.month()))?;
        let index = years.checked_mul(12)?.checked_add(months)?;
        // The month's own period may begin after today; then it is the one before.
        [index, index.checked_sub(1)?]
            .into_iter()
            .filter_map(|index| self.period(u32::try_from(index).ok()?))
            .find(|period| period.contains(now))
    }

    /// The first instant after the contract year that `period` lies in; of a period of another calendar, its own end.
    pub fn year_end(&self, period: &Period) -> Timestamp {
        let end = || {
            let first = i32::try_from(period.year.div_euclid(100)).ok()?;
            let years = first.checked_sub(i32::from(self.start.year()))?;
            let months = u32::try_from(years).ok()?.checked_mul(12)?;
            let last = self.period(months.checked_add(11)?)?;
            (last.year == period.year).then_some(last.end)
        };
        end().unwrap_or(period.end)
    }

    fn year_of(&self, years: u32) -> Option<u32> {
        let first = self.first_day(years.checked_mul(12)?)?;
        let (year, month) = (
            u32::try_from(first.year()).ok()?,
            u32::try_from(first.month()).ok()?,
        );
        year.checked_mul(100)?.checked_add(month)
    }

    /// The contract start's day in a later month, clamped to the month's end, always from the original.
    fn first_day(&self, index: u32) -> Option<Date> {
        self.start.checked_add(i64::from(index).months()).ok()
    }

    /// A midnight missing by daylight saving is the first instant of the day.
    fn midnight(&self, day: Date) -> Option<Timestamp> {
        Some(day.to_zoned_datetime(self.zone.clone()).ok()?.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(start: &str, zone: &str, now: &str, want: Option<(&str, &str, &str)>) {
        let calendar = Calendar::new(start.parse().unwrap(), TimeZone::get(zone).unwrap());
        let got = calendar.period_at(now.parse().unwrap());
        let got = got.map(|p| (p.name.to_string(), p.start.to_string(), p.end.to_string()));
        let want = want.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(got, want, "{start} {zone} {now}");
    }

    #[test]
    fn months_begin_at_local_midnight() {
        let la = "America/Los_Angeles";
        let november = ("2026-11", "2026-11-01T07:00:00Z", "2026-12-01T08:00:00Z");
        check("2026-02-01", la, "2026-11-24T12:00:00Z", Some(november));
        check("2026-02-01", la, "2026-11-01T07:00:00Z", Some(november));
        check("2026-02-01", la, "2026-12-01T07:59:59.999Z", Some(november));
        check("2026-02-01", la, "2026-02-01T07:59:59Z", None);
    }

    #[test]
    fn late_anchors_clamp_from_the_original_day() {
        let february = ("2026-02", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z");
        check("2025-10-31", "UTC", "2026-03-15T00:00:00Z", Some(february));
        let march = ("2026-03", "2026-03-31T00:00:00Z", "2026-04-30T00:00:00Z");
        check("2025-10-31", "UTC", "2026-04-29T23:59:59Z", Some(march));
        let leap = ("2028-02", "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z");
        check("2025-10-31", "UTC", "2028-02-29T00:00:00Z", Some(leap));
    }

    #[test]
    fn a_missing_midnight_is_the_first_instant_of_the_day() {
        // Brazil's clocks went from 2018-11-03 23:59:59 -03 to 2018-11-04 01:00:00 -02.
        let want = ("2018-11", "2018-11-04T03:00:00Z", "2018-12-04T02:00:00Z");
        check(
            "2018-10-04",
            "America/Sao_Paulo",
            "2018-11-10T00:00:00Z",
            Some(want),
        );
    }

    #[test]
    fn years_follow_one_another() {
        let calendar = Calendar::new("2026-02-01".parse().unwrap(), TimeZone::UTC);
        let period = calendar
            .period_at("2027-03-05T00:00:00Z".parse().unwrap())
            .unwrap();
        assert_eq!((period.year, period.month), (202_702, 1));
        let end = |calendar: &Calendar| calendar.year_end(&period).to_string();
        assert_eq!(end(&calendar), "2028-02-01T00:00:00Z");
        let other = Calendar::new("2026-05-01".parse().unwrap(), TimeZone::UTC);
        assert_eq!(end(&other), period.end.to_string());
    }

    /// Every month of nine years, for each anchor, in zones with all the oddities there are: a midnight that is
    /// missing, one that comes twice, half hours, no daylight saving, a day that was skipped.
    #[test]
    fn periods_lie_end_to_end_and_begin_on_their_day() {
        let zones = [
            "UTC",
            "America/Los_Angeles",
            "Europe/Berlin",
            "America/Sao_Paulo",
            "Asia/Beirut",
            "Australia/Lord_Howe",
            "Asia/Kolkata",
            "Pacific/Apia",
        ];
        for (zone, day) in zones
            .iter()
            .flat_map(|zone| (1..=31).map(move |day| (zone, day)))
        {
            let start = jiff::civil::date(2011, 1, 1)
                .with()
                .day(day)
                .build()
                .unwrap();
            let calendar = Calendar::new(start, TimeZone::get(zone).unwrap());
            let periods: Vec<_> = (0..108).map(|at| calendar.period(at).unwrap()).collect();
            for pair in periods.windows(2) {
                check_seam(&calendar, day, pair[0], pair[1]);
            }
        }
    }

    fn check_seam(calendar: &Calendar, day: i8, period: Period, next: Period) {
        let case = format!(
            "{} from day {day}, {}",
            calendar.zone.iana_name().unwrap(),
            period.name
        );
        assert_eq!(period.end, next.start, "{case}");
        assert!(period.name < next.name, "{case}");
        assert_eq!(
            next.month,
            period.month.saturating_add(1).rem_euclid(12),
            "{case}"
        );
        assert_eq!(next.year > period.year, next.month == 0, "{case}");
        let local = |at: Timestamp| at.to_zoned_datetime(calendar.zone.clone());
        let first = local(period.start);
        let wanted = day.min(first.date().days_in_month());
        let skipped = calendar.zone.iana_name() == Some("Pacific/Apia")
            && period.name.to_string() == "2011-12"
            && day == 30;
        assert_eq!(first.day(), if skipped { 31 } else { wanted }, "{case}");
        let before = local(period.start.checked_sub(1.nanosecond()).unwrap());
        assert!(
            before.date() < first.date(),
            "{case}: the first instant of its day"
        );
        let last = period.end.checked_sub(1.nanosecond()).unwrap();
        for at in [period.start, last] {
            assert_eq!(calendar.period_at(at), Some(period), "{case} at {at}");
        }
        let hours = period.end.duration_since(period.start).as_hours();
        assert!(
            (27 * 24..=31 * 24 + 1).contains(&hours),
            "{case}: {hours} h"
        );
    }

    #[test]
    fn daylight_saving_and_leap_days_move_the_edges_only() {
        let la = "America/Los_Angeles";
        let march = ("2026-03", "2026-03-01T08:00:00Z", "2026-04-01T07:00:00Z");
        check("2026-02-01", la, "2026-03-08T10:00:00Z", Some(march)); // 02:00 is 03:00
        let november = ("2026-11", "2026-11-01T07:00:00Z", "2026-12-01T08:00:00Z");
        check("2026-02-01", la, "2026-11-01T09:30:00Z", Some(november)); // 01:30 for the second time
        let eighth = ("2026-03", "2026-03-08T08:00:00Z", "2026-04-08T07:00:00Z");
        check("2026-02-08", la, "2026-03-08T08:00:00Z", Some(eighth)); // the day itself is short
        let leap = ("2028-02", "2028-02-29T00:00:00Z", "2028-03-29T00:00:00Z");
        check("2027-01-29", "UTC", "2028-02-29T00:00:00Z", Some(leap));
        let short = ("2027-02", "2027-02-28T00:00:00Z", "2027-03-29T00:00:00Z");
        check("2027-01-29", "UTC", "2027-03-28T23:59:59Z", Some(short));
        let from_leap_day = ("2029-02", "2029-02-28T00:00:00Z", "2029-03-29T00:00:00Z");
        check(
            "2028-02-29",
            "UTC",
            "2029-03-01T00:00:00Z",
            Some(from_leap_day),
        );
    }

    #[test]
    fn names_read_back() {
        let name = PeriodName::parse("2026-11").unwrap();
        assert_eq!(name.to_string(), "2026-11");
        assert_eq!(name.code(), 202_611);
        assert_eq!(PeriodName::from_code(202_611), Some(name));
        assert_eq!(PeriodName::from_code(202_613), None);
        for text in ["2026-13", "2026-00", "26-11", "2026-1", "2026/11", ""] {
            assert_eq!(PeriodName::parse(text), None, "{text}");
        }
    }
}
