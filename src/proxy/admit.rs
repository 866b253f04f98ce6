//! Is there room: from a payer and a quote to a reservation, or a refusal.
//!
//! The only waiting is for the ledger to write down a larger grant, at most [`GRANT_WAIT`].

use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use super::desk::Desk;
use super::fuses::{FuseBlown, HourAt, InForce};
use super::identify::{Because, Payer};
use super::refusal::{Refusal, Refused};
use super::snapshot::{Held, HeldBreaker, Snapshot, TeamEntry};
use crate::budget::admission::{BudgetRefusal, View};
use crate::budget::books::{Ask, Denied, Reservation};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Class;
use crate::budget::settlement::Quote;
use crate::ledger::overrides::Hold;

/// How long a request waits for its grant to be written down (design.md, section 3).
pub const GRANT_WAIT: Duration = Duration::from_millis(250);
/// When to try again where nothing tells.
const AGAIN: Duration = Duration::from_secs(1);
/// Requests of one team in flight whose payer is known by name only: names can be guessed.
pub const BY_NAME_MAX: u32 = 512;

/// What admission gave.
pub struct Admitted {
    /// The credits taken.
    pub reservation: Reservation,
    /// The refusal that was only noted, in shadow mode.
    pub noted: Option<Box<Refused>>,
    /// It passed the open breaker as a turn of a conversation that began below it.
    pub continued: bool,
    /// The team was below its trip point before.
    pub below_trip: bool,
    /// The hour it counts in, where a fuse counts.
    pub fused: Option<HourAt>,
}

/// Takes the estimate from a source, or says no.
///
/// # Errors
/// A budget's refusal, `overloaded`, or `ledger_unavailable`.
pub async fn admit(
    desk: &Desk,
    held: &Held,
    payer: &Payer,
    quote: &Quote,
    may_continue: bool,
    now: Timestamp,
) -> Result<Admitted, Box<Refused>> {
    let team = held
        .team(payer.team)
        .ok_or_else(|| Refused::new(Refusal::Unattributed, "no such team"))?;
    let by_name = ByName::enter(team, payer)?;
    let case = Case {
        desk,
        held,
        team,
        payer,
        ask: asks(team, payer, quote, may_continue, now),
        fuses: fuses(held, payer, quote, now),
        now,
    };
    let before = team.books.own.committed();
    let (reservation, noted) = case.reserved().await?;
    by_name.keep();
    let after = before
        .checked_add(case.ask.estimate)
        .unwrap_or(MicroCredits::MAX);
    Ok(Admitted {
        reservation,
        noted,
        continued: case.ask.continued && after > team.limits.trip_at,
        below_trip: before < team.limits.trip_at,
        fused: case.fuses.map(|fuses| fuses.hour()),
    })
}

/// What a request asks of the books.
pub(super) fn asks(
    team: &TeamEntry,
    payer: &Payer,
    quote: &Quote,
    may_continue: bool,
    now: Timestamp,
) -> Ask {
    Ask {
        class: payer.class,
        estimate: quote.estimate,
        bound: quote.bound,
        continued: may_continue && team.finish_conversations && payer.class == Class::Standard,
        paced_to: match &team.pace {
            Some(pace) => pace.line_at(now),
            None => MicroCredits::ZERO,
        },
    }
}

/// The fuses it must pass. What is free is never refused for budget, and counts in no hour.
pub(super) fn fuses<'s>(
    snapshot: &'s Snapshot,
    payer: &Payer,
    quote: &Quote,
    now: Timestamp,
) -> Option<InForce<'s>> {
    let is_free = quote.estimate.is_zero() && quote.bound.is_zero();
    snapshot.fuses.of(payer, now).filter(|_| !is_free)
}

/// What is judged, and by what.
struct Case<'a> {
    desk: &'a Desk,
    held: &'a Held,
    team: &'a TeamEntry,
    payer: &'a Payer,
    ask: Ask,
    fuses: Option<InForce<'a>>,
    now: Timestamp,
}

impl Case<'_> {
    /// Within the limits; in shadow mode beyond them, with the refusal that is only noted.
    async fn reserved(&self) -> Result<(Reservation, Option<Box<Refused>>), Box<Refused>> {
        let mut noted = None;
        if !self.payer.is_shadow {
            match self.within().await {
                Ok(reservation) => return Ok((reservation, None)),
                Err(refused) if self.team.enforce || !refused.refusal.is_budget() => {
                    return Err(refused);
                }
                Err(refused) => noted = Some(refused),
            }
        }
        let (books, team) = (&self.held.live.books, &self.team.books);
        let reserve =
            || books.reserve_unlimited(team, &self.held.pool, &self.ask, MicroCredits::ZERO);
        let reservation = waiting(self.desk, reserve).await;
        let reservation =
            reservation.map_err(|_| refusal(self.payer, Refusal::LedgerUnavailable))?;
        if let Some(fuses) = self.fuses {
            fuses.add(reservation.estimate); // which may be less than asked for
        }
        Ok((reservation, noted))
    }

    /// Within every limit, fuses and slots among them.
    async fn within(&self) -> Result<Reservation, Box<Refused>> {
        let (no, estimate) = (LastNo::default(), self.ask.estimate);
        let last = |needs_slot| {
            if needs_slot {
                let slot = self.team.throttle.take();
                slot.map_err(|until| no.slot(until))?;
            }
            // After the slot: a slot lost to a blown fuse is nothing, an hour blown by what is given back would be a lot.
            match self.fuses {
                Some(fuses) => fuses.take(estimate).map_err(|blown| no.fuse(blown)),
                None => Ok(()),
            }
        };
        let looked = self.fuses.map_or(Ok(()), |fuses| fuses.look(estimate));
        let taken = match looked {
            Ok(()) => self.granted(last).await,
            Err(blown) => {
                let (refusal, team) = (no.fuse(blown), (&*self.team.books, &self.team.limits));
                let books = &self.held.live.books;
                let view = books.view(team.0, team.1, &self.held.pool, &self.ask);
                let view = Box::new(view);
                Err(Denied::Budget { refusal, view })
            }
        };
        taken.map_err(|denied| match denied {
            Denied::GrantShort => refusal(self.payer, Refusal::LedgerUnavailable),
            Denied::Budget {
                refusal: budget,
                view,
            } => no.explained(self.team, self.payer, budget, *view, self.now),
        })
    }

    /// Reserves; where the grant is short, waits for it; where it stays short, critical traffic spends its emergency.
    async fn granted(
        &self,
        last: impl Fn(bool) -> Result<(), BudgetRefusal>,
    ) -> Result<Reservation, Denied> {
        let (held, team) = (self.held, self.team);
        let reserve = |beyond| {
            let of_team = (&*team.books, &team.limits);
            let books = &held.live.books;
            books.reserve(of_team, &held.pool, &self.ask, beyond, &last)
        };
        match waiting(self.desk, || reserve(MicroCredits::ZERO)).await {
            Err(Denied::GrantShort) if self.ask.class == Class::Critical => {
                reserve(team.limits.emergency)
            }
            taken => taken,
        }
    }
}

/// Why the last step said no, or the first.
#[derive(Default)]
pub(super) struct LastNo {
    wait: Cell<Option<Duration>>,
    fuse: Cell<Option<FuseBlown>>,
}

impl LastNo {
    pub(super) fn slot(&self, until: Duration) -> BudgetRefusal {
        self.wait.set(Some(until));
        BudgetRefusal::Throttled
    }

    pub(super) fn fuse(&self, blown: FuseBlown) -> BudgetRefusal {
        self.fuse.set(Some(blown));
        BudgetRefusal::FuseBlown
    }

    /// The refusal with what it compared, and when it may be another answer.
    pub(super) fn explained(
        &self,
        team: &TeamEntry,
        payer: &Payer,
        budget: BudgetRefusal,
        view: View,
        now: Timestamp,
    ) -> Box<Refused> {
        let mut refused = refusal(payer, budget.into());
        refused.view = Some(view);
        if let Some(held) = held_open(team, &refused) {
            let by = held.by;
            refused.detail =
                format!("a person holds the team's breaker open: override {by}").into();
        }
        refused.retry_after = self.wait.get();
        if let (Refusal::Throttled, Some(pace)) = (refused.refusal, &team.pace) {
            let wait = pace.refused(now, view.own.committed, view.estimate);
            refused.retry_after = Some(wait);
            refused.detail =
                "beyond the trip point what is left is spread over the rest of the period".into();
        }
        if let Some(fuse) = self.fuse.take() {
            let wait = fuse.until.duration_since(now);
            refused.retry_after = Some(wait.try_into().unwrap_or_default());
            refused.detail = fuse.detail(view.estimate).into();
            refused.fuse = Some(fuse);
        }
        refused
    }
}

/// Tries until the grant is there, or [`GRANT_WAIT`] is over.
async fn waiting(
    desk: &Desk,
    mut take: impl FnMut() -> Result<Reservation, Denied>,
) -> Result<Reservation, Denied> {
    match take() {
        // Boxed: rare, and every request would carry its timer.
        Err(Denied::GrantShort) => Box::pin(retrying(desk, take)).await,
        taken => taken,
    }
}

async fn retrying(
    desk: &Desk,
    mut take: impl FnMut() -> Result<Reservation, Denied>,
) -> Result<Reservation, Denied> {
    let until = Instant::now()
        .checked_add(GRANT_WAIT)
        .unwrap_or_else(Instant::now);
    loop {
        // Registered before the question is asked again, so that a raise in between is not missed.
        let mut raised = std::pin::pin!(desk.raised.notified());
        raised.as_mut().enable();
        desk.shared.ledger.wake();
        match take() {
            Err(Denied::GrantShort) => {}
            taken => return taken,
        }
        if timeout_at(until, raised).await.is_err() {
            return Err(Denied::GrantShort);
        }
    }
}

/// A refusal of this payer's request.
fn refusal(payer: &Payer, refusal: Refusal) -> Box<Refused> {
    let detail = match refusal {
        Refusal::LedgerUnavailable => {
            "the ledger cannot write down what this would spend; see /readyz?verbose"
        }
        Refusal::Throttled => "beyond the trip point each request needs a slot",
        Refusal::TeamBreakerOpen => "its class ends at the team's trip point",
        Refusal::TeamExhausted => "the team's allocation has no room for it",
        Refusal::PoolBreakerOpen => "its class ends at the pool's trip point",
        Refusal::PoolExhausted => "the pool has no room for it",
        _ => "",
    };
    let mut refused = Refused::new(refusal, detail);
    refused.team = Some(payer.team);
    refused.class = Some(payer.class);
    refused
}

/// Names can be guessed, so that only so many go at once.
pub(super) fn too_many_by_name(payer: &Payer) -> Box<Refused> {
    let mut refused = refusal(payer, Refusal::Overloaded);
    refused.detail = "too many requests in flight without a key; send a Breakerbox-Key".into();
    refused
}

/// A place among the requests whose payer is known by name only; given up unless kept.
struct ByName<'t> {
    team: Option<&'t TeamEntry>,
}

impl<'t> ByName<'t> {
    fn enter(team: &'t TeamEntry, payer: &Payer) -> Result<Self, Box<Refused>> {
        if payer.because != Because::Named {
            return Ok(Self { team: None });
        }
        let entered = Self { team: Some(team) };
        if team
            .presence
            .by_name_in_flight
            .fetch_add(1, Ordering::Relaxed)
            >= BY_NAME_MAX
        {
            return Err(too_many_by_name(payer));
        }
        Ok(entered)
    }

    /// The ticket gives it up from now on.
    fn keep(mut self) {
        self.team = None;
    }
}

impl Drop for ByName<'_> {
    fn drop(&mut self) {
        if let Some(team) = self.team {
            team.presence
                .by_name_in_flight
                .fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The hold on a breaker that a refusal is due to.
fn held_open(team: &TeamEntry, refused: &Refused) -> Option<HeldBreaker> {
    let held = team.held.filter(|held| held.hold == Hold::Open);
    held.filter(|_| refused.refusal == Refusal::TeamBreakerOpen)
}

/// The next moment at which what said no can be otherwise.
pub fn ends(held: &Snapshot, refused: &Refused, now: Timestamp) -> Timestamp {
    let period = &held.live.books.period;
    let wait = refused.retry_after.unwrap_or(AGAIN);
    match refused.refusal {
        Refusal::Throttled | Refusal::FuseBlown => now.checked_add(wait).unwrap_or(period.end),
        Refusal::TeamBreakerOpen => {
            let team = refused.team.and_then(|at| held.team(at));
            let hold = team.and_then(|team| held_open(team, refused));
            hold.map_or(period.end, |hold| hold.until.min(period.end))
        }
        Refusal::PoolExhausted if refused.view.is_some_and(|view| view.is_year_used_up()) => {
            held.checked.allocations.pool.calendar.year_end(period)
        }
        _ => period.end,
    }
}

/// When a refusal may turn into an answer: seconds, at least 1, at most `most`.
pub fn retry_after(held: &Snapshot, refused: &Refused, now: Timestamp, most: Duration) -> u64 {
    let until = if refused.refusal.is_budget() {
        let left = ends(held, refused, now).duration_since(now);
        Duration::try_from(left).unwrap_or_default()
    } else {
        refused.retry_after.unwrap_or(AGAIN)
    };
    let seconds = until.min(most).as_millis().div_ceil(1000);
    u64::try_from(seconds).unwrap_or(u64::MAX).max(1)
}
