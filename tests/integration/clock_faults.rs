//! Clocks that go wrong, zones that change, machines that sleep: no period begins twice, none begins too early, and
//! what was spent stays where it was.

use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};
use rustix::process::{Pid, Signal, kill_process};

use crate::http::{call, get};
use crate::process::{Process, run, run_with, said};
use crate::stage::{CHAT, Files, MODEL_PATH, SALES_KEY, allocations, any_port, wait_for};
use crate::wall_clock::WallClock;

const SOON: Duration = Duration::from_secs(10);

fn simulator() -> Simulator {
    Simulator::start(any_port(), Settings::default()).expect("a simulator")
}

fn spend(process: &Process) {
    let key = [("Breakerbox-Key", SALES_KEY)];
    let reply = call(process.proxy, "POST", MODEL_PATH, &key, CHAT);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn pool(process: &Process, field: &str) -> String {
    let pool = get(process.admin, "/api/v1/pool").json();
    pool[field].to_string().trim_matches('"').to_owned()
}

/// Sound, and as much counted as was spent.
fn check_books(process: Process, files: &Files, simulator: &Simulator) {
    assert_eq!(process.stop(), Some(0));
    let verified = run(files, &["ledger", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    let database = rusqlite::Connection::open(files.ledger()).expect("open");
    let sql = "SELECT sum(settled) FROM account";
    let settled: i64 = database
        .query_row(sql, [], |row| row.get(0))
        .expect("a sum");
    assert_eq!(settled, simulator.billed().guide.total_micro_credits);
}

#[test]
fn one_bad_time_from_ntp_and_back_costs_an_alarm_and_nothing_else() {
    let simulator = simulator();
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let Some(clock) = WallClock::at(&files, "2026-11-20T12:00:00Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    spend(&process);
    clock.set("2031-03-07T12:00:00Z");
    wait_for("the alarm", SOON, || pool(&process, "held") != "null");
    spend(&process);
    clock.set("2026-11-20T12:00:10Z");
    spend(&process);
    let all = ["period", "period_end", "used"].map(|field| pool(&process, field));
    assert_eq!(all, ["2026-11", "2026-12-01T00:00:00Z", "3"]);
    let held = pool(&process, "held");
    assert!(held.contains("jumped"), "until somebody looked: {held}");
    assert!(process.metrics().contains("breakerbox_clock_held 1"));
    assert_eq!(process.log().matches("the period is held").count(), 1);
    check_books(process, &files, &simulator);
}

/// A virtual machine that is stopped for longer than its month lasts: wall clock and time since boot both went on.
#[test]
fn a_machine_that_slept_over_the_months_edge_wakes_up_in_the_new_month() {
    let simulator = simulator();
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let Some(clock) = WallClock::at(&files, "2026-11-30T23:59:57Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    spend(&process);
    let pid = Pid::from_raw(i32::try_from(process.child.id()).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::STOP).expect("SIGSTOP");
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
        std::thread::park_timeout(left);
    }
    kill_process(pid, Signal::CONT).expect("SIGCONT");
    wait_for("the new month", SOON, || {
        pool(&process, "period") == "2026-12"
    });
    assert_eq!(
        (pool(&process, "held"), pool(&process, "used")),
        ("null".to_owned(), "0".to_owned())
    );
    spend(&process);
    assert_eq!(pool(&process, "used"), "1");
    check_books(process, &files, &simulator);
}

#[test]
fn another_time_zone_holds_from_the_next_period_on() {
    let simulator = simulator();
    let text = allocations("guide", "12_000");
    let files = Files::write(simulator.address, &text);
    let Some(clock) = WallClock::at(&files, "2026-11-30T23:59:52Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    spend(&process);
    let west = text.replace(r#""UTC""#, r#""America/Los_Angeles""#);
    std::fs::write(files.allocations(), west).expect("write");
    let reloaded = call(process.admin, "POST", "/api/v1/config/reload", &[], "{}");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    // In Los Angeles the old month has eight hours left; here it ends as it was told to.
    let edges = |process: &Process| ["period_start", "period_end"].map(|edge| pool(process, edge));
    assert_eq!(
        edges(&process),
        ["2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"]
    );
    wait_for("the new month", Duration::from_secs(20), || {
        pool(&process, "period") == "2026-12"
    });
    assert_eq!(
        edges(&process),
        ["2026-12-01T00:00:00Z", "2027-01-01T08:00:00Z"]
    );
    spend(&process);
    assert_eq!(process.stop(), Some(0));
    // Also for a process that never saw the old zone.
    let process = Process::serve_with(&files, clock.command());
    assert_eq!(
        edges(&process),
        ["2026-12-01T00:00:00Z", "2027-01-01T08:00:00Z"]
    );
    assert_eq!(pool(&process, "used"), "1");
    check_books(process, &files, &simulator);
}

/// A gateway that spent one credit on 20 November and stopped, started again when the clock says `at`.
fn start_at(files: &Files, at: &str) -> Option<(WallClock, Process)> {
    let clock = WallClock::at(files, "2026-11-20T12:00:00Z")?;
    let process = Process::serve_with(files, clock.command());
    spend(&process);
    assert_eq!(process.stop(), Some(0));
    clock.set(at);
    let process = Process::serve_with(files, clock.command());
    Some((clock, process))
}

/// Period, what is used of it, and whether it is held.
fn state(process: &Process) -> [String; 3] {
    let held = pool(process, "held") != "null";
    [
        pool(process, "period"),
        pool(process, "used"),
        held.to_string(),
    ]
}

/// One start in 2028 dropped every day of 2026, and opened a period nobody could leave again.
#[test]
fn a_start_with_a_clock_far_ahead_opens_no_period_and_drops_no_day() {
    let simulator = simulator();
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let Some((clock, process)) = start_at(&files, "2028-06-01T13:00:00Z") else {
        return;
    };
    let check_held = |process: &Process| {
        let held = pool(process, "held");
        assert!(held.contains("2026-11-20, 559 days ago"), "{held}");
        wait_for("the ledger thread looked for old days", SOON, || {
            process
                .log()
                .contains("only while the wall clock is believed")
        });
    };
    check_held(&process);
    spend(&process);
    assert_eq!(state(&process), ["2026-11", "2", "true"]);
    assert_eq!(process.stop(), Some(0));
    // What was written under it is no reason to believe it the next time.
    let process = Process::serve_with(&files, clock.command());
    check_held(&process);
    assert_eq!(process.stop(), Some(0));
    let day = files.folder.path().join("data/events/2026-11-20.db");
    assert!(day.exists());
    clock.set("2026-11-20T13:00:00Z");
    let process = Process::serve_with(&files, clock.command());
    spend(&process);
    assert_eq!(state(&process), ["2026-11", "3", "false"]);
    check_books(process, &files, &simulator);
}

#[test]
fn a_gateway_that_was_off_over_the_months_edge_starts_in_the_new_month() {
    let simulator = simulator();
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let Some((_clock, process)) = start_at(&files, "2026-12-18T12:00:00Z") else {
        return;
    };
    assert_eq!(state(&process), ["2026-12", "0", "false"]);
    check_books(process, &files, &simulator);
}

#[test]
fn after_three_months_off_somebody_says_that_the_clock_is_right() {
    let simulator = simulator();
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let Some((clock, process)) = start_at(&files, "2027-02-20T12:00:00Z") else {
        return;
    };
    assert_eq!(state(&process), ["2026-11", "1", "true"]);
    let log = process.log();
    assert!(
        log.contains("no gateway ran since") && log.contains("ledger accept-clock"),
        "{log}"
    );
    clock.accept(&files);
    wait_for("the month that is", SOON, || {
        state(&process) == ["2027-02", "0", "false"]
    });
    spend(&process);
    check_books(process, &files, &simulator);
}

/// As after a power cut with a flat battery: the clock lies before the contract.
#[test]
fn a_dead_clock_holds_the_period_and_keeps_nobody_from_starting() {
    let simulator = simulator();
    let text = allocations("guide", "12_000");
    let files = Files::write(simulator.address, &text);
    let Some(clock) = WallClock::at(&files, "2026-11-20T12:00:00Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    spend(&process);
    assert_eq!(process.stop(), Some(0));
    clock.set("2020-01-01T00:00:00Z");
    for command in [&["check"][..], &["ledger", "verify"]] {
        let output = run_with(&files, clock.command(), command);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    let process = Process::serve_with(&files, clock.command());
    let held = pool(&process, "held");
    assert!(held.contains("before the ledger's last write"), "{held}");
    spend(&process);
    let all = ["period", "used"].map(|field| pool(&process, field));
    assert_eq!(all, ["2026-11", "2"]);
    // An edit counts all the same, also for the next start.
    std::fs::write(files.allocations(), text.replace("35%", "40%")).expect("write");
    let reloaded = call(process.admin, "POST", "/api/v1/config/reload", &[], "{}");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let database = rusqlite::Connection::open(files.ledger()).expect("open");
    let sql = "SELECT max(credits) = (SELECT credits FROM allocation WHERE team = 0 ORDER BY at_ms DESC LIMIT 1)
               FROM allocation WHERE team = 0";
    let is_newest: bool = database
        .query_row(sql, [], |row| row.get(0))
        .expect("allocations");
    assert!(is_newest, "the newest row is the edit's");
    drop(database);
    clock.set("2026-11-20T13:00:00Z");
    let accepted = run_with(&files, clock.command(), &["ledger", "accept-clock"]);
    assert_eq!(accepted.status.code(), Some(0), "{}", said(&accepted));
    wait_for("it is believed", SOON, || pool(&process, "held") == "null");
    check_books(process, &files, &simulator);
}
