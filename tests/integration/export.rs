//! `breakerbox ledger export`: CloudEvents and CSV, twice the same bytes, sums that are the ledger's.

use std::collections::HashSet;
use std::time::Duration;

use breakerbox::budget::credits::MicroCredits;
use breakerbox::simulator::{Settings, Simulator};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::http::get;
use crate::process::{Process, run, said};
use crate::stage::{Files, allocations, any_port, wait_for};
use crate::verify::{day_file, spend, used_ledger};

fn export(files: &Files, arguments: &[&str]) -> String {
    let output = run(files, &[&["ledger", "export"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(
        output.stderr.is_empty(),
        "no bar without a terminal: {}",
        said(&output)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Exit code 2, and why.
fn refused(files: &Files, arguments: &[&str], why: &str) {
    let output = run(files, &[&["ledger", "export"], arguments].concat());
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains(why), "{told}");
}

/// The day of a CSV's first event.
fn day_file_day(csv: &str) -> String {
    let time = csv.lines().nth(1).and_then(|line| line.split(',').nth(2));
    let (day, _) = time.expect("a time").split_once('T').expect("a day");
    day.to_owned()
}

/// `--from 2026-11-24T12:00:00` printed what happened at ten.
#[test]
fn a_time_of_day_is_one_of_the_pools_zone() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let text = allocations("guide", "120_000").replace("\"UTC\"", "\"America/Los_Angeles\"");
    let files = Files::write(simulator.address, &text);
    let process = Process::serve(&files);
    spend(&process, 1);
    let usage = |from: &str| {
        let path = format!("/api/v1/usage?from={from}&group_by=team");
        get(process.admin, &path)
            .json()
            .as_array()
            .expect("rows")
            .len()
    };
    let zone = TimeZone::get("America/Los_Angeles").expect("a zone");
    let local = |ahead: i64| {
        let at = Timestamp::now() + SignedDuration::from_hours(ahead);
        at.to_zoned_datetime(zone.clone())
            .datetime()
            .strftime("%FT%T")
            .to_string()
    };
    wait_for("the rollup", Duration::from_secs(5), || {
        usage(&local(-2)) == 1
    });
    assert_eq!(usage(&local(2)), 0);
    assert_eq!(process.stop(), Some(0));
    let events = |from: &str| export(&files, &["--from", from, "--to", "2099-01-01"]);
    assert_eq!(events(&local(-2)).lines().count(), 1);
    assert_eq!(events(&local(2)), "");
}

#[test]
fn json_lines_are_cloud_events_and_the_same_each_time() {
    let (files, _simulator) = used_ledger(3);
    // A crash leaves an adjustment, which has no request.
    let process = Process::serve(&files);
    spend(&process, 2);
    process.kill();
    let process = Process::serve(&files);
    let used = process.used();
    let question = [
        "--from",
        "2026-01-01",
        "--to",
        "2099-01-01",
        "--format",
        "jsonl",
    ];
    let text = export(&files, &question);
    assert_eq!(process.stop(), Some(0));
    assert_eq!(export(&files, &question), text, "running or not");
    let (mut ids, mut sum) = (HashSet::new(), 0);
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).expect("json");
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["type"], "breakerbox.credits.settled");
        assert_eq!(event["subject"], "sales");
        assert_eq!(event["datacontenttype"], "application/json");
        let source = event["source"].as_str().expect("source");
        assert!(source.starts_with("/breakerbox/"), "{source}");
        let id = event["id"].as_str().expect("id").to_owned();
        assert!(ids.insert((source.to_owned(), id)), "unique: {line}");
        let time: Timestamp = event["time"]
            .as_str()
            .expect("time")
            .parse()
            .expect("RFC 3339");
        assert!(time.as_second() > 1_700_000_000);
        let credits = MicroCredits::parse(&event["data"]["credits"].to_string()).expect("exact");
        sum += credits.micros();
    }
    assert_eq!(sum, used);
    assert!(text.contains(r#""kind":"crash_adjustment""#), "{text}");
}

#[test]
fn csv_has_a_line_an_event_and_only_of_the_time_asked_for() {
    let (files, _simulator) = used_ledger(3);
    let text = export(&files, &["--from", "2026-01-01", "--format", "csv"]);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.starts_with("id,event,time,period,team,"), "{text}");
    assert!(
        text.lines()
            .skip(1)
            .all(|line| line.contains(",sales,model.generate,standard,own,1,"))
    );
    let none = export(
        &files,
        &[
            "--from",
            "2026-01-01",
            "--to",
            "2026-01-02",
            "--format",
            "csv",
        ],
    );
    assert_eq!(none.lines().count(), 1, "{none}");
    refused(&files, &["--from", "yesterday"], "no time like 2026-11-01");
    refused(
        &files,
        &["--from", "2026-11-02", "--to", "2026-11-01"],
        "is later than --to",
    );
    std::fs::remove_file(day_file(&files)).expect("remove");
    // The day that begins with the first instant left out is not asked for.
    let day = day_file_day(&text);
    let none = ["--from", "2026-01-01", "--to", &day, "--format", "csv"];
    assert_eq!(export(&files, &none).lines().count(), 1);
    let output = run(&files, &["ledger", "export", "--from", "2026-01-01"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("are missing: 3 rows"),
        "{}",
        said(&output)
    );
}
