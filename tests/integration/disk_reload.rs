//! Edits made while the disk fails: none is forgotten, and what the ledger knows is what is in force.

use crate::disk::{TEN_SECONDS, fault, files, simulator, with_faults};
use crate::http::get;
use crate::process::Process;
use crate::stage::{Files, has, series, wait_for};

/// The allocation of sales in force, and the newest the ledger knows.
fn allocation(process: &Process, files: &Files) -> (String, i64) {
    let team = get(process.admin, "/api/v1/teams/sales").json();
    let database = rusqlite::Connection::open(files.ledger()).expect("open");
    let sql =
        "SELECT credits FROM allocation WHERE team = (SELECT id FROM team WHERE name = 'sales')
               ORDER BY at_ms DESC LIMIT 1";
    let newest: i64 = database
        .query_row(sql, [], |row| row.get(0))
        .expect("a row");
    (team["allocation"].to_string(), newest)
}

fn rejections(process: &Process) -> String {
    let name = "breakerbox_config_reloads_total{result=\"rejected\"}";
    series(&process.metrics(), name)
}

const WRITES: &str = "posix/io/rw/pwrite";

/// From here on every write fails; then sales' share is raised, which is rejected.
fn edit_while_the_disk_fails(process: &Process, files: &Files) {
    let text = std::fs::read_to_string(files.allocations()).expect("read");
    fault(process, files, &format!("enable name={WRITES},failinfo=5"));
    std::fs::write(files.allocations(), text.replace("35%", "40%")).expect("write");
    wait_for("rejected", TEN_SECONDS, || rejections(process) == "1");
}

#[test]
fn an_edit_while_the_disk_fails_counts_when_it_is_back() {
    if !has("fiu-run") {
        return;
    }
    let simulator = simulator();
    let files = files(&simulator);
    let process = with_faults(&files);
    let before = ("3500".to_owned(), 3_500_000_000);
    assert_eq!(allocation(&process, &files), before);
    edit_while_the_disk_fails(&process, &files);
    let told = get(process.admin, "/api/v1/config").json();
    assert!(
        told["last_rejected"].to_string().contains("tried again"),
        "{told}"
    );
    assert_eq!(allocation(&process, &files), before);
    fault(&process, &files, &format!("disable name={WRITES}"));
    wait_for("in force", TEN_SECONDS, || {
        allocation(&process, &files) == ("4000".to_owned(), 4_000_000_000)
    });
    assert_eq!(rejections(&process), "1", "and not once a try");
    let told = get(process.admin, "/api/v1/config").json();
    assert!(told["last_rejected"].is_null(), "{told}");
    assert_eq!(process.stop(), Some(0));
}

/// The ledger thread may write what was asked of it after whoever asked gave up.
#[test]
fn an_edit_taken_back_while_the_disk_failed_leaves_no_other_allocation_behind() {
    if !has("fiu-run") {
        return;
    }
    let simulator = simulator();
    let files = files(&simulator);
    let text = std::fs::read_to_string(files.allocations()).expect("read");
    let process = with_faults(&files);
    let before = allocation(&process, &files);
    edit_while_the_disk_fails(&process, &files);
    // As the thread would do it, late.
    let database = rusqlite::Connection::open(files.ledger()).expect("open");
    let late = "INSERT INTO allocation (period, team, at_ms, credits, config_hash)
                SELECT period, team, at_ms + 1, 4000000000, 'late' FROM allocation
                WHERE team = (SELECT id FROM team WHERE name = 'sales')";
    assert_eq!(database.execute(late, []).expect("insert"), 1);
    drop(database);
    std::fs::write(files.allocations(), &text).expect("write");
    wait_for("rejected", TEN_SECONDS, || rejections(&process) == "2");
    fault(&process, &files, &format!("disable name={WRITES}"));
    wait_for("the newest is in force", TEN_SECONDS, || {
        allocation(&process, &files) == before
    });
    assert_eq!(process.stop(), Some(0));
}
