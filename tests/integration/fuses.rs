//! Fuses: a runaway agent is stopped within its hour, whatever it is called, across restarts, and no longer.

use std::iter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use breakerbox::simulator::{Settings, Simulator};
use serde_json::Value;

use crate::http::{Connection, Reply, call, get};
use crate::process::Process;
use crate::stage::{
    AGENT, CHAT, Files, MODEL_PATH, PREDICT_PATH, SALES_KEY, Stage, allocations, any_port, series,
    wait_for,
};
use crate::wall_clock::WallClock;

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
/// Large enough to cost exactly its estimate on the guide card: 2.
const LARGE: (&str, &str) = ("x-sim-tokens", "2500");
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;
const SESSIONS: &str = "/einstein/ai-agent/v1/agents/0XxHn000000AAAAKA4/sessions";

fn with_agent(more: &str) -> String {
    let agent = format!("id = \"{AGENT}\"\n");
    allocations("guide", "120_000").replace(&agent, &format!("{agent}{more}\n"))
}

fn with_sales(more: &str) -> String {
    let sales = "name = \"sales\"\n";
    allocations("guide", "120_000").replace(sales, &format!("{sales}{more}\n"))
}

/// Tests that need one hour do not begin in its last seconds.
fn early_in_an_hour() {
    let left = || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
        3_600 - now.as_secs() % 3_600
    };
    wait_for("a new hour", Duration::from_secs(40), || left() > 30);
}

/// Alerts of fuses: what they are about, whose, and whether they blew.
fn alerts(admin: std::net::SocketAddr) -> Vec<(String, String, bool)> {
    let alerts = get(admin, "/api/v1/alerts").json();
    let fuses = alerts.as_array().expect("a list").iter();
    let fuses = fuses.filter(|alert| alert["alert"] == "fuse");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    fuses
        .map(|alert| {
            assert_eq!(
                (&alert["level"], &alert["team"]),
                (&"critical".into(), &"sales".into()),
                "{alert}"
            );
            let blown = !alert["blown_until"].is_null();
            (text(&alert["about"]), text(&alert["agent"]), blown)
        })
        .collect()
}

fn blown(about: &str, agent: &str) -> (String, String, bool) {
    (about.to_owned(), agent.to_owned(), true)
}

fn is_blown(reply: &Reply) -> bool {
    match reply.status {
        200 | 201 => false,
        _ => {
            let got = (reply.status, reply.refusal());
            assert_eq!(got, (429, Some("fuse_blown")), "{}", reply.text());
            true
        }
    }
}

/// A grant that took too long says nothing of the fuse: such a call is made again.
fn call_until_granted(connection: &mut Connection, headers: &[(&str, &str)]) -> Reply {
    let call = || {
        let reply = connection.call("POST", MODEL_PATH, headers, CHAT);
        reply.expect("an answer")
    };
    let late = |reply: &Reply| reply.refusal() == Some("ledger_unavailable");
    let granted = iter::repeat_with(call).find(|reply| !late(reply));
    granted.expect("repeated until then")
}

fn retry_after(reply: &Reply) -> u64 {
    let seconds = reply.header("retry-after").expect("Retry-After");
    seconds.parse().expect("seconds")
}

/// Body and decision record: which fuse, what it compared, until when.
fn tells_of_the_agents_fuse(process: &Process, refused: &Reply) {
    let told = refused.json()["breakerbox"].clone();
    assert_eq!(told["ends"], "2026-11-20T13:00:00Z", "{told}");
    assert_eq!(told["fuse"]["limit"], "max_per_hour", "{told}");
    assert_eq!(told["fuse"]["agent"], AGENT, "{told}");
    let id = refused.header("breakerbox-request-id").expect("an id");
    let record = get(process.admin, &format!("/api/v1/decisions/{id}")).json();
    let binding = &record["compared"]["binding"];
    assert_eq!(binding["limit"], "agent max_per_hour", "{record}");
    assert_eq!(
        (
            &binding["committed"],
            &binding["estimate"],
            &binding["at_most"]
        ),
        (&20.into(), &2.into(), &20.into())
    );
}

#[test]
fn a_runaway_agent_is_stopped_within_its_hour() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &with_agent("max_per_hour = 20"));
    let Some(clock) = WallClock::at(&files, "2026-11-20T12:56:00Z") else {
        return;
    };
    // The agent is critical, and its team has thousands left: nothing but the fuse stops it.
    let open = |process: &Process| {
        let body = r#"{"externalSessionKey":"1"}"#;
        call(process.proxy, "POST", SESSIONS, &[], body)
    };
    let until_blown = |process: &Process| (0..50).take_while(|_| !is_blown(&open(process))).count();

    let process = Process::serve_with(&files, clock.command());
    assert_eq!(until_blown(&process), 10, "20 credits, 2 each");
    let refused = open(&process);
    assert!(is_blown(&refused));
    assert!((1..=240).contains(&retry_after(&refused)), "{refused:?}");
    tells_of_the_agents_fuse(&process, &refused);
    let model = || call(process.proxy, "POST", MODEL_PATH, &[KEY], CHAT);
    assert_eq!(model().status, 200, "the rest of the team goes on");
    let want = [blown("max_per_hour", AGENT)];
    let soon = Duration::from_secs(10);
    wait_for("the alert", soon, || alerts(process.admin) == want);
    let raised = "breakerbox_alerts_total{team=\"sales\",level=\"critical\"}";
    // A row is there a moment before it is said.
    wait_for("the metric and the log", soon, || {
        series(&process.metrics(), raised) == "1" && process.log().contains("a fuse has blown")
    });

    // Neither a crash nor a stop makes it whole, and neither says so again.
    process.kill();
    let process = Process::serve_with(&files, clock.command());
    assert!(is_blown(&open(&process)));
    std::thread::park_timeout(Duration::from_millis(800)); // three looks: nothing more may come
    assert_eq!(alerts(process.admin), want);
    assert_eq!(series(&process.metrics(), raised), "0");
    assert_eq!(process.stop(), Some(0));
    let process = Process::serve_with(&files, clock.command());
    assert!(is_blown(&open(&process)));

    clock.set("2026-11-20T12:59:57Z");
    assert!(is_blown(&open(&process)));
    wait_for("the next hour", Duration::from_secs(20), || {
        let reply = open(&process);
        let passed = !is_blown(&reply);
        assert!(passed || retry_after(&reply) <= 4, "{reply:?}");
        passed
    });
    assert_eq!(
        until_blown(&process),
        9,
        "the whole of the next hour's, and no more"
    );
    let want = [want[0].clone(), want[0].clone()];
    wait_for("its alert", soon, || alerts(process.admin) == want);

    // And the one after it, also while the period is held because the clock jumped.
    clock.set("2026-11-20T13:59:58Z");
    assert!(is_blown(&open(&process)));
    wait_for("the hour after", Duration::from_secs(20), || {
        !is_blown(&open(&process))
    });
    assert_eq!(process.stop(), Some(0));
    let billed = simulator.billed().guide.total_micro_credits;
    assert_eq!(
        billed, 43_000_000,
        "two hours' worth, one session, one model call"
    );
}

#[test]
fn sixty_four_clients_never_pass_a_fuse_together() {
    early_in_an_hour();
    // Less than the clients' first calls together, which all wait for the first grant at once.
    let stage = Stage::start(&with_sales("max_per_hour = 100\nclass = \"critical\""));
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for client in 0..64 {
            let (stage, passed) = (&stage, &passed);
            scope.spawn(move || {
                let class = ["critical", "standard", "background"][client % 3];
                let headers = [KEY, LARGE, ("Breakerbox-Class", class)];
                let mut connection = Connection::open(stage.proxy());
                for _ in 0..20 {
                    let reply = call_until_granted(&mut connection, &headers);
                    let has_passed = !is_blown(&reply);
                    passed.fetch_add(u64::from(has_passed), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 50, "100 credits, 2 each, to the last");
    assert_eq!(stage.team("sales", "used"), "100");
    assert_eq!(stage.team("sales", "reserved"), "0");
    let fuse: Value = stage.team("sales", "fuse").parse().expect("JSON");
    assert_eq!(
        (&fuse["hour_committed"], &fuse["max_per_hour"]),
        (&100.into(), &100.into())
    );
    assert_eq!(fuse["blown"], true);
    wait_for("one alert", Duration::from_secs(5), || {
        alerts(stage.admin()) == [blown("max_per_hour", "")]
    });
}

/// 0.2 credits a row.
fn predict(stage: &Stage, rows: usize) -> Reply {
    let rows = vec!["[\"1\"]"; rows].join(",");
    let body = format!(
        r#"{{"predictionDefinition":"1OR","rows":[{rows}],"columnNames":["a"],"type":"RawData"}}"#
    );
    stage.post(PREDICT_PATH, &[KEY], &body)
}

#[test]
fn a_request_too_dear_is_refused_alone() {
    early_in_an_hour();
    let stage = Stage::start(&with_sales("max_per_request = 10"));
    let predict = |rows| predict(&stage, rows);
    assert!(is_blown(&predict(51)), "10.2 credits");
    assert!(!is_blown(&predict(50)), "10 credits");
    let refused = predict(200);
    assert!(is_blown(&refused));
    let said = refused.text();
    assert!(said.contains("is expected to cost 40 credits"), "{said}");
    assert!(retry_after(&refused) <= 3_600);
    let alone = ("max_per_request".to_owned(), String::new(), false);
    wait_for("one alert", Duration::from_secs(5), || {
        alerts(stage.admin()) == [alone.clone()]
    });
    assert_eq!(stage.team("sales", "used"), "10");
}

#[test]
fn an_answer_too_dear_blows_the_fuse_and_what_is_free_still_passes() {
    early_in_an_hour();
    let mut stage = Stage::start(&with_agent("max_per_request = 3"));
    let open = |stage: &Stage| stage.post(SESSIONS, &[], r#"{"externalSessionKey":"1"}"#);
    let turn = |stage: &Stage, session: &str, actions| {
        let path = format!("/einstein/ai-agent/v1/sessions/{session}/messages");
        stage.post(&path, &[("x-sim-actions", actions)], TURN)
    };
    let session = |reply: Reply| {
        reply.json()["sessionId"]
            .as_str()
            .expect("a session")
            .to_owned()
    };
    let [first, second, third] = [(); 3].map(|()| session(open(&stage)));
    assert!(!is_blown(&turn(&stage, &first, "3")), "3 credits");
    assert!(!is_blown(&turn(&stage, &first, "3")), "3 more: 8 in all");
    assert!(!is_blown(&open(&stage)));
    assert!(!is_blown(&turn(&stage, &second, "6")), "expected 2, cost 6");
    let refused = open(&stage);
    assert!(is_blown(&refused));
    assert!(
        refused.text().contains("an answer cost 6 credits"),
        "{}",
        refused.text()
    );
    assert!(is_blown(&turn(&stage, &third, "1")));
    let by_key = stage.post(SESSIONS, &[KEY], "{}");
    assert!(is_blown(&by_key), "whoever pays");
    assert!(
        !is_blown(&turn(&stage, &first, "1")),
        "its conversation has cost all it may"
    );
    let want = [blown("max_per_request", AGENT)];
    wait_for("one alert", Duration::from_secs(5), || {
        alerts(stage.admin()) == want
    });
    stage.restart();
    assert!(
        is_blown(&open(&stage)),
        "it blew, whatever this process has seen"
    );
}

#[test]
fn an_hour_counts_what_calls_cost_and_not_what_they_might_have() {
    early_in_an_hour();
    let stage = Stage::start(&with_sales("max_per_hour = 4"));
    let check = |control, status, committed: i64| {
        let reply = stage.post(MODEL_PATH, &[KEY, control], CHAT);
        assert_eq!(reply.status, status, "{}", reply.text());
        let fuse: Value = stage.team("sales", "fuse").parse().expect("JSON");
        assert_eq!(fuse["hour_committed"], committed, "after {control:?}");
    };
    check(("x-sim-tokens", "20"), 200, 1); // expected to cost 2
    check(("x-sim-status", "503"), 503, 1);
    check(("x-sim-tokens", "20"), 200, 2);
    check(LARGE, 200, 4);
    check(LARGE, 429, 4);
}

#[test]
fn a_fuse_blows_for_show_in_shadow_mode() {
    early_in_an_hour();
    let stage = Stage::start(&with_sales("max_per_hour = 4\nenforce = false"));
    for _ in 0..5 {
        let reply = stage.post(MODEL_PATH, &[KEY, LARGE], CHAT);
        assert_eq!((reply.status, reply.refusal()), (200, None));
    }
    assert_eq!(stage.team("sales", "used"), "10");
    let fuse: Value = stage.team("sales", "fuse").parse().expect("JSON");
    assert_eq!(fuse["hour_committed"], 10, "{fuse}");
    let would = "breakerbox_shadow_refusals_total{team=\"sales\",class=\"standard\",refusal=\"fuse_blown\"}";
    assert_eq!(series(&stage.metrics(), would), "3");
    wait_for("the alert", Duration::from_secs(5), || {
        alerts(stage.admin()) == [blown("max_per_hour", "")]
    });
}

/// More than a contract year is expected of it, and only so much is reserved.
#[test]
fn an_hour_forgets_all_that_a_void_call_was_expected_to_cost() {
    early_in_an_hour();
    let year = with_sales("max_per_hour = 4\nenforce = false").replace("120_000", "12");
    let stage = Stage::start(&year);
    let rows = vec!["[\"1\"]"; 100].join(","); // 20 credits
    let body = format!(r#"{{"rows":[{rows}],"columnNames":["a"],"type":"RawData"}}"#);
    let reply = stage.post(PREDICT_PATH, &[KEY, ("x-sim-status", "503")], &body);
    assert_eq!((reply.status, reply.refusal()), (503, None));
    let fuse: Value = stage.team("sales", "fuse").parse().expect("JSON");
    assert_eq!(fuse["hour_committed"], 0, "{fuse}");
}

#[test]
fn a_reload_keeps_what_blew_unless_it_allows_more() {
    early_in_an_hour();
    let mut stage = Stage::start(&with_sales("max_per_hour = 4"));
    let call = |stage: &Stage| is_blown(&stage.post(MODEL_PATH, &[KEY, LARGE], CHAT));
    let reload = |stage: &Stage, more: &str, limit: &str| {
        std::fs::write(stage.files.allocations(), with_sales(more)).expect("write");
        let in_force = || stage.team("sales", "fuse").contains(limit);
        wait_for(limit, Duration::from_secs(5), in_force);
    };
    assert_eq!([(); 3].map(|()| call(&stage)), [false, false, true]);
    reload(
        &stage,
        "max_per_hour = 3\ntrip = \"80%\"",
        "\"max_per_hour\":3,",
    );
    assert!(call(&stage), "less does not make it whole");
    reload(&stage, "max_per_hour = \"6.5\"", "\"max_per_hour\":6.5,");
    assert_eq!([(); 3].map(|()| call(&stage)), [false, true, true]);
    let of_row = |stage: &Stage| stage.ask("/api/v1/alerts")[0]["allowed"].clone();
    wait_for("its row", Duration::from_secs(5), || of_row(&stage) == 6.5);
    stage.restart();
    assert!(is_blown(&predict(&stage, 1)), "6.2 credits, and yet");
    // Taken out and put in again: what the hour cost is not forgotten.
    std::fs::write(stage.files.allocations(), with_sales("")).expect("write");
    wait_for("no fuse", Duration::from_secs(5), || {
        stage.team("sales", "fuse") == "null"
    });
    assert!(!call(&stage));
    let written = || stage.ask("/api/v1/usage?group_by=team")[0]["credits"] == 8;
    wait_for("its rollup", Duration::from_secs(5), written);
    reload(&stage, "max_per_hour = 9", "\"max_per_hour\":9,");
    assert!(call(&stage), "8 and 2");
}
