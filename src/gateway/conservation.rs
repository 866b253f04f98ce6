//! Whether what was counted in memory, shown in metrics and written to disk is one and the same, all the time.
//!
//! Nothing stops for it. A request raises its account, then its worker's counter, then hands its event over; so what
//! the ledger holds lies between the counters read before it took its events in and those read after. A lost event
//! keeps the ledger below the first for ever, one counted twice above the last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Operation, Source};
use crate::budget::period::PeriodName;
use crate::budget::reservation;
use crate::ledger::event::TeamId;
use crate::ledger::totals::Totals;
use crate::proxy::desk::Shared;
use crate::proxy::snapshot::Presence;

/// How long an event may be under way to the ledger: a worker that folds hands its sums over ten times a second.
const UNDER_WAY: Duration = Duration::from_secs(5);

type Key = (PeriodName, TeamId, Source);

/// Compares, look by look.
#[derive(Debug, Default)]
pub(super) struct Conservation {
    before: Option<Figures>,
    apart: BTreeMap<TeamId, u64>,
    said: BTreeMap<TeamId, u64>,
    reserved: BTreeMap<TeamId, u64>,
    lost: u64,
}

/// What a look found, by team, in micro-credits; all of it must be 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conserved {
    /// By how much counters, metrics, events, rollups and accounts are apart.
    pub differences: Vec<(Arc<str>, u64)>,
    /// Reserved, twice in a row, while no request was in flight.
    pub reserved_by_nobody: Vec<(Arc<str>, u64)>,
    /// Reserved by requests that ended without settling, of all teams: what `reserved` is more than live tickets
    /// hold, busy or not.
    pub lost: u64,
}

/// The counters in memory, at one moment.
#[derive(Debug)]
struct Figures {
    at: Instant,
    settled: BTreeMap<Key, i64>,
    credits: BTreeMap<TeamId, i64>,
    corrections: u64,
}

impl Conservation {
    /// Compares what can be compared now.
    pub(super) fn look(&mut self, shared: &Shared) -> Conserved {
        let totals = shared.ledger.totals();
        let presences = shared.presences.load_full();
        let due = |before: &Figures| totals.taken_at.duration_since(before.at) >= UNDER_WAY;
        if self.before.as_ref().is_none_or(due) {
            let now = Figures::read(shared, &totals, &presences);
            if let Some(before) = self.before.take() {
                self.compare(&before, &totals, &now);
            }
            self.before = Some(now);
        }
        let reserved = reserved_by_nobody(shared);
        let twice = |id: &TeamId| {
            let now = reserved.get(id).copied().unwrap_or(0);
            match self.reserved.get(id) {
                Some(before) if *before == now => now,
                _ => 0,
            }
        };
        let (reservations, credits) = reservation::lost();
        if reservations > self.lost {
            tracing::error!(
                reservations,
                %credits,
                "requests ended without settling: what they reserved stays taken until the period ends"
            );
        }
        self.lost = reservations;
        let told = Conserved {
            lost: credits.micros().unsigned_abs(),
            reserved_by_nobody: presences
                .iter()
                .map(|team| (Arc::clone(&team.name), twice(&team.id)))
                .collect(),
            differences: presences
                .iter()
                .map(|team| {
                    let apart = self.apart.get(&team.id).copied().unwrap_or(0);
                    (
                        Arc::clone(&team.name),
                        apart.max(totals.difference(team.id)),
                    )
                })
                .collect(),
        };
        self.reserved = reserved;
        self.say(&presences, &told);
        told
    }

    fn compare(&mut self, before: &Figures, totals: &Totals, after: &Figures) {
        if before.corrections != after.corrections {
            return; // the counters went down on purpose meanwhile
        }
        self.apart.clear();
        let mut note = |team: TeamId, difference: u64| {
            let worst = self.apart.entry(team).or_default();
            *worst = difference.max(*worst);
        };
        for (key, low) in &before.settled {
            let high = after.settled.get(key).copied().unwrap_or(*low);
            let ledger = totals
                .accounts
                .get(key)
                .map_or(0, |account| account.on_disk);
            note(key.1, apart(*low, ledger, high));
        }
        for (team, low) in &before.credits {
            let high = after.credits.get(team).copied().unwrap_or(*low);
            note(*team, apart(*low, totals.from_workers(*team), high));
        }
    }

    fn say(&mut self, presences: &[Arc<Presence>], told: &Conserved) {
        for (team, (name, difference)) in presences.iter().zip(&told.differences) {
            let said = self.said.insert(team.id, *difference).unwrap_or(0);
            if *difference != said && *difference > 0 {
                let credits = i64::try_from(*difference).unwrap_or(i64::MAX);
                tracing::error!(
                    team = &**name,
                    difference = %MicroCredits::from_micros(credits),
                    "counters, metrics, events, rollups and accounts of a team differ: run `breakerbox ledger verify`"
                );
            }
        }
    }
}

/// How far `ledger` lies outside of `low..=high`.
fn apart(low: i64, ledger: i64, high: i64) -> u64 {
    if ledger < low {
        low.abs_diff(ledger)
    } else if ledger > high {
        ledger.abs_diff(high)
    } else {
        0
    }
}

impl Figures {
    fn read(shared: &Shared, totals: &Totals, presences: &[Arc<Presence>]) -> Self {
        let at = Instant::now();
        let mut settled = BTreeMap::new();
        for period in shared.ledger.live().iter() {
            let name = period.books.period.name;
            for (id, team) in (0_u32..).zip(period.teams().iter()) {
                for source in Source::ALL {
                    let figures = team.account(*source).figures();
                    settled.insert((name, TeamId(id), *source), figures.settled.micros());
                }
            }
        }
        let credits = presences.iter().map(|team| (team.id, credits(team)));
        Self {
            at,
            settled,
            credits: credits.collect(),
            corrections: totals
                .accounts
                .values()
                .map(|account| account.corrections)
                .sum(),
        }
    }
}

/// What `credits_total` says of a team.
fn credits(team: &Presence) -> i64 {
    let mut sum = 0_i64;
    for worker in &team.counters {
        for operation in Operation::ALL {
            for class in Class::ALL {
                sum = sum.saturating_add(worker.credits(*operation, *class).micros());
            }
        }
    }
    sum
}

/// Own credits and others that are reserved while no request is there to hold them.
fn reserved_by_nobody(shared: &Shared) -> BTreeMap<TeamId, u64> {
    let is_idle = || {
        let in_flight = shared.counters.iter().map(|worker| worker.in_flight.get());
        in_flight.sum::<u64>() == 0
    };
    let mut found = BTreeMap::new();
    if !is_idle() {
        return found;
    }
    for period in shared.ledger.live().iter() {
        for (id, team) in (0_u32..).zip(period.teams().iter()) {
            for source in Source::ALL {
                let reserved = team.account(*source).figures().reserved().micros();
                let sum = found.entry(TeamId(id)).or_insert(0_u64);
                *sum = sum.saturating_add(reserved.unsigned_abs());
            }
        }
    }
    if is_idle() { found } else { BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_lies_between_what_was_read_before_and_after() {
        let check = |low, ledger, high, want| {
            assert_eq!(apart(low, ledger, high), want, "{low} {ledger} {high}");
        };
        check(5, 5, 5, 0);
        check(5, 7, 9, 0);
        check(5, 4, 9, 1); // an event is lost
        check(5, 10, 9, 1); // one was counted twice
        check(-3, -3, -3, 0); // more was corrected away than was used
    }
}
