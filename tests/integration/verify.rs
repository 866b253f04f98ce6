//! `breakerbox ledger verify`: sound ledgers pass, every planted difference is found and said by name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};
use rusqlite::Connection;

use crate::http::call;
use crate::process::{Process, run, said};
use crate::stage::{CHAT, Files, MODEL_PATH, SALES_KEY, allocations, any_port, wait_for};

/// A gateway that took calls and stopped, and its files.
pub(crate) fn used_ledger(calls: u32) -> (Files, Simulator) {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "120_000"));
    let process = Process::serve(&files);
    spend(&process, calls);
    assert_eq!(process.stop(), Some(0));
    (files, simulator)
}

pub(crate) fn spend(process: &Process, calls: u32) {
    for _ in 0..calls {
        let key = [("Breakerbox-Key", SALES_KEY)];
        let reply = call(process.proxy, "POST", MODEL_PATH, &key, CHAT);
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// The only day's file, or the newest.
pub(crate) fn day_file(files: &Files) -> PathBuf {
    let folder = files.folder.path().join("data/events");
    let all = std::fs::read_dir(folder).expect("events").flatten();
    let days = all.map(|file| file.path());
    days.filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .max()
        .expect("a day")
}

fn change(path: &Path, sql: &str) {
    let connection = Connection::open(path).expect("open");
    connection.execute_batch(sql).expect(sql);
}

#[test]
fn a_sound_ledger_passes_beside_a_running_gateway_and_after_it() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "120_000"));
    let process = Process::serve(&files);
    spend(&process, 3);
    let check = |arguments: &[&str]| {
        let output = run(&files, arguments);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(0), "{told}");
        told
    };
    wait_for("three are on disk", Duration::from_secs(5), || {
        check(&["ledger", "verify"]).contains("batch") && {
            let told = check(&["ledger", "verify", "--format", "json"]);
            let told: serde_json::Value = serde_json::from_str(&told).expect("json");
            assert_eq!(told["sound"], true);
            told["rows"] == 3
        }
    });
    assert_eq!(process.stop(), Some(0));
    let table = check(&["ledger", "verify", "--thorough"]);
    assert!(
        table.contains("sound: events, rollups and accounts agree"),
        "{table}"
    );
    let csv = check(&["ledger", "verify", "--format", "csv"]);
    let row = csv.lines().nth(1).expect("a row");
    assert!(row.ends_with("sales,own,3,0,3,3,3,0"), "{csv}");
}

fn check(plant: &dyn Fn(&Files), want: &str) {
    let (files, _simulator) = used_ledger(2);
    plant(&files);
    let output = run(&files, &["ledger", "verify"]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(want), "wanted {want:?}: {told}");
}

fn main(sql: &'static str) -> impl Fn(&Files) {
    move |files| change(&files.ledger(), sql)
}

fn day(sql: &'static str) -> impl Fn(&Files) {
    move |files| change(&day_file(files), sql)
}

#[test]
fn every_planted_difference_is_found() {
    check(
        &main("UPDATE account SET settled = settled + 1, granted = granted + 1 WHERE settled > 0"),
        "sales own: events, rollups and account differ by 0.000001 credits",
    );
    check(
        &main("UPDATE rollup SET credits = credits - 5"),
        "sales own: events, rollups and account differ by 0.000005 credits",
    );
    check(
        &main("UPDATE rollup_team SET credits = credits - 5"),
        "the hourly sums by team differ from the rollups in 2 places",
    );
    check(
        &main("UPDATE rollup SET requests = requests + 1"),
        "2 events, 3 in the rollups",
    );
    check(
        &main("UPDATE account SET granted = 0"),
        "2 credits settled, only 0 granted",
    );
    check(
        &day("DELETE FROM event WHERE id = 1"),
        "1 rows of 1 credits, and were 2 rows of 2 credits",
    );
    check(
        &|files| std::fs::remove_file(day_file(files)).expect("remove"),
        "are missing: ",
    );
    check(
        &|files| {
            let mut bytes = std::fs::read(day_file(files)).expect("read");
            bytes[4_096..8_192].fill(0x5a);
            std::fs::write(day_file(files), bytes).expect("write");
        },
        "are damaged: ",
    );
    check(
        &|files| {
            let mut bytes = std::fs::read(files.ledger()).expect("read");
            bytes[4_096..].fill(0x5a);
            std::fs::write(files.ledger(), bytes).expect("write");
        },
        "is damaged: ",
    );
}

const TEAM_ROLLUPS_ANEW: &str = "
DELETE FROM rollup_team;
INSERT INTO rollup_team SELECT minute, period, team, operation, class, source, confidence, sum(requests), sum(credits),
    sum(units), sum(input_tokens), sum(output_tokens) FROM rollup GROUP BY 1, 2, 3, 4, 5, 6, 7";

/// It said "sound": the sums of each team were right.
#[test]
fn what_is_booked_under_something_else_is_found() {
    for (column, what) in [
        ("operation", "operation"),
        ("class", "class"),
        ("confidence", "confidence"),
        ("units", "units and tokens"),
    ] {
        let sql = format!("UPDATE rollup SET {column} = {column} + 1; {TEAM_ROLLUPS_ANEW}");
        let plant = |files: &Files| change(&files.ledger(), &sql);
        check(&plant, &format!("do not agree in {what}: "));
    }
    for (column, what) in [("named", "name"), ("key", "key"), ("tags", "tags")] {
        let sql = format!("UPDATE rollup SET {column} = 'other'");
        let plant = |files: &Files| change(&files.ledger(), &sql);
        check(&plant, &format!("do not agree in {what}: "));
    }
    check(
        &day(
            "UPDATE event SET kind = 5, note = 'corrects 2026-01-02.3 by ops: twice' WHERE id = 1",
        ),
        "a correction of 2026-01-02.3 by 1 is not known as booked",
    );
    check(
        &main(
            "INSERT INTO correction (at_ms, day, event, credits, reason, author, change, batch)
             VALUES (0, 20455, 3, 0, 'twice', 'ops', -1000000, 1)",
        ),
        "a correction of 2026-01-02.3 by -1 is known as booked, and has no event",
    );
}

#[test]
fn without_a_ledger_it_says_where_it_looked() {
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    let files = Files::write(nobody, &allocations("guide", "120_000"));
    let output = run(&files, &["ledger", "verify"]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("cannot read") && told.contains("breakerbox.db"),
        "{told}"
    );
}
