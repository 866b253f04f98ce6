//! The configuration as meant. What exists here is valid; nobody downstream asks again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use jiff::Timestamp;

use crate::budget::admission::OnTrip;
use crate::budget::allocation::{self, OverAllocated, Share, Split};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Class;
use crate::budget::percent::Percent;
use crate::budget::period::Calendar;
use crate::budget::settlement::OnLate5xx;
use crate::rates::card::Card;

/// The team that use nobody pays for is booked under, in shadow mode. No team may be called so.
pub const UNATTRIBUTED: &str = "unattributed";

/// All files together, checked against one another.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// `breakerbox.toml`.
    pub gateway: Gateway,
    /// `allocations.toml`.
    pub allocations: Allocations,
    /// Every card, built in and own, by name.
    pub cards: BTreeMap<String, Arc<Card>>,
    /// The first 16 hex digits of the SHA-256 over all files' contents, for logs, records and reports.
    pub hash: String,
}

impl Checked {
    /// The rate card chosen in the pool.
    pub fn card(&self) -> Option<&Arc<Card>> {
        self.cards.get(&self.allocations.pool.rate_card)
    }
}

/// Listeners, upstreams, limits, ledger and mode.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Addresses and workers; a change needs a restart.
    pub listen: Listen,
    /// Where calls go.
    pub upstreams: Upstreams,
    /// Bounds on everything.
    pub limits: Limits,
    /// Where counts are kept; a change needs a restart.
    pub ledger: LedgerSettings,
    /// Enforce or watch, and what clients see.
    pub mode: Mode,
    /// What happens to calls without a price, by upstream.
    pub unpriced: Unpriced,
    /// What is worth an alert besides a team's levels.
    pub alerts: Alerts,
}

/// `[listen]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The proxy's address.
    pub proxy: SocketAddr,
    /// The admin API's address; loopback.
    pub admin: SocketAddr,
    /// Probes without a token, for load balancers.
    pub health: Option<SocketAddr>,
    /// Whether the health listener also serves `/metrics`.
    pub health_metrics: bool,
    /// Worker threads; 0 is one per core.
    pub workers: usize,
}

/// `[upstreams]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstreams {
    /// Agent API and Models API.
    pub api: Upstream,
    /// `/services/...`.
    pub org: Upstream,
    /// The Data Cloud tenant.
    pub data: Option<Upstream>,
    /// A customer's own model.
    pub openconnector: Option<Upstream>,
}

/// One origin. Host and SNI are its own, whatever the client sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// TLS or not.
    pub tls: bool,
    /// As sent in `Host`: the port only where it is not the scheme's.
    pub authority: Authority,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a request head.
    pub head_bytes: usize,
    /// The most bytes of a body read ahead for pricing.
    pub price_body_bytes: usize,
    /// The most bytes of a body.
    pub body_bytes: u64,
    /// Client connections at once.
    pub connections: usize,
    /// Requests in flight at once.
    pub in_flight: usize,
    /// To connect to an upstream, TLS included.
    pub connect_timeout: Duration,
    /// From the end of the request body to the response head.
    pub response_timeout: Duration,
    /// Without a byte of a body, either way.
    pub idle_body_timeout: Duration,
    /// A whole exchange.
    pub total_timeout: Duration,
    /// From SIGTERM to the end.
    pub drain_timeout: Duration,
    /// The most seconds a `Retry-After` says.
    pub retry_after_max: Duration,
    /// What a late server error of an agent turn costs.
    pub on_late_5xx: OnLate5xx,
}

/// `[ledger]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerSettings {
    /// The SQLite file.
    pub path: PathBuf,
    /// Whether each billable operation keeps a row of its own.
    pub events: EventRows,
    /// Days an events file is kept.
    pub events_keep_days: u32,
    /// The most all events files together may take; the oldest go first, today's never.
    pub events_max_bytes: Option<u64>,
}

/// `events_keep_days` where nothing is said: a contract year and a month to close it.
pub const EVENTS_KEEP_DAYS: u32 = 400;

/// `events = "all" | "rollups"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventRows {
    /// One row each.
    All,
    /// Hourly sums only.
    Rollups,
}

/// `[mode]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// False: refusals are only noted.
    pub enforce: bool,
    /// Whether answers carry the draft `RateLimit` fields.
    pub rate_limit_headers: bool,
    /// What becomes of a turn that has just been made.
    pub duplicate_turns: DuplicateTurns,
}

/// `duplicate_turns = "charge" | "refuse"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateTurns {
    /// It is forwarded and charged, as Salesforce would.
    Charge,
    /// It is not forwarded.
    Refuse,
}

/// `[unpriced]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpriced {
    /// On `api`.
    pub api: UnpricedPolicy,
    /// On `org`.
    pub org: UnpricedPolicy,
    /// On `data`.
    pub data: UnpricedPolicy,
    /// On `openconnector`.
    pub openconnector: UnpricedPolicy,
}

/// `[alerts]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// How many times its own norm an agent spends in an hour, or a conversation in all, before it is abnormal; 0 is
    /// never.
    pub abnormal_times: u32,
    /// What it must have spent besides, so that small agents disturb nobody.
    pub abnormal_at_least: MicroCredits,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            abnormal_times: 3,
            abnormal_at_least: MicroCredits::from_micros(100 * MicroCredits::PER_CREDIT),
        }
    }
}

/// What to do with a call no price is known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnpricedPolicy {
    /// 403 `unpriced`.
    Refuse,
    /// Forward it, counted.
    Pass,
    /// Forward it and charge this much.
    Charge(MicroCredits),
}

/// Pool, teams, and who they are known by.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocations {
    /// The contract.
    pub pool: Pool,
    /// Teams, in file order.
    pub teams: Vec<Team>,
    /// Agents, templates, models, predictions, sources, segments and clients.
    pub named: Vec<Named>,
    /// Keys.
    pub keys: Vec<Key>,
}

impl Allocations {
    /// One month's pool, divided among the teams in file order.
    ///
    /// # Errors
    /// When the teams claim more than there is; never for what `check` let through.
    pub fn split(&self, month: MicroCredits) -> Result<Split, OverAllocated> {
        let shares: Vec<_> = self.teams.iter().map(|team| team.share).collect();
        allocation::split(month, self.pool.central_buffer, &shares)
    }
}

/// `[pool]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Credits of a contract year.
    pub annual_credits: MicroCredits,
    /// What a contract year costs.
    pub annual_cost: Money,
    /// Contract start and zone.
    pub calendar: Calendar,
    /// The central buffer's share of the month.
    pub central_buffer: Percent,
    /// Burst as a share of the month.
    pub burst: Percent,
    /// The main breaker's trip point.
    pub trip: Percent,
    /// The card in use.
    pub rate_card: String,
    /// Who pays where nobody is known; `None` refuses.
    pub unattributed: Option<TeamIndex>,
    /// Credits of overage a contract year; `None` is off.
    pub overage_cap: Option<MicroCredits>,
    /// Where what teams leave over goes.
    pub carry_over: CarryOver,
    /// Tags clients may add.
    pub client_tags: Vec<String>,
}

/// `carry_over = "none" | "team" | "buffer"`: what becomes of an allocation that was not used up, in the next period
/// of the contract year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarryOver {
    /// It is gone.
    None,
    /// The team has it beside its next allocation.
    Team,
    /// The central buffer has it.
    Buffer,
}

impl CarryOver {
    /// Every choice by its word.
    pub const WORDS: [(&str, Self); 3] = [
        ("none", Self::None),
        ("team", Self::Team),
        ("buffer", Self::Buffer),
    ];

    /// The word in the file and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Team => "team",
            Self::Buffer => "buffer",
        }
    }
}

/// An exact amount of money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    /// Units of 10^-6 of the currency.
    pub micros: i64,
    /// Digits after the point as written, for output.
    pub decimals: u8,
    /// ISO 4217 code.
    pub currency: String,
}

impl std::fmt::Display for Money {
    /// With the decimals it was written with.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (
            self.micros.div_euclid(1_000_000),
            self.micros.rem_euclid(1_000_000),
        );
        let rest = format!("{rest:06}");
        match rest.get(..usize::from(self.decimals)) {
            Some(decimals) if !decimals.is_empty() => write!(f, "{whole}.{decimals}"),
            _ => write!(f, "{whole}"),
        }
    }
}

/// A position in [`Allocations::teams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TeamIndex(pub usize);

/// Tags by key, as configured.
pub type Tags = BTreeMap<String, String>;

/// `[[team]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Team {
    /// Unique; also the metric label.
    pub name: String,
    /// The credit owner.
    pub owner: String,
    /// The share of the pool.
    pub share: Share,
    /// The class of calls that state none.
    pub class: Option<Class>,
    /// Where non-critical traffic is slowed or stopped.
    pub trip: Percent,
    /// Levels that raise an alert; the trip point raises `critical` by itself.
    pub alerts: Vec<Percent>,
    /// What happens to standard traffic above the trip point.
    pub on_trip: OnTrip,
    /// Slots a minute under [`OnTrip::Throttle`].
    pub throttle_per_minute: NonZeroU32,
    /// The most of the buffer this team may take in a period.
    pub buffer_max: Option<Percent>,
    /// The most critical traffic may spend while the ledger cannot write, of the allocation.
    pub emergency: Percent,
    /// The most credits one request may cost; a fuse.
    pub max_per_request: Option<MicroCredits>,
    /// The most credits an hour; a fuse.
    pub max_per_hour: Option<MicroCredits>,
    /// False: refusals are only noted for this team.
    pub enforce: bool,
    /// Turns of conversations opened below the trip point may finish.
    pub finish_conversations: bool,
    /// What happens to an answer over its bound.
    pub on_bound: OnBound,
    /// `business_unit`, `cost_center` and `tags`, together.
    pub tags: Tags,
}

/// `on_bound`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnBound {
    /// Extend the draw before passing more.
    #[default]
    Extend,
    /// End the answer.
    Cut,
}

pub use crate::salesforce::NamedKind;

/// `[[agent]]`, `[[template]]`, `[[model]]`, ...
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// What it is.
    pub kind: NamedKind,
    /// What requests call it.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// `sdr`, `support`, ...: agents only.
    pub agent_type: Option<String>,
    /// Who pays.
    pub team: TeamIndex,
    /// How much its calls matter.
    pub class: Option<Class>,
    /// The most credits one request may cost; agents only.
    pub max_per_request: Option<MicroCredits>,
    /// The most credits an hour; agents only.
    pub max_per_hour: Option<MicroCredits>,
    /// Its own tags.
    pub tags: Tags,
}

/// `[[key]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Unique.
    pub name: String,
    /// SHA-256 of the key's 64 hex characters.
    pub sha256: [u8; 32],
    /// Who pays.
    pub team: TeamIndex,
    /// The class, which is also a ceiling.
    pub class: Option<Class>,
    /// Other teams whose agents this key may use, at its own cost.
    pub may_use: Vec<TeamIndex>,
    /// The first instant it is no longer valid.
    pub expires: Option<Timestamp>,
    /// Its own tags.
    pub tags: Tags,
}
