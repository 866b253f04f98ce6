//! The breaker people see: it follows what is committed and the limits in force, through reloads and restarts.

use std::time::Duration;

use crate::http::{Connection, call};
use crate::stage::{AGENT, SALES_KEY, Stage, allocations, wait_for};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const SOON: Duration = Duration::from_secs(5);
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;

/// Sales with so many credits a month.
fn with(credits: &str) -> String {
    allocations("guide", "12_000")
        .replace("share = \"35%\"", &format!("monthly_credits = {credits}"))
}

fn reload(stage: &Stage, text: &str) -> u16 {
    std::fs::write(stage.files.allocations(), text).expect("write");
    call(stage.admin(), "POST", "/api/v1/config/reload", &[], "").status
}

/// Two credits of critical use.
fn open(stage: &Stage) -> String {
    let path = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let opened = stage.post(&path, &[KEY], r#"{"externalSessionKey":"1"}"#);
    assert_eq!(opened.status, 200, "{}", opened.text());
    let session = opened.json()["sessionId"].clone();
    session.as_str().expect("a session").to_owned()
}

fn breakers(stage: &Stage) -> (String, String) {
    let pool = stage.ask("/api/v1/pool")["breaker"].clone();
    let pool = pool.as_str().expect("a state").to_owned();
    (stage.team("sales", "breaker"), pool)
}

fn alerts(stage: &Stage) -> Vec<String> {
    let all = stage.ask("/api/v1/alerts");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let all = all.as_array().expect("a list").iter();
    all.map(|one| format!("{} {}", text(&one["level"]), text(&one["threshold"])))
        .collect()
}

#[test]
fn less_allocation_than_committed_opens_the_breaker_and_raises_the_alert() {
    let stage = Stage::start(&with("100"));
    open(&stage);
    open(&stage);
    assert_eq!(stage.team("sales", "breaker"), "closed");
    assert_eq!(reload(&stage, &with("4.2").replace("4.2", "\"4.2\"")), 200);
    assert_eq!(stage.team("sales", "breaker"), "open");
    let metrics = stage.metrics();
    assert!(
        metrics.contains("breakerbox_team_breaker_state{team=\"sales\",state=\"open\"} 1"),
        "{metrics}"
    );
    wait_for("the alert", SOON, || {
        alerts(&stage).contains(&"critical 90%".to_owned())
    });
    assert_eq!(reload(&stage, &with("3")), 200);
    assert_eq!(stage.team("sales", "breaker"), "exhausted");
    assert_eq!(reload(&stage, &with("100")), 200);
    assert_eq!(stage.team("sales", "breaker"), "closed");
}

/// All of the pool is sales'; a year of so many credits.
fn all_sales(annual: &str) -> String {
    allocations("guide", annual)
        .replace("share = \"35%\"", "share = \"100%\"")
        .replace("share = \"25%\"", "share = \"0%\"")
        .replace("central_buffer = \"15%\"", "central_buffer = \"0%\"")
}

#[test]
fn more_annual_credits_close_the_main_breaker() {
    let mut stage = Stage::start(&all_sales("120"));
    for _ in 0..5 {
        open(&stage);
    }
    let exhausted = ("exhausted".to_owned(), "exhausted".to_owned());
    let closed = ("closed".to_owned(), "closed".to_owned());
    assert_eq!(breakers(&stage), exhausted);
    assert_eq!(reload(&stage, &all_sales("1_200")), 200);
    assert_eq!(breakers(&stage), closed);
    assert_eq!(reload(&stage, &all_sales("120")), 200);
    assert_eq!(breakers(&stage), exhausted, "and fewer open it");
    stage.stop();
    std::fs::write(stage.files.allocations(), all_sales("1_200")).expect("write");
    stage.restart();
    assert_eq!(breakers(&stage), closed, "more by a restart");
}

#[test]
fn a_stream_older_than_a_reload_does_not_open_what_it_closed() {
    let stage = Stage::start(&with("5"));
    let session = open(&stage);
    let path = format!("/einstein/ai-agent/v1/sessions/{session}/messages");
    let slow = [KEY, ("x-sim-actions", "6"), ("x-sim-delay-ms", "3000")];
    std::thread::scope(|scope| {
        let turn = scope.spawn(|| {
            let mut connection = Connection::open(stage.proxy());
            connection
                .call("POST", &path, &slow, TURN)
                .expect("an answer")
        });
        wait_for("in flight", SOON, || stage.team("sales", "reserved") == "2");
        assert_eq!(reload(&stage, &with("100")), 200);
        assert_eq!(turn.join().expect("a turn").status, 200);
    });
    wait_for("settled", SOON, || stage.team("sales", "used") == "8");
    assert_eq!(stage.team("sales", "breaker"), "closed");
}

#[test]
fn alert_levels_above_the_trip_point_are_raised_too() {
    let text = with("4").replace(
        "share = \"25%\"",
        "share = \"25%\"\nalerts = [\"50%\", \"95%\"]",
    );
    let text = text.replace(
        "monthly_credits = 4",
        "monthly_credits = 4\nalerts = [\"50%\", \"95%\"]",
    );
    let mut stage = Stage::start(&text);
    open(&stage);
    wait_for("half", SOON, || alerts(&stage) == ["info 50%"]);
    open(&stage);
    wait_for("all of it", SOON, || {
        let mut raised = alerts(&stage);
        raised.sort();
        raised == ["critical 90%", "info 50%", "warning 95%"]
    });
    // More allocation by a restart: closed again, and what is above current use may come again.
    stage.stop();
    let more = text.replace("monthly_credits = 4", "monthly_credits = 12");
    std::fs::write(stage.files.allocations(), more).expect("write");
    stage.restart();
    assert_eq!(stage.team("sales", "breaker"), "closed");
    open(&stage);
    let half = || {
        alerts(&stage)
            .iter()
            .filter(|alert| *alert == "info 50%")
            .count()
    };
    wait_for("half again", SOON, || half() == 2);
}

#[test]
fn a_rejected_reload_changes_nothing_not_even_what_is_shown() {
    let stage = Stage::start(&with("4"));
    open(&stage);
    open(&stage);
    assert_eq!(stage.team("sales", "breaker"), "exhausted");
    let ledger = rusqlite::Connection::open(stage.files.ledger()).expect("open");
    // The last thing a reload writes fails.
    let fails =
        "CREATE TRIGGER fails BEFORE INSERT ON allocation BEGIN SELECT RAISE(ABORT, 'no'); END";
    ledger.execute(fails, []).expect("a trigger");
    let text = with("100").replace(
        "[[agent]]",
        "[[team]]\nname = \"new\"\nshare = \"1%\"\nowner = \"n@example.com\"\n\n[[agent]]",
    );
    assert_eq!(reload(&stage, &text), 422);
    assert_eq!(
        (
            stage.team("sales", "breaker"),
            stage.team("sales", "allocation")
        ),
        ("exhausted".to_owned(), "4".to_owned())
    );
    let teams = || {
        let sql = "SELECT count(*) FROM team WHERE name = 'new'";
        ledger
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .expect("a count")
    };
    assert_eq!(teams(), 0);
    ledger
        .execute("DROP TRIGGER fails", [])
        .expect("no trigger");
    assert_eq!(reload(&stage, &text), 200);
    assert_eq!(
        (teams(), stage.team("sales", "breaker")),
        (1, "closed".to_owned())
    );
    assert_eq!(stage.team("new", "allocation"), "10");
}
