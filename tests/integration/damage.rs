//! Damaged, newer, missing and restored ledgers: refused with a way out, or taken up without losing a count.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rusqlite::Connection;

use crate::process::{Process, run, said};
use crate::stage::{Files, wait_for};
use crate::verify::{day_file, spend, used_ledger};

const CREDIT: i64 = 1_000_000;

fn check_refused(files: &Files, wanted: &[&str]) {
    let output = run(files, &["serve"]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for want in wanted {
        assert!(told.contains(want), "wanted {want:?}: {told}");
    }
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).expect("read");
    bytes[4_096..8_192].fill(0x5a);
    std::fs::write(path, bytes).expect("write");
}

fn backup(files: &Files, name: &str) -> String {
    let folder = files.folder.path().join(name).display().to_string();
    let output = run(files, &["ledger", "backup", &folder]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    folder
}

fn restore(files: &Files, arguments: &[&str]) -> String {
    let output = run(files, &[&["ledger", "restore"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    said(&output)
}

fn check_sound(files: &Files) {
    let output = run(files, &["ledger", "verify", "--thorough"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

/// Credits of sales as the next `serve` counts them; after it the ledger is sound.
fn counted(files: &Files) -> i64 {
    let process = Process::serve(files);
    let used = process.used();
    assert_eq!(process.stop(), Some(0));
    check_sound(files);
    used
}

#[test]
fn a_damaged_page_is_refused_with_the_way_to_restore() {
    let (files, _simulator) = used_ledger(2);
    damage(&files.ledger());
    check_refused(
        &files,
        &["breakerbox.db is damaged", "ledger restore BACKUP"],
    );
}

#[test]
fn a_damaged_day_is_refused_by_name_and_the_counters_are_not_lost() {
    let (files, _simulator) = used_ledger(2);
    let day = day_file(&files);
    damage(&day);
    let name = day
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    check_refused(
        &files,
        &[
            &format!("events of {name} are damaged"),
            "ledger restore BACKUP",
            "move it away",
        ],
    );
    std::fs::rename(&day, day.with_extension("damaged")).expect("move away");
    let process = Process::serve(&files);
    assert_eq!(process.used(), 2 * CREDIT);
    assert_eq!(process.stop(), Some(0));
    let told = said(&run(&files, &["ledger", "verify"]));
    assert!(
        told.contains(&format!("events of {name} are missing")),
        "{told}"
    );
}

#[test]
fn an_older_binary_refuses_a_newer_schema_by_name() {
    let newer = |path: &Path| {
        let connection = Connection::open(path).expect("open");
        connection
            .execute_batch("PRAGMA user_version = 99")
            .expect("pragma");
    };
    let (files, _simulator) = used_ledger(1);
    newer(&day_file(&files));
    check_refused(
        &files,
        &["schema 99", "knows up to 2", "run the newer version"],
    );
    let (files, _simulator) = used_ledger(1);
    newer(&files.ledger());
    check_refused(
        &files,
        &[
            "schema 99",
            "this breakerbox knows up to",
            "run the newer version",
        ],
    );
    let told = said(&run(&files, &["ledger", "verify"]));
    assert!(told.contains("schema 99"), "{told}");
}

#[test]
fn a_backup_beside_a_running_gateway_is_sound_and_a_restore_forgets_nothing() {
    let (files, _simulator) = used_ledger(2);
    let process = Process::serve(&files);
    spend(&process, 3);
    wait_for("on disk", Duration::from_secs(5), || {
        said(&run(&files, &["ledger", "verify", "--format", "csv"])).contains("own,5,0,5,5,")
    });
    let folder = std::thread::scope(|scope| {
        let load = scope.spawn(|| spend(&process, 100));
        let folder = backup(&files, "backup");
        load.join().expect("load");
        folder
    });
    let pid = process.child.id().to_string();
    let output = run(&files, &["ledger", "restore", &folder]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&pid), "{}", said(&output));
    assert_eq!(process.stop(), Some(0));
    let told = restore(&files, &[&folder]);
    assert!(told.contains("1 that know more kept"), "{told}");
    check_sound(&files);
    assert_eq!(counted(&files), 105 * CREDIT, "events are counted in");
    let told = restore(&files, &[&folder, "--accept-lower"]);
    assert!(told.contains("1 days from the backup"), "{told}");
    let lower = counted(&files);
    assert!((5 * CREDIT..105 * CREDIT).contains(&lower), "{lower}");
    let again = run(&files, &["ledger", "backup", &folder]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        said(&again).contains("is there already"),
        "{}",
        said(&again)
    );
}

#[test]
fn an_older_ledger_put_back_by_hand_is_never_lower_than_what_was_spent() {
    let (files, _simulator) = used_ledger(2);
    let old = files.folder.path().join("old.db");
    std::fs::copy(files.ledger(), &old).expect("copy");
    let process = Process::serve(&files);
    spend(&process, 7);
    assert_eq!(process.stop(), Some(0));
    std::fs::copy(&old, files.ledger()).expect("copy");
    assert_eq!(counted(&files), 9 * CREDIT, "by its events");
    // Without its events the mark beside it knows.
    std::fs::copy(&old, files.ledger()).expect("copy");
    std::fs::remove_dir_all(files.folder.path().join("data/events")).expect("remove");
    let process = Process::serve(&files);
    assert_eq!(process.used(), 9 * CREDIT, "by its mark");
    assert!(
        process.log().contains("older than its mark"),
        "{}",
        process.log()
    );
    assert_eq!(process.stop(), Some(0));
}

#[test]
fn a_damaged_ledger_comes_back_from_its_backup_with_what_was_spent_since() {
    let (files, _simulator) = used_ledger(2);
    let folder = backup(&files, "backup");
    let process = Process::serve(&files);
    spend(&process, 4);
    assert_eq!(process.stop(), Some(0));
    damage(&files.ledger());
    restore(&files, &[&folder]);
    assert_eq!(counted(&files), 6 * CREDIT);
    damage(&day_file(&files));
    let told = restore(&files, &[&folder]);
    assert!(told.contains("1 days from the backup"), "{told}");
    assert_eq!(
        counted(&files),
        6 * CREDIT,
        "what only the damaged day knew is charged by the mark"
    );
}

#[test]
fn a_damaged_backup_changes_nothing() {
    let (files, _simulator) = used_ledger(2);
    let folder = backup(&files, "backup");
    damage(&Path::new(&folder).join("breakerbox.db"));
    let output = run(&files, &["ledger", "restore", &folder]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("nothing was changed"), "{told}");
    assert_eq!(counted(&files), 2 * CREDIT);
    // The backup is an ordinary SQLite file.
    if crate::stage::has("sqlite3") {
        let day = day_file(&files);
        let copy = Path::new(&folder)
            .join("events")
            .join(day.file_name().expect("a name"));
        let rows = Command::new("sqlite3")
            .arg(copy)
            .arg("SELECT count(*) FROM events_readable")
            .output()
            .expect("sqlite3");
        assert_eq!(String::from_utf8_lossy(&rows.stdout), "2\n");
    }
}
