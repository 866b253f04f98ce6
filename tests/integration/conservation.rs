//! Counters, metrics, events, rollups and accounts say the same, and when they do not, somebody hears of it.

use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};

use crate::http::call;
use crate::process::Process;
use crate::stage::{CHAT, Files, MODEL_PATH, SALES_KEY, allocations, any_port, series, wait_for};

const DIFFERENCE: &str = r#"breakerbox_conservation_difference_microcredits{team="sales"}"#;
const LOST: &str = "breakerbox_reserved_lost_microcredits";
const NOBODY: &str = r#"breakerbox_reserved_by_nobody_microcredits{team="sales"}"#;

fn spend(process: &Process) {
    let key = [("Breakerbox-Key", SALES_KEY)];
    let reply = call(process.proxy, "POST", MODEL_PATH, &key, CHAT);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn an_account_changed_behind_the_gateways_back_is_said_with_team_and_difference() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "120_000"));
    let process = Process::serve(&files);
    spend(&process);
    let other = rusqlite::Connection::open(files.ledger()).expect("open");
    wait_for("settled on disk", Duration::from_secs(5), || {
        let sql = "SELECT coalesce(sum(settled), 0) FROM account";
        let settled = other.query_row(sql, [], |row| row.get::<_, i64>(0));
        settled.is_ok_and(|settled| settled == 1_000_000)
    });
    let metrics = process.metrics();
    assert!(metrics.contains(&format!("{DIFFERENCE} 0\n")), "{metrics}");
    assert!(metrics.contains(&format!("{NOBODY} 0\n")), "{metrics}");
    other
        .execute(
            "UPDATE account SET settled = settled - 7 WHERE settled > 0",
            [],
        )
        .expect("update");
    spend(&process);
    wait_for("the metric", Duration::from_secs(5), || {
        series(&process.metrics(), DIFFERENCE) == "7"
    });
    // Written by a thread of its own.
    wait_for("the log line", Duration::from_secs(5), || {
        let log = process.log();
        log.contains("sales") && log.contains("0.000007") && log.contains("ledger verify")
    });
}

/// Longer than an event may be under way, so that counters and ledger are compared at least twice, under load.
#[test]
fn under_load_nothing_differs() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "120_000_000"));
    let process = Process::serve(&files);
    let until = std::time::Instant::now() + Duration::from_secs(12);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while std::time::Instant::now() < until {
                    spend(&process);
                }
            });
        }
    });
    let metrics = process.metrics();
    assert!(metrics.contains(&format!("{DIFFERENCE} 0\n")), "{metrics}");
    assert!(metrics.contains(&format!("{NOBODY} 0\n")), "{metrics}");
    assert!(metrics.contains(&format!("{LOST} 0\n")), "{metrics}");
    assert_eq!(process.stop(), Some(0));
}
