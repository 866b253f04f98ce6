//! What a refused client is told, and where else it is told.

use crate::http::Connection;
use crate::stage::{
    AGENT, CHAT, MODEL_PATH, PROMPT, PROMPT_PATH, SALES_KEY, SUPPORT_KEY, Stage, allocations,
    series,
};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);

fn exhausted() -> Stage {
    let stage = Stage::on_card("guide", "12"); // sales: 0.35 credits a month
    assert_eq!(stage.post(PROMPT_PATH, &[], PROMPT).status, 429);
    stage
}

#[test]
fn the_body_has_the_shape_of_the_api_that_was_called() {
    let stage = exhausted();
    let core = stage.post(PROMPT_PATH, &[], PROMPT).json();
    assert_eq!(core[0]["errorCode"], "REQUEST_LIMIT_EXCEEDED");
    assert!(
        core[0]["message"]
            .as_str()
            .unwrap()
            .contains("team_breaker_open")
    );
    let models = stage.post(MODEL_PATH, &[KEY], CHAT).json();
    assert_eq!(
        (&models["errorCode"], &models["messageCode"]),
        (&"LIMIT_EXCEEDED".into(), &"team_exhausted".into())
    );
    let agent = stage
        .post("/einstein/ai-agent/v1/sessions/s/messages", &[KEY], "{}")
        .json();
    assert_eq!(
        (&agent["status"], &agent["error"]),
        (&429.into(), &"team_exhausted".into())
    );
    assert_eq!(agent["path"], "/einstein/ai-agent/v1/sessions/s/messages");
    let accept = ("Accept", "application/problem+json");
    let reply = stage.post(MODEL_PATH, &[KEY, accept], CHAT);
    assert_eq!(
        reply.header("content-type"),
        Some("application/problem+json")
    );
    let problem = reply.json();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    for told in [
        &core[0]["breakerbox"],
        &models["breakerbox"],
        &agent["breakerbox"],
        &problem,
    ] {
        for field in ["team", "refusal", "used", "allocation", "ends"] {
            assert!(!told[field].is_null(), "{field} in {told}");
        }
    }
}

#[test]
fn every_refusal_has_a_decision_record_a_metric_and_a_bounded_retry_after() {
    let stage = exhausted();
    let reply = stage.post(MODEL_PATH, &[KEY], CHAT);
    let retry: u64 = reply
        .header("retry-after")
        .expect("Retry-After")
        .parse()
        .expect("seconds");
    assert!((1..=3600).contains(&retry), "{retry}");
    let id = reply.header("breakerbox-request-id").expect("an id");
    let record = stage.ask(&format!("/api/v1/decisions/{id}"));
    assert_eq!(
        (&record["refusal"], &record["team"]),
        (&"team_exhausted".into(), &"sales".into())
    );
    assert_eq!(
        (&record["payer"], &record["rate_card"]),
        (&"key".into(), &"guide".into())
    );
    assert_eq!(record["compared"]["binding"]["limit"], "team allocation");
    assert_eq!(record["compared"]["allocation"].to_string(), "0.35");
    assert!(!record["config_hash"].as_str().unwrap().is_empty());
    let name =
        "breakerbox_refusals_total{team=\"sales\",class=\"standard\",refusal=\"team_exhausted\"}";
    assert_eq!(series(&stage.metrics(), name), "1");
    assert_eq!(
        stage.team("sales", "used"),
        "0",
        "refused requests consume nothing"
    );
}

#[test]
fn who_pays_must_be_clear() {
    let stage = Stage::on_card("guide", "12_000");
    let check = |path: &str, headers: &[(&str, &str)], body: &str, want: (u16, Option<&str>)| {
        let reply = stage.post(path, headers, body);
        assert_eq!(
            (reply.status, reply.refusal()),
            want,
            "{path} {headers:?}: {}",
            reply.text()
        );
    };
    let open = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let support = ("Breakerbox-Key", SUPPORT_KEY);
    check(MODEL_PATH, &[], CHAT, (403, Some("unattributed")));
    check(
        MODEL_PATH,
        &[("Breakerbox-Key", "wrong")],
        CHAT,
        (403, Some("unknown_key")),
    );
    check(&open, &[support], "{}", (403, Some("team_mismatch")));
    check(&open, &[], "{}", (200, None));
    check(
        MODEL_PATH,
        &[KEY, ("Breakerbox-Class", "urgent")],
        CHAT,
        (400, Some("bad_request")),
    );
    check(
        MODEL_PATH,
        &[KEY, ("Breakerbox-Class", "background")],
        CHAT,
        (200, None),
    );
}

#[test]
fn shadow_mode_notes_and_lets_pass() {
    let text = allocations("guide", "12").replace(
        "name = \"sales\"\nshare",
        "name = \"sales\"\nenforce = false\nshare",
    );
    let stage = Stage::start(&text);
    let reply = stage.post(MODEL_PATH, &[KEY], CHAT);
    assert_eq!(
        (reply.status, reply.refusal()),
        (200, None),
        "{}",
        reply.text()
    );
    assert_eq!(
        stage.team("sales", "used"),
        "1",
        "charged to own, beyond the limit"
    );
    let name = "breakerbox_shadow_refusals_total{team=\"sales\",class=\"standard\",refusal=\"team_exhausted\"}";
    assert_eq!(series(&stage.metrics(), name), "1");
    let path = "/einstein/platform/v1/models/m/rerank";
    assert_eq!(
        stage.post(path, &[KEY], "{}").refusal(),
        Some("unpriced"),
        "what has no price stays refused"
    );
}

#[test]
fn our_headers_end_here_and_theirs_pass() {
    let stage = Stage::on_card("guide", "12_000");
    let reply = stage.post(MODEL_PATH, &[KEY, ("x-request-id", "abc")], CHAT);
    assert_eq!(reply.header("x-request-id"), Some("abc"));
    assert_eq!(reply.header("breakerbox-team"), Some("sales"));
    assert_eq!(reply.header("breakerbox-breaker"), Some("closed"));
    let left: i64 = reply
        .header("breakerbox-remaining")
        .expect("remaining")
        .parse()
        .expect("whole credits");
    assert!((347..=350).contains(&left), "{left}");
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let stage = Stage::on_card("guide", "12_000");
    let path = "/einstein/ai-agent/v1/sessions/s/messages"; // forwarded as it comes: not read ahead
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n");
    for round in 0..5 {
        let mut connection = Connection::open(stage.proxy());
        connection.send(head.as_bytes()).expect("send");
        for _ in 0..6 {
            std::thread::park_timeout(std::time::Duration::from_millis(5));
            connection
                .send(&[b'x'; 10_000])
                .expect("the connection is not reset");
        }
        let reply = connection.read_reply();
        let reply = reply.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(
            (reply.refusal(), reply.whole),
            (Some("unattributed"), true),
            "round {round}"
        );
    }
}

#[test]
fn rate_limit_fields_are_sent_where_they_are_wanted() {
    let mut stage = Stage::on_card("guide", "12_000");
    assert_eq!(
        stage.post(MODEL_PATH, &[KEY], CHAT).header("ratelimit"),
        None,
        "off by default"
    );
    let config = std::fs::read_to_string(stage.files.config()).expect("read");
    stage.stop();
    std::fs::write(
        stage.files.config(),
        format!("{config}\n[mode]\nrate_limit_headers = true\n"),
    )
    .expect("write");
    stage.restart();
    let reply = stage.post(MODEL_PATH, &[KEY], CHAT);
    let policy = reply.header("ratelimit-policy").expect("a policy");
    assert!(policy.starts_with("\"team-credits\";q=350;w="), "{policy}");
    assert!(policy.ends_with(";qu=\"flex-credits\""), "{policy}");
    let limit = reply.header("ratelimit").expect("a limit");
    assert!(
        limit.starts_with("\"team-credits\";r=34") && limit.contains(";t="),
        "{limit}"
    );
}

#[test]
fn an_unreachable_upstream_costs_nothing() {
    let mut stage = Stage::on_card("guide", "12_000");
    let gone = {
        let listener = std::net::TcpListener::bind(crate::stage::any_port()).expect("bind");
        listener.local_addr().expect("address")
    };
    let config = std::fs::read_to_string(stage.files.config()).expect("read");
    let config = config.replace(&stage.simulator.address.to_string(), &gone.to_string());
    stage.stop();
    std::fs::write(stage.files.config(), config).expect("write");
    stage.restart();
    let reply = stage.post(PROMPT_PATH, &[KEY], PROMPT); // read ahead: all of it has come
    assert_eq!(
        (reply.status, reply.refusal()),
        (502, Some("upstream_unreachable"))
    );
    assert_eq!(
        (stage.team("sales", "used"), stage.team("sales", "reserved")),
        ("0".into(), "0".into())
    );
    assert_eq!(reply.header("breakerbox-team"), Some("sales"));
    assert_eq!(reply.header("connection"), None);
    let metrics = stage.metrics();
    let of_sales = |name: &str| {
        let lines = metrics.lines().filter(|line| {
            line.starts_with(&format!("{name}{{team=\"sales\"")) && !line.ends_with(" 0")
        });
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let refused = of_sales("breakerbox_refusals_total");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("upstream_unreachable"), "{refused:?}");
    let ended = of_sales("breakerbox_requests_total");
    assert_eq!(ended.len(), 1, "it ended once: {ended:?}");
    assert!(
        ended[0].contains("outcome=\"void\"") && ended[0].ends_with(" 1"),
        "{ended:?}"
    );
}

/// Whoever is still in the queue of connections when the end begins is told so.
#[test]
fn a_connection_that_is_accepted_while_draining_gets_an_answer() {
    let stage = Stage::on_card("guide", "12_000");
    let mut early = Connection::open(stage.proxy());
    let draining = &stage.gateway().control.shared.draining;
    draining.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut late = Connection::open(stage.proxy());
    for connection in [&mut late, &mut early] {
        let reply = connection.call("POST", MODEL_PATH, &[KEY], CHAT);
        let reply = reply.expect("an answer");
        assert_eq!((reply.status, reply.refusal()), (503, Some("draining")));
    }
}

#[test]
fn a_throttled_client_is_told_its_slot_and_counted() {
    let text = allocations("guide", "240").replace(
        "name = \"sales\"\nshare",
        "name = \"sales\"\ntrip = \"50%\"\nshare",
    );
    let stage = Stage::start(&text); // 7 credits, throttled above 3.5
    for _ in 0..3 {
        assert_eq!(stage.post(MODEL_PATH, &[KEY], CHAT).status, 200);
    }
    let reply = stage.post(MODEL_PATH, &[KEY], CHAT);
    assert_eq!(reply.refusal(), Some("throttled"));
    let retry: i64 = reply
        .header("retry-after")
        .expect("seconds")
        .parse()
        .expect("a number");
    let ends = reply.json()["breakerbox"]["ends"].clone();
    let ends: jiff::Timestamp = ends.as_str().expect("an instant").parse().expect("a time");
    let left = ends.duration_since(jiff::Timestamp::now()).as_secs();
    assert!(
        (retry - 2..=retry).contains(&left),
        "the next slot, not the month's end: {ends}"
    );
    let name = "breakerbox_requests_total{team=\"sales\",operation=\"model.generate\",class=\"standard\",outcome=\"refused\"}";
    assert_eq!(series(&stage.metrics(), name), "1", "{}", stage.metrics());
}

#[test]
fn what_is_left_for_a_class_that_is_rejected_ends_at_the_trip_point() {
    let stage = Stage::on_card("guide", "12_000"); // support: 250 credits, rejected above 225
    let reply = stage.post(MODEL_PATH, &[("Breakerbox-Key", SUPPORT_KEY)], CHAT);
    let left = reply.header("breakerbox-remaining").expect("remaining");
    let left: i64 = left.parse().expect("whole credits");
    assert!((223..=225).contains(&left), "{left}");
}

#[test]
fn overage_is_no_part_of_what_was_used_of_the_contract() {
    let text = allocations("guide", "12").replace("burst = ", "overage_cap = 100\nburst = ");
    let stage = Stage::start(&text); // own, buffer and burst are each less than a session
    let open = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    assert_eq!(stage.post(&open, &[KEY], "{}").status, 200);
    let field = |name| stage.team("sales", name);
    assert_eq!(
        [field("used"), field("overage_used"), field("total_used")],
        ["0", "2", "0"]
    );
}

#[test]
fn a_clients_tags_add_to_the_configured_ones_and_change_none() {
    let text = allocations("guide", "12_000")
        .replace("[\"project\"]", "[\"project\", \"phase\", \"site\"]")
        .replace(
            "name = \"sales\"\nshare",
            "name = \"sales\"\nproject = \"own\"\nshare",
        );
    let stage = Stage::start(&text);
    let tags = [
        KEY,
        ("Breakerbox-Tags", "project=atlas"),
        ("Breakerbox-Tags", "phase=2, site=b"),
        ("Breakerbox-Tags", "unknown=1"),
    ];
    assert_eq!(stage.post(MODEL_PATH, &tags, CHAT).status, 200);
    let usage = |tag: &str| {
        let rows = stage.ask(&format!("/api/v1/usage?group_by=tag:{tag}"));
        rows[0][format!("tag:{tag}")].clone()
    };
    let soon = std::time::Duration::from_secs(5);
    crate::stage::wait_for("booked", soon, || usage("project") == "own");
    assert_eq!((usage("phase"), usage("site")), ("2".into(), "b".into()));
    assert_eq!(usage("unknown"), "");
}

#[test]
fn no_key_hash_is_told_by_a_reload() {
    let stage = Stage::on_card("guide", "12_000");
    let (old, new) = (
        crate::stage::sha256(SALES_KEY),
        crate::stage::sha256("another"),
    );
    let text = allocations("guide", "12_000").replace(&old, &new);
    std::fs::write(stage.files.allocations(), text).expect("write");
    let reply = crate::http::call(stage.admin(), "POST", "/api/v1/config/reload", &[], "");
    let told = reply.text();
    assert!(reply.status == 200 && told.contains("sales-key"), "{told}");
    assert!(!told.contains(&old) && !told.contains(&new), "{told}");
}
