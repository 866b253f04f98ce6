//! Pacing: above the trip point, standard calls get what the rest of the period allows, and are told when.

use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};
use jiff::{SignedDuration, Timestamp};

use crate::http::{Connection, Reply, call, get};
use crate::process::Process;
use crate::stage::{
    AGENT, CHAT, Files, MODEL_PATH, SALES_KEY, Stage, allocations, any_port, wait_for,
};
use crate::wall_clock::WallClock;

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
/// Large enough to cost exactly its estimate on the guide card: 2.
const LARGE: (&str, &str) = ("x-sim-tokens", "2500");

fn paced(annual: &str) -> String {
    let sales = "name = \"sales\"\n";
    allocations("guide", annual).replace(
        sales,
        &format!("{sales}on_trip = {{ standard = \"pace\" }}\n"),
    )
}

fn throttled(reply: &Reply) -> bool {
    let got = (reply.status, reply.refusal());
    assert!(
        [(200, None), (429, Some("throttled"))].contains(&got),
        "{}",
        reply.text()
    );
    reply.status == 429
}

fn retry_at(reply: &Reply) -> Timestamp {
    let told = reply.json()["breakerbox"]["retry_at"].clone();
    let told = told.as_str().unwrap_or_else(|| panic!("{}", reply.text()));
    told.parse().expect("an instant")
}

#[test]
fn what_is_left_is_spread_over_the_rest_of_the_month() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    // 3,500 for sales, 350 of it above the trip point: in ten minutes, a call of 2 credits in 3.4 seconds.
    let files = Files::write(simulator.address, &paced("120_000"));
    let Some(clock) = WallClock::at(&files, "2026-11-30T23:50:00Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    let mut connection = Connection::open(process.proxy);
    let mut model = || {
        let reply = connection.call("POST", MODEL_PATH, &[KEY, LARGE], CHAT);
        reply.expect("an answer")
    };
    let mut below = 0;
    let refused = loop {
        let reply = model();
        if throttled(&reply) {
            break reply;
        }
        below += 1;
    };
    assert_eq!(below, 1_575, "3,150 credits, the trip point");
    let wait: u64 = refused
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .expect("seconds");
    assert!((3..=4).contains(&wait), "{refused:?}");
    assert_eq!(refused.header("breakerbox-breaker"), Some("open"));
    let id = refused.header("breakerbox-request-id").expect("an id");
    let record = get(process.admin, &format!("/api/v1/decisions/{id}")).json();
    let binding = &record["compared"]["binding"];
    assert_eq!(binding["limit"], "pacing line", "{record}");
    assert_eq!(binding["at_most"], 3_150, "{record}");
    let path = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let critical = call(process.proxy, "POST", &path, &[], "{}");
    assert_eq!(critical.status, 200, "critical does not wait");

    // Whoever tries all the time gets what the line allows, and not one call more.
    let began = std::time::Instant::now();
    let mut passed = 0;
    while began.elapsed() < Duration::from_secs(12) {
        passed += u64::from(!throttled(&model()));
        std::thread::park_timeout(Duration::from_millis(20));
    }
    // 12 seconds of the line are 7 credits, 2 of which the critical call took.
    assert!((2..=3).contains(&passed), "{passed} calls");
    assert_eq!(process.stop(), Some(0));
}

#[test]
fn a_reload_keeps_the_line_unless_there_is_more_to_spend() {
    let stage = Stage::start(&paced("1_200")); // sales: 35 a month, 31.5 below the trip point
    let model = || stage.post(MODEL_PATH, &[KEY, LARGE], CHAT);
    while !throttled(&model()) {}
    let refused = model();
    assert!(throttled(&refused));
    let told = retry_at(&refused);
    let wait: u64 = refused
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .expect("seconds");
    assert!((1..=3_600).contains(&wait), "bounded: {wait}");
    let reload = |text: &str| {
        let hash = || stage.ask("/api/v1/config")["hash"].clone();
        let before = hash();
        std::fs::write(stage.files.allocations(), text).expect("write");
        wait_for("the reload", Duration::from_secs(5), || hash() != before);
    };
    let quiet = paced("1_200").replace("sales-ops@", "sales-lead@");
    reload(&quiet);
    let again = model();
    assert!(throttled(&again));
    let apart = |reply: &Reply| retry_at(reply).duration_since(told).abs();
    let same = SignedDuration::from_millis(2); // waits are in whole milliseconds
    assert!(apart(&again) <= same, "{told} {again:?}");
    let earlier = quiet.replace("name = \"sales\"\n", "name = \"sales\"\ntrip = \"85%\"\n");
    reload(&earlier);
    let anew = model();
    assert!(throttled(&anew));
    assert!(apart(&anew) > same, "{told} {anew:?}");
}
