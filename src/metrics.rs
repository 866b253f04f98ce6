//! `GET /metrics`: read from the counters where they are, at the moment of the scrape.
//!
//! Nothing is registered or looked up on the request path. Label values come from the configuration and from
//! fixed tables, never from a request.

mod decided;
mod family;

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Registry, TextEncoder};

use self::family::{Families, Family, count, in_credits};
use crate::budget::breaker::Breaker;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Operation};
use crate::counters::Durations;
use crate::ledger::live::Sums;
use crate::proxy::counters::{Outcome, STATUS_CLASSES, UNPRICED_SERVICES, WorkerCounters};
use crate::proxy::desk::Shared;
use crate::proxy::refusal::Refusal;
use crate::proxy::snapshot::{Presence, Snapshot};
use crate::salesforce::call::UpstreamName;

/// Figures that come from elsewhere than the workers.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// Reloads accepted.
    pub reloads_accepted: u64,
    /// Reloads rejected.
    pub reloads_rejected: u64,
    /// When the config in force was read, in seconds since the epoch.
    pub last_reload_s: i64,
    /// Alerts raised by this process, by team and level.
    pub alerts: Vec<(Arc<str>, &'static str, u64)>,
    /// The period is held because the clock is not trusted.
    pub clock_held: bool,
    /// By how many micro-credits counters, metrics and ledger are apart, by team.
    pub differences: Vec<(Arc<str>, u64)>,
    /// Micro-credits reserved while no request is in flight, by team.
    pub reserved_by_nobody: Vec<(Arc<str>, u64)>,
    /// Micro-credits by which `reserved` is more than the tickets of requests in flight hold.
    pub reserved_lost: u64,
}

/// Everything, as text for Prometheus.
///
/// # Errors
/// When two families have one name, which a test excludes.
pub fn render(shared: &Arc<Shared>, elsewhere: Elsewhere) -> prometheus::Result<String> {
    let registry = Registry::new();
    registry.register(Box::new(AtScrape {
        shared: Arc::clone(shared),
        elsewhere,
    }))?;
    TextEncoder::new().encode_to_string(&registry.gather())
}

/// Reads all counters at the moment of a scrape.
struct AtScrape {
    shared: Arc<Shared>,
    elsewhere: Elsewhere,
}

impl Collector for AtScrape {
    /// None: families are made when they are read.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let snapshot = self.shared.snapshot.load_full();
        let mut families = Families::default();
        self.traffic(&mut families);
        teams(&mut families, &snapshot);
        pool(&mut families, &snapshot);
        decided::overrides(&mut families, &snapshot);
        self.workers(&mut families);
        self.ledger(&mut families);
        self.process(&mut families);
        families.into_inner()
    }
}

impl AtScrape {
    /// Requests, refusals and credits of every team this process has known.
    fn traffic(&self, families: &mut Families) {
        let mut requests = Family::counter(
            "requests_total",
            "Priced requests by how they ended: void ones were given back, refused ones not forwarded; those of no known team are in refusals_total only.",
            &["team", "operation", "class", "outcome"],
        );
        let mut credits = Family::counter(
            "credits_total",
            "Credits settled.",
            &["team", "operation", "class"],
        );
        let help =
            "Turns charged that came with Last-Event-ID: an event-stream client sent them again.";
        let mut reposted = Family::counter("reposted_turns_total", help, &["team"]);
        for presence in self.shared.presences.load_full().iter() {
            let again = presence.counters.iter().map(|worker| worker.reposted.get());
            reposted.add(&[&*presence.name], count(again.sum()));
            for class in Class::ALL {
                for operation in Operation::ALL {
                    settled(presence, *operation, *class, &mut requests, &mut credits);
                }
            }
        }
        families.keep(requests);
        families.keep(credits);
        families.keep(reposted);
        self.refusals(families);
    }

    fn refusals(&self, families: &mut Families) {
        const LABELS: &[&str] = &["team", "class", "refusal"];
        let help = "Requests refused, by the refusal's name; no team where none was known.";
        let mut refused = Family::counter("refusals_total", help, LABELS);
        let help = "Requests that would have been refused, were refusals enforced.";
        let mut shadow = Family::counter("shadow_refusals_total", help, LABELS);
        for presence in self.shared.presences.load_full().iter() {
            for (class, refusal) in pairs(Class::ALL, Refusal::ALL) {
                let sum = |is_shadow| {
                    let workers = presence.counters.iter();
                    workers
                        .map(|worker| worker.refusals(refusal, class, is_shadow))
                        .sum()
                };
                let labels = [&*presence.name, class.name(), refusal.name()];
                refused.add_unless_zero(&labels, sum(false));
                shadow.add_unless_zero(&labels, sum(true));
            }
        }
        for refusal in Refusal::ALL {
            let sum = |is_shadow| self.sum(|worker| worker.refusals(*refusal, is_shadow));
            let labels = ["", "", refusal.name()];
            refused.add_unless_zero(&labels, sum(false));
            shadow.add_unless_zero(&labels, sum(true));
        }
        families.keep(refused);
        families.keep(shadow);
    }

    fn workers(&self, families: &mut Families) {
        let help = "Calls no price is known for, by the nearest service.";
        let mut unpriced = Family::counter("unpriced_requests_total", help, &["service"]);
        for (at, service) in UNPRICED_SERVICES.iter().enumerate() {
            unpriced.add(
                &[service],
                count(self.sum(|worker| worker.unpriced_requests(at))),
            );
        }
        let help = "Response heads from upstreams.";
        let labels = &["upstream", "status_class"];
        let mut responses = Family::counter("upstream_responses_total", help, labels);
        let help = "Connections to upstreams, idle ones included.";
        let mut connections = Family::gauge("upstream_connections", help, &["upstream"]);
        for upstream in UpstreamName::ALL {
            for (at, class) in STATUS_CLASSES.iter().enumerate() {
                let answers = self.sum(|worker| worker.upstream_responses(upstream, at));
                responses.add_unless_zero(&[upstream.name(), class], answers);
            }
            let open = self.sum(|worker| worker.upstream_connection(upstream).get());
            connections.add(&[upstream.name()], count(open));
        }
        families.keep(unpriced);
        families.keep(responses);
        families.keep(connections);
        let in_flight = count(self.sum(|worker| worker.in_flight.get()));
        families.gauge(
            "in_flight_requests",
            "Requests whose answer is not over.",
            in_flight,
        );
        let connections = count(self.sum(|worker| worker.connections.get()));
        families.gauge(
            "client_connections",
            "Client connections open.",
            connections,
        );
        let help = "From a request's head to the end of its answer.";
        self.durations(families, "request_duration_seconds", help, |worker| {
            &worker.request_duration
        });
        let help = "From a request's head to its sending, without waiting for the client's bytes.";
        self.durations(families, "overhead_seconds", help, |worker| {
            &worker.overhead
        });
        let help = "From a request's end to the upstream's head.";
        self.durations(families, "upstream_duration_seconds", help, |worker| {
            &worker.upstream_duration
        });
    }

    fn durations(
        &self,
        families: &mut Families,
        name: &str,
        help: &str,
        read: fn(&WorkerCounters) -> &Durations,
    ) {
        let all: Vec<_> = self
            .shared
            .counters
            .iter()
            .map(|worker| read(worker).read())
            .collect();
        let buckets = all.first().map_or(0, |(buckets, _)| buckets.len());
        let sum_of = |at: usize| all.iter().filter_map(|(buckets, _)| buckets.get(at)).sum();
        let counts: Vec<u64> = (0..buckets).map(sum_of).collect();
        let mut family = Family::durations(name, help);
        family.add_request_durations(&counts, all.iter().map(|(_, sum)| sum).sum());
        families.keep(family);
    }

    fn ledger(&self, families: &mut Families) {
        let stats = self.shared.ledger.stats();
        let (counts, sum) = stats.commits.read();
        let mut commits = Family::durations(
            "ledger_commit_seconds",
            "Commits of the ledger, tried or done.",
        );
        commits.add_request_durations(&counts, sum);
        families.keep(commits);
        let waiting = "Events waiting to be written.";
        families.gauge("ledger_pending_events", waiting, count(stats.pending.get()));
        families.counter(
            "ledger_errors_total",
            "Commits of the ledger that failed.",
            stats.errors.get(),
        );
        let help = "Events that kept no row of their own and are in the rollups only.";
        families.counter("events_folded_total", help, stats.events_folded());
        let writing = if self.shared.ledger.health().writing {
            1.0
        } else {
            0.0
        };
        let help = "1 while the disk takes what is written; 0 while it fails or stalls.";
        families.gauge("ledger_writing", help, writing);
        self.conservation(families);
    }

    fn conservation(&self, families: &mut Families) {
        let help = "Micro-credits by which a team's counters, metrics, events, rollups and accounts are apart; must stay 0.";
        let name = "conservation_difference_microcredits";
        let mut apart = Family::gauge(name, help, &["team"]);
        for (team, micros) in &self.elsewhere.differences {
            apart.add(&[team], count(*micros));
        }
        families.keep(apart);
        let help = "Micro-credits a team has reserved while no request is in flight; must stay 0.";
        let name = "reserved_by_nobody_microcredits";
        let mut reserved = Family::gauge(name, help, &["team"]);
        for (team, micros) in &self.elsewhere.reserved_by_nobody {
            reserved.add(&[team], count(*micros));
        }
        families.keep(reserved);
        let help = "Micro-credits reserved by requests that ended without settling: what reserved is above live tickets; must stay 0.";
        let lost = count(self.elsewhere.reserved_lost);
        families.gauge("reserved_lost_microcredits", help, lost);
    }

    fn process(&self, families: &mut Families) {
        let elsewhere = &self.elsewhere;
        let mut reloads = Family::counter(
            "config_reloads_total",
            "Configurations read after the start, by what became of them.",
            &["result"],
        );
        reloads.add(&["accepted"], count(elsewhere.reloads_accepted));
        reloads.add(&["rejected"], count(elsewhere.reloads_rejected));
        families.keep(reloads);
        let last = count(u64::try_from(elsewhere.last_reload_s).unwrap_or(0));
        let help = "When the configuration in force was read.";
        families.gauge("config_last_reload_timestamp_seconds", help, last);
        let help = "Alerts raised by this process.";
        let mut alerts = Family::counter("alerts_total", help, &["team", "level"]);
        for (team, level, raised) in &elsewhere.alerts {
            alerts.add(&[team, level], count(*raised));
        }
        families.keep(alerts);
        let held = if elsewhere.clock_held { 1.0 } else { 0.0 };
        let help = "1 while the period is held because the clock is not trusted.";
        families.gauge("clock_held", help, held);
        let shared = &self.shared;
        let known = |known: usize| count(u64::try_from(known).unwrap_or(u64::MAX));
        let help = "Agent sessions remembered.";
        families.gauge("sessions", help, known(shared.sessions.len()));
        let help = "Sessions with a turn in flight.";
        families.gauge("turns_in_flight", help, known(shared.turns.in_flight()));
        let help = "Idempotency keys in flight, or used up within a day.";
        families.gauge("idempotency_keys", help, known(shared.idempotency.len()));
        let mut build = Family::gauge(
            "build_info",
            "Always 1; the version is in the label.",
            &["version"],
        );
        build.add(&[env!("CARGO_PKG_VERSION")], 1.0);
        families.keep(build);
    }

    fn sum(&self, read: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.shared.counters.iter().map(read).sum()
    }
}

fn settled(
    presence: &Presence,
    operation: Operation,
    class: Class,
    requests: &mut Family,
    credits: &mut Family,
) {
    let team = &*presence.name;
    let mut any = 0_u64;
    for outcome in Outcome::ALL {
        let workers = presence.counters.iter();
        let sum = workers
            .map(|worker| worker.requests(operation, class, outcome))
            .sum();
        any = any.saturating_add(sum);
        requests.add_unless_zero(&[team, operation.name(), class.name(), outcome.name()], sum);
    }
    if any > 0 {
        let workers = presence.counters.iter();
        let sum = workers
            .map(|worker| worker.credits(operation, class))
            .sum::<Option<_>>();
        let sum = in_credits(sum.unwrap_or(MicroCredits::MAX));
        credits.add(&[team, operation.name(), class.name()], sum);
    }
}

fn teams(families: &mut Families, snapshot: &Snapshot) {
    let gauge = |name, help| Family::gauge(name, help, &["team"]);
    let help = "What the team may spend of its own in the period.";
    let mut allocation = gauge("team_allocation_credits", help);
    let help = "Own credits settled in the period, imported ones included.";
    let mut used = gauge("team_used_credits", help);
    let mut reserved = gauge(
        "team_reserved_credits",
        "Own credits reserved and not yet settled.",
    );
    let help = "1 for the state the team's breaker is shown in, 0 for the others.";
    let mut state = Family::gauge("team_breaker_state", help, &["team", "state"]);
    for team in &snapshot.teams {
        let (name, figures) = (&*team.name, team.books.own.figures());
        allocation.add(&[name], in_credits(team.limits.allocation));
        used.add(&[name], in_credits(figures.settled));
        reserved.add(&[name], in_credits(figures.reserved()));
        for shown in Breaker::ALL {
            let is_shown = team.books.shown.get() == shown;
            state.add(&[name, shown.name()], if is_shown { 1.0 } else { 0.0 });
        }
    }
    for family in [allocation, used, reserved, state] {
        families.keep(family);
    }
}

fn pool(families: &mut Families, snapshot: &Snapshot) {
    let sums = Sums::of(&snapshot.live);
    let mut gauge = |name, help, credits| families.gauge(name, help, in_credits(credits));
    gauge(
        "pool_allocation_credits",
        "The month's pool.",
        snapshot.pool.month,
    );
    let help = "All teams' own and buffer credits settled in the period.";
    gauge("pool_used_credits", help, sums.used);
    let help = "All teams' own and buffer credits reserved and not yet settled.";
    gauge("pool_reserved_credits", help, sums.reserved);
    gauge(
        "buffer_used_credits",
        "Central buffer settled in the period.",
        sums.buffer,
    );
    gauge(
        "burst_used_credits",
        "Burst settled in the period.",
        sums.burst,
    );
    gauge(
        "overage_used_credits",
        "Overage settled in the period.",
        sums.overage,
    );
    let help = "1 for the state the main breaker is shown in, 0 for the others.";
    let mut state = Family::gauge("pool_breaker_state", help, &["state"]);
    for shown in Breaker::ALL {
        let is_shown = snapshot.live.books.shown.get() == shown;
        state.add(&[shown.name()], if is_shown { 1.0 } else { 0.0 });
    }
    families.keep(state);
}

fn pairs<A: Copy, B: Copy>(a: &[A], b: &[B]) -> impl Iterator<Item = (A, B)> {
    a.iter().flat_map(|a| b.iter().map(|b| (*a, *b)))
}
