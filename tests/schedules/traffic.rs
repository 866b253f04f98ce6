//! Four threads' calls, a ledger's thread that grants, and which counter is which.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use swapped::recorded::atomic::{Step, steps_of};
use swapped::recorded::budget;

use budget::admission::{BudgetRefusal, OnTrip};
use budget::books::{
    Ask, Denied, PeriodBooks, PoolLimits, Reservation, TeamBooks, TeamLimits, YearBooks,
};
use budget::credits::MicroCredits;
use budget::model::{Micros, Request, Taken, Verdict};
use budget::operation::{Class, Source};
use budget::percent::Percent;
use budget::period::Calendar;

pub(super) const TEAMS: usize = 3;
const CALLS: u64 = 3_000;

/// What a counter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Settled(usize, Source),
    Committed(usize, Source),
    Exposed(usize, Source),
    Granted(usize, Source),
    Pool,
    Buffer,
    Burst,
    Year,
    Overage,
}

/// What one thread did, and what that did to the counters.
pub(super) struct Done {
    pub(super) what: What,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// Asked under the limits of the first or the second configuration.
    Asked(Request, usize, Verdict),
    Settled(Taken, Micros),
    Extended(Taken, Micros),
    Corrected(usize, Source, Micros),
    Granted,
}

/// Two configurations: a reload lies between them, and calls under either run beside each other.
pub(super) type Limits = [([TeamLimits; TEAMS], PoolLimits); 2];

pub(super) struct Ground {
    books: PeriodBooks,
    teams: [TeamBooks; TEAMS],
    pub(super) limits: Limits,
}

fn credits(micros: i64) -> MicroCredits {
    MicroCredits::from_micros(micros)
}

fn limits(scale: i64, annual: i64) -> ([TeamLimits; TEAMS], PoolLimits) {
    let trip = Percent::whole(90);
    let team = |allocation: i64, on_trip| TeamLimits {
        allocation: credits(allocation * scale),
        trip,
        trip_at: trip.of(credits(allocation * scale)),
        on_trip,
        buffer_max: credits(60 * scale),
        emergency: credits(40),
    };
    let month = credits(4_000 * scale);
    let pool = PoolLimits {
        month,
        trip,
        trip_at: trip.of(month),
        buffer: credits(100 * scale),
        burst: credits(60 * scale),
        annual: credits(annual),
        overage_cap: credits(100 * scale),
    };
    let teams = [
        team(1_000, OnTrip::Throttle),
        team(2_000, OnTrip::Reject),
        team(1_200, OnTrip::Throttle),
    ];
    (teams, pool)
}

/// A stream of numbers that looks random. The seed is printed; schedules are the machine's, and differ.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn amount(&mut self, most: u64) -> i64 {
        i64::try_from(self.below(most)).unwrap()
    }
}

impl Ground {
    pub(super) fn new() -> Self {
        let calendar = Calendar::new("2026-02-01".parse().unwrap(), jiff::tz::TimeZone::UTC);
        let year = Arc::new(YearBooks::default());
        Self {
            books: PeriodBooks::new(calendar.period(9).unwrap(), year),
            teams: std::array::from_fn(|_| TeamBooks::default()),
            limits: [limits(2, 8_100), limits(3, 13_000)],
        }
    }

    /// Every counter's value now.
    pub(super) fn values(&self) -> Vec<(u64, i64)> {
        let (_, steps) = steps_of(|| {
            for team in &self.teams {
                for source in Source::ALL {
                    team.account(*source).figures();
                }
            }
            let (books, year) = (&self.books, &self.books.year);
            for total in [
                &books.pool,
                &books.buffer,
                &books.burst,
                &year.committed,
                &year.overage,
            ] {
                total.committed();
            }
        });
        steps
            .iter()
            .map(|step| (step.counter, step.after))
            .collect()
    }

    /// A thread's calls, from the first to the last; what it still holds at the end it settles.
    ///
    /// The first half uses the limits up; then most is given back, so that calls go on meeting each other there.
    pub(super) fn traffic(&self, mut dice: Dice) -> Vec<Done> {
        let (mut done, mut held) = (Vec::new(), Vec::new());
        for call in 0..CALLS {
            let is_filling = call * 2 < CALLS;
            if call % 32 == 0 {
                done.extend(self.grants()); // should the ledger's thread not get its turn
            }
            let (what, steps) = match dice.below(12) {
                0..=4 => self.ask(&mut dice, &mut held),
                5 => self.correct(&mut dice),
                6 => self.extend(&mut dice, &mut held),
                _ => self.end(&mut dice, &mut held, is_filling),
            };
            done.extend(what.map(|what| Done { what, steps }));
        }
        while !held.is_empty() {
            let (what, steps) = self.end(&mut dice, &mut held, false);
            done.extend(what.map(|what| Done { what, steps }));
        }
        done
    }

    fn ask(
        &self,
        dice: &mut Dice,
        held: &mut Vec<(usize, Reservation)>,
    ) -> (Option<What>, Vec<Step>) {
        let (team, config) = (dice.amount(3), usize::from(dice.below(2) == 1));
        let team = usize::try_from(team).unwrap();
        let (teams, pool) = &self.limits[config];
        let estimate = dice.amount(12);
        let class = Class::ALL[usize::try_from(dice.below(3)).unwrap()];
        let beyond = if class == Class::Critical && dice.below(4) == 0 {
            teams[team].emergency
        } else {
            MicroCredits::ZERO
        };
        let bound = if estimate == 0 {
            0
        } else {
            estimate + dice.amount(9)
        };
        let ask = Ask {
            class,
            estimate: credits(estimate),
            bound: credits(bound),
            continued: class == Class::Standard && dice.below(5) == 0,
            paced_to: MicroCredits::ZERO,
        };
        let (is_free, mut was_given) = (dice.below(2) == 0, false);
        let mut slot = |needs_slot| {
            was_given = is_free;
            match needs_slot && !is_free {
                true => Err(BudgetRefusal::Throttled),
                false => Ok(()),
            }
        };
        let asking = (&self.teams[team], &teams[team]);
        let (answer, steps) =
            steps_of(|| self.books.reserve(asking, pool, &ask, beyond, &mut slot));
        let verdict = match answer {
            Ok(reservation) => {
                let taken = taken(team, &reservation);
                held.push((team, reservation));
                Verdict::Admitted(taken)
            }
            Err(Denied::GrantShort) => Verdict::GrantShort,
            Err(Denied::Budget { refusal, .. }) => Verdict::Refused(refusal),
        };
        let request = Request {
            team,
            class,
            estimate: estimate.into(),
            bound: bound.into(),
            continued: ask.continued,
            paced_to: 0,
            slot: was_given, // one that was not asked for is one that the model must not need
            beyond: beyond.micros().into(),
            enforced: true,
        };
        (Some(What::Asked(request, config, verdict)), steps)
    }

    /// Ends a call: at its estimate, cheaper, dearer, above its bound, or given back.
    fn end(
        &self,
        dice: &mut Dice,
        held: &mut Vec<(usize, Reservation)>,
        is_filling: bool,
    ) -> (Option<What>, Vec<Step>) {
        if held.is_empty() {
            return (None, Vec::new());
        }
        let at = usize::try_from(dice.below(held.len() as u64)).unwrap();
        let (team, reservation) = held.swap_remove(at);
        let (taken, books) = (taken(team, &reservation), &self.teams[team]);
        let estimate = reservation.estimate.micros();
        let price = match dice.below(16) {
            0 => dice.amount(25),
            _ if is_filling => estimate + dice.amount(4),
            1..=3 => dice.amount(estimate.unsigned_abs() + 1),
            _ => {
                let ((), steps) = steps_of(|| self.books.void(books, reservation));
                return (Some(What::Settled(taken, 0)), steps);
            }
        };
        let ((), steps) = steps_of(|| self.books.settle(books, reservation, credits(price)));
        (Some(What::Settled(taken, price.into())), steps)
    }

    fn extend(
        &self,
        dice: &mut Dice,
        held: &mut [(usize, Reservation)],
    ) -> (Option<What>, Vec<Step>) {
        let Some((team, reservation)) = held.last_mut() else {
            return (None, Vec::new());
        };
        let (taken, more) = (taken(*team, reservation), dice.amount(6));
        let books = &self.teams[*team];
        let (_, steps) = steps_of(|| self.books.extend(books, reservation, credits(more)));
        (Some(What::Extended(taken, more.into())), steps)
    }

    /// Imported use and corrections, seldom and small beside the traffic.
    fn correct(&self, dice: &mut Dice) -> (Option<What>, Vec<Step>) {
        if dice.below(10) > 0 {
            return (None, Vec::new());
        }
        let team = usize::try_from(dice.below(3)).unwrap();
        let source = Source::ALL[usize::try_from(dice.below(4)).unwrap()];
        let change = dice.amount(20) - 8;
        let books = &self.teams[team];
        let ((), steps) = steps_of(|| self.books.correct(books, source, credits(change)));
        (Some(What::Corrected(team, source, change.into())), steps)
    }

    /// The ledger's thread.
    pub(super) fn ledger(&self, stop: &AtomicBool) -> Vec<Done> {
        let mut done = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            done.extend(self.grants());
            std::thread::park_timeout(std::time::Duration::from_millis(1));
        }
        done
    }

    /// Grants every account what is exposed and wanted, and a little more.
    fn grants(&self) -> impl Iterator<Item = Done> + '_ {
        let accounts = self.teams.iter().flat_map(|team| {
            let sources = Source::ALL.iter();
            sources.map(|source| team.account(*source))
        });
        accounts.map(|account| {
            let ((), steps) = steps_of(|| {
                let figures = account.figures();
                assert!(figures.reserved() >= MicroCredits::ZERO, "{figures:?}");
                let to = figures.exposed.max(figures.wanted).micros() + 60;
                account.raise_grant(credits(to));
            });
            let what = What::Granted;
            Done { what, steps }
        })
    }

    /// Which counter is which: by what public readers touch.
    pub(super) fn roles(&self) -> BTreeMap<u64, Role> {
        let mut roles = BTreeMap::new();
        for (at, team) in self.teams.iter().enumerate() {
            for source in Source::ALL {
                let (_, steps) = steps_of(|| team.account(*source).figures());
                let [settled, committed, exposed, granted, ..] = &steps[..] else {
                    panic!(
                        "an account's figures are read from {} counters",
                        steps.len()
                    );
                };
                let (source, at) = (*source, at);
                roles.insert(settled.counter, Role::Settled(at, source));
                roles.insert(committed.counter, Role::Committed(at, source));
                roles.insert(exposed.counter, Role::Exposed(at, source));
                roles.insert(granted.counter, Role::Granted(at, source));
            }
        }
        let totals = [
            (&self.books.pool, Role::Pool),
            (&self.books.buffer, Role::Buffer),
            (&self.books.burst, Role::Burst),
            (&self.books.year.committed, Role::Year),
            (&self.books.year.overage, Role::Overage),
        ];
        for (total, role) in totals {
            let (_, steps) = steps_of(|| total.committed());
            roles.insert(steps[0].counter, role);
        }
        roles
    }
}

fn taken(team: usize, reservation: &Reservation) -> Taken {
    Taken {
        team,
        source: reservation.source,
        estimate: reservation.estimate.micros().into(),
        bound: reservation.bound.micros().into(),
    }
}
