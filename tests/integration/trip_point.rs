//! 64 clients of mixed classes drive a team through its trip point: nothing is spent past it, nothing is lost.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::http::Connection;
use crate::stage::{CHAT, MODEL_PATH, SALES_KEY, SUPPORT_KEY, Stage, series, wait_for};

/// Calls of each client; together they would cost more than twice the allocation.
const CALLS: usize = 120;

#[test]
fn sixty_four_clients_never_pass_the_trip_point_together() {
    // 35 % of 10,000 a month is 3,500; a large chat call costs exactly 2 on the guide card, as estimated.
    let owner = "owner = \"sales-ops@example.com\"";
    let settings = format!("{owner}\nclass = \"critical\"\non_trip = {{ standard = \"reject\" }}");
    let text = crate::stage::allocations("guide", "120_000").replace(owner, &settings);
    let stage = Stage::start(&text);
    let answers: Mutex<BTreeMap<(usize, u16), u64>> = Mutex::default();
    std::thread::scope(|scope| {
        for client in 0..64 {
            let (stage, answers) = (&stage, &answers);
            scope.spawn(move || {
                let class = ["critical", "standard", "background"][client % 3];
                let mut connection = Connection::open(stage.proxy());
                let headers = [
                    ("Breakerbox-Key", SALES_KEY),
                    ("Breakerbox-Class", class),
                    ("x-sim-tokens", "2500"), // large: exactly the estimate
                ];
                for _ in 0..CALLS {
                    let reply = connection
                        .call("POST", MODEL_PATH, &headers, CHAT)
                        .expect("an answer");
                    *answers
                        .lock()
                        .unwrap()
                        .entry((client % 3, reply.status))
                        .or_default() += 1;
                }
            });
        }
    });
    let answers = answers.into_inner().unwrap();
    let passed = |class: usize| answers.get(&(class, 200)).copied().unwrap_or(0);
    let (critical, others) = (2 * passed(0), 2 * (passed(1) + passed(2)));
    assert!(
        others <= 3_150,
        "{others} credits non-critical, trip point 3150: {answers:?}"
    );
    assert!(
        critical + others > 3_150,
        "and critical goes on past it: {answers:?}"
    );
    let own: u64 = stage.team("sales", "used").parse().expect("whole credits");
    assert!(own <= 3_500, "{own} of the own 3500");
    println!(
        "critical {critical}, non-critical {others} of at most 3150, own {own} of 3500: {answers:?}"
    );
    conserved(&stage, (critical + others) * 1_000_000);
}

/// Events = rollups = counter = metric = billed.
fn conserved(stage: &Stage, micro_credits: u64) {
    let credits = (micro_credits / 1_000_000).to_string();
    assert_eq!(stage.team("sales", "total_used"), credits, "counter");
    assert_eq!(stage.team("sales", "reserved"), "0");
    let billed = stage.simulator.billed().guide.total_micro_credits;
    assert_eq!(u64::try_from(billed).unwrap(), micro_credits, "billed");
    let metrics = stage.metrics();
    let own = stage.team("sales", "used");
    let gauge = series(&metrics, "breakerbox_team_used_credits{team=\"sales\"}");
    assert_eq!(gauge, own, "gauge");
    let counted: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("breakerbox_credits_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(counted.to_string(), credits, "metric");
    let total = |rows: serde_json::Value| -> f64 {
        rows.as_array()
            .unwrap()
            .iter()
            .map(|row| row["credits"].as_f64().unwrap())
            .sum()
    };
    wait_for("rollups", Duration::from_secs(5), || {
        total(stage.ask("/api/v1/usage?group_by=team")).to_string() == credits
    });
    let events: i64 = std::fs::read_dir(stage.files.folder.path().join("data/events"))
        .expect("events")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .map(|path| {
            let database = rusqlite::Connection::open(path).expect("open");
            database
                .query_row("SELECT sum(credits) FROM event", [], |row| {
                    row.get::<_, i64>(0)
                })
                .expect("sum")
        })
        .sum();
    assert_eq!(u64::try_from(events).unwrap(), micro_credits, "events");
}

#[test]
fn critical_goes_on_while_background_is_refused() {
    let stage = Stage::on_card("guide", "1_200"); // sales: 35 a month, trips at 31.5
    let critical = |stage: &Stage| {
        let path = format!(
            "/einstein/ai-agent/v1/agents/{}/sessions",
            crate::stage::AGENT
        );
        stage.post(&path, &[], r#"{"externalSessionKey":"1"}"#)
    };
    for _ in 0..16 {
        assert_eq!(critical(&stage).status, 200);
    }
    let refused = stage.post(crate::stage::PROMPT_PATH, &[], crate::stage::PROMPT);
    assert_eq!(
        (refused.status, refused.refusal()),
        (429, Some("team_breaker_open"))
    );
    assert_eq!(refused.header("breakerbox-breaker"), Some("open"));
    assert_eq!(critical(&stage).status, 200);
    assert_eq!(stage.team("sales", "used"), "34");
    // 1 credit is left of the own 35: the next ones come out of the buffer (15), then burst (15).
    for _ in 0..14 {
        let reply = critical(&stage);
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(
        (
            stage.team("sales", "buffer_used"),
            stage.team("sales", "burst_used")
        ),
        ("14".into(), "14".into())
    );
    let last = critical(&stage);
    assert_eq!((last.status, last.refusal()), (429, Some("team_exhausted")));
    assert_eq!(stage.team("sales", "total_used"), "62");
}

#[test]
fn a_standard_request_above_the_trip_point_takes_a_slot() {
    let stage = Stage::on_card("guide", "1_200");
    let call = || {
        stage.post(
            MODEL_PATH,
            &[("Breakerbox-Key", SALES_KEY), ("x-sim-tokens", "2500")],
            CHAT,
        )
    };
    for _ in 0..15 {
        assert_eq!(call().status, 200);
    }
    assert_eq!(call().status, 200, "the first slot");
    let refused = call();
    assert_eq!(
        (refused.status, refused.refusal()),
        (429, Some("throttled"))
    );
    let retry: u64 = refused
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .expect("seconds");
    assert!((1..=10).contains(&retry), "{retry}");
}

#[test]
fn alerts_come_once_per_level_and_survive_a_restart() {
    let mut stage = Stage::on_card("guide", "1_200");
    let levels = |stage: &Stage| {
        let alerts = stage.ask("/api/v1/alerts");
        let of_sales = alerts
            .as_array()
            .unwrap()
            .iter()
            .filter(|alert| alert["team"] == "sales");
        of_sales
            .map(|alert| alert["level"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let call = |stage: &Stage| {
        stage.post(
            MODEL_PATH,
            &[("Breakerbox-Key", SALES_KEY), ("x-sim-tokens", "2500")],
            CHAT,
        )
    };
    for _ in 0..9 {
        call(&stage);
    }
    wait_for("50 %", Duration::from_secs(5), || {
        levels(&stage) == ["info"]
    });
    for _ in 0..7 {
        call(&stage);
    }
    wait_for("all levels", Duration::from_secs(5), || {
        levels(&stage) == ["info", "warning", "critical"]
    });
    stage.restart();
    call(&stage);
    // Teams are looked at in their order: by the time support has an alert, sales was looked at again.
    for _ in 0..7 {
        let key = [("Breakerbox-Key", SUPPORT_KEY), ("x-sim-tokens", "2500")];
        assert_eq!(stage.post(MODEL_PATH, &key, CHAT).status, 200);
    }
    wait_for("an alert of support", Duration::from_secs(5), || {
        let alerts = stage.ask("/api/v1/alerts");
        alerts
            .as_array()
            .unwrap()
            .iter()
            .any(|alert| alert["team"] == "support")
    });
    assert_eq!(levels(&stage), ["info", "warning", "critical"]);
    assert_eq!(
        stage.team("sales", "breaker"),
        "open",
        "the shown breaker survives too"
    );
}
