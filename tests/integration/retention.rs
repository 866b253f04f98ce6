//! Old days go, whole; their sums stay, and everything goes on agreeing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::process::{Process, run, said};
use crate::stage::{Files, wait_for};
use crate::verify::{day_file, spend, used_ledger};

fn day_path(files: &Files, day: &str) -> PathBuf {
    day_file(files).with_file_name(format!("{day}.db"))
}

/// Makes what was written today look as if it had been on `day`.
fn move_to(files: &Files, day: &str) {
    let today = day_file(files);
    let date: jiff::civil::Date = day.parse().expect("a date");
    let midnight = date
        .to_zoned_datetime(jiff::tz::TimeZone::UTC)
        .expect("a day");
    let number = midnight.timestamp().as_second().div_euclid(86_400);
    let newest: i64 = today_number(&today);
    let main = Connection::open(files.ledger()).expect("open");
    let sql = "UPDATE event_day SET day = ? WHERE day = ?";
    main.execute(sql, [number, newest]).expect("update");
    drop(main);
    std::fs::rename(&today, day_path(files, day)).expect("rename");
}

fn today_number(file: &Path) -> i64 {
    let name = file
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let date: jiff::civil::Date = name.parse().expect("a date");
    let midnight = date
        .to_zoned_datetime(jiff::tz::TimeZone::UTC)
        .expect("a day");
    midnight.timestamp().as_second().div_euclid(86_400)
}

fn check_sound(files: &Files) {
    let output = run(files, &["ledger", "verify", "--thorough"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

/// So many days ago, as files are named.
fn days_ago(days: i64) -> String {
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
    at.strftime("%Y-%m-%d").to_string()
}

fn use_up(files: &Files, calls: u32) {
    let process = Process::serve(files);
    spend(&process, calls);
    assert_eq!(process.stop(), Some(0));
}

/// Serves until the files of `gone` are not there any more; what was counted before is counted still.
fn check_dropped(files: &Files, gone: &[&str], kept: &[&str]) {
    let process = Process::serve(files);
    wait_for("the days are dropped", Duration::from_secs(10), || {
        gone.iter().all(|day| !day_path(files, day).exists())
    });
    assert!(kept.iter().all(|day| day_path(files, day).exists()));
    assert_eq!(process.used(), 6_000_000);
    spend(&process, 1);
    assert_eq!(process.stop(), Some(0));
    check_sound(files);
}

#[test]
fn days_older_than_400_are_dropped_and_the_sums_stay() {
    let (files, _simulator) = used_ledger(2);
    let (old, new) = (days_ago(403), days_ago(30));
    move_to(&files, &old);
    use_up(&files, 3);
    move_to(&files, &new);
    use_up(&files, 1);
    check_sound(&files);
    check_dropped(&files, &[&old], &[&new]);
    let output = run(
        &files,
        &[
            "ledger",
            "export",
            "--from",
            "2020-01-01",
            "--format",
            "csv",
        ],
    );
    let told = said(&output);
    assert!(
        told.contains(&format!("retention dropped their rows: {old}")),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1 + 5 + 1, "{told}");
}

#[test]
fn the_oldest_days_go_when_all_are_too_large_and_today_stays() {
    let (files, _simulator) = used_ledger(2);
    let (old, new) = (days_ago(30), days_ago(29));
    move_to(&files, &old);
    use_up(&files, 3);
    move_to(&files, &new);
    use_up(&files, 1);
    let text = std::fs::read_to_string(files.config()).expect("read");
    let text = text.replace("[ledger]\n", "[ledger]\nevents_max_bytes = \"1KiB\"\n");
    std::fs::write(files.config(), text).expect("write");
    check_dropped(&files, &[&old, &new], &[]);
}
