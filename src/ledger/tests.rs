//! What finance relies on: a restart keeps counts, a crash is charged once, nothing is opened as empty.

mod allocations;
mod backups;
mod batches;
mod between_periods;
mod corrections;
mod restored;
mod usage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use tempfile::TempDir;

use super::event::{Confidence, Event, EventKind, RequestId};
use super::*;
use crate::budget::books::{Ask, PoolLimits, TeamLimits};
use crate::budget::operation::{Class, Operation};
use crate::budget::percent::Percent;
use crate::budget::period::Calendar;
use crate::budget::usage::Usage;
use crate::config::checked::EventRows;

struct Bench {
    folder: TempDir,
    events: EventRows,
}

fn micros(micros: i64) -> MicroCredits {
    MicroCredits::from_micros(micros)
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            events: EventRows::All,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("data/breakerbox.db")
    }

    fn try_open(&self) -> Result<(Ledger, Restart), OpenError> {
        let settings = LedgerSettings {
            path: self.path(),
            events: self.events,
            events_keep_days: 400,
            events_max_bytes: None,
        };
        Ledger::open(&settings, 2, clock::now())
    }

    fn open(&self) -> (Ledger, Restart) {
        self.try_open().unwrap_or_else(|error| panic!("{error}"))
    }

    fn try_verify(&self) -> Result<verify::Verdict, LedgerError> {
        let mut asked = verify::Asked {
            thorough: true,
            progress: &mut |_, _, _| {},
        };
        verify::verify(&self.path(), &mut asked)
    }

    fn verified(&self) -> verify::Verdict {
        self.try_verify().unwrap()
    }

    fn day_file(&self, days_ago: i64) -> PathBuf {
        days::path(&days::folder(&self.path()), days::of(back(days_ago)))
    }

    /// A gateway's run: so many credits each, so many days ago.
    fn run(&self, spent: &[(i64, i64)]) {
        let (ledger, _) = self.open();
        let (team, period) = live(&ledger);
        let mut sink = ledger.sink(0);
        for (days_ago, credits) in spent {
            take(&ledger, team, &period, *credits);
            sink.push(Event {
                at: back(*days_ago),
                ..event(team, *credits)
            });
        }
        drop(sink);
        ledger.stop().unwrap();
    }

    fn backup(&self) -> PathBuf {
        let to = self.folder.path().join("backup");
        backup::backup(&self.path(), &to, &mut |_, _, _| {}).unwrap();
        to
    }

    fn restore(&self, backup: &Path) {
        let now = clock::now();
        restore::restore(&self.path(), backup, false, now, &mut |_, _, _| {}).unwrap();
    }

    /// What the next gateway counts for sales; after it the ledger is sound.
    fn counted(&self) -> i64 {
        let (ledger, _) = self.open();
        let (team, period) = live(&ledger);
        let settled = period.team(team).own.figures().settled.micros();
        ledger.stop().unwrap();
        let verdict = self.verified();
        assert!(verdict.is_sound(), "{verdict:?}");
        settled
    }
}

fn back(days: i64) -> Timestamp {
    clock::now() - jiff::SignedDuration::from_hours(24 * days)
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[4_096..8_192].fill(0x5a);
    std::fs::write(path, bytes).unwrap();
}

/// What a ledger of version 7 did not have.
const UNDO_8: &str = "DROP TABLE audit; DROP TABLE override; DROP TABLE config_used;
    ALTER TABLE allocation DROP COLUMN by_override;";

/// Waits for what the reading thread says.
fn answered<T>(asked: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(asked)
}

fn period() -> Period {
    let calendar = Calendar::new("2026-01-01".parse().unwrap(), TimeZone::UTC);
    calendar.period_at(clock::now()).unwrap()
}

fn following(period: &Period) -> Period {
    let calendar = Calendar::new("2026-01-01".parse().unwrap(), TimeZone::UTC);
    calendar.period_at(period.end).unwrap()
}

fn facts() -> PeriodFacts {
    PeriodFacts {
        zone: "UTC".to_owned(),
        month_pool: micros(1_000),
        buffer: micros(100),
        burst: micros(100),
        annual_credits: micros(12_000),
        carry_over: crate::config::checked::CarryOver::None,
        config_hash: "test".to_owned(),
    }
}

fn live(ledger: &Ledger) -> (TeamId, Arc<LivePeriod>) {
    let team = ledger.team("sales").unwrap();
    (team, ledger.period(&period(), &facts()).unwrap())
}

fn event(team: TeamId, credits: i64) -> Event {
    Event {
        at: clock::now(),
        request: RequestId(7),
        period: period().name,
        team,
        operation: Operation::ModelGenerate,
        class: Class::Standard,
        source: Source::Own,
        credits: micros(credits),
        estimate: micros(credits),
        kind: EventKind::Measured,
        confidence: Confidence::Measured,
        shadow: false,
        continued: false,
        named: None,
        agent_type: None,
        key: None,
        tags: None,
        usage: Usage::of_units(1),
        status: 200,
        duration_ms: 3,
        session: None,
        idempotency: None,
    }
}

fn limits() -> (TeamLimits, PoolLimits) {
    let trip = Percent::parse("90%").unwrap();
    let team = TeamLimits {
        allocation: micros(1_000_000),
        trip,
        trip_at: micros(900_000),
        on_trip: crate::budget::admission::OnTrip::Reject,
        buffer_max: MicroCredits::MAX,
        emergency: MicroCredits::ZERO,
    };
    let pool = PoolLimits {
        month: micros(1_000_000),
        trip,
        trip_at: micros(900_000),
        buffer: micros(0),
        burst: micros(0),
        annual: micros(12_000_000),
        overage_cap: micros(0),
    };
    (team, pool)
}

fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_true() {
        assert!(Instant::now() < until, "not within 10 s: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Spends as a request does: reserve, wait for the grant, settle, event.
fn spend(ledger: &Ledger, sink: &mut EventSink, team: TeamId, live: &LivePeriod, credits: i64) {
    take(ledger, team, live, credits);
    sink.push(event(team, credits));
}

/// Likewise, without the event.
fn take(ledger: &Ledger, team: TeamId, live: &LivePeriod, credits: i64) {
    let (books, (limits, pool)) = (live.team(team), limits());
    let ask = Ask {
        class: Class::Standard,
        estimate: micros(credits),
        bound: micros(credits),
        continued: false,
        paced_to: MicroCredits::ZERO,
    };
    let mut taken = None;
    wait_for("a grant", || {
        let reserved =
            live.books
                .reserve((&books, &limits), &pool, &ask, MicroCredits::ZERO, |_| {
                    Ok(())
                });
        taken = reserved.inspect_err(|_| ledger.wake()).ok();
        taken.is_some()
    });
    live.books.settle(&books, taken.unwrap(), micros(credits));
}

fn sums(path: &Path) -> (i64, i64) {
    let main = sqlite::open_to_read(path).unwrap();
    let one = |sql: &str| main.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    (
        one("SELECT coalesce(sum(settled), 0) FROM account"),
        one("SELECT coalesce(sum(credits), 0) FROM rollup"),
    )
}

fn event_rows(path: &Path) -> (i64, i64) {
    let folder = path.parent().unwrap().join("events");
    let files = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path());
    files
        .filter(|path| path.extension().is_some_and(|e| e == "db"))
        .fold((0, 0), |(rows, sum), path| {
            let day = sqlite::open_to_read(&path).unwrap();
            let sql = "SELECT count(*), coalesce(sum(credits), 0) FROM event";
            let (count, credits): (i64, i64) = day
                .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            (rows + count, sum + credits)
        })
}

#[test]
fn a_clean_restart_keeps_counts_and_hands_grants_back() {
    let bench = Bench::new();
    let (ledger, restart) = bench.open();
    assert!(restart.last_write.is_none() && restart.adjustments.is_empty());
    let (team, period) = live(&ledger);
    let mut sink = ledger.sink(0);
    for _ in 0..10 {
        spend(&ledger, &mut sink, team, &period, 5);
    }
    ledger.stop().unwrap();
    let (ledger, restart) = bench.open();
    assert_eq!(restart.adjustments, [], "a clean stop leaves nothing open");
    let (team, period) = live(&ledger);
    let figures = period.team(team).own.figures();
    assert_eq!((figures.settled, figures.granted), (micros(50), micros(50)));
    assert_eq!(period.books.pool.committed(), micros(50));
    assert_eq!(period.books.year.committed.committed(), micros(50));
    assert_eq!(*ledger.teams(), ["sales"]);
    ledger.stop().unwrap();
}

#[test]
fn a_crash_is_charged_once_at_what_was_granted() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, period) = live(&ledger);
    let mut sink = ledger.sink(0);
    spend(&ledger, &mut sink, team, &period, 5);
    wait_for("settled on disk", || sums(&bench.path()).0 == 5);
    ledger.abort();
    let granted = period.team(team).own.figures().granted;
    assert!(
        granted > micros(5),
        "about a second's worth is granted ahead"
    );
    let (ledger, restart) = bench.open();
    let [adjustment] = &restart.adjustments[..] else {
        panic!("{:?}", restart.adjustments)
    };
    assert_eq!(
        (adjustment.team.as_str(), adjustment.credits.micros()),
        ("sales", granted.micros() - 5)
    );
    let (team, period) = live(&ledger);
    assert_eq!(period.team(team).own.figures().settled, granted);
    assert_eq!(sums(&bench.path()), (granted.micros(), granted.micros()));
    assert_eq!(
        event_rows(&bench.path()),
        (2, granted.micros()),
        "one flagged event"
    );
    ledger.stop().unwrap();
    assert_eq!(bench.open().1.adjustments, [], "once");
}

/// What a process that died between the two files leaves: a row of the next batch.
fn leave_row(bench: &Bench, day: &Path) {
    let main = sqlite::open_to_read(&bench.path()).unwrap();
    let batch = files::meta(&main, "batch").unwrap().unwrap();
    let day = sqlite::open(day, false).unwrap();
    day.execute(
        "INSERT INTO event SELECT id + 1, ?, at_ms, request, period, team, operation, class, source, credits,
             estimate, kind, confidence, flags, named_kind, named, agent_type, key, tags, session, units,
             input_tokens, output_tokens, status, duration_ms, note FROM event ORDER BY id DESC LIMIT 1",
        [batch + 1],
    )
    .unwrap();
}

#[test]
fn nothing_that_is_not_a_sound_ledger_of_ours_is_opened() {
    let check = |prepare: &dyn Fn(&Path), want: &str| {
        let bench = Bench::new();
        let (ledger, _) = bench.open();
        ledger.stop().unwrap();
        prepare(&bench.path());
        let said = bench.try_open().map(|_| ()).unwrap_err().to_string();
        assert!(said.contains(want), "{said}");
    };
    let run = |sql: &'static str| {
        move |path: &Path| {
            sqlite::open(path, false)
                .unwrap()
                .execute_batch(sql)
                .unwrap()
        }
    };
    check(
        &run("PRAGMA user_version = 99"),
        &format!("schema 99, this breakerbox knows up to {}", schema::MAIN),
    );
    check(&run("PRAGMA application_id = 1"), "no ledger of breakerbox");
    let damage = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[4_096..].fill(0x5a);
        std::fs::write(path, bytes).unwrap();
    };
    check(&damage, "is damaged");
    check(
        &|path| {
            std::fs::write(
                path,
                "not a database, but long enough to be looked at".repeat(99),
            )
            .unwrap()
        },
        "is damaged",
    );
    check(&|path| std::fs::write(path, "").unwrap(), "it is empty");
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, _period) = live(&ledger);
    ledger.sink(0).push(event(team, 5));
    ledger.stop().unwrap();
    std::fs::remove_file(bench.path()).unwrap();
    let said = bench.try_open().map(|_| ()).unwrap_err().to_string();
    assert!(
        said.contains("is missing, but its events or its mark are there"),
        "{said}"
    );
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let said = bench.try_open().map(|_| ()).unwrap_err().to_string();
    assert!(
        said.contains(&format!("in use by process {}", std::process::id())),
        "{said}"
    );
    ledger.stop().unwrap();
}

/// Without it they stayed until the next start, which then took seconds.
#[test]
fn sessions_and_keys_a_day_old_are_forgotten_while_it_runs_and_never_restored() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    ledger.stop().unwrap();
    let main = sqlite::open(&bench.path(), false).unwrap();
    main.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4999)
         INSERT INTO session SELECT 's' || i, '', 0, 0, 1, 1, i, 1 FROM n;
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4999)
         INSERT INTO idempotency SELECT randomblob(16), randomblob(16), NULL, randomblob(16), i FROM n;",
    )
    .unwrap();
    let (ledger, restart) = bench.open();
    assert_eq!((restart.sessions, restart.idempotency), (vec![], vec![]));
    let left = || -> i64 {
        let sql = "SELECT (SELECT count(*) FROM session) + (SELECT count(*) FROM idempotency)";
        main.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    wait_for("all are forgotten", || left() == 0);
    ledger.stop().unwrap();
}

#[test]
fn sessions_and_alerts_survive() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, period) = live(&ledger);
    let row = SessionRow {
        session: "8e71".into(),
        agent: "0Xx1".into(),
        team,
        charged: micros(3),
        opened_below_trip: true,
        opening_paid: true,
        last_used: Timestamp::from_millisecond(clock::now().as_millisecond()).unwrap(),
        version: 2,
    };
    ledger.sink(0).push(Event {
        session: Some(Box::new(row.clone())),
        ..event(team, 3)
    });
    // An older row of the same session comes later, through another worker's queue and in another batch.
    let older = SessionRow {
        charged: micros(2),
        version: 1,
        ..row.clone()
    };
    ledger.sink(1).push(Event {
        session: Some(Box::new(older.clone())),
        ..event(team, 0)
    });
    wait_for("the first batch", || sums(&bench.path()).0 == 3);
    ledger.sink(1).push(Event {
        session: Some(Box::new(older)),
        ..event(team, 0)
    });
    let alert = AlertRow {
        team,
        period: period.books.period.name,
        level: alerts::Level::Info,
        percent_bp: 5_000,
        at: row.last_used,
        used: micros(5),
        committed: micros(6),
        allocation: micros(10),
    };
    assert!(ledger.raise_alert(alert.clone()).unwrap());
    assert!(!ledger.raise_alert(alert.clone()).unwrap(), "once");
    ledger.stop().unwrap();
    let (ledger, restart) = bench.open();
    assert_eq!(restart.sessions, [row]);
    assert!(
        !ledger.raise_alert(alert.clone()).unwrap(),
        "also across a restart"
    );
    ledger
        .rearm(team, alert.period, &[5_000], alert.at)
        .unwrap();
    assert!(
        ledger.raise_alert(alert.clone()).unwrap(),
        "more allocation re-arms"
    );
    let (listed, _) = answered(ledger.alerts(alert.period)).unwrap();
    assert_eq!(listed, [alert.clone(), alert]);
    ledger.stop().unwrap();
}

#[test]
fn a_ledger_of_version_1_is_brought_up_to_date_and_is_sound() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, _period) = live(&ledger);
    ledger.sink(0).push(event(team, 5));
    ledger.stop().unwrap();
    let main = sqlite::open(&bench.path(), false).unwrap();
    main.execute_batch(UNDO_8).unwrap();
    main.execute_batch(
        "DROP TABLE event_day; DROP TABLE rollup_team; DROP TABLE carried; DROP TABLE hour_alert; DROP TABLE idempotency; DROP TABLE dropped_day; DROP TABLE correction;
         ALTER TABLE account DROP COLUMN folded; ALTER TABLE account DROP COLUMN folded_rows;
         DELETE FROM meta WHERE key = 'days_counted';
         UPDATE account SET settled = 7, granted = 7;
         ALTER TABLE rollup RENAME COLUMN minute TO hour;
         UPDATE rollup SET hour = hour / 60;
         INSERT INTO rollup SELECT hour - 1, period, team, operation, class, source, confidence, named_kind, named,
             agent_type, key, tags, 1, 2, units, input_tokens, output_tokens FROM rollup;
         PRAGMA user_version = 1;",
    )
    .unwrap();
    let day = &days::list(&days::folder(&bench.path()))[0];
    sqlite::open(&day.path, false)
        .unwrap()
        .execute_batch(
            "DROP VIEW events_readable; ALTER TABLE event DROP COLUMN note; PRAGMA user_version = 1;",
        )
        .unwrap();
    let said = bench.try_verify().unwrap_err().to_string();
    assert!(said.contains("start `breakerbox serve` once"), "{said}");
    bench.open().0.stop().unwrap();
    let verdict = bench.verified();
    assert!(verdict.is_sound(), "{verdict:?}");
    let account = &verdict.accounts[0];
    let figures = (account.events, account.folded, account.settled);
    assert_eq!(figures, (micros(5), micros(2), micros(7)), "one was folded");
}

#[test]
fn a_ledger_thread_that_died_is_seen_and_does_not_keep_the_process() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, period) = live(&ledger);
    let mut sink = ledger.sink(0);
    spend(&ledger, &mut sink, team, &period, 5);
    assert!(ledger.is_alive() && ledger.health().writing);
    ledger.0.commands.send(Command::Panic).unwrap();
    ledger.wake();
    wait_for("it ends", || !ledger.is_alive());
    let health = ledger.health();
    assert!(!health.writing);
    assert!(health.last_error.unwrap().contains("restart"));
    sink.push(event(team, 5));
    drop(sink);
    assert!(ledger.team("support").is_err(), "nobody waits for it");
    assert!(ledger.stop().is_err());
    drop(ledger);
    let (ledger, restart) = bench.open();
    let charged: i64 = restart.adjustments.iter().map(|a| a.credits.micros()).sum();
    assert!(
        sums(&bench.path()).0 >= 5 && charged >= 0,
        "the grant covers what was not written"
    );
    ledger.stop().unwrap();
}
