//! The owner's part in overrides and mode: written down first, then shown; over by their time, shown first.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::overrides::{self, Change, NotChanged, Wish};
use super::owner::Taker;
use super::reload::NotTaken;
use crate::clock;
use crate::ledger::overrides::{By, Effect, Hold, Override};
use crate::ledger::trace::ConfigUsed;
use crate::proxy::snapshot::Snapshot;

/// Who is named for an end that came by itself.
const BY_TIME: &str = "breakerbox";
/// How long the owner waits after an end that could not be written down: a disk may take seconds to say no, and
/// others wait for the owner too.
const PAUSE: Duration = Duration::from_secs(5);

impl Taker {
    /// Does what somebody wants, or says why not.
    pub(super) fn change(&mut self, change: Change) -> Result<Arc<Override>, NotChanged> {
        let snapshot = self.control.shared.snapshot.load_full();
        let now = to_millis(clock::now());
        match change {
            Change::Make(mut wish) => {
                wish.until = wish.until.map(to_millis);
                self.make(wish, &snapshot, now)
            }
            Change::End(id, by) => self.end(id, by, now),
            Change::Enforce(by) => self.enforce(by, &snapshot, now),
        }
    }

    fn make(
        &mut self,
        wish: Wish,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Arc<Override>, NotChanged> {
        let team = overrides::team_of(&wish, snapshot)?;
        let is_same = |row: &Override| {
            row.team == team
                && row.effect == wish.effect
                && wish.until.is_none_or(|until| until == row.until)
                && (&row.reason, &row.author) == (&wish.by.reason, &wish.by.author)
        };
        if let Some(name) = &wish.asked_as
            && let Some(known) = self.control.shared.ledger.override_asked_as(name)?
        {
            return if is_same(&known) {
                Ok(Arc::new(known))
            } else {
                let why = format!(
                    "{name:?} was asked for before, with other content: it is override {}",
                    known.id
                );
                Err(NotChanged::Conflict(why))
            };
        }
        let mut live = snapshot.overrides.iter();
        let repeated = live.find(|row| row.effect == Effect::Shadow && is_same(row));
        if let Some(known) = repeated {
            return Ok(Arc::clone(known)); // it could do nothing more
        }
        let until = overrides::may(&wish, snapshot, now)?;
        let replaces = replaced(&wish, team, snapshot);
        let mut row = Override {
            id: 0,
            at: now,
            period: snapshot.live.books.period.name,
            team,
            effect: wish.effect,
            until,
            reason: wish.by.reason,
            author: wish.by.author,
            asked_as: wish.asked_as,
            ended: None,
        };
        let ledger = &self.control.shared.ledger;
        let written = ledger.make_override(row.clone(), &wish.by.remote, replaces.clone());
        // No answer is not no: what was written all the same is found at the next look.
        row.id = written.inspect_err(|_| self.overrides_unsure = true)?;
        for id in replaces {
            self.builder.overrides.remove(id);
        }
        let row = Arc::new(row);
        self.builder.overrides.add(Arc::clone(&row));
        say(&row, snapshot, "an override was made");
        self.show_again(snapshot);
        Ok(row)
    }

    fn end(&mut self, id: i64, by: By, now: Timestamp) -> Result<Arc<Override>, NotChanged> {
        let ledger = &self.control.shared.ledger;
        let unknown =
            || NotChanged::Unknown("there is no such override; see /api/v1/overrides".to_owned());
        if self.builder.overrides.get(id).is_some() {
            let ended = ledger.end_override(id, now, by);
            ended.inspect_err(|_| self.overrides_unsure = true)?;
            self.is_over(id);
        }
        let row = self.control.shared.ledger.override_of(id)?;
        Ok(Arc::new(row.ok_or_else(unknown)?))
    }

    fn enforce(
        &mut self,
        by: By,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<Arc<Override>, NotChanged> {
        match snapshot.shadow() {
            Some(shadow) => self.end(shadow.id, by, now),
            None if snapshot.enforce => Err(NotChanged::Conflict(
                "refusals are enforced already".to_owned(),
            )),
            None => Err(NotChanged::Conflict(
                "the configuration says so: set [mode] enforce = true in breakerbox.toml"
                    .to_owned(),
            )),
        }
    }

    /// Out of force, and shown so.
    fn is_over(&mut self, id: i64) {
        let snapshot = self.control.shared.snapshot.load_full();
        let Some(row) = self.builder.overrides.get(id).cloned() else {
            return;
        };
        self.builder.overrides.remove(id);
        say(&row, &snapshot, "an override is over");
        self.show_again(&snapshot);
        if row.effect == Effect::Hold(Hold::Open) {
            // Also where nothing was shown meanwhile: it may have ended while no process ran.
            let snapshot = self.control.shared.snapshot.load_full();
            let mut teams = snapshot.teams.iter();
            if let Some(team) = teams.find(|team| Some(team.id) == row.team) {
                team.books.shown.recompute(team.books.own.committed());
            }
        }
    }

    /// Into a period that began, and out of overrides that are over.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let snapshot = self.control.shared.snapshot.load_full();
        let calendar = &snapshot.checked.allocations.pool.calendar;
        let period = self.clock.current(calendar, now);
        let began = period.filter(|period| period.start > snapshot.live.books.period.start);
        let now = self.clock.latest(now); // as a snapshot is built
        if began.is_none() && !self.overrides_changed(&snapshot, now) {
            return;
        }
        if self.show_again(&snapshot)
            && let Some(period) = began
        {
            tracing::info!(period = %period.name, "a new period began");
        }
    }

    /// Whether other overrides are in force than shown.
    fn overrides_changed(&self, snapshot: &Snapshot, now: Timestamp) -> bool {
        let live = self
            .builder
            .overrides
            .live(&snapshot.live.books.period, now);
        let ids = |rows: &[Arc<Override>]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
        ids(&live) != ids(&snapshot.overrides)
    }

    /// Writes down what ended by itself. It is out of force already, so that it may wait for a disk.
    pub(super) fn look_at_overrides(&mut self, now: Timestamp) {
        if self
            .ends_paused_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        if self.overrides_unsure {
            match self.control.shared.ledger.open_overrides() {
                Ok(rows) => self.builder.overrides = overrides::Overrides::restored(rows),
                Err(error) => tracing::warn!(%error, "overrides cannot be read again"),
            }
            self.overrides_unsure = false;
        }
        let period = self.control.shared.snapshot.load_full().live.books.period;
        for row in self.builder.overrides.over(&period, now) {
            let by = By {
                reason: "its time is over".to_owned(),
                author: BY_TIME.to_owned(),
                remote: String::new(),
            };
            let ended = row.until.min(now);
            match self.control.shared.ledger.end_override(row.id, ended, by) {
                Ok(()) => self.is_over(row.id),
                Err(error) => {
                    tracing::warn!(%error, id = row.id, "the end of an override cannot be written down");
                    self.ends_paused_until = Instant::now().checked_add(PAUSE);
                    return;
                }
            }
        }
    }

    /// The same configuration in another period or under other overrides; whether it is shown. Where it is not, the
    /// next look tries again.
    fn show_again(&mut self, snapshot: &Snapshot) -> bool {
        match self.show(Arc::clone(&snapshot.checked)) {
            Ok((snapshot, grown)) => {
                let now = self.clock.latest(clock::now());
                self.watcher.rearm(&snapshot, &grown, now);
                return true;
            }
            Err(NotTaken::Ledger(error)) => tracing::error!(
                error,
                "period and overrides cannot be brought up to date; trying again"
            ),
            Err(NotTaken::Faults(faults)) => tracing::error!(
                ?faults,
                "period and overrides cannot be brought up to date; trying again"
            ),
        }
        false
    }
}

/// What is written down of the configuration in force.
pub(super) fn used(snapshot: &Snapshot) -> ConfigUsed {
    ConfigUsed {
        hash: snapshot.config_hash.to_string(),
        rate_card: snapshot.card.name.clone(),
    }
}

/// As the ledger keeps it, so that an override reads the same when it is made and ever after.
fn to_millis(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// A team's breaker is held one way, and shadow has one end: the newest decision takes the place of the one before.
fn replaced(
    wish: &Wish,
    team: Option<crate::ledger::event::TeamId>,
    snapshot: &Snapshot,
) -> Vec<i64> {
    let is_alike = |row: &Override| match (wish.effect, row.effect) {
        (Effect::Hold(_), Effect::Hold(_)) => row.team == team,
        (Effect::Shadow, Effect::Shadow) => true,
        _ => false,
    };
    let live = snapshot.overrides.iter();
    live.filter(|row| is_alike(row)).map(|row| row.id).collect()
}

fn say(row: &Override, snapshot: &Snapshot, what: &'static str) {
    let mut teams = snapshot.teams.iter();
    let team = teams.find(|team| Some(team.id) == row.team);
    tracing::warn!(
        id = row.id,
        team = team.map_or("", |team| &*team.name),
        effect = row.effect.describe(),
        until = %row.until,
        author = row.author,
        reason = row.reason,
        what
    );
}
