//! The end of a month while the gateway runs: the real binary, its wall clock moved by libfaketime.

use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};

use crate::http::{Connection, call, get};
use crate::process::Process;
use crate::stage::{AGENT, CHAT, Files, MODEL_PATH, SALES_KEY, allocations, any_port, wait_for};
use crate::wall_clock::WallClock;

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;

fn model(process: &Process) -> u16 {
    call(process.proxy, "POST", MODEL_PATH, &[KEY], CHAT).status
}

/// What of the running period's sales the API shows.
fn sales(process: &Process) -> (String, String) {
    let team = get(process.admin, "/api/v1/teams/sales").json();
    let period = team["period"].as_str().expect("a period").to_owned();
    (period, team["used"].to_string())
}

fn held(process: &Process) -> serde_json::Value {
    get(process.admin, "/api/v1/pool").json()["held"].clone()
}

#[test]
fn a_month_ends_while_a_stream_is_open() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let Some(clock) = WallClock::at(&files, "2026-11-30T23:59:57Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    let open = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let body = r#"{"externalSessionKey":"1"}"#;
    let opened = call(process.proxy, "POST", &open, &[KEY], body).json();
    let session = opened["sessionId"].as_str().expect("a session");
    assert_eq!(sales(&process), ("2026-11".to_owned(), "2".to_owned()));

    // A turn with one action, whose events take longer than the month.
    let path = format!("/einstein/ai-agent/v1/sessions/{session}/messages/stream");
    let slow = [
        KEY,
        ("x-sim-actions", "1"),
        ("x-sim-chunk-delay-ms", "1200"),
    ];
    let turn = std::thread::scope(|scope| {
        let turn = scope.spawn(|| {
            let mut connection = Connection::open(process.proxy);
            connection.call("POST", &path, &slow, TURN).expect("a turn")
        });
        wait_for("the new month", Duration::from_secs(10), || {
            sales(&process).0 == "2026-12"
        });
        assert_eq!(sales(&process), ("2026-12".to_owned(), "0".to_owned()));
        assert!(!turn.is_finished(), "the stream outlasts the month");
        assert_eq!(model(&process), 200);
        turn.join().expect("a turn")
    });
    assert!(turn.whole, "{}", turn.text());
    assert_eq!(sales(&process), ("2026-12".to_owned(), "1".to_owned()));
    assert_eq!(process.stop(), Some(0));

    // The turn is November's: it was admitted then.
    let database = rusqlite::Connection::open(files.ledger()).expect("open");
    let sql = "SELECT sum(settled) FROM account GROUP BY period ORDER BY period";
    let mut months = database.prepare(sql).expect("prepare");
    let months = months.query_map([], |row| row.get(0)).expect("rows");
    let months: Vec<i64> = months.map(|month| month.expect("a sum")).collect();
    assert_eq!(months, [3_000_000, 1_000_000]);
    assert_eq!(simulator.billed().guide.total_micro_credits, 4_000_000);
}

#[test]
fn a_wall_clock_that_jumps_over_the_months_edge_is_not_believed_until_accepted() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let Some(clock) = WallClock::at(&files, "2026-11-20T12:00:00Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    assert_eq!(model(&process), 200);

    clock.set("2026-12-02T12:00:00Z");
    wait_for("the alarm", Duration::from_secs(5), || {
        held(&process).is_string()
    });
    assert_eq!(model(&process), 200, "traffic goes on");
    assert_eq!(sales(&process), ("2026-11".to_owned(), "2".to_owned()));
    assert!(process.metrics().contains("breakerbox_clock_held 1"));
    assert!(process.log().contains("ledger accept-clock"));

    clock.accept(&files);
    wait_for("the new month", Duration::from_secs(5), || {
        sales(&process).0 == "2026-12"
    });
    assert!(held(&process).is_null());
    let usage = |query: &str| {
        get(process.admin, &format!("/api/v1/usage{query}")).json()[0]["credits"].to_string()
    };
    wait_for("both calls are on disk", Duration::from_secs(5), || {
        usage("?from=2026-11-01") == "2"
    });
    assert_eq!(usage("?from=2026-12-01"), "1", "by its time");
    assert_eq!(usage(""), "null", "what is charged to December");

    // Back again: December was opened, so November is over for good.
    clock.set("2026-11-20T13:00:00Z");
    wait_for("the alarm", Duration::from_secs(5), || {
        held(&process).is_string()
    });
    assert_eq!(model(&process), 200);
    assert_eq!(sales(&process), ("2026-12".to_owned(), "1".to_owned()));
    assert_eq!(process.stop(), Some(0));

    // A start with a clock before the ledger's last write is held too, unless that was accepted before.
    clock.set("2026-11-20T12:00:00Z");
    let process = Process::serve_with(&files, clock.command());
    assert!(held(&process).is_string(), "{}", process.log());
    assert_eq!(sales(&process), ("2026-12".to_owned(), "1".to_owned()));
    assert_eq!(process.stop(), Some(0));
    clock.set("2026-11-20T11:00:00Z");
    clock.accept(&files);
    let process = Process::serve_with(&files, clock.command());
    assert!(held(&process).is_null(), "{}", process.log());
    assert_eq!(sales(&process), ("2026-12".to_owned(), "1".to_owned()));
}

/// In Kolkata a month ends at half past the hour of UTC.
#[test]
fn usage_of_the_running_month_is_what_is_charged_to_it_also_where_zones_have_half_hours() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let text = allocations("guide", "12_000").replace("\"UTC\"", "\"Asia/Kolkata\"");
    let files = Files::write(simulator.address, &text);
    let Some(clock) = WallClock::at(&files, "2026-11-30T18:29:55Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    for _ in 0..3 {
        assert_eq!(model(&process), 200);
    }
    wait_for("the new month", Duration::from_secs(20), || {
        sales(&process).0 == "2026-12"
    });
    assert_eq!(model(&process), 200);
    let usage = |query: &str| {
        let rows = get(process.admin, &format!("/api/v1/usage?{query}")).json();
        let rows = rows.as_array().expect("rows").iter();
        let told = rows.map(|row| format!("{}: {}", row["day"], row["credits"]));
        told.collect::<Vec<_>>()
    };
    wait_for("the last call is on disk", Duration::from_secs(5), || {
        usage("group_by=day") == [r#""2026-12-01": 1"#]
    });
    let days = usage("from=2026-11-01&group_by=day");
    assert_eq!(days, [r#""2026-11-30": 3"#, r#""2026-12-01": 1"#]);
    assert_eq!(
        usage("from=2026-12-01&group_by=day"),
        [r#""2026-12-01": 1"#]
    );
    assert_eq!(process.stop(), Some(0));
}
