//! The times events are summed up by: an hour, or less where a day or a period begins within it.
//!
//! In some zones days begin at :30 or :45 of an hour of UTC. Such an hour is cut there: whole, it would be counted
//! on one of its two days. Sums are kept under the minute their time begins with.

use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension};

use super::rows::timestamp;
use crate::budget::period::PeriodName;

/// Days and periods begin at a multiple of this, in every zone there is.
pub(super) const QUARTER_S: i64 = 15 * 60;

const HOUR_S: i64 = 3_600;

/// The first instant of the time that `at` is summed up in, where days are those of `zone`.
pub(super) fn first(at: Timestamp, zone: &TimeZone) -> Timestamp {
    let hour = at.as_second().div_euclid(HOUR_S).saturating_mul(HOUR_S);
    let hour = Timestamp::from_second(hour).unwrap_or(at);
    let day = at.to_zoned_datetime(zone.clone()).start_of_day();
    day.map_or(hour, |day| hour.max(day.timestamp()))
}

/// Minutes since the epoch.
pub(super) fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// Where the hours of each period are cut. What was read of a period is remembered: it is never rewritten.
#[derive(Debug, Default)]
pub(super) struct Hours {
    known: HashMap<PeriodName, Facts>,
    /// The last answer: a batch has a thousand events, and one quarter of an hour.
    last: Option<((PeriodName, i64), i64)>,
}

#[derive(Clone, Debug)]
struct Facts {
    zone: TimeZone,
    start: Timestamp,
}

impl Facts {
    fn minute(&self, quarter: i64) -> i64 {
        let at = Timestamp::from_second(quarter.saturating_mul(QUARTER_S));
        let at = at.unwrap_or(Timestamp::UNIX_EPOCH);
        let first = first(at, &self.zone);
        minute(match self.start <= at {
            true => first.max(self.start),
            false => first,
        })
    }
}

impl Hours {
    /// The minute under which a period's events in a quarter of an hour are summed up.
    pub(super) fn minute(
        &mut self,
        main: &Connection,
        period: PeriodName,
        quarter: i64,
    ) -> rusqlite::Result<i64> {
        if let Some((_, minute)) = self.last.filter(|(of, _)| *of == (period, quarter)) {
            return Ok(minute);
        }
        let Some(facts) = self.known.get(&period) else {
            return Ok(self.read(main, period)?.minute(quarter));
        };
        let minute = facts.minute(quarter);
        self.last = Some(((period, quarter), minute));
        Ok(minute)
    }

    /// A restored ledger may not know the period yet: its zone is that of the one before.
    fn read(&mut self, main: &Connection, period: PeriodName) -> rusqlite::Result<Facts> {
        let mut select = main.prepare_cached(
            "SELECT name = ?1, zone, start_ms FROM period ORDER BY 1 DESC, start_ms DESC LIMIT 1",
        )?;
        let found = select.query_row([period.code()], |row| {
            let zone: String = row.get(1)?;
            let zone = TimeZone::get(&zone).unwrap_or(TimeZone::UTC);
            let start = timestamp(row.get(2)?);
            Ok((row.get::<_, bool>(0)?, Facts { zone, start }))
        });
        Ok(match found.optional()? {
            Some((true, facts)) => self.known.entry(period).or_insert(facts).clone(),
            Some((false, facts)) => facts,
            None => Facts {
                zone: TimeZone::UTC,
                start: Timestamp::UNIX_EPOCH,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_cut_where_a_day_begins_and_nowhere_else() {
        let check = |zone: &str, at: &str, want: &str| {
            let first = first(at.parse().unwrap(), &TimeZone::get(zone).unwrap());
            assert_eq!(first.to_string(), want, "{zone} {at}");
        };
        check("UTC", "2026-11-30T23:59:59Z", "2026-11-30T23:00:00Z");
        check(
            "America/Los_Angeles",
            "2026-12-01T08:30:00Z",
            "2026-12-01T08:00:00Z",
        );
        check(
            "Asia/Kolkata",
            "2026-11-30T18:29:59Z",
            "2026-11-30T18:00:00Z",
        );
        check(
            "Asia/Kolkata",
            "2026-11-30T18:30:00Z",
            "2026-11-30T18:30:00Z",
        );
        check(
            "Asia/Kolkata",
            "2026-11-30T19:10:00Z",
            "2026-11-30T19:00:00Z",
        );
        check(
            "Asia/Kathmandu",
            "2026-11-30T18:14:59Z",
            "2026-11-30T18:00:00Z",
        );
        check(
            "Asia/Kathmandu",
            "2026-11-30T18:45:00Z",
            "2026-11-30T18:15:00Z",
        );
        // Half an hour of daylight saving: on either side of it days begin at another half.
        check(
            "Australia/Lord_Howe",
            "2026-07-01T13:40:00Z",
            "2026-07-01T13:30:00Z",
        );
        check(
            "Australia/Lord_Howe",
            "2026-12-01T13:40:00Z",
            "2026-12-01T13:00:00Z",
        );
    }
}
