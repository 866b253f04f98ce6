//! From a checked configuration and a period to the snapshot requests run on.
//!
//! Counters are carried over: a reload changes limits, never what is used. Where the ledger must learn of new
//! teams or allocations it does so first, so that a failure changes nothing.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use http::HeaderValue;
use jiff::Timestamp;

use super::overrides::{Given, Overrides, plus};
use crate::budget::allocation::{self, OverAllocated};
use crate::budget::books::{PoolLimits, TeamBooks, TeamLimits};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Source};
use crate::budget::percent::Percent;
use crate::budget::period::{Period, PeriodName};
use crate::budget::throttle::Throttle;
use crate::config::checked::{Checked, Named, OnBound, Tags, Team, Upstream};
use crate::ledger::event::TeamId;
use crate::ledger::live::LivePeriod;
use crate::ledger::overrides::Effect;
use crate::ledger::periods::{AllocationFact, PeriodFacts};
use crate::ledger::unlocked::Records;
use crate::ledger::{Ledger, LedgerError};
use crate::proxy::snapshot::{
    KeyEntry, NamedEntry, Presence, Snapshot, TeamEntry, UNATTRIBUTED, UpstreamEntry,
};
use crate::salesforce::NamedKind;
use crate::salesforce::call::UpstreamName;

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

    /// The snapshot of a configuration in a period.
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
        let mut pool_limits = PoolLimits {
            month,
            trip: pool.trip,
            trip_at: pool.trip.of(month),
            buffer: split.buffer,
            burst: pool.burst.of(month),
            annual: pool.annual_credits,
            overage_cap: pool.overage_cap.unwrap_or_default(),
        };
        let previous_period = previous.filter(|previous| previous.live.books.period == *period);
        let live = match previous_period {
            Some(previous) => Arc::clone(&previous.live),
            None => self
                .records
                .period(period, &facts(&checked, &pool_limits))?,
        };
        let presences = checked.allocations.teams.iter();
        let presences = presences.map(|team| self.presence(&team.name));
        let presences = presences.collect::<Result<Vec<_>, _>>()?;
        let carried: Vec<_> = presences
            .iter()
            .map(|team| live.carried_by(team.id))
            .collect();
        grow(&mut pool_limits, live.carried_to_buffer(), &carried);
        let whole_buffer = pool_limits.buffer;
        let overrides = self.overrides.live(period, now);
        let enforce = checked.gateway.mode.enforce
            && !overrides.iter().any(|row| row.effect == Effect::Shadow);
        let mut teams = Vec::with_capacity(checked.allocations.teams.len().saturating_add(1));
        let configured = checked.allocations.teams.iter().zip(&presences);
        for ((team, presence), (allocation, more)) in
            configured.zip(split.allocations.iter().zip(&carried))
        {
            let given = Given::to(presence.id, &overrides);
            given.fund(&mut pool_limits);
            let allocation = plus(plus(*allocation, *more), given.credits());
            let limits = given.hold(team_limits(team, allocation, whole_buffer));
            let entry = TeamEntry {
                by_override: given.credits(),
                held: given.held,
                ..self.entry(team, limits, &live, enforce)?
            };
            teams.push(kept(entry, team, previous, previous_period));
        }
        teams.push(self.unattributed(&live)?);
        self.record(&checked, period, &teams, now)?;
        let config_hash = Arc::from(checked.hash.as_str());
        let upstreams = upstreams(&checked, previous);
        Ok(Snapshot {
            keys: keys(&checked),
            named: named(&checked.allocations.named),
            unattributed: checked.allocations.pool.unattributed.map(|team| team.0),
            pool: pool_limits,
            config_hash,
            upstreams,
            card,
            live,
            teams,
            checked,
            overrides,
            enforce,
        })
    }

    fn entry(
        &mut self,
        team: &Team,
        limits: TeamLimits,
        live: &LivePeriod,
        enforce: bool,
    ) -> Result<TeamEntry, LedgerError> {
        let presence = self.presence(&team.name)?;
        let books = live.team(presence.id);
        hint_limits(&books, &limits);
        Ok(TeamEntry {
            id: presence.id,
            name: Arc::clone(&presence.name),
            header: HeaderValue::try_from(team.name.as_str())
                .unwrap_or(HeaderValue::from_static("")),
            books,
            limits,
            by_override: MicroCredits::ZERO,
            held: None,
            throttle: Arc::new(Throttle::per_minute(team.throttle_per_minute)),
            class: team.class,
            enforce: enforce && team.enforce,
            finish_conversations: team.finish_conversations,
            on_bound: team.on_bound,
            tag_values: Arc::default(),
            presence,
        })
    }

    /// Where use nobody pays for is booked: a team without an allocation.
    fn unattributed(&mut self, live: &LivePeriod) -> Result<TeamEntry, LedgerError> {
        let presence = self.presence(UNATTRIBUTED)?;
        let nothing = MicroCredits::ZERO;
        Ok(TeamEntry {
            id: presence.id,
            name: Arc::clone(&presence.name),
            header: HeaderValue::from_static(UNATTRIBUTED),
            books: live.team(presence.id),
            limits: TeamLimits {
                allocation: nothing,
                trip: Percent::WHOLE,
                trip_at: nothing,
                on_trip: crate::budget::admission::OnTrip::Reject,
                buffer_max: nothing,
                emergency: nothing,
            },
            by_override: nothing,
            held: None,
            throttle: Arc::new(Throttle::per_minute(std::num::NonZeroU32::MIN)),
            class: Some(Class::Standard),
            enforce: false,
            finish_conversations: false,
            on_bound: OnBound::Extend,
            tag_values: Arc::default(),
            presence,
        })
    }

    fn presence(&mut self, name: &str) -> Result<Arc<Presence>, LedgerError> {
        let id = self.records.team(name)?;
        let workers = self.workers;
        let presence = self
            .presences
            .entry(id)
            .or_insert_with(|| Arc::new(Presence::new(id, Arc::from(name), workers)));
        Ok(Arc::clone(presence))
    }

    /// Writes down what teams may spend, unless it was before: what only ends shadow needs no disk.
    fn record(
        &mut self,
        checked: &Checked,
        period: &Period,
        teams: &[TeamEntry],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let facts: Vec<_> = teams
            .iter()
            .zip(&checked.allocations.teams)
            .map(|(entry, team)| AllocationFact {
                team: entry.id,
                allocation: entry.limits.allocation,
                by_override: entry.by_override,
                tags: json(&team.tags).unwrap_or_else(|| Arc::from("{}")),
            })
            .collect();
        let recorded = Some((period.name, facts));
        if let Some((_, facts)) = recorded.as_ref().filter(|_| recorded != self.recorded) {
            let hash = &checked.hash;
            self.records
                .record_allocations(period.name, facts, now, hash)?;
        }
        self.recorded = recorded;
        Ok(())
    }
}

/// What was carried into the period is there beside the month's own.
fn grow(limits: &mut PoolLimits, to_buffer: MicroCredits, to_teams: &[MicroCredits]) {
    let all = to_teams.iter().copied().fold(to_buffer, plus);
    limits.buffer = plus(limits.buffer, to_buffer);
    limits.month = plus(limits.month, all);
    limits.trip_at = limits.trip.of(limits.month);
}

/// What a reload leaves as it is: slots at the same rate, tag values in the same period.
fn kept(
    mut entry: TeamEntry,
    team: &Team,
    previous: Option<&Snapshot>,
    same_period: Option<&Snapshot>,
) -> TeamEntry {
    let find = |snapshot: Option<&Snapshot>| {
        let before = snapshot?
            .teams
            .iter()
            .find(|before| before.id == entry.id)?;
        Some((Arc::clone(&before.throttle), Arc::clone(&before.tag_values)))
    };
    if let Some((throttle, _)) = find(previous)
        && throttle.rate_per_minute() == team.throttle_per_minute
    {
        entry.throttle = throttle;
    }
    if let Some((_, tag_values)) = find(same_period) {
        entry.tag_values = tag_values;
    }
    entry
}

fn team_limits(team: &Team, allocation: MicroCredits, buffer: MicroCredits) -> TeamLimits {
    TeamLimits {
        allocation,
        trip: team.trip,
        trip_at: team.trip.of(allocation),
        on_trip: team.on_trip,
        buffer_max: team
            .buffer_max
            .map_or(MicroCredits::MAX, |share| share.of(buffer)),
        emergency: team.emergency.of(allocation),
    }
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

fn keys(checked: &Checked) -> HashMap<[u8; 32], Arc<KeyEntry>> {
    let keys = checked.allocations.keys.iter().map(|key| {
        let entry = KeyEntry {
            name: Arc::from(key.name.as_str()),
            team: key.team.0,
            class: key.class,
            may_use: key.may_use.iter().map(|team| team.0).collect(),
            expires_ms: key.expires.map(Timestamp::as_millisecond),
            tags: json(&key.tags),
        };
        (key.sha256, Arc::new(entry))
    });
    keys.collect()
}

fn named(all: &[Named]) -> [HashMap<CompactString, NamedEntry, FixedState>; NamedKind::ALL.len()] {
    NamedKind::ALL.map(|kind| {
        let of_kind = all.iter().filter(|named| named.kind == kind).map(|named| {
            let entry = NamedEntry {
                team: named.team.0,
                class: named.class,
                agent_type: named.agent_type.as_deref().map(Arc::from),
                tags: json(&named.tags),
            };
            (CompactString::from(named.id.as_str()), entry)
        });
        of_kind.collect()
    })
}

/// Canonical: keys in order.
fn json(tags: &Tags) -> Option<Arc<str>> {
    if tags.is_empty() {
        None
    } else {
        serde_json::to_string(tags).ok().map(Arc::from)
    }
}

/// An unchanged upstream keeps its entry, and with it its idle connections.
fn upstreams(
    checked: &Checked,
    previous: Option<&Snapshot>,
) -> [Option<Arc<UpstreamEntry>>; UpstreamName::ALL.len()] {
    let configured = &checked.gateway.upstreams;
    UpstreamName::ALL.map(|name| {
        let at: &Upstream = match name {
            UpstreamName::Api => Some(&configured.api),
            UpstreamName::Org => Some(&configured.org),
            UpstreamName::Data => configured.data.as_ref(),
            UpstreamName::OpenConnector => configured.openconnector.as_ref(),
        }?;
        let before = previous.and_then(|previous| previous.upstream(name));
        if let Some(same) = before.filter(|before| before.at == *at) {
            return Some(Arc::clone(same));
        }
        let host =
            HeaderValue::try_from(at.authority.as_str()).unwrap_or(HeaderValue::from_static(""));
        Some(Arc::new(UpstreamEntry {
            at: at.clone(),
            host,
        }))
    })
}
