//! `breakerbox ledger correct`: a line of its own, in counters, reports and export, running or not.

use serde_json::Value;

use crate::http::{call, get};
use crate::process::{Process, run, said};
use crate::stage::{CHAT, Files, MODEL_PATH, SALES_KEY};
use crate::verify::used_ledger;

/// A call; its request's id.
fn request(process: &Process) -> String {
    let key = [("Breakerbox-Key", SALES_KEY)];
    let reply = call(process.proxy, "POST", MODEL_PATH, &key, CHAT);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply
        .header("breakerbox-request-id")
        .expect("an id")
        .to_owned()
}

fn correct(files: &Files, event: &str, credits: &str) -> String {
    let arguments = [
        "ledger",
        "correct",
        event,
        "--credits",
        credits,
        "--reason",
        "INC-117, billed twice",
    ];
    let output = run(
        files,
        &[&arguments[..], &["--author", "ops@example.com"]].concat(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    said(&output)
}

fn check_sound(files: &Files) {
    let output = run(files, &["ledger", "verify", "--thorough"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

fn usage(process: &Process, by: &str) -> Value {
    get(process.admin, &format!("/api/v1/usage?group_by={by}")).json()
}

/// What is granted on disk, and how much of it is not spent.
fn granted(files: &Files) -> (i64, i64) {
    let main = rusqlite::Connection::open(files.ledger()).expect("open");
    let sql = "SELECT sum(granted), sum(granted - settled) FROM account";
    main.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("granted")
}

/// What is granted ahead for calls made before: it depends on how fast they came.
fn ahead(files: &Files) -> i64 {
    let mut at_rest = (0, 0);
    crate::stage::wait_for("grants rest", std::time::Duration::from_secs(5), || {
        let before = std::mem::replace(&mut at_rest, granted(files));
        std::thread::park_timeout(std::time::Duration::from_millis(200));
        before == at_rest
    });
    at_rest.1
}

#[test]
fn a_running_gateway_books_it_in_counters_reports_and_across_a_crash() {
    let (files, _simulator) = used_ledger(1);
    let process = Process::serve(&files);
    let id = request(&process);
    // The event has to be on disk to be found.
    crate::stage::wait_for("on disk", std::time::Duration::from_secs(5), || {
        run(&files, &["ledger", "export", "--from", "2026-01-01"])
            .stdout
            .split(|b| *b == b'\n')
            .count()
            == 3
    });
    let ahead = ahead(&files);
    let told = correct(&files, &id, "0.25");
    assert!(told.contains("booked: -0.75 credits added"), "{told}");
    assert_eq!(process.used(), 1_250_000);
    let told = correct(&files, &id, "3");
    assert!(
        told.contains("booked: 2.75 credits added"),
        "from what holds now: {told}"
    );
    assert_eq!(process.used(), 4_000_000);
    let told = correct(&files, &id, "3");
    assert!(told.contains("booked: 0 credits added"), "{told}");
    let told = correct(&files, &id, "0");
    assert!(told.contains("booked: -3 credits added"), "{told}");
    let by = usage(&process, "team,confidence");
    let adjusted = by
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["confidence"] == "adjusted");
    assert_eq!(adjusted.expect("adjusted")["credits"].to_string(), "-1");
    assert_eq!(usage(&process, "team")[0]["credits"].to_string(), "1");
    assert!(
        process.log().contains("an event was corrected"),
        "{}",
        process.log()
    );
    check_sound(&files);
    process.kill();
    let (granted, unspent) = granted(&files);
    assert!(
        unspent <= ahead + 1_000_000,
        "{unspent} of {ahead}: a correction is no pace"
    );
    let process = Process::serve(&files);
    let used = process.used();
    assert_eq!(
        used, granted,
        "what was granted ahead is added, and no more"
    );
    assert_eq!(process.stop(), Some(0));
    check_sound(&files);
}

#[test]
fn without_a_gateway_the_next_one_books_it_and_nothing_that_was_written_changed() {
    let (files, _simulator) = used_ledger(2);
    let export = || {
        String::from_utf8(run(&files, &["ledger", "export", "--from", "2026-01-01"]).stdout)
            .expect("text")
    };
    let before = export();
    let event: Value = serde_json::from_str(before.lines().next().expect("a line")).expect("json");
    let name = event["data"]["event"]
        .as_str()
        .expect("an event")
        .to_owned();
    let told = correct(&files, &name, "0.5");
    assert!(
        told.contains("the next `breakerbox serve` books it"),
        "{told}"
    );
    let process = Process::serve(&files);
    crate::stage::wait_for("booked", std::time::Duration::from_secs(5), || {
        process.used() == 1_500_000
    });
    assert_eq!(process.stop(), Some(0));
    check_sound(&files);
    let after = export();
    assert!(
        after.starts_with(&before),
        "lines are added, none is changed"
    );
    let line: Value = serde_json::from_str(after.lines().last().expect("a line")).expect("json");
    assert_eq!(line["data"]["kind"], "correction");
    assert_eq!(line["data"]["credits"].to_string(), "-0.5");
    let note = line["data"]["note"].as_str().expect("a note");
    assert_eq!(
        note,
        format!("corrects {name} by ops@example.com: INC-117, billed twice")
    );
    let itself = line["data"]["event"].as_str().expect("an event");
    let refused = |event: &str, want: &str| {
        let output = run(
            &files,
            &[
                "ledger",
                "correct",
                event,
                "--credits",
                "1",
                "--reason",
                "x",
            ],
        );
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains(want), "{}", said(&output));
    };
    refused(itself, "is a correction itself");
    refused("2026-01-02.1", "no events of that day");
    refused(
        "00112233445566778899aabbccddeeff",
        "no event has this request id",
    );
    refused("17", "write its request id");
}
