//! Two workers reserve, settle and hand over events at a fixed rate, open loop; the ledger thread keeps up or folds.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use breakerbox::budget::admission::OnTrip;
use breakerbox::budget::books::{Ask, Denied, PoolLimits, TeamBooks, TeamLimits};
use breakerbox::budget::credits::MicroCredits;
use breakerbox::budget::operation::Class;
use breakerbox::budget::percent::Percent;
use breakerbox::clock;
use breakerbox::counters::DURATION_BUCKETS_US;
use breakerbox::ledger::Ledger;
use breakerbox::ledger::event::TeamId;
use breakerbox::ledger::live::LivePeriod;
use breakerbox::ledger::periods::PeriodFacts;

use super::events::{TEAMS, Traffic, calendar, settings, team_name};
use super::process::{bytes, cpu_of, resident_kib};

const WORKERS: usize = 2;
/// Events are handed over in bursts this far apart.
const STEP: Duration = Duration::from_millis(2);
/// The goals (issue 2/8).
const P99: Duration = Duration::from_millis(50);
/// Between a quarter of the time and its end memory may grow by this.
const GROWTH_KIB: u64 = 16 << 10;

struct Running {
    ledger: Ledger,
    live: Arc<LivePeriod>,
    teams: Vec<(TeamId, Arc<TeamBooks>)>,
    over: AtomicBool,
}

/// What a worker handed over.
#[derive(Clone, Copy, Default)]
struct Sent {
    events: u64,
    micros: i64,
}

pub(crate) fn run(folder: &Path, rate: u64, seconds: u64) -> bool {
    let running = start(folder);
    println!("{rate} events a second for {seconds} s, events = \"all\", {WORKERS} workers");
    let began = Instant::now();
    let (sent, memory) = drive(&running, rate, seconds);
    let took = began.elapsed();
    let behind = running.ledger.stats().pending.get();
    while running.ledger.stats().events.get() < sent.events {
        std::thread::sleep(Duration::from_millis(5));
    }
    let found = Found {
        sent,
        memory,
        took,
        behind,
        cpu: cpu_of("ledger"),
        difference: running
            .teams
            .iter()
            .map(|(team, _)| running.ledger.totals().difference(*team))
            .sum(),
    };
    running.ledger.stop().unwrap();
    found.tell(&running, folder, rate)
}

fn start(folder: &Path) -> Running {
    let now = clock::now();
    let (ledger, _) = Ledger::open(&settings(folder), WORKERS, now).unwrap();
    let period = calendar().period_at(now).unwrap();
    let zero = MicroCredits::ZERO;
    let facts = PeriodFacts {
        zone: "UTC".to_owned(),
        month_pool: zero,
        buffer: zero,
        burst: zero,
        annual_credits: zero,
        carry_over: breakerbox::config::checked::CarryOver::None,
        config_hash: String::new(),
    };
    let live = ledger.period(&period, &facts).unwrap();
    let teams = (0..TEAMS).map(|team| {
        let id = ledger.team(&team_name(team)).unwrap();
        (id, live.team(id))
    });
    Running {
        teams: teams.collect(),
        over: AtomicBool::new(false),
        ledger,
        live,
    }
}

/// What was handed over, and the memory after a quarter of the time and at its end.
fn drive(running: &Running, rate: u64, seconds: u64) -> (Sent, (u64, u64)) {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || work(running, worker, rate / WORKERS as u64)))
            .collect();
        std::thread::sleep(Duration::from_millis(seconds * 250));
        let quarter = resident_kib();
        std::thread::sleep(Duration::from_millis(seconds * 750));
        let end = resident_kib();
        running.over.store(true, Ordering::Relaxed);
        let mut all = Sent::default();
        for worker in workers {
            let sent = worker.join().unwrap();
            all.events += sent.events;
            all.micros += sent.micros;
        }
        (all, (quarter, end))
    })
}

struct Found {
    sent: Sent,
    memory: (u64, u64),
    took: Duration,
    /// Events waiting when the last was handed over.
    behind: u64,
    cpu: Duration,
    /// By which events, rollups and accounts are apart.
    difference: u64,
}

impl Found {
    fn tell(&self, running: &Running, folder: &Path, rate: u64) -> bool {
        let (stats, path) = (running.ledger.stats(), settings(folder).path);
        let Sent { events, micros } = self.sent;
        let folded = stats.events_folded();
        let rows = events - folded;
        let (requests, credits) = one(&path, "SELECT sum(requests), sum(credits) FROM rollup");
        let exact =
            (u64::try_from(requests), credits) == (Ok(events), micros) && self.difference == 0;
        let (counts, sum_us) = stats.commits.read();
        let (p50, p99) = (at_most(&counts, 50), at_most(&counts, 99));
        let commits: u64 = counts.iter().sum();
        let mean_ms = sum_us as f64 / 1_000.0 / commits.max(1) as f64;
        let seconds = self.took.as_secs_f64();
        let a_second = events as f64 / seconds;
        let share = 100.0 * self.cpu.as_secs_f64() / seconds;
        let each_us = self.cpu.as_secs_f64() * 1e6 / events as f64;
        let days = bytes(&folder.join("data/events"));
        let (main_mb, days_mb, each) = (bytes(&path) >> 20, days >> 20, days / rows.max(1));
        let (quarter, end) = self.memory;
        let behind = self.behind;
        println!("handed over         {events:>12}   {a_second:.0} a second");
        println!("with a row          {rows:>12}   {folded} folded; {behind} waiting at the end");
        println!("rollups exact       {exact:>12}   {requests} requests, {credits} micro-credits");
        println!(
            "commits             {commits:>12}   mean {mean_ms:.1} ms, p50 <= {p50:?}, p99 <= {p99:?}"
        );
        println!("CPU of the ledger   {share:>10.1} %   {each_us:.2} us an event");
        println!(
            "resident            {quarter:>8} KiB   after a quarter of the time, {end} KiB at its end"
        );
        println!(
            "bytes a row         {each:>12}   day files {days_mb} MB, breakerbox.db {main_mb} MB"
        );
        let flat = end <= quarter + GROWTH_KIB;
        exact && flat && folded == 0 && p99 <= P99 && a_second >= 0.99 * rate as f64
    }
}

/// One worker's share of the rate.
fn work(running: &Running, worker: usize, rate: u64) -> Sent {
    let ids = running.teams.iter().map(|(id, _)| *id).collect();
    let mut source = Traffic::new(ids, worker as u64 + 1);
    let mut sink = running.ledger.sink(worker);
    let period = running.live.books.period.name;
    let began = Instant::now();
    let mut sent = Sent::default();
    while !running.over.load(Ordering::Relaxed) {
        let due = u64::try_from(began.elapsed().as_micros()).unwrap() * rate / 1_000_000;
        while sent.events < due {
            let team = source.team();
            let event = source.event(team, clock::now(), period);
            spend(running, &running.teams[team].1, event.credits);
            sent.events += 1;
            sent.micros += event.credits.micros();
            sink.push(event);
        }
        sink.tick();
        std::thread::sleep(STEP);
    }
    sent
}

/// As admission and settlement do it, so that grants are raised and written as well.
fn spend(running: &Running, team: &TeamBooks, price: MicroCredits) {
    let roomy = MicroCredits::from_micros(1 << 61);
    let trip = Percent::parse("90%").unwrap();
    let limits = TeamLimits {
        allocation: roomy,
        trip,
        trip_at: trip.of(roomy),
        on_trip: OnTrip::Reject,
        buffer_max: roomy,
        emergency: MicroCredits::ZERO,
    };
    let pool = PoolLimits {
        month: roomy,
        trip,
        trip_at: trip.of(roomy),
        buffer: roomy,
        burst: roomy,
        annual: roomy,
        overage_cap: MicroCredits::ZERO,
    };
    let ask = Ask {
        class: Class::Standard,
        estimate: MicroCredits::from_micros(2_000_000),
        bound: MicroCredits::from_micros(6_000_000),
        continued: false,
    };
    loop {
        let books = &running.live.books;
        match books.reserve((team, &limits), &pool, &ask, MicroCredits::ZERO, || Ok(())) {
            Ok(taken) => return books.settle(team, taken, price),
            Err(Denied::GrantShort) => {
                running.ledger.wake();
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(denied) => panic!("{denied:?}"),
        }
    }
}

/// The bucket a percentile lies in, by its upper end.
fn at_most(counts: &[u64], percent: u64) -> Duration {
    let wanted = (counts.iter().sum::<u64>() * percent).div_ceil(100);
    let mut seen = 0;
    let at = counts.iter().position(|count| {
        seen += count;
        seen >= wanted
    });
    let us = at.and_then(|at| DURATION_BUCKETS_US.get(at)).copied();
    Duration::from_micros(us.unwrap_or(u64::MAX))
}

pub(crate) fn one(path: &Path, sql: &str) -> (i64, i64) {
    let database = rusqlite::Connection::open(path).unwrap();
    database
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
}
