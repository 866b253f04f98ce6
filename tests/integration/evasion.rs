//! Paths that try to dodge their price: what each of them gets.

use crate::http::{Connection, Reply};
use crate::stage::{PROMPT, SALES_KEY, Stage};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);

/// What became of a call: its refusal, its price, or that it passed unpriced.
fn outcome(stage: &Stage, reply: &Reply, used_before: &str) -> String {
    match reply.refusal() {
        Some(refusal) => format!("{} {refusal}", reply.status),
        None if stage.team("sales", "used") != used_before => "charged".to_owned(),
        None => "passed".to_owned(),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, a line each")]
fn no_spelling_of_a_paid_path_is_free() {
    let stage = Stage::on_card("guide", "1_200_000");
    let data = "/services/data/v64.0";
    let composite = format!(
        r#"{{"compositeRequest":[{{"method":"POST","url":"{data}/einstein/prompt-templates/Q/generations","referenceId":"a"}}]}}"#
    );
    let batch = r#"{"batchRequests":[{"method":"POST","url":"v64.0/smartdatadiscovery/predict"}]}"#;
    let prompt = |name: &str| format!("{data}/einstein/prompt-templates/{name}/generations");
    let cases: Vec<(String, &str, &str)> = vec![
        (prompt("Q"), PROMPT, "charged"),
        (prompt("Q") + "/", PROMPT, "charged"),
        (prompt("Q") + ".json", PROMPT, "charged"),
        (prompt("Q") + ".XML", PROMPT, "charged"),
        (
            prompt("Q").replace("einstein", "EinStein"),
            PROMPT,
            "charged",
        ),
        (prompt("Q") + "?x=1", PROMPT, "charged"),
        (
            prompt("Q").replace("/einstein", "//einstein"),
            PROMPT,
            "400 ambiguous_request",
        ),
        (prompt("Q") + "//", PROMPT, "400 ambiguous_request"),
        (
            prompt("Q").replace("/einstein", "%2feinstein"),
            PROMPT,
            "400 ambiguous_request",
        ),
        (
            prompt("Q").replace("/einstein", "/./einstein"),
            PROMPT,
            "400 ambiguous_request",
        ),
        (
            prompt("Q").replace("/einstein", "/x/../einstein"),
            PROMPT,
            "400 ambiguous_request",
        ),
        (
            prompt("Q").replace("/einstein", "/x/%2e%2e/einstein"),
            PROMPT,
            "400 ambiguous_request",
        ),
        (
            prompt("Q").replace("einstein", "%65instein"),
            PROMPT,
            "400 ambiguous_request",
        ),
        (
            prompt("Q").replace("generations", "generations;x"),
            PROMPT,
            "400 ambiguous_request",
        ),
        (
            prompt("Q").replace("/einstein", "\\einstein"),
            PROMPT,
            "400 ambiguous_request",
        ),
        (
            prompt("Q") + "?_HttpMethod=PATCH",
            PROMPT,
            "400 ambiguous_request",
        ),
        (
            prompt("Q") + "?_httpmethod=GET",
            PROMPT,
            "400 ambiguous_request",
        ),
        (
            prompt("Q") + "?%5FHttpMethod=GET",
            PROMPT,
            "400 ambiguous_request",
        ),
        (format!("{data}/composite"), &composite, "403 unpriced"),
        (format!("{data}/composite/batch"), batch, "403 unpriced"),
        (
            "/einstein/ai-agent/v1/sessions/x/messages/other".to_owned(),
            "{}",
            "403 unpriced",
        ),
        (
            "/einstein/platform/v1/models/m/rerank".to_owned(),
            "{}",
            "403 unpriced",
        ),
        ("/somewhere/else".to_owned(), "{}", "400 bad_request"),
        ("/api/v1/ingest/jobs".to_owned(), "{}", "400 bad_request"), // no data upstream is configured
        (format!("{data}/chatter/feeds"), "{}", "passed"), // ordinary CRM traffic, counted as unpriced
    ];
    let mut table = String::new();
    for (path, body, want) in &cases {
        let before = stage.team("sales", "used");
        let reply = stage.post(path, &[KEY], body);
        let got = outcome(&stage, &reply, &before);
        table.push_str(&format!("POST {path:90} {got}\n"));
        assert_eq!(got, *want, "{path}\n{}", reply.text());
        if got.starts_with("400") {
            assert_eq!(reply.header("connection"), Some("close"), "{path}");
        }
    }
    println!("{table}"); // cargo test -- --nocapture evasion
    let unpriced = crate::stage::series(
        &stage.metrics(),
        "breakerbox_unpriced_requests_total{service=\"org\"}",
    );
    assert_eq!(unpriced, "3"); // two composites, one feed
}

#[test]
fn a_method_override_on_a_paid_call_is_refused_in_a_header_too() {
    let stage = Stage::on_card("guide", "1_200_000");
    let path = "/services/data/v64.0/smartdatadiscovery/predict";
    let headers = [KEY, ("X-HTTP-Method-Override", "POST")];
    for method in ["POST", "GET", "PATCH"] {
        let reply = crate::http::call(stage.proxy(), method, path, &headers, "{}");
        assert_eq!(
            (reply.status, reply.refusal()),
            (400, Some("ambiguous_request")),
            "{method}"
        );
    }
}

#[test]
fn a_harmless_composite_passes() {
    let stage = Stage::on_card("guide", "1_200_000");
    let body = r#"{"compositeRequest":[{"method":"GET","url":"/services/data/v64.0/sobjects/Account/001","referenceId":"a"}]}"#;
    let reply = stage.post("/services/data/v64.0/composite", &[], body);
    // The simulator has no composite: its own 404 shows that the call arrived there.
    assert_eq!((reply.status, reply.refusal()), (404, None));
    assert!(reply.text().contains("NOT_FOUND"), "{}", reply.text());
    assert_eq!(stage.simulator.billed().requests, 1);
    let unpriced = "breakerbox_unpriced_requests_total{service=\"org\"}";
    assert_eq!(crate::stage::series(&stage.metrics(), unpriced), "1");
    assert_eq!(stage.ask("/api/v1/pool")["used"].to_string(), "0");
}

#[test]
fn a_body_in_doubt_is_priced_at_the_most_it_can_be() {
    let stage = Stage::on_card("guide", "1_200_000");
    let path = "/services/data/v64.0/smartdatadiscovery/predict";
    // Two readings of `rows`: 200 are reserved, at 0.2 each, until the answer tells how many there were.
    let doubtful = r#"{"predictionDefinition":"1OR","rows":[["1"]],"rows":[["1"],["2"]],"columnNames":["a"],"type":"RawData"}"#;
    let mut connection = Connection::open(stage.proxy());
    let headers = [KEY, ("x-sim-delay-ms", "2000")];
    connection
        .ask("POST", path, &headers, doubtful)
        .expect("send");
    let soon = std::time::Duration::from_millis(1_900);
    crate::stage::wait_for("200 rows are reserved", soon, || {
        stage.team("sales", "reserved") == "40"
    });
    let reply = connection.read_reply().expect("an answer");
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(
        (stage.team("sales", "used"), stage.team("sales", "reserved")),
        ("0.4".to_owned(), "0".to_owned())
    );
    // A preview that is not proven to be one is charged.
    let before = stage.team("sales", "used");
    let prompt = "/services/data/v64.0/einstein/prompt-templates/Quote_Summary/generations";
    let reply = stage.post(
        prompt,
        &[],
        r#"{"isPreview":true,"isPreview":false,"inputParams":{},"additionalConfig":{}}"#,
    );
    assert!(reply.status == 201, "{}", reply.text());
    assert_ne!(stage.team("sales", "used"), before);
}

#[test]
fn a_key_in_the_path_is_stripped_and_must_not_differ_from_the_header() {
    let stage = Stage::on_card("guide", "1_200_000");
    let path = |key: &str| format!("/k/{key}{}", crate::stage::MODEL_PATH);
    let check = |key: &str, headers: &[(&str, &str)], want: (u16, Option<&str>)| {
        let reply = stage.post(&path(key), headers, crate::stage::CHAT);
        assert_eq!((reply.status, reply.refusal()), want, "{key} {headers:?}");
    };
    check(SALES_KEY, &[], (200, None));
    check(SALES_KEY, &[KEY], (200, None));
    check(
        SALES_KEY,
        &[("Breakerbox-Key", crate::stage::SUPPORT_KEY)],
        (403, Some("unknown_key")),
    );
    check("nonsense", &[], (403, Some("unknown_key")));
    check(&"0".repeat(64), &[], (403, Some("unknown_key")));
}

#[test]
fn a_malformed_chunk_is_the_clients_fault_and_costs_nothing() {
    let stage = Stage::on_card("guide", "1_200_000");
    let mut connection = Connection::open(stage.proxy());
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nbreakerbox-key: {SALES_KEY}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        crate::stage::MODEL_PATH
    );
    connection.send(request.as_bytes()).expect("send");
    let reply = connection.read_reply().expect("an answer");
    assert_eq!(
        (reply.status, reply.refusal()),
        (400, Some("bad_request")),
        "{}",
        reply.text()
    );
    // Also where the body is streamed on, not read ahead.
    let mut connection = Connection::open(stage.proxy());
    let request = format!(
        "POST /einstein/ai-agent/v1/sessions/s/messages HTTP/1.1\r\nhost: x\r\nbreakerbox-key: {SALES_KEY}\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"
    );
    connection.send(request.as_bytes()).expect("send");
    let reply = connection.read_reply().expect("an answer");
    assert_eq!(
        (reply.status, reply.refusal()),
        (400, Some("bad_request")),
        "{}",
        reply.text()
    );
    assert_eq!(
        (stage.team("sales", "used"), stage.team("sales", "reserved")),
        ("0".into(), "0".into())
    );
}
