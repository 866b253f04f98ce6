//! `explain` says what then happens: the same estimate, payer, class and verdict; and it changes nothing.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Reply, call};
use crate::stage::{
    AGENT, CHAT, MODEL_PATH, PREDICT_PATH, PROMPT, PROMPT_PATH, SALES_KEY, SUPPORT_KEY, Stage,
    allocations, wait_for,
};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const SUPPORT: (&str, &str) = ("Breakerbox-Key", SUPPORT_KEY);
const BACKGROUND: (&str, &str) = ("Breakerbox-Class", "background");
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;
pub(crate) const ROWS: &str = r#"{"predictionDefinition":"1OR","rows":[["1"],["2"],["3"]],"columnNames":["a"],"type":"RawData"}"#;
const EMBEDDINGS: &str =
    "/einstein/platform/v1/models/sfdc_ai__DefaultOpenAITextEmbeddingAda_002/embeddings";

pub(crate) fn explain(stage: &Stage, question: &Value) -> Value {
    let reply = call(
        stage.admin(),
        "POST",
        "/api/v1/explain",
        &[],
        &question.to_string(),
    );
    assert_eq!(reply.status, 200, "{question}: {}", reply.text());
    reply.json()
}

/// A request, as it is sent.
#[derive(Clone, Copy)]
struct Sent<'a> {
    path: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
}

fn sent<'a>(path: &'a str, headers: &'a [(&'a str, &'a str)], body: &'a str) -> Sent<'a> {
    Sent {
        path,
        headers,
        body,
    }
}

/// Asks first, sends then, and compares what was said with what was done.
fn check(
    stage: &Stage,
    Sent {
        path,
        headers,
        body,
    }: Sent<'_>,
    want: &str,
) -> Value {
    let headers_json: Value = headers
        .iter()
        .map(|(name, value)| (*name, *value))
        .collect();
    let asked = json!({ "path": path, "headers": headers_json, "body": body });
    let before = stage.team("sales", "used");
    let said = explain(stage, &asked);
    assert_eq!(
        explain(stage, &asked)["verdict"],
        said["verdict"],
        "asking twice"
    );
    assert_eq!(stage.team("sales", "used"), before, "nothing was counted");
    assert_eq!(stage.team("sales", "reserved"), "0", "nothing was reserved");
    let reply = stage.post(path, headers, body);
    let got = reply.refusal().unwrap_or("admit");
    assert_eq!(got, want, "{path}: {}", reply.text());
    compare(stage, &said, &reply, path);
    said
}

fn compare(stage: &Stage, said: &Value, reply: &Reply, path: &str) {
    let id = reply.header("breakerbox-request-id").expect("an id");
    if let Some(refusal) = reply.refusal() {
        assert_eq!(
            (&said["verdict"], &said["refusal"]),
            (&json!("refuse"), &json!(refusal))
        );
        assert_eq!(said["status"], reply.status, "{path}");
        let record = stage.ask(&format!("/api/v1/decisions/{id}"));
        assert_eq!(said["detail"], record["detail"], "{path}");
        assert_eq!(
            said["compared"], record["compared"],
            "{path}: the same numbers"
        );
        assert_eq!(said["price"]["estimate"], record["estimate"], "{path}");
        if let Some(retry) = said["retry_after_seconds"].as_u64() {
            let header: u64 = reply
                .header("retry-after")
                .expect("it")
                .parse()
                .expect("seconds");
            assert!(retry.abs_diff(header) <= 1, "{path}: {retry} {header}");
        }
        return;
    }
    assert_eq!(said["refusal"], Value::Null, "{path}");
    assert_eq!(said["verdict"], "admit", "{path}");
    if said["price"].is_null() {
        return assert_eq!(reply.header("breakerbox-team"), None, "{path}: nobody pays");
    }
    let why = stage.why(id);
    let charged = &why["charged"];
    for (field, told) in [
        ("team", &said["payer"]["team"]),
        ("class", &said["payer"]["class"]),
        ("operation", &said["call"]["operation"]),
        ("estimate", &said["price"]["estimate"]),
        ("source", &said["source"]),
    ] {
        assert_eq!(told, &charged[field], "{path}: {field}");
    }
}

impl Stage {
    /// What is known of a request, once its event is on disk.
    pub(crate) fn why(&self, id: &str) -> Value {
        let path = format!("/api/v1/why/{id}");
        let mut told = Value::Null;
        wait_for("its event", Duration::from_secs(5), || {
            let reply = crate::http::get(self.admin(), &path);
            told = if reply.status == 200 {
                reply.json()
            } else {
                Value::Null
            };
            told.is_object()
        });
        told
    }
}

fn open(stage: &Stage) -> String {
    let path = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let opened = stage
        .post(&path, &[], r#"{"externalSessionKey":"1"}"#)
        .json();
    opened["sessionId"].as_str().expect("a session").to_owned()
}

#[test]
fn every_kind_of_call_on_both_cards() {
    for card in ["guide", "flex-2026-08"] {
        let stage = Stage::on_card(card, "1_200_000_000");
        let session = open(&stage);
        let turn = format!("/einstein/ai-agent/v1/sessions/{session}/messages");
        let stream = format!("{turn}/stream");
        let unseen = "/einstein/ai-agent/v1/sessions/0000-unseen/messages";
        let opening = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
        let preview = PROMPT.replace("\"isPreview\":false", "\"isPreview\":true");
        let doubtful = ROWS.replace("\"rows\"", "\"rows\":[],\"rows\"");
        let by_path = format!("/k/{SALES_KEY}{MODEL_PATH}");
        for request in [
            sent(&opening, &[], r#"{"externalSessionKey":"1"}"#),
            sent(&turn, &[("x-sim-actions", "1")], TURN),
            sent(&stream, &[KEY, ("x-sim-actions", "2")], TURN),
            sent(&turn, &[("x-sim-actions", "6")], TURN), // what is left of a conversation
            sent(&turn, &[("x-sim-actions", "1")], TURN),
            sent(unseen, &[KEY, ("x-sim-status", "404")], TURN),
            sent(PROMPT_PATH, &[], PROMPT),
            sent(PROMPT_PATH, &[KEY], &preview),
            sent(MODEL_PATH, &[KEY], CHAT),
            sent(&by_path, &[BACKGROUND], CHAT),
            sent(EMBEDDINGS, &[KEY], r#"{"input":["a","b"]}"#),
            sent(PREDICT_PATH, &[KEY], ROWS),
            sent(PREDICT_PATH, &[KEY], &doubtful),
            sent(
                "/services/oauth2/token",
                &[],
                "grant_type=client_credentials",
            ),
            sent("/services/data/v64.0/chatter/feeds", &[], "{}"),
        ] {
            check(&stage, request, "admit");
        }
    }
}

#[test]
fn every_refusal_of_identity_and_form() {
    let stage = Stage::on_card("guide", "12_000");
    let opening = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let by_wrong_key = format!("/k/{}{MODEL_PATH}", "0".repeat(64));
    let twice = format!("/k/{SALES_KEY}{MODEL_PATH}");
    let composite = r#"{"compositeRequest":[{"method":"POST","url":"/services/data/v64.0/smartdatadiscovery/predict","referenceId":"a"}]}"#;
    for (request, want) in [
        (sent(MODEL_PATH, &[], CHAT), "unattributed"),
        (
            sent(MODEL_PATH, &[("Breakerbox-Key", "wrong")], CHAT),
            "unknown_key",
        ),
        (sent(&by_wrong_key, &[], CHAT), "unknown_key"),
        (sent(&twice, &[SUPPORT], CHAT), "unknown_key"),
        (sent(&opening, &[SUPPORT], "{}"), "team_mismatch"),
        (
            sent(MODEL_PATH, &[KEY, ("Breakerbox-Class", "urgent")], CHAT),
            "bad_request",
        ),
        (
            sent("/einstein/platform/v1/models/m/rerank", &[KEY], "{}"),
            "unpriced",
        ),
        (
            sent("/services/data/v64.0/composite", &[KEY], composite),
            "unpriced",
        ),
        (sent("/somewhere/else", &[KEY], "{}"), "bad_request"),
        (sent("/api/v1/ingest/jobs", &[KEY], "{}"), "bad_request"),
        (
            sent("/services//data/v64.0/limits", &[], "{}"),
            "ambiguous_request",
        ),
        (
            sent(&format!("{PREDICT_PATH}?_HttpMethod=GET"), &[KEY], ROWS),
            "ambiguous_request",
        ),
    ] {
        check(&stage, request, want);
    }
}

#[test]
fn every_refusal_of_the_budget() {
    let stage = Stage::on_card("guide", "1_200"); // sales: 35 a month, trips at 31.5
    let large = [KEY, ("x-sim-tokens", "2500")];
    let call = sent(MODEL_PATH, &large, CHAT);
    let background = [KEY, BACKGROUND];
    for _ in 0..15 {
        check(&stage, call, "admit");
    }
    check(
        &stage,
        sent(MODEL_PATH, &background, CHAT),
        "team_breaker_open",
    );
    let slot = check(&stage, call, "admit");
    let says = slot["admission"].to_string();
    assert!(says.contains("6 a minute, and one is free"), "{says}");
    let none = check(&stage, call, "throttled");
    let says = none["admission"].to_string();
    assert!(
        says.contains("30 + 2 <= 31.5: no") || says.contains("32 + 2 <= 31.5: no"),
        "{says}"
    );
    // Critical goes on out of own, buffer and burst; then nothing is left.
    let opening = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let opening = sent(&opening, &[], r#"{"externalSessionKey":"1"}"#);
    for source in std::iter::once("own")
        .chain(["buffer"; 7])
        .chain(["burst"; 7])
    {
        assert_eq!(check(&stage, opening, "admit")["source"], source);
    }
    let last = check(&stage, opening, "team_exhausted");
    let rules = last["admission"].as_array().expect("rules").iter();
    let rules: Vec<_> = rules
        .map(|rule| rule["what"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        rules,
        ["team allocation", "central buffer", "burst", "overage"]
    );
    check(&stage, call, "team_exhausted");

    // 100 a month of which sales may spend 60, and the pool trips at 50.
    let text = allocations("guide", "1_200")
        .replace("\"35%\"", "\"60%\"")
        .replace("burst = ", "trip = \"50%\"\nburst = ");
    let stage = Stage::start(&text);
    for _ in 0..25 {
        check(&stage, call, "admit");
    }
    check(
        &stage,
        sent(MODEL_PATH, &background, CHAT),
        "pool_breaker_open",
    );
}

#[test]
fn the_contract_year_is_the_last_word() {
    // 12 a year, 1 a month; carried by an override to more than the year has left.
    let stage = Stage::on_card("guide", "12");
    let body = json!({ "credits": 12, "source": "annual", "reason": "r", "author": "a" });
    let path = "/api/v1/teams/sales/override";
    assert_eq!(
        call(stage.admin(), "POST", path, &[], &body.to_string()).status,
        200
    );
    let large = [
        KEY,
        ("x-sim-tokens", "2500"),
        ("Breakerbox-Class", "standard"),
    ];
    for _ in 0..5 {
        check(&stage, sent(MODEL_PATH, &large, CHAT), "admit");
    }
    let support = json!({ "credits": 2, "source": "annual", "reason": "r", "author": "a" });
    let path = "/api/v1/teams/support/override";
    assert_eq!(
        call(stage.admin(), "POST", path, &[], &support.to_string()).status,
        200
    );
    let support = [SUPPORT, ("x-sim-tokens", "2500")];
    check(&stage, sent(MODEL_PATH, &support, CHAT), "admit");
    let year = check(&stage, sent(MODEL_PATH, &large, CHAT), "pool_exhausted");
    assert_eq!(year["compared"]["binding"]["limit"], "contract year");
}

#[test]
fn a_held_breaker_and_shadow_are_explained_as_they_act() {
    let stage = Stage::on_card("guide", "12_000");
    let post = |path: &str, body: Value| {
        let reply = call(stage.admin(), "POST", path, &[], &body.to_string());
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    let hold = json!({ "breaker": "open", "reason": "r", "author": "a" });
    post("/api/v1/teams/sales/override", hold);
    let held = check(&stage, sent(MODEL_PATH, &[KEY], CHAT), "team_breaker_open");
    assert!(
        held["detail"].as_str().expect("why").contains("override 1"),
        "{held}"
    );
    let until = crate::overrides::in_seconds(600);
    let shadow = json!({ "enforce": false, "until": until, "reason": "r", "author": "a" });
    post("/api/v1/mode", shadow);
    let question = json!({ "path": MODEL_PATH, "team": "sales", "body": CHAT });
    let noted = explain(&stage, &question);
    assert_eq!(
        (&noted["verdict"], &noted["refusal"]),
        (&json!("would_refuse"), &json!("team_breaker_open"))
    );
    let reply = stage.post(MODEL_PATH, &[KEY], CHAT);
    assert_eq!(reply.refusal(), None);
    let why = stage.why(reply.header("breakerbox-request-id").expect("an id"));
    assert_eq!(why["verdict"], "would_refuse");
}
