//! Models, prompts, the org, the bill itself, and chance.

use serde_json::Value;

use super::{MESSAGE, ask, check, messages_of, open, start, stream_of};
use crate::simulator::{Faults, Settings};

#[tokio::test]
async fn models_and_prompts_report_and_bill_their_tokens() {
    let sim = start(Settings {
        tiers: [("big".to_owned(), 16)].into(),
        ..Settings::default()
    });
    let models = "POST /einstein/platform/v1/models";
    let generations = format!("{models}/sfdc_ai__DefaultGPT4Omni/generations");
    let tokens = ["x-sim-tokens: 6500"];
    let reply = ask(&sim, &generations, &tokens, r#"{"prompt":"hello"}"#)
        .await
        .json();
    assert_eq!(reply["parameters"]["usage"]["total_tokens"], 6_500);
    check("6,500 tokens are 4 Standard prompts", &sim, 20, 160);

    let chat = r#"{"messages":[{"role":"user","content":"hello"}]}"#;
    let reply = ask(&sim, &format!("{models}/big/chat-generations"), &[], chat)
        .await
        .json();
    let usage = &reply["generationDetails"]["parameters"]["usage"];
    assert_eq!(usage["prompt_tokens"], 2, "5 bytes");
    check("a big model", &sim, 30, 320);
    let reply = ask(
        &sim,
        &format!("{models}/m/embeddings"),
        &[],
        r#"{"input":["a","b"]}"#,
    )
    .await;
    assert_eq!(reply.json()["parameters"]["usage"]["total_tokens"], 1);
    check("two embeddings", &sim, 32, 360);

    let chat = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
    assert_eq!(
        ask(&sim, "POST /chat/completions", &[], chat).await.status,
        401
    );
    let headers = ["api-key: k", "x-sim-no-usage: 1"];
    let reply = ask(&sim, "POST /chat/completions", &headers, chat)
        .await
        .json();
    assert!(reply.get("usage").is_none());
    check("a Starter prompt", &sim, 42, 380);

    let template = "POST /services/data/v64.0/einstein/prompt-templates/Quote/generations";
    let request = |preview: &str| {
        format!(
            r#"{{"isPreview":{preview},"inputParams":{{"valueMap":{{"Input:A":{{"value":"<x>"}}}}}},"additionalConfig":{{"numGenerations":2}}}}"#
        )
    };
    let reply = ask(&sim, template, &[], &request("\"true\"")).await;
    assert_eq!(
        (reply.status, &reply.json()["generations"]),
        (201, &Value::Array(vec![]))
    );
    let reply = ask(&sim, template, &[], &request("false")).await.json();
    assert_eq!(reply["generations"].as_array().unwrap().len(), 2);
    assert!(reply["prompt"].as_str().unwrap().contains("&lt;x&gt;"));
    check("previews are free, two generations are not", &sim, 62, 420);
    let invocable = "POST /services/data/v64.0/actions/custom/generatePromptResponse/Quote";
    let inputs = r#"{"inputs":[{"Input:Query":"a"},{"Input:Query":"b"},{"Input:Query":"c"}]}"#;
    assert_eq!(
        ask(&sim, invocable, &[], inputs)
            .await
            .json()
            .as_array()
            .unwrap()
            .len(),
        3
    );
    check("three prompts", &sim, 92, 540);
}

#[tokio::test]
async fn the_org_predicts_and_answers_free_calls() {
    let sim = start(Settings::default());
    let predict = "POST /services/data/v64.0/smartdatadiscovery/predict";
    let rows = |count: usize| {
        let rows = vec![r#"["2"]"#; count].join(",");
        format!(r#"{{"predictionDefinition":"1OR","type":"RawData","rows":[{rows}]}}"#)
    };
    let reply = ask(&sim, predict, &[], &rows(200)).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.json()["predictions"].as_array().unwrap().len(), 200);
    let reply = ask(&sim, predict, &[], &rows(201)).await;
    assert_eq!(
        (reply.status, &reply.json()[0]["errorCode"]),
        (400, &Value::from("INVALID_INPUT"))
    );
    let form = "grant_type=client_credentials&client_id=3MVG9&client_secret=s";
    let token = ask(&sim, "POST /services/oauth2/token", &[], form)
        .await
        .json();
    assert_eq!(
        token["access_token"].as_str().unwrap().split('.').count(),
        3
    );
    assert_eq!(
        (&token["instance_url"], &token["token_type"]),
        (&"http://sim.test".into(), &"Bearer".into())
    );
    for free in [
        "/services/data",
        "/services/data/v64.0/limits",
        "/services/data/v64.0/sobjects/X",
    ] {
        assert_eq!(
            ask(&sim, &format!("GET {free}"), &[], "").await.status,
            200,
            "{free}"
        );
    }
    let reply = ask(&sim, "GET /services/data/v64.0/unknown", &[], "").await;
    assert_eq!(
        (reply.status, &reply.json()[0]["errorCode"]),
        (404, &Value::from("NOT_FOUND"))
    );
    check("200 rows", &sim, 400, 0);
}

#[tokio::test]
async fn the_bill_is_told_by_request_and_by_team() {
    let sim = start(Settings::default());
    let session = open(&sim).await;
    let headers = ["x-sim-actions: 2", "x-request-id: r1", "x-sim-team: sales"];
    let reply = ask(&sim, &messages_of(&session), &headers, MESSAGE).await;
    assert!(reply.head.contains("x-request-id: r1"));

    let billed = ask(&sim, "GET /_sim/billed?by=request", &[], "")
        .await
        .json();
    let record = serde_json::json!({
        "request_id": "r1", "session": session, "operation": "agent.turn",
        "calls": 1, "actions": 2, "tokens": 0, "rows": 0,
        "micro_credits": {"guide": 2_000_000, "flex-2026-08": 40_000_000},
    });
    assert_eq!(billed["by_request"][1], record);
    assert_eq!(
        billed["flex-2026-08"]["by_operation"]["agent.turn"],
        40_000_000
    );
    assert_eq!(
        billed["units"]["agent.turn"],
        serde_json::json!({"turns": 1, "actions": 2})
    );
    assert_eq!(
        (&billed["requests"], &billed["running"]),
        (&2.into(), &0.into())
    );
    let by_team = ask(&sim, "GET /_sim/billed?by=header:x-sim-team", &[], "")
        .await
        .json();
    assert_eq!(by_team["by_header"]["sales"]["flex-2026-08"], 40_000_000);
    check("before the reset", &sim, 40, 400);
    assert_eq!(ask(&sim, "POST /_sim/reset", &[], "").await.status, 200);
    check("after the reset", &sim, 0, 0);
}

#[tokio::test]
async fn chance_repeats_with_the_seed_on_any_number_of_threads() {
    let run = async |threads| {
        let faults = Faults {
            error_500: 300_000,
            cut_stream: 300_000,
            ..Faults::NONE
        };
        let sim = start(Settings {
            seed: 42,
            faults,
            threads,
            ..Settings::default()
        });
        let session = open(&sim).await;
        let mut seen = Vec::new();
        for _ in 0..20 {
            let reply = ask(&sim, &stream_of(&session), &[], MESSAGE).await;
            seen.push((reply.status, reply.frames.len(), reply.complete));
        }
        let billed = sim.billed();
        sim.stop();
        (seen, billed)
    };
    let first = run(1).await;
    assert_eq!(first, run(3).await);
    assert!(first.0.iter().any(|reply| reply.0 == 500), "{:?}", first.0);
    assert!(
        first.0.iter().any(|reply| reply.0 == 200 && !reply.2),
        "{:?}",
        first.0
    );
    check(
        "a simulator starts at nothing",
        &start(Settings::default()),
        0,
        0,
    );
}

#[tokio::test]
async fn nobody_is_let_in_without_what_the_api_asks_for() {
    let sim = start(Settings::default());
    let session = open(&sim).await;
    let chat = r#"{"messages":[{"role":"user","content":"hello"}]}"#;
    let model = "POST /einstein/platform/v1/models/m/chat-generations";
    let check = async |request: &str, headers: &[&str], want: (u16, &str)| {
        let reply = ask(&sim, request, headers, chat).await;
        let body = reply.frames.concat();
        assert_eq!(reply.status, want.0, "{request} {headers:?}: {body}");
        assert!(body.contains(want.1), "{request} {headers:?}: {body}");
    };
    check(
        &messages_of(&session),
        &["authorization:"],
        (401, r#""error":"INVALID_AUTH""#),
    )
    .await;
    check(
        &messages_of(&session),
        &["authorization: Basic x"],
        (401, "INVALID_AUTH"),
    )
    .await;
    check(
        &messages_of("made-up"),
        &["authorization: Bearer "],
        (401, "INVALID_AUTH"),
    )
    .await;
    check(
        model,
        &["authorization:"],
        (401, r#""errorCode":"INVALID_AUTH""#),
    )
    .await;
    let named = r#""targets":[{"type":"HTTP_HEADER","reference":"x-client-feature-id"}]"#;
    check(model, &["x-client-feature-id:"], (400, named)).await;
    check(
        model,
        &["x-sfdc-app-context:"],
        (400, "REQUIRED_FIELD_MISSING"),
    )
    .await;
    check(
        "GET /services/data/v64.0/limits",
        &["authorization:"],
        (401, "INVALID_SESSION_ID"),
    )
    .await;
    check("GET /services/data", &["authorization:"], (200, "v64.0")).await;
    super::check("nothing ran", &sim, 20, 0);
    check(
        model,
        &["authorization: bEARER 00D!x"],
        (200, "generationDetails"),
    )
    .await;
}

#[tokio::test]
async fn a_chat_is_dated_in_seconds() {
    let sim = start(Settings::default());
    let chat = r#"{"messages":[{"role":"user","content":"hello"}]}"#;
    let model = "POST /einstein/platform/v1/models/m/chat-generations";
    let reply = ask(&sim, model, &[], chat).await.json();
    let second = reply["generationDetails"]["generations"][0]["timestamp"].as_i64();
    let now = jiff::Timestamp::now().as_second();
    assert!(
        second.is_some_and(|at| (now - 60..=now).contains(&at)),
        "as captured"
    );
}
