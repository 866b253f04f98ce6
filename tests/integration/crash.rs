//! `kill -9` in the middle of the load: counted is never less than spent, and never more than was granted.

mod load;
mod scene;
mod summary;

use std::process::Command;

use breakerbox::simulator::{Settings, Simulator};

use self::scene::Scene;
use self::summary::Summary;
use crate::process::Process;
use crate::stage::{CHAT, Files, MODEL_PATH, SALES_KEY, allocations, any_port, has};

/// How many rounds in CI; `BREAKERBOX_TEST_KILLS` asks for more.
const ROUNDS: u64 = 12;

/// ```sh
/// BREAKERBOX_TEST_KILLS=300 cargo test --test integration after_kill_9 -- --nocapture
/// ```
/// `BREAKERBOX_TEST_SEED` chooses the load and the moments again; the clocks of threads and disk it does not.
#[test]
fn after_kill_9_counted_is_at_least_spent_and_at_most_granted() {
    let asked = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let rounds = asked("BREAKERBOX_TEST_KILLS").unwrap_or(ROUNDS);
    let seed = asked("BREAKERBOX_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{rounds} rounds of load, kill -9 and restart; BREAKERBOX_TEST_SEED={seed}");
    let mut summary = Summary::default();
    let mut scene = Scene::set(seed);
    for at in 1..=rounds {
        let round = scene.round();
        summary.add(&round);
        let every = if rounds <= 24 { 1 } else { 10 };
        if at % every == 0 || !round.holds() {
            println!("round {at} of {rounds}: {round}");
        }
        assert!(
            round.holds(),
            "round {at} with seed {seed}: {round}\n{summary}"
        );
    }
    println!("{summary}");
    assert!(summary.streams > 0, "streams were open");
    assert!(
        summary.apart_rows(),
        "uncertain, partial and void ones were seen\n{summary}"
    );
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
