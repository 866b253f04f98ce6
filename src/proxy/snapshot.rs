//! The configuration and the running period, indexed for the request path.
//!
//! Built off the request path, published by one swap, never changed. A reload builds the next one around the
//! same counters, so that limits change and counts do not.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use compact_str::CompactString;
use foldhash::fast::FixedState;
use http::HeaderValue;
use jiff::Timestamp;

use super::counters::TeamCounters;
use super::fuses::Fuses;
use crate::budget::books::{PoolLimits, TeamBooks, TeamLimits};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Class;
use crate::budget::pace::Pace;
use crate::budget::throttle::Throttle;
pub use crate::config::checked::UNATTRIBUTED;
use crate::config::checked::{Checked, OnBound, Upstream};
use crate::ledger::event::TeamId;
use crate::ledger::live::LivePeriod;
use crate::ledger::overrides::{Effect, Funded, Hold, Override};
use crate::rates::card::Card;
use crate::salesforce::call::UpstreamName;
use crate::salesforce::{NamedKind, names};

/// The snapshot as one worker holds it: counted without atomics, so that workers do not share a line for it.
pub type Held = Rc<Arc<Snapshot>>;

/// One state of the world, for whole requests.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What it was built from.
    pub checked: Arc<Checked>,
    /// `checked.hash`, shared with decision records.
    pub config_hash: Arc<str>,
    /// The rate card in use.
    pub card: Arc<Card>,
    /// The running period.
    pub live: Arc<LivePeriod>,
    /// What all teams share in it.
    pub pool: PoolLimits,
    /// Teams in file order, then [`UNATTRIBUTED`].
    pub teams: Vec<TeamEntry>,
    /// By SHA-256.
    pub keys: HashMap<[u8; 32], Arc<KeyEntry>>,
    /// By kind and id, as configured and in the one spelling that all others have. Ids come from the configuration,
    /// so nobody outside can make them collide.
    pub named: [HashMap<CompactString, NamedEntry, FixedState>; NamedKind::ALL.len()],
    /// What one request and one hour may cost, where that is limited.
    pub fuses: Fuses,
    /// Who pays where nobody is known; `None` refuses.
    pub unattributed: Option<usize>,
    /// By name; the same entry across reloads that do not change it, so that its connections stay in use.
    pub upstreams: [Option<Arc<UpstreamEntry>>; UpstreamName::ALL.len()],
    /// What people decided and is in force, the oldest first.
    pub overrides: Vec<Arc<Override>>,
    /// False: refusals are only noted, by the configuration or by an override.
    pub enforce: bool,
}

/// An upstream on the request path.
#[derive(Debug)]
pub struct UpstreamEntry {
    /// Where it is.
    pub at: Upstream,
    /// Its `Host`.
    pub host: HeaderValue,
}

/// A team on the request path.
#[derive(Clone, Debug)]
pub struct TeamEntry {
    /// In the ledger.
    pub id: TeamId,
    /// As configured.
    pub name: Arc<str>,
    /// The same, as a header value.
    pub header: HeaderValue,
    /// Its accounts in the running period.
    pub books: Arc<TeamBooks>,
    /// What it may spend.
    pub limits: TeamLimits,
    /// The part of the allocation that overrides gave.
    pub by_override: MicroCredits,
    /// Whether a person holds the breaker; the limits say so already.
    pub held: Option<HeldBreaker>,
    /// Its slots above the trip point.
    pub throttle: Arc<Throttle>,
    /// Its line above the trip point, where it is paced.
    pub pace: Option<Arc<Pace>>,
    /// The class of calls that state none.
    pub class: Option<Class>,
    /// False: refusals are only noted.
    pub enforce: bool,
    /// Turns of conversations opened below the trip point may finish.
    pub finish_conversations: bool,
    /// What happens to an answer over its bound.
    pub on_bound: OnBound,
    /// What clients made up in this period.
    pub seen: Arc<Seen>,
    /// What outlives reloads and periods.
    pub presence: Arc<Presence>,
}

/// A team's breaker in a person's hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBreaker {
    /// How.
    pub hold: Hold,
    /// By which override.
    pub by: i64,
    /// Until when.
    pub until: Timestamp,
}

/// What a team keeps across reloads and periods.
#[derive(Debug)]
pub struct Presence {
    /// In the ledger.
    pub id: TeamId,
    /// As configured; the metric label.
    pub name: Arc<str>,
    /// One table a worker.
    pub counters: Box<[TeamCounters]>,
    /// Requests in flight whose payer is known by name only.
    pub by_name_in_flight: AtomicU32,
}

impl Presence {
    /// Fresh counters for so many workers.
    pub fn new(id: TeamId, name: Arc<str>, workers: usize) -> Self {
        let counters = std::iter::repeat_with(TeamCounters::default)
            .take(workers)
            .collect();
        Self {
            id,
            name,
            counters,
            by_name_in_flight: AtomicU32::new(0),
        }
    }
}

/// A key on the request path.
#[derive(Debug)]
pub struct KeyEntry {
    /// As configured.
    pub name: Arc<str>,
    /// Who pays.
    pub team: usize,
    /// The class, which is also a ceiling.
    pub class: Option<Class>,
    /// Other teams whose things it may use at its own cost.
    pub may_use: Vec<usize>,
    /// In milliseconds since the epoch, the first instant it is no longer valid.
    pub expires_ms: Option<i64>,
    /// Its own tags, as canonical JSON.
    pub tags: Option<Arc<str>>,
}

/// An agent, template, model, ... on the request path.
#[derive(Clone, Debug)]
pub struct NamedEntry {
    /// What it is configured by, and counted as in whatever spelling.
    pub id: CompactString,
    /// Who pays.
    pub team: usize,
    /// How much its calls matter.
    pub class: Option<Class>,
    /// Agents only.
    pub agent_type: Option<Arc<str>>,
    /// Its own tags, as canonical JSON.
    pub tags: Option<Arc<str>>,
    /// Agents only: the position of its fuse in [`Fuses::agents`].
    pub fuse: Option<usize>,
}

impl Snapshot {
    /// The configured thing a request names, in whatever spelling.
    pub fn named(&self, kind: NamedKind, id: &str) -> Option<&NamedEntry> {
        let of_kind = self.named.get(kind.index())?;
        of_kind.get(id).or_else(|| {
            if of_kind.is_empty() {
                return None;
            }
            let mut buffer = [0; names::NAME_MAX];
            of_kind.get(names::one_spelling(kind, id, &mut buffer)?)
        })
    }

    /// A configured agent.
    pub fn agent(&self, id: &str) -> Option<&NamedEntry> {
        self.named(NamedKind::Agent, id)
    }

    /// A configured upstream.
    pub fn upstream(&self, name: UpstreamName) -> Option<&Arc<UpstreamEntry>> {
        self.upstreams.get(name.index())?.as_ref()
    }

    /// The team at a position; positions come from this same snapshot.
    pub fn team(&self, at: usize) -> Option<&TeamEntry> {
        self.teams.get(at)
    }

    /// The override by which refusals are only noted.
    pub fn shadow(&self) -> Option<&Arc<Override>> {
        let mut newest = self.overrides.iter().rev();
        newest.find(|row| row.effect == Effect::Shadow)
    }

    /// What overrides in force gave teams out of a source. Of teams that are not configured they give nothing.
    pub fn given(&self, out_of: Funded) -> MicroCredits {
        let rows = self.overrides.iter().filter_map(|row| match row.effect {
            Effect::Credits(funded, credits) if funded == out_of => {
                let mut teams = self.teams.iter();
                teams
                    .any(|team| Some(team.id) == row.team)
                    .then_some(credits)
            }
            Effect::Credits(..) | Effect::Hold(_) | Effect::Shadow => None,
        });
        rows.sum::<Option<_>>().unwrap_or(MicroCredits::MAX)
    }

    /// The position of [`UNATTRIBUTED`], always the last.
    pub fn unattributed_booking(&self) -> usize {
        self.teams.len().saturating_sub(1)
    }
}

/// What a team's clients made up in one period: counted, so that it fills neither memory nor ledger.
#[derive(Debug, Default)]
pub struct Seen {
    /// Values of client tags.
    pub tags: Distinct,
    /// Names nobody configured.
    pub names: Distinct,
}

/// Distinct values of one sort in one period; the rest is `other`.
pub const DISTINCT_MAX: usize = 256;

/// A bounded set of values, without a lock: hashes in a fixed table, by a key nobody outside can predict.
#[derive(Debug)]
pub struct Distinct {
    hasher: foldhash::quality::RandomState,
    hashes: [AtomicU64; DISTINCT_MAX],
}

impl Default for Distinct {
    fn default() -> Self {
        Self {
            hasher: foldhash::quality::RandomState::default(),
            hashes: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Distinct {
    /// Whether this value is among the first [`DISTINCT_MAX`] that were allowed; `is_allowed` is asked of one that is
    /// not seen at once.
    pub fn admits(&self, value: impl Hash, is_allowed: impl FnOnce() -> bool) -> bool {
        let hash = self.hasher.hash_one(value).max(1);
        // From a place of its own on, where a known value is found as a rule.
        let start = usize::try_from(hash.rem_euclid(256)).unwrap_or(0);
        let (before, from) = self.hashes.split_at(start);
        let held = |slot: &AtomicU64| slot.load(Ordering::Acquire);
        if from.first().is_some_and(|slot| held(slot) == hash) {
            return true;
        }
        let mut slots = from.iter().chain(before);
        is_allowed()
            && slots.any(|slot| match held(slot) {
                0 => claims(slot, hash),
                known => known == hash,
            })
    }
}

/// Takes a free slot; another may have taken it with the same value meanwhile.
fn claims(slot: &AtomicU64, hash: u64) -> bool {
    match slot.compare_exchange(0, hash, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => true,
        Err(known) => known == hash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_257th_value_is_other() {
        let values = Distinct::default();
        for value in 1..=256 {
            assert!(!values.admits(value, || false), "{value}");
            assert!(values.admits(value, || true), "{value}");
        }
        assert!(!values.admits(257, || true));
        for value in 1..=256 {
            assert!(values.admits(value, || true), "{value} stays known");
        }
    }
}
