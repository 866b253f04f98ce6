//! Overrides: which are in force, what they change of the limits, and which may be made.
//!
//! Credits belong to a period; a held breaker and shadow to a time. What is over by the clock is out of force at
//! once, whether or not its end could be written down yet.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::budget::admission::OnTrip;
use crate::budget::books::{PoolLimits, TeamLimits};
use crate::budget::credits::MicroCredits;
use crate::budget::period::Period;
use crate::ledger::LedgerError;
use crate::ledger::event::TeamId;
use crate::ledger::overrides::{By, Effect, Funded, Hold, Override};
use crate::proxy::snapshot::{HeldBreaker, Snapshot, UNATTRIBUTED};

/// The most overrides in force at once: each is a person's decision.
pub const LIVE_MAX: usize = 64;
/// The longest a breaker is held: over a month's edge, not for ever.
pub const HOLD_MAX: SignedDuration = SignedDuration::from_hours(31 * 24);
/// The longest shadow: whoever needs it for longer writes it into the configuration.
pub const SHADOW_MAX: SignedDuration = SignedDuration::from_hours(24);
/// The most characters of a reason.
pub const REASON_MAX: usize = 500;
/// The most characters of an author's name, and of a caller's name for a request.
pub const NAME_MAX: usize = 200;

/// What somebody wants.
#[derive(Clone, Debug)]
pub struct Wish {
    /// For which team; `None` for all.
    pub team: Option<String>,
    /// What it shall do.
    pub effect: Effect,
    /// Until when; where nothing is said, until the period ends.
    pub until: Option<Timestamp>,
    /// The caller's name for the request: asked again so, it makes no second override.
    pub asked_as: Option<String>,
    /// Who, why, and from where.
    pub by: By,
}

/// A change of what people decided.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new override.
    Make(Wish),
    /// The end of one.
    End(i64, By),
    /// The end of shadow.
    Enforce(By),
}

/// Why nothing changed. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// There is no such team or override.
    #[error("{0}")]
    Unknown(String),
    /// The rules say no.
    #[error("{0}")]
    Refused(String),
    /// It contradicts what was decided before.
    #[error("{0}")]
    Conflict(String),
    /// It cannot be written down, and what is not written down does not happen.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
}

/// Who decides, and why: both said, both bounded, neither with characters that change how a log reads.
///
/// # Errors
/// What to say instead.
pub fn by(reason: &str, author: &str, remote: String) -> Result<By, String> {
    Ok(By {
        reason: text("reason", reason, REASON_MAX)?,
        author: text("author", author, NAME_MAX)?,
        remote,
    })
}

/// A text of at most `most` characters.
///
/// # Errors
/// What to say instead.
pub fn text(name: &str, text: &str, most: usize) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(format!(
            "{name} is missing: say it, for whoever reads it later"
        ));
    }
    if text.chars().count() > most || text.chars().any(char::is_control) {
        return Err(format!("{name}: at most {most} characters, in one line"));
    }
    Ok(text.to_owned())
}

/// Every override whose end is not written down.
#[derive(Debug, Default)]
pub struct Overrides {
    rows: Vec<Arc<Override>>,
}

impl Overrides {
    /// Those the ledger remembers.
    pub fn restored(rows: Vec<Override>) -> Self {
        Self {
            rows: rows.into_iter().map(Arc::new).collect(),
        }
    }

    /// Those in force, the oldest first.
    pub(super) fn live(&self, period: &Period, now: Timestamp) -> Vec<Arc<Override>> {
        let live = self.rows.iter().filter(|row| is_live(row, period, now));
        live.cloned().collect()
    }

    /// Those that are over, and whose end is still to be written down.
    pub(super) fn over(&self, period: &Period, now: Timestamp) -> Vec<Arc<Override>> {
        let over = self.rows.iter().filter(|row| !is_live(row, period, now));
        over.cloned().collect()
    }

    pub(super) fn get(&self, id: i64) -> Option<&Arc<Override>> {
        self.rows.iter().find(|row| row.id == id)
    }

    pub(super) fn add(&mut self, row: Arc<Override>) {
        self.rows.push(row);
    }

    pub(super) fn remove(&mut self, id: i64) {
        self.rows.retain(|row| row.id != id);
    }
}

/// Credits that last as long as their period do so also while the period is held.
fn is_live(row: &Override, period: &Period, now: Timestamp) -> bool {
    match row.effect {
        Effect::Credits(..) => {
            row.period == period.name && (now < row.until || row.until >= period.end)
        }
        Effect::Hold(_) | Effect::Shadow => now < row.until,
    }
}

/// What overrides give a team.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    buffer: MicroCredits,
    annual: MicroCredits,
    pub(super) held: Option<HeldBreaker>,
}

impl Given {
    pub(super) fn to(team: TeamId, live: &[Arc<Override>]) -> Self {
        let mut given = Self::default();
        for row in live.iter().filter(|row| row.team == Some(team)) {
            match row.effect {
                Effect::Credits(Funded::Buffer, credits) => {
                    given.buffer = plus(given.buffer, credits);
                }
                Effect::Credits(Funded::Annual, credits) => {
                    given.annual = plus(given.annual, credits);
                }
                Effect::Hold(hold) => {
                    let (by, until) = (row.id, row.until);
                    given.held = Some(HeldBreaker { hold, by, until });
                }
                Effect::Shadow => {}
            }
        }
        given
    }

    /// Its extra credits.
    pub(super) fn credits(&self) -> MicroCredits {
        plus(self.buffer, self.annual)
    }

    /// What it comes out of: the buffer shrinks, or the month grows. A buffer that a reload made smaller than what
    /// was given out of it is shown as a debt.
    pub(super) fn fund(&self, pool: &mut PoolLimits) {
        let buffer = pool.buffer.micros().saturating_sub(self.buffer.micros());
        pool.buffer = MicroCredits::from_micros(buffer);
        pool.month = plus(pool.month, self.annual);
        pool.trip_at = pool.trip.of(pool.month);
    }

    /// Held open, the trip point is at nothing and nobody gets a slot; held closed, it is at the allocation.
    pub(super) fn hold(&self, limits: TeamLimits) -> TeamLimits {
        match self.held.map(|held| held.hold) {
            None => limits,
            Some(Hold::Open) => TeamLimits {
                trip_at: MicroCredits::ZERO,
                on_trip: OnTrip::Reject,
                ..limits
            },
            Some(Hold::Closed) => TeamLimits {
                trip_at: limits.allocation,
                ..limits
            },
        }
    }
}

/// A sum of credits; the most there can be, where it does not fit.
pub(super) fn plus(amount: MicroCredits, more: MicroCredits) -> MicroCredits {
    amount.checked_add(more).unwrap_or(MicroCredits::MAX)
}

/// When the wish shall end, if it may be granted at all.
///
/// # Errors
/// What to ask for instead.
pub(super) fn may(
    wish: &Wish,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Timestamp, NotChanged> {
    let period = &snapshot.live.books.period;
    let until = wish.until.unwrap_or(period.end);
    let (latest, why) = match wish.effect {
        Effect::Credits(..) => (period.end, "extra credits end with their period"),
        Effect::Hold(_) => (
            within(now, HOLD_MAX),
            "a breaker is held for 31 days at most",
        ),
        Effect::Shadow => (within(now, SHADOW_MAX), "shadow lasts for 24 hours at most"),
    };
    let refused = |why: String| Err(NotChanged::Refused(why));
    if until <= now {
        return refused(format!("until {until} is over; it is {now}"));
    }
    if until > latest {
        return refused(format!("{why}: until {latest} or earlier"));
    }
    if snapshot.overrides.len() >= LIVE_MAX {
        return Err(NotChanged::Conflict(format!(
            "{LIVE_MAX} overrides are in force, and more nobody keeps in mind: end one first"
        )));
    }
    let (limits, books) = (&snapshot.pool, &snapshot.live.books);
    let (credits, left, what) = match wish.effect {
        Effect::Hold(_) | Effect::Shadow => return Ok(until),
        Effect::Credits(Funded::Buffer, credits) => (
            credits,
            limits.buffer.checked_sub(books.buffer.committed()),
            "the central buffer has only {} credits left; ask for less, or with source = \"annual\"",
        ),
        Effect::Credits(Funded::Annual, credits) => (
            credits,
            limits.annual.checked_sub(books.year.committed.committed()),
            "the contract year has only {} credits left; ask for less",
        ),
    };
    let left = left.unwrap_or_default();
    if credits > left {
        return refused(what.replace("{}", &left.to_string()));
    }
    Ok(until)
}

fn within(now: Timestamp, most: SignedDuration) -> Timestamp {
    now.saturating_add(most).unwrap_or(now)
}

/// The team a wish is for.
///
/// # Errors
/// When none is called so.
pub(super) fn team_of(wish: &Wish, snapshot: &Snapshot) -> Result<Option<TeamId>, NotChanged> {
    let Some(name) = &wish.team else {
        return Ok(None);
    };
    let mut teams = snapshot.teams.iter();
    let team = teams.find(|team| *team.name == **name && &**name != UNATTRIBUTED);
    match team {
        Some(team) => Ok(Some(team.id)),
        None => Err(NotChanged::Unknown(
            "no team of this name is configured; see /api/v1/teams".to_owned(),
        )),
    }
}

#[cfg(test)]
#[path = "overrides_tests.rs"]
mod tests;
