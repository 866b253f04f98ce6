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

use super::fuses;
use crate::budget::admission::OnTrip;
use crate::budget::allocation::{self, OverAllocated};
use crate::budget::books::{PoolLimits, TeamBooks, TeamLimits};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Source};
use crate::budget::pace::{Pace, Target};
use crate::budget::percent::Percent;
use crate::budget::period::Period;
use crate::budget::throttle::Throttle;
use crate::config::checked::{Allocations, Checked, OnBound, Tags, Team, Upstream};
use crate::ledger::event::TeamId;
use crate::ledger::live::LivePeriod;
use crate::ledger::periods::{AllocationFact, PeriodFacts};
use crate::ledger::{Ledger, LedgerError};
use crate::proxy::snapshot::{
    KeyEntry, NamedEntry, Presence, Snapshot, TeamEntry, UNATTRIBUTED, UpstreamEntry,
};
use crate::salesforce::call::UpstreamName;
use crate::salesforce::{NamedKind, names};

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
pub struct Builder {
    ledger: Ledger,
    workers: usize,
    presences: HashMap<TeamId, Arc<Presence>>,
}

impl Builder {
    /// A builder for so many workers.
    pub fn new(ledger: Ledger, workers: usize) -> Self {
        Self {
            ledger,
            workers,
            presences: HashMap::new(),
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
            None => self.ledger.period(period, &facts(&checked, &pool_limits))?,
        };
        let presences = checked.allocations.teams.iter();
        let presences = presences.map(|team| self.presence(&team.name));
        let presences = presences.collect::<Result<Vec<_>, _>>()?;
        let carried: Vec<_> = presences
            .iter()
            .map(|team| live.carried_by(team.id))
            .collect();
        grow(&mut pool_limits, live.carried_to_buffer(), &carried);
        let mut teams = Vec::with_capacity(checked.allocations.teams.len().saturating_add(1));
        let allocations = split.allocations.iter().zip(&carried);
        for (team, (allocation, more)) in checked.allocations.teams.iter().zip(allocations) {
            let allocation = plus(*allocation, *more);
            let limits = team_limits(team, allocation, pool_limits.buffer);
            let entry = self.entry(team, limits, &live, checked.gateway.mode.enforce)?;
            teams.push(kept(entry, team, previous, previous_period));
        }
        teams.push(self.unattributed(&live, &pool_limits)?);
        let before = previous.map(|previous| &previous.fuses);
        let fuses = fuses::build(&self.ledger, &checked.allocations, &teams, before, now)?;
        self.record(&checked, period, &teams, now)?;
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
            teams,
            checked,
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
            throttle: Arc::new(Throttle::per_minute(team.throttle_per_minute)),
            pace: pace(&limits, live),
            class: team.class,
            enforce: enforce && team.enforce,
            finish_conversations: team.finish_conversations,
            on_bound: team.on_bound,
            seen: Arc::default(),
            presence,
        })
    }

    /// Where use nobody pays for is booked: a team without an allocation.
    fn unattributed(
        &mut self,
        live: &LivePeriod,
        pool: &PoolLimits,
    ) -> Result<TeamEntry, LedgerError> {
        let presence = self.presence(UNATTRIBUTED)?;
        let nothing = MicroCredits::ZERO;
        // Nothing limits what is only noted, but grants have an end.
        live.team(presence.id).own.hint_limit(pool.annual);
        Ok(TeamEntry {
            id: presence.id,
            name: Arc::clone(&presence.name),
            header: HeaderValue::from_static(UNATTRIBUTED),
            books: live.team(presence.id),
            limits: TeamLimits {
                allocation: nothing,
                trip: Percent::WHOLE,
                trip_at: nothing,
                on_trip: OnTrip::Reject,
                buffer_max: nothing,
                emergency: nothing,
            },
            throttle: Arc::new(Throttle::per_minute(std::num::NonZeroU32::MIN)),
            pace: None,
            class: Some(Class::Standard),
            enforce: false,
            finish_conversations: false,
            on_bound: OnBound::Extend,
            seen: Arc::default(),
            presence,
        })
    }

    fn presence(&mut self, name: &str) -> Result<Arc<Presence>, LedgerError> {
        let id = self.ledger.team(name)?;
        let workers = self.workers;
        let presence = self
            .presences
            .entry(id)
            .or_insert_with(|| Arc::new(Presence::new(id, Arc::from(name), workers)));
        Ok(Arc::clone(presence))
    }

    fn record(
        &self,
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
                tags: json(&team.tags).unwrap_or_else(|| Arc::from("{}")),
            })
            .collect();
        self.ledger
            .record_allocations(period.name, &facts, now, &checked.hash)
    }
}

/// What was carried into the period is there beside the month's own.
fn grow(limits: &mut PoolLimits, to_buffer: MicroCredits, to_teams: &[MicroCredits]) {
    let all = to_teams.iter().copied().fold(to_buffer, plus);
    limits.buffer = plus(limits.buffer, to_buffer);
    limits.month = plus(limits.month, all);
    limits.trip_at = limits.trip.of(limits.month);
}

fn plus(amount: MicroCredits, more: MicroCredits) -> MicroCredits {
    amount.checked_add(more).unwrap_or(MicroCredits::MAX)
}

/// What a reload leaves as it is: slots at the same rate, the pacing line where it goes to the same amount, what
/// clients made up in the same period. More allocation brings the shown breaker back to what is committed.
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
        let (limits, now) = (&before.limits, &entry.limits);
        if now.trip_at > limits.trip_at || now.allocation > limits.allocation {
            entry
                .books
                .shown
                .recompute(entry.limits.breaker(entry.books.own.committed()));
        }
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

fn named(
    all: &Allocations,
) -> [HashMap<CompactString, NamedEntry, FixedState>; NamedKind::ALL.len()] {
    let fuses: HashMap<_, _> = (0..)
        .zip(fuses::agents_with_one(all))
        .map(|(at, (agent, _))| (agent.id.as_str(), at))
        .collect();
    NamedKind::ALL.map(|kind| {
        let is_agent = kind == NamedKind::Agent;
        let mut of_kind = HashMap::default();
        for named in all.named.iter().filter(|named| named.kind == kind) {
            let id = CompactString::from(named.id.as_str());
            let entry = NamedEntry {
                id: id.clone(),
                team: named.team.0,
                class: named.class,
                agent_type: named.agent_type.as_deref().map(Arc::from),
                tags: json(&named.tags),
                fuse: fuses.get(named.id.as_str()).copied().filter(|_| is_agent),
            };
            let mut buffer = [0; names::NAME_MAX];
            if let Some(spelling) = names::one_spelling(kind, &named.id, &mut buffer) {
                of_kind.insert(CompactString::from(spelling), entry.clone());
            }
            of_kind.insert(id, entry);
        }
        of_kind
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
