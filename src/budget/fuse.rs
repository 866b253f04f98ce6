//! A fuse: the most one request and one hour may cost, for a team or an agent.
//!
//! Against a runaway agent a month is too coarse. Each hour has a sum of its own, made for that hour and never used
//! for another, so amount and hour cannot disagree. What has blown stays blown until the hour is over: the hour
//! remembers the limit it blew at, and only a higher one, from a reload, makes it whole before.

use std::sync::atomic::{AtomicI64, Ordering};

use super::account::Total;
use super::credits::MicroCredits;

/// Seconds in an hour.
const HOUR_S: i64 = 3_600;

/// The hour a moment lies in, counted from the epoch; UTC.
pub const fn hour_of(seconds: i64) -> i64 {
    seconds.div_euclid(HOUR_S)
}

/// The first second after an hour.
pub const fn end_of_hour(hour: i64) -> i64 {
    hour.saturating_add(1).saturating_mul(HOUR_S)
}

/// What a fuse lets through; [`MicroCredits::MAX`] where nothing is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuseLimits {
    /// The most one request may cost.
    pub per_request: MicroCredits,
    /// The most all requests of an hour may cost.
    pub per_hour: MicroCredits,
}

impl FuseLimits {
    /// What is configured; `None` where nothing is.
    pub fn new(per_request: Option<MicroCredits>, per_hour: Option<MicroCredits>) -> Option<Self> {
        (per_request.is_some() || per_hour.is_some()).then(|| Self {
            per_request: per_request.unwrap_or(MicroCredits::MAX),
            per_hour: per_hour.unwrap_or(MicroCredits::MAX),
        })
    }

    /// What would not pass though nothing else were spent.
    fn refuse_alone(&self, estimate: MicroCredits) -> Option<Blown> {
        let (cause, at_most) = if estimate > self.per_request {
            (Cause::RequestTooDear, self.per_request)
        } else if estimate > self.per_hour {
            (Cause::RequestOverHour, self.per_hour)
        } else {
            return None;
        };
        Some(Blown {
            cause,
            committed: MicroCredits::ZERO,
            at_most,
        })
    }
}

/// Why a fuse lets a request not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It is expected to cost more than one request may. Nothing was spent, so it is refused alone.
    RequestTooDear,
    /// It is expected to cost more than a whole hour may. Likewise refused alone.
    RequestOverHour,
    /// An answer of this hour turned out dearer than one request may be.
    AnswerTooDear,
    /// The hour's requests would cost more than they may, or have.
    HourFull,
}

impl Cause {
    /// The key in the configuration that it passed.
    pub const fn limit(self) -> &'static str {
        match self {
            Self::RequestTooDear | Self::AnswerTooDear => "max_per_request",
            Self::RequestOverHour | Self::HourFull => "max_per_hour",
        }
    }

    /// Whether everything is refused until the hour's end.
    pub const fn is_blown(self) -> bool {
        match self {
            Self::RequestTooDear | Self::RequestOverHour => false,
            Self::AnswerTooDear | Self::HourFull => true,
        }
    }
}

/// A fuse that let a request not pass, with the numbers it compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blown {
    /// Why.
    pub cause: Cause,
    /// What the hour's requests committed; for [`Cause::AnswerTooDear`] what the dearest cost; nothing for a request
    /// that is refused alone, since it is judged by itself.
    pub committed: MicroCredits,
    /// What the fuse lets through.
    pub at_most: MicroCredits,
}

/// No request was too dear, nothing has blown.
const NEVER: i64 = i64::MIN;

/// What one team or agent committed in one hour, and what of its fuse has blown.
#[derive(Debug)]
pub struct Hour {
    /// Counted from the epoch.
    number: i64,
    committed: Total,
    state: State,
}

/// Read by every request, written when something blows: not on the sum's line.
#[derive(Debug)]
struct State {
    /// The estimate of the dearest request that was refused alone.
    refused: AtomicI64,
    /// The price of the dearest answer that was too dear.
    dearest: AtomicI64,
    /// The `max_per_request` it was too dear for.
    request_blew_at: AtomicI64,
    /// The `max_per_hour` the hour was full at.
    hour_blew_at: AtomicI64,
}

impl Hour {
    /// An hour in which nothing was spent.
    pub fn new(number: i64) -> Self {
        Self::restored(number, MicroCredits::ZERO)
    }

    /// An hour as the ledger remembers it.
    pub fn restored(number: i64, committed: MicroCredits) -> Self {
        let never = || AtomicI64::new(NEVER);
        Self {
            number,
            committed: Total::restored(committed),
            state: State {
                refused: never(),
                dearest: never(),
                request_blew_at: never(),
                hour_blew_at: never(),
            },
        }
    }

    /// It blew before a restart, at this limit.
    pub fn blew(&self, cause: Cause, at_most: MicroCredits) {
        match cause {
            Cause::RequestTooDear | Cause::RequestOverHour => {}
            Cause::AnswerTooDear => raise(&self.state.request_blew_at, at_most),
            Cause::HourFull => raise(&self.state.hour_blew_at, at_most),
        }
    }

    /// Which hour, counted from the epoch.
    pub const fn number(&self) -> i64 {
        self.number
    }

    /// What its requests committed: settled and in flight.
    pub fn committed(&self) -> MicroCredits {
        self.committed.committed()
    }

    /// Whether a request may pass; takes nothing. What does not fit the hour blows it.
    ///
    /// # Errors
    /// What says no.
    pub fn look(&self, limits: &FuseLimits, estimate: MicroCredits) -> Result<(), Blown> {
        if let Some(blown) = self
            .hour_full(limits)
            .or_else(|| self.answer_too_dear(limits))
        {
            return Err(blown);
        }
        if let Some(refused) = limits.refuse_alone(estimate) {
            raise(&self.state.refused, estimate);
            return Err(refused);
        }
        let sum = self.committed().checked_add(estimate);
        match sum.is_some_and(|sum| sum <= limits.per_hour) {
            true => Ok(()),
            false => Err(self.blow(limits)),
        }
    }

    /// Takes an estimate unless the hour's sum would pass the limit. One atomic step.
    ///
    /// # Errors
    /// The hour is full, and from now on blown.
    pub fn take(&self, limits: &FuseLimits, estimate: MicroCredits) -> Result<(), Blown> {
        match self.committed.try_commit(estimate, limits.per_hour) {
            Some(_) => Ok(()),
            None => Err(self.blow(limits)),
        }
    }

    /// Adds what is not limited: shadow mode. Or gives an estimate back, below zero.
    pub fn add(&self, change_micros: i64) {
        self.committed.adjust(change_micros);
    }

    /// Replaces an estimate by a price; true where one request may not cost as much.
    pub fn settle(&self, limits: &FuseLimits, estimate: MicroCredits, price: MicroCredits) -> bool {
        self.add(price.micros().saturating_sub(estimate.micros()));
        price > limits.per_request
    }

    /// An answer was too dear. Said to the hour in which it is found, not the one it was admitted in.
    pub fn too_dear(&self, limits: &FuseLimits, price: MicroCredits) {
        raise(&self.state.dearest, price);
        raise(&self.state.request_blew_at, limits.per_request);
    }

    /// Everything the fuse had to refuse in this hour under these limits, for alerts.
    pub fn found(&self, limits: &FuseLimits) -> impl Iterator<Item = Blown> {
        let refused = read(&self.state.refused).and_then(|estimate| {
            let committed = estimate;
            let refused = limits.refuse_alone(estimate)?;
            Some(Blown {
                committed,
                ..refused
            })
        });
        let blown = [self.hour_full(limits), self.answer_too_dear(limits)];
        refused.into_iter().chain(blown.into_iter().flatten())
    }

    fn hour_full(&self, limits: &FuseLimits) -> Option<Blown> {
        let blew_at = self.state.hour_blew_at.load(Ordering::Acquire);
        (limits.per_hour.micros() <= blew_at).then(|| self.full(limits))
    }

    fn answer_too_dear(&self, limits: &FuseLimits) -> Option<Blown> {
        let blew_at = self.state.request_blew_at.load(Ordering::Acquire);
        (limits.per_request.micros() <= blew_at).then(|| Blown {
            cause: Cause::AnswerTooDear,
            committed: read(&self.state.dearest).unwrap_or(limits.per_request),
            at_most: limits.per_request,
        })
    }

    fn blow(&self, limits: &FuseLimits) -> Blown {
        raise(&self.state.hour_blew_at, limits.per_hour);
        self.full(limits)
    }

    fn full(&self, limits: &FuseLimits) -> Blown {
        Blown {
            cause: Cause::HourFull,
            committed: self.committed(),
            at_most: limits.per_hour,
        }
    }
}

fn read(state: &AtomicI64) -> Option<MicroCredits> {
    let micros = state.load(Ordering::Acquire);
    (micros != NEVER).then(|| MicroCredits::from_micros(micros))
}

/// Writes only on a change, so that the line stays shared.
fn raise(state: &AtomicI64, to: MicroCredits) {
    if state.load(Ordering::Acquire) < to.micros() {
        state.fetch_max(to.micros(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn micros(micros: i64) -> MicroCredits {
        MicroCredits::from_micros(micros)
    }

    fn limits(per_request: Option<i64>, per_hour: Option<i64>) -> FuseLimits {
        FuseLimits::new(per_request.map(micros), per_hour.map(micros)).unwrap()
    }

    #[track_caller]
    fn check(hour: &Hour, limits: &FuseLimits, estimate: i64, want: Option<(Cause, i64)>) {
        let got = hour.look(limits, micros(estimate));
        let got = got.and_then(|()| hour.take(limits, micros(estimate)));
        let got = got
            .err()
            .map(|blown| (blown.cause, blown.committed.micros()));
        assert_eq!(got, want, "a request of {estimate}");
    }

    #[test]
    fn what_does_not_fit_the_hour_blows_it_and_it_stays_so() {
        let (hour, limits) = (Hour::new(7), limits(None, Some(100)));
        check(&hour, &limits, 60, None);
        check(&hour, &limits, 40, None);
        check(&hour, &limits, 1, Some((Cause::HourFull, 100)));
        assert!(!hour.settle(&limits, micros(60), micros(10)), "cheaper");
        assert_eq!(hour.committed().micros(), 50);
        check(&hour, &limits, 1, Some((Cause::HourFull, 50)));
        check(&Hour::new(8), &limits, 100, None);
    }

    #[test]
    fn a_request_too_dear_is_refused_alone_and_an_answer_too_dear_blows() {
        let (hour, limits) = (Hour::new(7), limits(Some(10), None));
        check(&hour, &limits, 11, Some((Cause::RequestTooDear, 0)));
        let found: Vec<_> = hour.found(&limits).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].cause, found[0].committed.micros()),
            (Cause::RequestTooDear, 11)
        );
        check(&hour, &limits, 10, None);
        assert!(!hour.settle(&limits, micros(10), micros(10)));
        check(&hour, &limits, 10, None);
        assert!(hour.settle(&limits, micros(10), micros(25)));
        hour.too_dear(&limits, micros(25));
        check(&hour, &limits, 1, Some((Cause::AnswerTooDear, 25)));
        assert_eq!(hour.committed().micros(), 35);
    }

    #[test]
    fn a_request_no_hour_has_room_for_stops_nobody_else() {
        let (hour, limits) = (Hour::new(7), limits(None, Some(100)));
        check(&hour, &limits, 101, Some((Cause::RequestOverHour, 0)));
        check(&hour, &limits, 100, None);
        check(&hour, &limits, 101, Some((Cause::RequestOverHour, 0)));
        check(&hour, &limits, 1, Some((Cause::HourFull, 100)));
        check(&hour, &limits, 101, Some((Cause::HourFull, 100)));
    }

    #[test]
    fn only_a_higher_limit_makes_it_whole() {
        let hour = Hour::new(7);
        check(&hour, &limits(None, Some(5)), 3, None);
        check(&hour, &limits(None, Some(5)), 3, Some((Cause::HourFull, 3)));
        check(&hour, &limits(None, Some(4)), 1, Some((Cause::HourFull, 3)));
        check(&hour, &limits(None, Some(6)), 3, None);
        check(&hour, &limits(Some(1), None), 1, None);
        check(&hour, &limits(None, Some(5)), 1, Some((Cause::HourFull, 7)));
    }

    #[test]
    fn a_restart_forgets_neither_the_sum_nor_that_it_blew() {
        let limits = limits(Some(10), Some(100));
        let restored = || Hour::restored(7, micros(90));
        check(&restored(), &limits, 11, Some((Cause::RequestTooDear, 0)));
        check(&restored(), &limits, 10, None);
        let hour = Hour::restored(7, micros(96));
        check(&hour, &limits, 5, Some((Cause::HourFull, 96)));
        for (cause, committed) in [(Cause::HourFull, 90), (Cause::AnswerTooDear, 10)] {
            let hour = restored();
            hour.blew(
                cause,
                if committed == 90 {
                    micros(100)
                } else {
                    micros(10)
                },
            );
            check(&hour, &limits, 1, Some((cause, committed)));
        }
    }

    #[test]
    fn threads_fill_an_hour_to_the_last_credit_and_no_further() {
        let (hour, limits) = (Hour::new(7), limits(None, Some(10_000)));
        let run = || {
            for round in 0..20_000_i64 {
                // Blown after the first that did not fit, so nobody looks: smaller ones may still fit.
                let _full = hour.take(&limits, micros(1 + round.rem_euclid(3))).is_err();
                assert!(hour.committed() <= limits.per_hour);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(run);
            }
        });
        assert_eq!(hour.committed(), limits.per_hour);
    }
}
