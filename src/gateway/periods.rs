//! Which period is running, and whether the clock may be believed when it says another one began.
//!
//! A period that ended is never reopened; a period advances only while the clocks agree. A change of zone or
//! contract start acts from the next period on.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::budget::period::{Calendar, Period};
use crate::clock;
use crate::config::load::Files;
use crate::ledger::{self, Ledger};

/// The latest moment there was before a start: a clock that went back to before the contract must hold the period,
/// and not keep the gateway from starting.
pub fn latest(files: &Files, now: Timestamp) -> Timestamp {
    let settings = files.ledger().ok();
    let written = settings.and_then(|settings| ledger::wall_clock::last_write(&settings.path));
    written.map_or(now, |written| written.max(now))
}

/// The owner's view of time.
#[derive(Debug)]
pub struct PeriodClock {
    ledger: Ledger,
    newest: Option<Period>,
    held: Option<Held>,
    /// When the clock was last believed, or the ledger written.
    latest: Timestamp,
}

#[derive(Clone, Debug)]
struct Held {
    why: Arc<str>,
    /// How often the clock had been accepted by then. Times do not tell: it is the clock that is not believed.
    acceptances: Option<i64>,
}

impl PeriodClock {
    /// Believes the wall clock where the ledger did when it was opened.
    pub fn new(ledger: &Ledger, last_write: Option<Timestamp>, now: Timestamp) -> Self {
        let mut clock = Self {
            newest: ledger.current_period(),
            ledger: ledger.clone(),
            held: None,
            latest: last_write.unwrap_or(now),
        };
        clock.look(now, clock::since_boot());
        clock
    }

    /// The latest moment there was: no contract that began by then begins in the future, and no row is older.
    pub fn latest(&self, now: Timestamp) -> Timestamp {
        self.latest.max(now)
    }

    /// Why the period is held, if it is.
    pub fn held(&self) -> Option<&str> {
        self.held.as_ref().map(|held| &*held.why)
    }

    /// The running period; the newest there was, while the clock is not believed. `None` before the contract.
    pub fn current(&mut self, calendar: &Calendar, now: Timestamp) -> Option<Period> {
        self.look(now, clock::since_boot());
        let Some(newest) = self.newest else {
            self.newest = calendar.period_at(now);
            return self.newest;
        };
        if now < newest.end || self.held.is_some() {
            return Some(newest); // also when the clock went back: an ended period is not reopened
        }
        let next = following(calendar, &newest, now)?;
        self.newest = Some(next);
        Some(next)
    }

    fn look(&mut self, now: Timestamp, boot: Duration) {
        let belief = self.ledger.wall_clock();
        if let Some(held) = &mut self.held
            && let Some(count) = self.ledger.clock_acceptances()
            && count > *held.acceptances.get_or_insert(count)
        {
            tracing::info!("the clock was accepted; periods advance again");
            self.held = None;
            belief.accept(now, boot);
        }
        if self.held.is_some() {
            return;
        }
        match belief.doubt(now, boot) {
            None => self.latest = self.latest.max(now),
            Some(why) => {
                tracing::error!(%why, "the period is held; check the clock, then run `breakerbox ledger accept-clock`");
                let acceptances = self.ledger.clock_acceptances();
                self.held = Some(Held { why, acceptances });
            }
        }
    }
}

/// The period after `newest` that contains `now`. Where zone or start changed, it begins where the old one ended
/// and reaches to the end of the first whole period of the new calendar that is at least half over the seam.
fn following(calendar: &Calendar, newest: &Period, now: Timestamp) -> Option<Period> {
    let fitting = calendar.period_at(now)?;
    if fitting.start >= newest.end {
        return Some(fitting);
    }
    // The new calendar's period began before the old one ended: shorten it, or reach over the next one where its
    // name is taken.
    let last = match fitting.name == newest.name {
        true => calendar.period_at(fitting.end)?,
        false => fitting,
    };
    Some(Period {
        start: newest.end,
        ..last
    })
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn calendar(start: &str, zone: &str) -> Calendar {
        Calendar::new(start.parse().unwrap(), TimeZone::get(zone).unwrap())
    }

    fn check(old: &Calendar, at: &str, new: &Calendar, now: &str, want: (&str, &str, &str)) {
        let newest = old.period_at(at.parse().unwrap()).unwrap();
        let next = following(new, &newest, now.parse().unwrap()).unwrap();
        let got = (
            next.name.to_string(),
            next.start.to_string(),
            next.end.to_string(),
        );
        assert_eq!(
            got,
            (want.0.to_owned(), want.1.to_owned(), want.2.to_owned())
        );
    }

    #[test]
    fn a_change_of_zone_or_start_never_overlaps_what_was() {
        let utc = calendar("2026-02-01", "UTC");
        let la = calendar("2026-02-01", "America/Los_Angeles");
        let mid = calendar("2026-02-15", "UTC");
        let november = "2026-11-10T00:00:00Z";
        // Unchanged.
        check(
            &utc,
            november,
            &utc,
            "2026-12-01T00:00:00Z",
            ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        );
        // To the west: the old month ended before the new one begins, so the seam reaches over.
        check(
            &utc,
            november,
            &la,
            "2026-12-01T00:00:01Z",
            ("2026-12", "2026-12-01T00:00:00Z", "2027-01-01T08:00:00Z"),
        );
        // To the east: the new month had begun already.
        check(
            &la,
            november,
            &utc,
            "2026-12-01T08:00:01Z",
            ("2026-12", "2026-12-01T08:00:00Z", "2027-01-01T00:00:00Z"),
        );
        // Another day of the month.
        check(
            &utc,
            november,
            &mid,
            "2026-12-01T00:00:00Z",
            ("2026-12", "2026-12-01T00:00:00Z", "2027-01-15T00:00:00Z"),
        );
        // After months of standstill.
        check(
            &utc,
            november,
            &utc,
            "2027-03-05T00:00:00Z",
            ("2027-03", "2027-03-01T00:00:00Z", "2027-04-01T00:00:00Z"),
        );
    }
}
