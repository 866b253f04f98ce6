//! Overrides: extra credits and held breakers, audited, across restarts, over by themselves.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::http::{Reply, call};
use crate::reload::{QUICKLY, under_load, with_share};
use crate::stage::{CHAT, MODEL_PATH, SALES_KEY, Stage, allocations, series, wait_for};

pub(crate) const SOON: Duration = Duration::from_secs(5);
pub(crate) const SALES: &str = "/api/v1/teams/sales/override";

/// A body with reason and author, and whatever else is asked for.
pub(crate) fn asked(mut body: Value) -> Value {
    body["reason"] = "INC-117, campaign".into();
    body["author"] = "ops@example.com".into();
    body
}

pub(crate) fn post(stage: &Stage, path: &str, body: &Value) -> Reply {
    call(stage.admin(), "POST", path, &[], &body.to_string())
}

pub(crate) fn made(stage: &Stage, body: Value) -> Value {
    let reply = post(stage, SALES, &asked(body));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

pub(crate) fn end(stage: &Stage, id: &Value) -> Value {
    let reply = post(
        stage,
        &format!("/api/v1/overrides/{id}/end"),
        &asked(json!({})),
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

pub(crate) fn in_seconds(seconds: i64) -> String {
    let at = Timestamp::now() + SignedDuration::from_secs(seconds);
    let at = Timestamp::from_millisecond(at.as_millisecond()).expect("an instant");
    at.to_string()
}

/// A call of sales that costs exactly its estimate of 2.
fn of_class(stage: &Stage, class: &str) -> Reply {
    let headers = [
        ("Breakerbox-Key", SALES_KEY),
        ("Breakerbox-Class", class),
        ("x-sim-tokens", "2500"),
    ];
    stage.post(MODEL_PATH, &headers, CHAT)
}

pub(crate) fn standard(stage: &Stage) -> Reply {
    of_class(stage, "standard")
}

pub(crate) fn background(stage: &Stage) -> Reply {
    of_class(stage, "background")
}

pub(crate) fn pool(stage: &Stage, field: &str) -> String {
    stage.ask("/api/v1/pool")[field].to_string()
}

/// Allocation, what of it is by override, trip point; the pool's month and buffer.
pub(crate) fn limits(stage: &Stage) -> String {
    let team = |field| stage.team("sales", field);
    [
        team("allocation"),
        team("by_override"),
        team("trip_at"),
        pool(stage, "allocation"),
        pool(stage, "buffer"),
    ]
    .join(" ")
}

/// Actions of the audit, the oldest first, without the configurations.
pub(crate) fn audited(stage: &Stage) -> Vec<Value> {
    let told = stage.ask("/api/v1/audit");
    let mut entries = told.as_array().expect("entries").clone();
    entries.retain(|entry| entry["action"] != "config");
    entries.reverse();
    entries
}

pub(crate) fn actions(stage: &Stage) -> Vec<String> {
    let of = |entry: &Value| entry["action"].as_str().expect("an action").to_owned();
    audited(stage).iter().map(of).collect()
}

#[test]
fn under_load_it_acts_within_two_seconds_and_no_count_is_lost() {
    let stage = Stage::start(&with_share("35%"));
    under_load(&stage, || {
        let started = Instant::now();
        let given = made(&stage, json!({ "credits": 1000.5 }));
        assert_eq!(stage.team("sales", "allocation"), "350001000.5");
        assert_eq!(pool(&stage, "buffer"), "149998999.5");
        made(&stage, json!({ "credits": 10, "source": "annual" }));
        assert_eq!(stage.team("sales", "allocation"), "350001010.5");
        end(&stage, &given["id"]);
        assert_eq!(stage.team("sales", "allocation"), "350000010");
        assert!(started.elapsed() < QUICKLY, "{:?}", started.elapsed());
    });
}

#[test]
fn extra_credits_come_out_of_the_buffer_or_out_of_the_year() {
    let stage = Stage::on_card("guide", "12_000");
    assert_eq!(limits(&stage), "350 0 315 1000 150");
    let given = made(&stage, json!({ "credits": 50.5 }));
    assert_eq!(
        (
            &given["credits"].to_string(),
            &given["source"],
            &given["team"]
        ),
        (&"50.5".to_owned(), &json!("buffer"), &json!("sales"))
    );
    assert_eq!(limits(&stage), "400.5 50.5 360.45 1000 99.5");
    made(&stage, json!({ "credits": "100", "source": "annual" }));
    assert_eq!(limits(&stage), "500.5 150.5 450.45 1100 99.5");
    assert_eq!(stage.team("support", "allocation"), "250");
    let metrics = stage.metrics();
    for (name, want) in [
        ("team_override_credits{team=\"sales\"}", "150.5"),
        ("team_override_credits{team=\"support\"}", "0"),
        ("team_allocation_credits{team=\"sales\"}", "500.5"),
        ("pool_override_credits", "100"),
        ("buffer_override_credits", "50.5"),
    ] {
        assert_eq!(
            series(&metrics, &format!("breakerbox_{name}")),
            want,
            "{name}"
        );
    }
    let left = standard(&stage);
    assert_eq!(left.header("breakerbox-remaining"), Some("498"));
    let listed = stage.ask("/api/v1/teams/sales/overrides");
    assert_eq!(listed.as_array().expect("both").len(), 2);
    assert_eq!(stage.ask("/api/v1/teams/support/overrides"), json!([]));
    assert_eq!(
        stage.ask("/api/v1/teams/sales")["overrides"],
        json!([listed[1], listed[0]])
    );
    let ended = end(&stage, &given["id"]);
    assert_eq!(
        (&ended["in_force"], ended["ended"].is_string()),
        (&json!(false), true)
    );
    assert_eq!(limits(&stage), "450 100 405 1100 150");
    assert_eq!(
        end(&stage, &given["id"]),
        ended,
        "ended twice is ended once"
    );
    assert_eq!(actions(&stage), ["override", "override", "override_ended"]);
    let first = &audited(&stage)[0];
    for (field, want) in [
        ("team", "sales"),
        ("author", "ops@example.com"),
        ("reason", "INC-117, campaign"),
        ("what", "50.5 credits out of the central buffer"),
    ] {
        assert_eq!(first[field], want, "{first}");
    }
    assert!(
        first["remote"]
            .as_str()
            .expect("an address")
            .starts_with("127.0.0.1:")
    );
}

#[test]
fn a_tripped_team_goes_on_its_breaker_closes_and_its_alerts_may_come_again() {
    let stage = Stage::on_card("guide", "1_200"); // sales: 35 a month, trips at 31.5; the buffer is 15
    let levels = || {
        let alerts = stage.ask("/api/v1/alerts");
        let levels = alerts.as_array().expect("alerts").iter();
        let levels = levels.filter(|alert| alert["team"] == "sales");
        levels
            .map(|alert| alert["level"].as_str().expect("a level").to_owned())
            .collect::<Vec<_>>()
    };
    for _ in 0..15 {
        assert_eq!(background(&stage).status, 200);
    }
    assert_eq!(background(&stage).refusal(), Some("team_breaker_open"));
    assert_eq!(standard(&stage).status, 200, "a slot");
    assert_eq!(standard(&stage).refusal(), Some("throttled"));
    assert_eq!(stage.team("sales", "breaker"), "open");
    let first = ["info", "warning", "critical"];
    wait_for("the alerts", SOON, || levels() == first);

    made(&stage, json!({ "credits": 15 })); // 50, trips at 45
    assert_eq!(stage.team("sales", "breaker"), "closed");
    let series_of = |state: &str| {
        let name = format!("breakerbox_team_breaker_state{{team=\"sales\",state=\"{state}\"}}");
        series(&stage.metrics(), &name)
    };
    assert_eq!(
        (series_of("closed"), series_of("open")),
        ("1".into(), "0".into())
    );
    for _ in 0..6 {
        assert_eq!(background(&stage).status, 200);
    }
    assert_eq!(background(&stage).refusal(), Some("team_breaker_open"));
    assert_eq!(standard(&stage).refusal(), Some("throttled"));
    // 50 % of the new allocation was passed before; 75 % and the trip point are news.
    let again = ["info", "warning", "critical", "warning", "critical"];
    wait_for("again", SOON, || levels() == again);
    // The buffer is given away: critical traffic finds the burst behind its own.
    let critical = || {
        let path = format!(
            "/einstein/ai-agent/v1/agents/{}/sessions",
            crate::stage::AGENT
        );
        stage
            .post(&path, &[], r#"{"externalSessionKey":"1"}"#)
            .status
    };
    for _ in 0..4 {
        assert_eq!(critical(), 200);
    }
    assert_eq!(stage.team("sales", "buffer_used"), "0");
    assert_eq!(stage.team("sales", "burst_used"), "2");
}

#[test]
fn less_allocation_shows_an_open_breaker_without_waiting_for_a_request() {
    let stage = Stage::on_card("guide", "1_200");
    let given = made(&stage, json!({ "credits": 15 }));
    for _ in 0..17 {
        assert_eq!(background(&stage).status, 200);
    }
    assert_eq!(stage.team("sales", "breaker"), "closed");
    end(&stage, &given["id"]);
    assert_eq!(
        stage.team("sales", "breaker"),
        "open",
        "34 of 35, trip at 31.5"
    );
}

#[test]
fn a_larger_month_closes_the_main_breaker() {
    // 100 a month: sales may spend 85 of it, the pool trips at 50.
    let text = allocations("guide", "1_200")
        .replace("\"35%\"", "\"60%\"")
        .replace("burst = ", "trip = \"50%\"\nburst = ");
    let stage = Stage::start(&text);
    for _ in 0..25 {
        assert_eq!(background(&stage).status, 200);
    }
    assert_eq!(background(&stage).refusal(), Some("pool_breaker_open"));
    assert_eq!(pool(&stage, "breaker"), "\"open\"");
    let given = made(&stage, json!({ "credits": 40, "source": "annual" })); // 140, trips at 70
    assert_eq!(pool(&stage, "breaker"), "\"closed\"");
    assert_eq!(background(&stage).status, 200);
    end(&stage, &given["id"]);
    assert_eq!(pool(&stage, "breaker"), "\"open\"");
}

#[test]
fn a_breaker_held_open_refuses_all_but_critical_and_held_closed_lets_pass_to_the_allocation() {
    let stage = Stage::on_card("guide", "1_200");
    let until = in_seconds(3600);
    let open = made(&stage, json!({ "breaker": "open", "until": until }));
    assert_eq!(
        (&open["breaker"], &open["until"]),
        (&json!("open"), &json!(until))
    );
    let refused = standard(&stage);
    assert_eq!(
        (refused.status, refused.refusal()),
        (429, Some("team_breaker_open"))
    );
    assert!(
        refused.text().contains("holds the team's breaker open"),
        "{}",
        refused.text()
    );
    assert_eq!(
        refused.json()["breakerbox"]["ends"],
        until,
        "not the period's end"
    );
    assert_eq!(refused.header("breakerbox-remaining"), Some("0"));
    assert_eq!(background(&stage).refusal(), Some("team_breaker_open"));
    let agent = format!(
        "/einstein/ai-agent/v1/agents/{}/sessions",
        crate::stage::AGENT
    );
    let critical = stage.post(&agent, &[], r#"{"externalSessionKey":"1"}"#);
    assert_eq!(
        (critical.status, critical.header("breakerbox-breaker")),
        (200, Some("open"))
    );
    assert_eq!(
        (stage.team("sales", "breaker"), stage.team("sales", "held")),
        ("open".into(), "open".into())
    );
    let name = "breakerbox_team_breaker_held{team=\"sales\",state=\"open\"}";
    assert_eq!(series(&stage.metrics(), name), "1");

    let critical = |stage: &Stage| {
        let alerts = stage.ask("/api/v1/alerts").to_string();
        alerts.matches("critical").count()
    };
    std::thread::park_timeout(Duration::from_millis(800)); // three looks of the watcher
    assert_eq!(critical(&stage), 0, "a held breaker did not trip");

    // The newest decision takes the place of the one before.
    let closed = made(&stage, json!({ "breaker": "closed" }));
    assert_eq!(stage.team("sales", "held"), "closed");
    assert_eq!(stage.team("sales", "breaker"), "closed");
    assert_eq!(actions(&stage), ["override", "override", "override_ended"]);
    for _ in 0..16 {
        assert_eq!(background(&stage).status, 200);
    }
    assert_eq!(
        stage.team("sales", "used"),
        "34",
        "past the trip point of 31.5"
    );
    assert_eq!(
        background(&stage).refusal(),
        Some("team_breaker_open"),
        "36 of 35"
    );
    assert_eq!(standard(&stage).refusal(), Some("team_exhausted"));
    end(&stage, &closed["id"]);
    assert_eq!(stage.team("sales", "held"), "null");
    assert_eq!(standard(&stage).refusal(), Some("team_exhausted"));
    wait_for("the alert", SOON, || critical(&stage) == 1);
}
