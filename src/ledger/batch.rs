//! A batch: events and the sums they fold into, until both are on disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use compact_str::CompactString;

use super::event::{Confidence, Event, IdempotencyRow, SessionRow, TeamId};
use super::hours::QUARTER_S;
use crate::budget::operation::{Class, Operation, Source};
use crate::budget::period::PeriodName;
use crate::salesforce::NamedKind;

/// The most raw events kept while the disk cannot take them, about 80 MB; later ones are folded only.
pub(super) const RAW_MAX: usize = 200_000;

/// What one event is summed up under.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RollupKey {
    /// Quarters of an hour since the epoch: days and periods begin with one, in every zone there is.
    pub(super) quarter: i64,
    pub(super) period: PeriodName,
    pub(super) team: TeamId,
    pub(super) operation: Operation,
    pub(super) class: Class,
    pub(super) source: Source,
    pub(super) confidence: Confidence,
    pub(super) named: Option<(NamedKind, CompactString)>,
    pub(super) agent_type: Option<Arc<str>>,
    pub(super) key: Option<Arc<str>>,
    pub(super) tags: Option<Arc<str>>,
}

/// Sums of one rollup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RollupSums {
    pub(super) requests: u64,
    pub(super) credits_micros: i64,
    pub(super) units: u64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

/// An account by its row's key, without the holder.
pub(super) type AccountKey = (PeriodName, TeamId, Source);

/// Events that keep no row of their own, and what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Folded {
    pub(super) rows: u64,
    pub(super) micros: i64,
}

/// Events and their sums.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Rows for the events files.
    pub(super) events: Vec<Event>,
    pub(super) folded: BTreeMap<AccountKey, Folded>,
    pub(super) rollups: HashMap<RollupKey, RollupSums, foldhash::fast::RandomState>,
    pub(super) settled: BTreeMap<AccountKey, i64>,
    pub(super) sessions: HashMap<CompactString, SessionRow>,
    /// By key.
    pub(super) idempotency: BTreeMap<u128, IdempotencyRow>,
    /// Events taken in, raw or folded.
    pub(super) count: u64,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds an event to the sums; its row is kept while there is room. True if it was.
    pub(super) fn add(&mut self, mut event: Event, keep_raw: bool) -> bool {
        if let Some(session) = event.session.take() {
            if keep_raw {
                event.session = Some(session.clone());
            }
            self.remember(*session);
        }
        if let Some(made) = event.idempotency.take() {
            self.idempotency.insert(made.key, *made);
        }
        self.sum(&event);
        let kept = keep_raw && self.events.len() < RAW_MAX;
        if kept {
            self.events.push(event);
        } else {
            let (key, micros) = (account_of(&event), event.credits.micros());
            self.fold(key, Folded { rows: 1, micros });
        }
        kept
    }

    fn fold(&mut self, key: AccountKey, more: Folded) {
        let folded = self.folded.entry(key).or_default();
        folded.rows = folded.rows.saturating_add(more.rows);
        folded.micros = folded.micros.saturating_add(more.micros);
    }

    /// Keeps the newest row of a session.
    fn remember(&mut self, session: SessionRow) {
        let known = self.sessions.get(&session.session);
        if known.is_none_or(|known| known.version < session.version) {
            self.sessions.insert(session.session.clone(), session);
        }
    }

    fn sum(&mut self, event: &Event) {
        let credits = event.credits.micros();
        let sums = self.rollups.entry(RollupKey::of(event)).or_default();
        sums.add(&RollupSums {
            requests: 1,
            credits_micros: credits,
            units: event.usage.units,
            input_tokens: event.usage.input_tokens,
            output_tokens: event.usage.output_tokens,
        });
        let settled = self.settled.entry(account_of(event)).or_default();
        *settled = settled.saturating_add(credits);
        self.count = self.count.saturating_add(1);
    }

    /// Takes another batch's sums; its rows are gone already.
    pub(super) fn merge(&mut self, other: Self) {
        let rollups = other.rollups.into_iter();
        rollups.for_each(|(key, sums)| self.rollups.entry(key).or_default().add(&sums));
        for (key, micros) in other.settled {
            let settled = self.settled.entry(key).or_default();
            *settled = settled.saturating_add(micros);
        }
        other
            .sessions
            .into_values()
            .for_each(|session| self.remember(session));
        self.idempotency.extend(other.idempotency);
        for (key, folded) in other.folded {
            self.fold(key, folded);
        }
        self.count = self.count.saturating_add(other.count);
    }
}

/// The account an event is settled on.
pub(super) const fn account_of(event: &Event) -> AccountKey {
    (event.period, event.team, event.source)
}

impl RollupKey {
    fn of(event: &Event) -> Self {
        Self {
            quarter: event.at.as_second().div_euclid(QUARTER_S),
            period: event.period,
            team: event.team,
            operation: event.operation,
            class: event.class,
            source: event.source,
            confidence: event.confidence,
            named: event.named.clone(),
            agent_type: event.agent_type.clone(),
            key: event.key.clone(),
            tags: event.tags.clone(),
        }
    }
}

impl RollupSums {
    pub(super) fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.credits_micros = self.credits_micros.saturating_add(other.credits_micros);
        self.units = self.units.saturating_add(other.units);
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}
