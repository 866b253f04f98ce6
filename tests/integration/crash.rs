//! `kill -9` in the middle of the load: counted is never less than spent, and never more than was granted.

use std::process::Command;
use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};

use crate::http::Connection;
use crate::process::Process;
use crate::stage::{CHAT, Files, MODEL_PATH, SALES_KEY, allocations, any_port, has, wait_for};

/// One round: load, kill, restart. Returns (counted, really spent, granted - durably settled at the crash).
fn round(files: &Files, simulator: &Simulator, load: Duration) -> (i64, i64, i64) {
    let process = Process::serve(files);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut connection = Connection::open(process.proxy);
                let headers = [("Breakerbox-Key", SALES_KEY), ("x-sim-tokens", "2500")];
                // Until the process is gone.
                while connection.call("POST", MODEL_PATH, &headers, CHAT).is_ok() {}
            });
        }
        std::thread::park_timeout(load);
        let pid = i32::try_from(process.child.id()).expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill -9");
    });
    process.kill();
    wait_for("the simulator is done", Duration::from_secs(5), || {
        simulator.billed().running == 0
    });
    let database = rusqlite::Connection::open(files.ledger()).expect("open");
    let open: i64 = database
        .query_row(
            "SELECT coalesce(sum(granted - settled), 0) FROM account",
            [],
            |row| row.get(0),
        )
        .expect("grants");
    drop(database);
    let process = Process::serve(files);
    let counted = process.used();
    process.kill();
    (counted, simulator.billed().guide.total_micro_credits, open)
}

#[test]
fn after_kill_9_counted_is_at_least_spent_and_at_most_granted() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "120_000_000"));
    let rounds = std::env::var("BREAKERBOX_TEST_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(6);
    let (mut counted_before, mut spent_before) = (0, 0);
    for at in 0..rounds {
        let load = Duration::from_millis(150 + 37 * at);
        let (counted, spent, open) = round(&files, &simulator, load);
        let difference = (counted - counted_before) - (spent - spent_before);
        println!(
            "round {at}: counted - spent = {difference} micro-credits, granted - settled at the crash = {open}"
        );
        assert!(spent > spent_before, "round {at} had load");
        assert!(
            (0..=open).contains(&difference),
            "round {at}: 0 <= {difference} <= {open}"
        );
        (counted_before, spent_before) = (counted, spent);
    }
}

#[test]
fn a_second_process_on_the_ledger_is_refused_by_name() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "120_000"));
    let process = Process::serve(&files);
    let second = Command::new(env!("CARGO_BIN_EXE_breakerbox"))
        .args(["serve", "--config"])
        .arg(files.config())
        .output()
        .expect("serve");
    assert_eq!(second.status.code(), Some(2));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&process.child.id().to_string()), "{said}");
    process.kill();
}

#[test]
fn sigterm_finishes_hands_grants_back_and_exits_0() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "120_000"));
    let mut process = Process::serve(&files);
    let reply = crate::http::call(
        process.proxy,
        "POST",
        MODEL_PATH,
        &[("Breakerbox-Key", SALES_KEY)],
        CHAT,
    );
    assert_eq!(reply.status, 200);
    let pid = rustix::process::Pid::from_raw(i32::try_from(process.child.id()).expect("a pid"))
        .expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("SIGTERM");
    assert_eq!(process.child.wait().expect("gone").code(), Some(0));
    let database = rusqlite::Connection::open(files.ledger()).expect("open");
    let (granted, settled): (i64, i64) = database
        .query_row(
            "SELECT sum(granted), sum(settled) FROM account",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .expect("accounts");
    assert_eq!((granted, settled), (1_000_000, 1_000_000));
    let database = files.ledger().display().to_string();
    if has("sqlite3") {
        let checked = Command::new("sqlite3")
            .args([database.as_str(), "PRAGMA integrity_check"])
            .output();
        assert_eq!(
            String::from_utf8_lossy(&checked.expect("sqlite3").stdout),
            "ok\n"
        );
    }
}
