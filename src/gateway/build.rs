//! From a checked configuration and a period to the snapshot requests run on.
//!
//! Counters are carried over: a reload changes limits, never what is used. Where the ledger must learn of new
//! teams or allocations it does so in one step, before anything in memory is touched: a failure changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use jiff::Timestamp;

use super::fuses;
use super::index::{json, keys, named, upstreams};
use super::limits::{self, Limits};
use super::overrides::{Given, Overrides};
use crate::budget::admission::OnTrip;
use crate::budget::allocation::{self, OverAllocated};
use crate::budget::books::{PoolLimits, TeamBooks, TeamLimits};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Source};
use crate::budget::pace::{Pace, Target};
use crate::budget::percent::Percent;
use crate::budget::period::{Period, PeriodName};
use crate::budget::throttle::Throttle;
use crate::config::checked::{Checked, OnBound, Team};
use crate::ledger::event::TeamId;
use crate::ledger::live::LivePeriod;
use crate::ledger::overrides::Effect;
use crate::ledger::periods::{AllocationChange, AllocationFact, PeriodFacts};
use crate::ledger::unlocked::Records;
use crate::ledger::{Ledger, LedgerError};
use crate::proxy::snapshot::{Presence, Snapshot, TeamEntry, UNATTRIBUTED};

/// Why a snapshot cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The ledger cannot write down new teams or allocations.
    #[error("the ledger cannot record the change: {0}")]
    Ledger(#[from] LedgerError),
    /// Shares do not fit this period's pool.
    #[error(transparent)]
    OverAllocated(#[from] OverAllocated),
    /// The chosen card is not there; `check` refuses such a configuration.
    #[error("no rate card is named {0}")]
    NoCard(String),
}

/// Builds snapshots; remembers the teams it has seen.
#[derive(Debug)]
pub struct Builder<R = Ledger> {
    /// What people decided; what of it is in force is chosen with every snapshot.
    pub overrides: Overrides,
    records: R,
    workers: usize,
    presences: HashMap<TeamId, Arc<Presence>>,
    /// What was written down last, and is known to be.
    recorded: Option<(PeriodName, Vec<AllocationFact>)>,
}

impl<R: Records> Builder<R> {
    /// A builder for so many workers.
    pub fn new(records: R, workers: usize) -> Self {
        Self {
            overrides: Overrides::default(),
            records,
            workers,
            presences: HashMap::new(),
            recorded: None,
        }
    }

    /// Every team seen so far, by id.
    pub fn presences(&self) -> Vec<Arc<Presence>> {
        let mut all: Vec<_> = self.presences.values().cloned().collect();
        all.sort_by_key(|presence| presence.id);
        all
    }

    /// The snapshot of a configuration in a period. Written down and not yet in force: see [`Builder::in_force`].
    ///
    /// # Errors
    /// When the ledger cannot record it, or the shares do not fit.
    pub fn build(
        &mut self,
        checked: Arc<Checked>,
        period: &Period,
        previous: Option<&Snapshot>,
        now: Timestamp,
    ) -> Result<Snapshot, BuildError> {
        let pool = &checked.allocations.pool;
        let card = checked
            .card()
            .ok_or_else(|| BuildError::NoCard(pool.rate_card.clone()))?;
        let card = Arc::clone(card);
        let month = allocation::month_pool(pool.annual_credits, period.month);
        let split = checked.allocations.split(month)?;
        let pool_limits = limits::of_pool(pool, month, split.buffer);
        let previous_period = previous.filter(|previous| previous.live.books.period == *period);
        let live = match previous_period {
            Some(previous) => Arc::clone(&previous.live),
            None => self
                .records
                .period(period, &facts(&checked, &pool_limits))?,
        };
        let teams = &checked.allocations.teams;
        let names = teams.iter().map(|team| team.name.as_str());
        let numbers = Numbers::of(&self.records.teams(), names.chain([UNATTRIBUTED]));
        let shares = teams.iter().zip(&numbers.ids).zip(split.allocations);
        let shares: Vec<_> = shares.map(|((team, id), own)| (team, *id, own)).collect();
        let overrides = self.overrides.live(period, now);
        let Limits {
            pool: pool_limits,
            teams: limits,
        } = Limits::new(pool_limits, &shares, &live, &overrides);
        let enforce = checked.gateway.mode.enforce
            && !overrides.iter().any(|row| row.effect == Effect::Shadow);
        let before = previous.map(|previous| &previous.fuses);
        let fuses = fuses::build(
            &self.records,
            &checked.allocations,
            &numbers.ids,
            before,
            now,
        )?;
        // The last thing that can fail: from here on the change is decided.
        self.record(&checked, period, &numbers, &limits, now)?;
        let mut entries = Vec::with_capacity(numbers.ids.len());
        let configured = teams.iter().zip(&numbers.ids);
        for ((team, id), (limits, given)) in configured.zip(limits) {
            let entry = TeamEntry {
                by_override: given.credits(),
                held: given.held,
                ..self.entry(*id, team, limits, &live, enforce)
            };
            entries.push(kept(entry, team, previous, previous_period));
        }
        if let Some(id) = numbers.ids.last() {
            entries.push(self.unattributed(*id, &live, previous_period));
        }
        let config_hash = Arc::from(checked.hash.as_str());
        let upstreams = upstreams(&checked, previous);
        Ok(Snapshot {
            keys: keys(&checked),
            named: named(&checked.allocations),
            fuses,
            unattributed: checked.allocations.pool.unattributed.map(|team| team.0),
            pool: pool_limits,
            config_hash,
            upstreams,
            card,
            live,
            teams: entries,
            checked,
            overrides,
            enforce,
        })
    }

    /// The snapshot is the one requests run on now: breakers, grants and metrics follow its limits. The teams that
    /// have more than before.
    pub fn in_force(&mut self, snapshot: &Snapshot) -> Vec<TeamId> {
        let books = &snapshot.live.books;
        let mut grown = Vec::new();
        for team in &snapshot.teams {
            self.presences
                .entry(team.id)
                .or_insert_with(|| Arc::clone(&team.presence));
            if &*team.name == UNATTRIBUTED {
                // Nothing limits what is only noted, but grants have an end.
                team.books.own.hint_limit(snapshot.pool.annual);
                continue;
            }
            hint_limits(&team.books, &team.limits);
            let committed = team.books.own.committed();
            if team.books.shown.change(team.limits.marks(), committed) {
                grown.push(team.id);
            }
        }
        let _pool_grew = books
            .shown
            .change(snapshot.pool.marks(), books.pool.committed());
        grown
    }

    fn entry(
        &self,
        id: TeamId,
        team: &Team,
        limits: TeamLimits,
        live: &LivePeriod,
        enforce: bool,
    ) -> TeamEntry {
        let presence = self.presence(id, &team.name);
        TeamEntry {
            id,
            name: Arc::clone(&presence.name),
            header: HeaderValue::try_from(team.name.as_str())
                .unwrap_or(HeaderValue::from_static("")),
            books: live.team(id),
            limits,
            by_override: MicroCredits::ZERO,
            held: None,
            throttle: Arc::new(Throttle::per_minute(team.throttle_per_minute)),
            pace: pace(&limits, live),
            class: team.class,
            enforce: enforce && team.enforce,
            finish_conversations: team.finish_conversations,
            on_bound: team.on_bound,
            seen: Arc::default(),
            presence,
        }
    }

    /// Where use nobody pays for is booked: a team without an allocation.
    fn unattributed(
        &self,
        id: TeamId,
        live: &LivePeriod,
        same_period: Option<&Snapshot>,
    ) -> TeamEntry {
        let before = same_period.and_then(|previous| previous.teams.last());
        let seen = before.map(|before| Arc::clone(&before.seen));
        let presence = self.presence(id, UNATTRIBUTED);
        let nothing = MicroCredits::ZERO;
        TeamEntry {
            id,
            name: Arc::clone(&presence.name),
            header: HeaderValue::from_static(UNATTRIBUTED),
            books: live.team(id),
            limits: TeamLimits {
                allocation: nothing,
                trip: Percent::WHOLE,
                trip_at: nothing,
                on_trip: OnTrip::Reject,
                buffer_max: nothing,
                emergency: nothing,
            },
            by_override: nothing,
            held: None,
            throttle: Arc::new(Throttle::per_minute(std::num::NonZeroU32::MIN)),
            pace: None,
            class: Some(Class::Standard),
            enforce: false,
            finish_conversations: false,
            on_bound: OnBound::Extend,
            seen: seen.unwrap_or_default(),
            presence,
        }
    }

    fn presence(&self, id: TeamId, name: &str) -> Arc<Presence> {
        let known = self.presences.get(&id).map(Arc::clone);
        known.unwrap_or_else(|| Arc::new(Presence::new(id, Arc::from(name), self.workers)))
    }

    /// Writes down teams nobody has heard of, and what changed of the allocations: all of it or nothing. Not what was
    /// written down before: what only ends shadow needs no disk.
    fn record(
        &mut self,
        checked: &Checked,
        period: &Period,
        numbers: &Numbers,
        limits: &[(TeamLimits, Given)],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let teams = checked.allocations.teams.iter().zip(&numbers.ids);
        let facts: Vec<_> = teams
            .zip(limits)
            .map(|((team, id), (limits, given))| AllocationFact {
                team: *id,
                allocation: limits.allocation,
                by_override: given.credits(),
                tags: json(&team.tags).unwrap_or_else(|| Arc::from("{}")),
            })
            .collect();
        let recorded = Some((period.name, facts.clone()));
        if recorded == self.recorded {
            return Ok(());
        }
        self.recorded = None; // no answer is not no: it may be written down all the same
        let change = AllocationChange {
            new_teams: numbers.new.clone(),
            facts,
            at: now,
            config_hash: checked.hash.clone(),
        };
        self.records.record_allocations(period.name, change)?;
        self.recorded = recorded;
        Ok(())
    }
}

/// Each team's number: for those the ledger knows, its own, for the others the next ones.
struct Numbers {
    ids: Vec<TeamId>,
    new: Vec<(TeamId, String)>,
}

impl Numbers {
    fn of<'n>(known: &[String], names: impl Iterator<Item = &'n str>) -> Self {
        let (mut ids, mut new) = (Vec::new(), Vec::<(TeamId, String)>::new());
        for name in names {
            let is_new = new.iter().find(|(_, other)| other == name);
            let known_at = known.iter().position(|other| other == name);
            let next = known.len().saturating_add(new.len());
            let id = match (is_new, known_at) {
                (Some((id, _)), _) => *id,
                (None, at) => TeamId(u32::try_from(at.unwrap_or(next)).unwrap_or(u32::MAX)),
            };
            if is_new.is_none() && known_at.is_none() {
                new.push((id, name.to_owned()));
            }
            ids.push(id);
        }
        Self { ids, new }
    }
}

/// What a reload leaves as it is: slots at the same rate, the pacing line where it goes to the same amount, what
/// clients made up in the same period.
fn kept<'s>(
    mut entry: TeamEntry,
    team: &Team,
    previous: Option<&'s Snapshot>,
    same_period: Option<&'s Snapshot>,
) -> TeamEntry {
    let id = entry.id;
    let find = |snapshot: Option<&'s Snapshot>| snapshot?.teams.iter().find(|team| team.id == id);
    let (last, same_period) = (find(previous), find(same_period));
    if let Some(last) = last
        && last.throttle.rate_per_minute() == team.throttle_per_minute
    {
        entry.throttle = Arc::clone(&last.throttle);
    }
    if let Some(before) = same_period {
        entry.seen = Arc::clone(&before.seen);
        let target = |pace: &Option<Arc<Pace>>| pace.as_ref().map(|pace| *pace.target());
        if target(&before.pace) == target(&entry.pace) {
            entry.pace.clone_from(&before.pace);
        }
    }
    entry
}

/// The line of a team that is paced, not started yet.
fn pace(limits: &TeamLimits, live: &LivePeriod) -> Option<Arc<Pace>> {
    (limits.on_trip == OnTrip::Pace).then(|| {
        Arc::new(Pace::new(Target {
            allocation: limits.allocation,
            trip_at: limits.trip_at,
            end: live.books.period.end,
        }))
    })
}

/// Grants get smaller towards the limit. Shared sources are limited by what is left of them for all.
fn hint_limits(books: &TeamBooks, limits: &TeamLimits) {
    books.account(Source::Own).hint_limit(limits.allocation);
    books.account(Source::Buffer).hint_limit(limits.buffer_max);
}

fn facts(checked: &Checked, limits: &PoolLimits) -> PeriodFacts {
    let pool = &checked.allocations.pool;
    PeriodFacts {
        zone: pool.calendar.zone().iana_name().unwrap_or("UTC").to_owned(),
        month_pool: limits.month,
        buffer: limits.buffer,
        burst: limits.burst,
        annual_credits: limits.annual,
        carry_over: pool.carry_over,
        config_hash: checked.hash.clone(),
    }
}
