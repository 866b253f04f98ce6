//! A ledger with millions of events: usage by team and day, and the start of `serve`.
//!
//! Filled through the real writer as fast as it takes them, over the last thirty days, day by day.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use breakerbox::clock;
use breakerbox::ledger::Ledger;
use jiff::{SignedDuration, Timestamp};

use super::events::{TEAMS, Traffic, calendar, settings, team_name};
use super::process::bytes;
use super::throughput::one;

/// The goals (issue 2/8).
const QUERY: Duration = Duration::from_millis(200);
const START: Duration = Duration::from_secs(2);

const DAYS: i64 = 30;
/// Events handed over before the writer is waited for: fewer than its queue holds, so that none is folded.
const AHEAD: u64 = 6_000;
/// Times a question is asked.
const ASKED: usize = 7;

pub(crate) fn run(folder: &Path, events: u64) -> bool {
    if !settings(folder).path.exists() {
        fill(folder, events);
    }
    let path = settings(folder).path;
    let (rollups, requests) = one(&path, "SELECT count(*), sum(requests) FROM rollup");
    println!(
        "{requests} events in {} MB of day files; breakerbox.db has {} MB and {rollups} rollups",
        bytes(&folder.join("data/events")) >> 20,
        bytes(&path) >> 20
    );
    configure(folder);
    let mut met = true;
    let starts: Vec<_> = (0..3).map(|_| Serving::start(folder).1).collect();
    met &= tell("start of serve until ready", &starts, START);
    let (serving, _) = Serving::start(folder);
    let now = clock::now();
    let from = now - SignedDuration::from_hours(24 * DAYS);
    for (what, from, group_by) in [
        ("usage by team and day, 30 days", from, "team,day"),
        ("usage by team, 30 days", from, "team"),
        (
            "usage by team, operation and hour, 1 day",
            now - SignedDuration::from_hours(24),
            "team,operation,hour",
        ),
    ] {
        let path = format!("/api/v1/usage?from={from}&to={now}&group_by={group_by}");
        let took: Vec<_> = (0..ASKED).map(|_| serving.ask(&path)).collect();
        met &= tell(what, &took, QUERY);
    }
    // Not a goal: these read the finest rollups.
    let path = format!("/api/v1/usage?from={from}&to={now}&group_by=agent,day");
    let took: Vec<_> = (0..ASKED).map(|_| serving.ask(&path)).collect();
    let _known = tell("usage by agent and day, 30 days", &took, Duration::MAX);
    met
}

/// First, median and largest.
fn tell(what: &str, took: &[Duration], goal: Duration) -> bool {
    let mut sorted = took.to_vec();
    sorted.sort();
    let (first, most) = (took[0], sorted[sorted.len() - 1]);
    println!(
        "{what:<44} first {:>7.1} ms, median {:>7.1} ms, most {:>7.1} ms",
        ms(first),
        ms(sorted[sorted.len() / 2]),
        ms(most)
    );
    most <= goal
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}

fn fill(folder: &Path, events: u64) {
    let now = clock::now();
    let (ledger, _) = Ledger::open(&settings(folder), 1, now).unwrap();
    let teams = (0..TEAMS).map(|team| ledger.team(&team_name(team)).unwrap());
    let mut traffic = Traffic::new(teams.collect(), 1);
    let mut sink = ledger.sink(0);
    let (first, calendar) = (now - SignedDuration::from_hours(24 * DAYS), calendar());
    let span_us = 1_000_000 * 86_400 * DAYS;
    let began = Instant::now();
    let stats = ledger.stats();
    for sent in 0..events {
        let us = i128::from(span_us) * i128::from(sent) / i128::from(events);
        let at: Timestamp = first + SignedDuration::from_micros(us.try_into().unwrap());
        let period = calendar.period_at(at).unwrap().name;
        let team = traffic.team();
        sink.push(traffic.event(team, at, period));
        while sent.saturating_sub(stats.events.get()) > AHEAD {
            ledger.wake();
            std::thread::yield_now();
        }
        if (sent + 1) % (events / 10).max(1) == 0 {
            println!(
                "filled {} after {:.0} s",
                sent + 1,
                began.elapsed().as_secs_f64()
            );
        }
    }
    drop(sink);
    ledger.stop().unwrap();
    println!("{} folded", ledger.stats().events_folded());
    // What was written just now is not what a start waits for.
    let _synced = Command::new("sync").status();
}

/// The gateway's files, with the teams of the events.
fn configure(folder: &Path) {
    let gateway = "[listen]\nproxy = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\n\
                   [upstreams]\napi = \"http://127.0.0.1:1\"\norg = \"http://127.0.0.1:1\"\n\n\
                   [ledger]\nstore = \"sqlite:data/breakerbox.db\"\n";
    let mut allocations = "[pool]\nannual_credits = 1_000_000_000\n\
         annual_cost = { amount = \"5000000.00\", currency = \"USD\" }\ncontract_start = \"2026-01-01\"\n\
         time_zone = \"UTC\"\nrate_card = \"flex-2026-08\"\nunattributed = \"refuse\"\n"
        .to_owned();
    for team in 0..TEAMS {
        let name = team_name(team);
        allocations.push_str(&format!(
            "[[team]]\nname = \"{name}\"\nshare = \"4%\"\nowner = \"{name}@example.com\"\n"
        ));
    }
    std::fs::write(folder.join("breakerbox.toml"), gateway).unwrap();
    std::fs::write(folder.join("allocations.toml"), allocations).unwrap();
}

/// The real binary; ended by `kill -9`, as the next start finds it.
struct Serving {
    child: Child,
    admin: String,
}

impl Serving {
    /// Until it answers that it is ready.
    fn start(folder: &Path) -> (Self, Duration) {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_breakerbox"))
            .args(["serve", "--config"])
            .arg(folder.join("breakerbox.toml"))
            .env("BREAKERBOX_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let admin = lines.map(Result::unwrap).find_map(|line| {
            let address = line.strip_prefix("admin")?.trim();
            address.strip_prefix("http://").map(str::to_owned)
        });
        let serving = Self {
            child,
            admin: admin.expect("an admin address"),
        };
        serving.ask("/readyz");
        (serving, began.elapsed())
    }

    fn ask(&self, path: &str) -> Duration {
        let began = Instant::now();
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = String::from_utf8_lossy(&answer[..answer.len().min(300)]);
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        began.elapsed()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
