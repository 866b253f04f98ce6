//! How much to write down as spendable, and when: about a second of the recent rate, less near a limit.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::batch::AccountKey;
use super::event::TeamId;
use super::live::LivePeriod;
use crate::budget::account::Figures;
use crate::budget::books::TeamBooks;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Source;

/// A first grant covers this many requests like the one that waits: after a few the rate is known.
const FIRST_REQUESTS: i64 = 8;

/// The time a rate is measured over: shorter ones make a burst look like a pace.
const WINDOW: Duration = Duration::from_millis(50);

/// What the ledger remembers of an account.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Exposed when the window began.
    exposed_micros: i64,
    per_second_micros: i64,
}

/// A grant that is due.
#[derive(Debug)]
pub(super) struct Raise {
    pub(super) key: AccountKey,
    pub(super) team: Arc<TeamBooks>,
    pub(super) to: MicroCredits,
}

/// A grant that was taken back, and what it is now.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) key: AccountKey,
    pub(super) to: MicroCredits,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) raises: Vec<Raise>,
    pub(super) releases: Vec<Release>,
}

/// The pace of every account in use.
#[derive(Debug, Default)]
pub(super) struct Grants {
    paces: HashMap<AccountKey, Pace>,
    window: Duration,
    /// Taken back in memory, and not yet on disk.
    released: BTreeSet<AccountKey>,
}

impl Grants {
    /// Looks at every account, `elapsed` after the last look. A period that ended gets what is waited for, and no
    /// more; what it does not spend is taken back, or a crash would charge it to a month that is over.
    pub(super) fn due(&mut self, live: &[Arc<LivePeriod>], elapsed: Duration) -> Due {
        self.window = self.window.saturating_add(elapsed);
        let window = (self.window >= WINDOW).then(|| std::mem::take(&mut self.window));
        let newest = live.iter().map(|live| live.books.period.start).max();
        let mut due = Due::default();
        for period in live {
            let name = period.books.period.name;
            let is_over = newest.is_some_and(|newest| period.books.period.start < newest);
            for (id, team) in (0_u32..).zip(period.teams().iter()) {
                for source in Source::ALL {
                    self.look(
                        (name, TeamId(id), *source),
                        team,
                        (window, is_over),
                        &mut due,
                    );
                }
            }
        }
        due
    }

    fn look(
        &mut self,
        key: AccountKey,
        team: &Arc<TeamBooks>,
        (window, is_over): (Option<Duration>, bool),
        due: &mut Due,
    ) {
        let account = team.account(key.2);
        if is_over && account.release() {
            self.released.insert(key);
        }
        let figures = account.figures();
        if let Some(to) = self.grant(key, &figures, window, is_over) {
            self.released.remove(&key); // it is granted again
            let team = Arc::clone(team);
            due.raises.push(Raise { key, team, to });
        } else if self.released.contains(&key) {
            let to = figures.granted;
            due.releases.push(Release { key, to });
        }
    }

    /// They are on disk.
    pub(super) fn released(&mut self) {
        self.released.clear();
    }

    /// A correction is no pace: what it adds at once nobody spends a second.
    pub(super) fn corrected(&mut self, key: AccountKey, change: MicroCredits) {
        if let Some(pace) = self.paces.get_mut(&key) {
            pace.exposed_micros = pace.exposed_micros.saturating_add(change.micros());
        }
    }

    fn grant(
        &mut self,
        key: AccountKey,
        figures: &Figures,
        window: Option<Duration>,
        is_over: bool,
    ) -> Option<MicroCredits> {
        if figures.exposed.is_zero() && figures.wanted.is_zero() {
            return None; // never used
        }
        let pace = self.paces.entry(key).or_insert_with(|| Pace::new(figures));
        if let Some(window) = window {
            pace.measure(figures, window);
        }
        if is_over && figures.wanted <= figures.granted {
            return None;
        }
        pace.grant(figures)
    }
}

impl Pace {
    /// An account seen for the first time: what it spent before says nothing of its pace.
    fn new(figures: &Figures) -> Self {
        Self {
            exposed_micros: figures.exposed.micros(),
            per_second_micros: 0,
        }
    }

    fn measure(&mut self, figures: &Figures, window: Duration) {
        let exposed = figures.exposed.micros();
        let grown = exposed.saturating_sub(self.exposed_micros).max(0);
        self.exposed_micros = exposed;
        let window_ms = i64::try_from(window.as_millis()).unwrap_or(i64::MAX).max(1);
        let rate = grown.saturating_mul(1_000).div_euclid(window_ms);
        // Up at once, down by an eighth a window: a short pause does not forget the pace.
        let fading = self
            .per_second_micros
            .saturating_sub(self.per_second_micros.div_euclid(8));
        self.per_second_micros = rate.max(fading);
    }

    /// The grant the account needs now, if it is a new one.
    fn grant(&self, figures: &Figures) -> Option<MicroCredits> {
        let (exposed, granted) = (figures.exposed.micros(), figures.granted.micros());
        let short = figures.wanted.micros().saturating_sub(granted).max(0);
        let headroom = self.headroom(figures, short);
        let is_low = granted.saturating_sub(exposed) < headroom.div_euclid(2);
        if short == 0 && !is_low {
            return None;
        }
        let to = exposed
            .saturating_add(headroom)
            .max(figures.wanted.micros());
        (to > granted).then(|| MicroCredits::from_micros(to))
    }

    fn headroom(&self, figures: &Figures, short: i64) -> i64 {
        let wished = self
            .per_second_micros
            .max(short.saturating_mul(FIRST_REQUESTS));
        let left = figures
            .limit_hint
            .micros()
            .saturating_sub(figures.exposed.micros());
        wished.min(left.div_euclid(2).max(short)).max(0)
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::budget::books::PeriodBooks;
    use crate::budget::period::Calendar;

    fn figures(exposed: i64, granted: i64, wanted: i64, limit: i64) -> Figures {
        let micros = MicroCredits::from_micros;
        Figures {
            settled: micros(exposed),
            committed: micros(exposed),
            exposed: micros(exposed),
            granted: micros(granted),
            wanted: micros(wanted),
            limit_hint: micros(limit),
        }
    }

    #[test]
    fn a_grant_follows_the_pace_and_gets_small_near_the_limit() {
        let mut pace = Pace::new(&figures(0, 0, 0, 10_000));
        let mut check = |exposed, granted, wanted, want: Option<i64>| {
            let figures = figures(exposed, granted, wanted, 10_000);
            pace.measure(&figures, WINDOW);
            let grant = pace.grant(&figures).map(MicroCredits::micros);
            assert_eq!(grant, want, "{exposed} of {granted}, wanted {wanted}");
        };
        check(0, 0, 6, Some(48)); // the first request, and seven like it
        check(48, 48, 54, Some(48 + 960)); // 48 in 50 ms is 960 a second
        check(100, 1_008, 54, None); // half a second is left
        check(700, 1_008, 54, Some(700 + 4_650)); // at this pace less than half the way to the limit
        check(9_900, 9_900, 9_950, Some(9_950)); // half of the 100 that are left
        check(10_000, 10_000, 10_006, Some(10_006)); // past the limit only what is wanted
    }

    /// 1,000 credits corrected to nothing were wanted again, eight times: a crash then charged them.
    #[test]
    fn what_a_correction_takes_away_nobody_wants() {
        let calendar = Calendar::new("2026-01-01".parse().unwrap(), TimeZone::UTC);
        let books = PeriodBooks::new(calendar.period(0).unwrap(), Arc::default());
        let team = TeamBooks::default();
        let (spent, none) = (MicroCredits::from_micros(1_000), MicroCredits::ZERO);
        let account = &team.own;
        assert!(!account.try_expose(spent, none), "nothing is granted yet");
        account.raise_grant(spent);
        assert!(account.try_expose(spent, none));
        account.settle(none, spent, spent);
        account.lower_grant(spent);
        books.correct(&team, Source::Own, MicroCredits::from_micros(-1_000));
        let figures = account.figures();
        assert_eq!(Pace::new(&figures).grant(&figures), None, "{figures:?}");
    }

    #[test]
    fn what_was_spent_before_a_restart_is_no_pace() {
        let restored = figures(5_000_000, 5_000_000, 0, i64::MAX);
        let mut pace = Pace::new(&restored);
        pace.measure(&restored, WINDOW);
        assert_eq!(pace.grant(&restored), None);
    }
}
