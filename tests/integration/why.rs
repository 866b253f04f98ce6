//! `why REQUEST_ID`: what was decided then, from the gateway that decided and from the ledger.

use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};
use serde_json::Value;

use crate::http::{Reply, call};
use crate::process::{Process, run, said};
use crate::stage::{
    AGENT, CHAT, Files, MODEL_PATH, PROMPT, PROMPT_PATH, SALES_KEY, Stage, allocations, any_port,
    wait_for,
};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);

fn id(reply: &Reply) -> String {
    reply
        .header("breakerbox-request-id")
        .expect("an id")
        .to_owned()
}

/// The command's answer as JSON; nothing where its exit code is 1.
fn why(files: &Files, id: &str, more: &[&str]) -> Option<Value> {
    let output = run(files, &[&["why", id, "--format", "json"], more].concat());
    match output.status.code() {
        Some(0) => Some(serde_json::from_slice(&output.stdout).expect("json")),
        Some(1) => {
            let text = said(&output);
            assert!(
                text.contains("events_keep_days") && text.contains("20,000"),
                "{text}"
            );
            None
        }
        code => panic!("{code:?} {}", said(&output)),
    }
}

#[test]
fn a_refused_request_is_explained_by_the_process_that_refused_it() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "12"));
    let process = Process::serve(&files);
    let refused = id(&call(process.proxy, "POST", MODEL_PATH, &[KEY], CHAT));
    let admin = format!("http://{}", process.admin);
    let told = why(&files, &refused, &["--admin", &admin]).expect("known");
    assert_eq!(
        (&told["verdict"], &told["charged"]),
        (&"refuse".into(), &Value::Null)
    );
    let decision = &told["decision"];
    for (field, want) in [
        ("refusal", "team_exhausted"),
        ("team", "sales"),
        ("payer", "key"),
        ("rate_card", "guide"),
    ] {
        assert_eq!(decision[field], want, "{decision}");
    }
    assert_eq!(decision["compared"]["binding"]["limit"], "team allocation");
    assert_eq!(
        decision["compared"]["binding"]["at_most"].to_string(),
        "0.35"
    );
    assert!(decision["period_ends"].is_string() && decision["config_hash"].is_string());
    let table = run(&files, &["why", &refused, "--admin", &admin]);
    let text = said(&table);
    assert!(text.contains("compared binding at_most"), "{text}");
    // It is in the memory of that process only.
    assert_eq!(why(&files, &refused, &["--offline"]), None);
    assert_eq!(process.stop(), Some(0));
    assert_eq!(why(&files, &refused, &[]), None);
}

#[test]
fn a_charged_request_is_explained_from_the_ledger_with_what_was_corrected() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let process = Process::serve(&files);
    let large = [KEY, ("x-sim-tokens", "2500")];
    let paid = id(&call(process.proxy, "POST", MODEL_PATH, &large, CHAT));
    let named = id(&call(process.proxy, "POST", PROMPT_PATH, &[], PROMPT));
    wait_for("on disk", Duration::from_secs(5), || {
        why(&files, &paid, &["--offline"]).is_some()
            && why(&files, &named, &["--offline"]).is_some()
    });
    let admin = format!("http://{}", process.admin);
    let told = why(&files, &paid, &["--admin", &admin]).expect("known");
    assert_eq!(told, why(&files, &paid, &["--offline"]).expect("known"));
    let charged = &told["charged"];
    for (field, want) in [
        ("team", "sales"),
        ("why", "its key was given"),
        ("key", "sales-key"),
        ("class", "standard"),
        ("operation", "model.generate"),
        ("source", "own"),
        ("kind", "measured"),
        ("confidence", "measured"),
        (
            "price",
            "rate card guide: 1 a call, 2 over 2000 tokens or for more than one generation",
        ),
    ] {
        assert_eq!(charged[field], want, "{charged}");
    }
    let figures = ["credits", "estimate"].map(|field| charged[field].to_string());
    assert_eq!(figures, ["2", "2"]);
    assert_eq!(
        (&told["verdict"], told["holds"].to_string()),
        (&"admit".into(), "2".to_owned())
    );
    let config = crate::http::get(process.admin, "/api/v1/config").json();
    assert_eq!(charged["config_hash"], config["hash"]);
    let by_name = why(&files, &named, &["--offline"]).expect("known");
    assert_eq!(
        by_name["charged"]["why"],
        "what the request names is its own"
    );

    let reason = ["--reason", "INC-9", "--author", "ops"];
    let correct = [
        &["ledger", "correct", &paid, "--credits", "0.5"],
        &reason[..],
    ]
    .concat();
    let corrected = run(&files, &correct);
    assert_eq!(corrected.status.code(), Some(0), "{}", said(&corrected));
    let told = why(&files, &paid, &["--admin", &admin]).expect("known");
    assert_eq!(told["corrections"][0]["change"].to_string(), "-1.5");
    assert_eq!(told["corrections"][0]["reason"], "INC-9");
    assert_eq!(told["holds"].to_string(), "0.5");
    let audit = said(&run(&files, &["ledger", "audit"]));
    assert!(
        audit.contains("shall have cost 0.5 credits") && audit.contains("because INC-9"),
        "{audit}"
    );
    process.kill();

    // Another configuration later: what was then is told apart from what is now.
    std::fs::write(files.allocations(), allocations("flex-2026-08", "12_000")).expect("write");
    let told = why(&files, &paid, &[]).expect("known");
    let price = told["charged"]["price"].as_str().expect("a price");
    assert!(price.starts_with("rate card guide: 1 a call"), "{price}");
    assert!(price.ends_with("as it is configured now"), "{price}");
}

#[test]
fn what_failed_upstream_has_both_a_decision_and_a_charge() {
    let stage = Stage::on_card("guide", "12_000");
    let path = format!("/einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let opened = stage
        .post(&path, &[], r#"{"externalSessionKey":"1"}"#)
        .json();
    let session = opened["sessionId"].as_str().expect("a session");
    let turn = format!("/einstein/ai-agent/v1/sessions/{session}/messages");
    let body = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;
    let broken = stage.post(&turn, &[KEY, ("x-sim-hang", "100")], body);
    assert_eq!(broken.refusal(), Some("upstream_unreachable"));
    let mut told = Value::Null;
    wait_for("its event", Duration::from_secs(5), || {
        told = stage.why(&id(&broken));
        told["charged"].is_object()
    });
    assert_eq!(told["decision"]["refusal"], "upstream_unreachable");
    assert_eq!(told["charged"]["kind"], "uncertain");
    assert_eq!(told["charged"]["credits"].to_string(), "2", "the estimate");
    let unknown = "/api/v1/why/0123456789abcdef0123456789abcdef";
    let reply = crate::http::get(stage.admin(), unknown);
    assert_eq!(reply.status, 404, "{}", reply.text());
    assert_eq!(
        crate::http::get(stage.admin(), "/api/v1/why/17").status,
        400
    );
}

#[test]
fn what_nobody_knows_says_so_and_what_to_do_next() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    assert_eq!(Process::serve(&files).stop(), Some(0));
    let unknown = "0123456789abcdef0123456789abcdef";
    assert_eq!(why(&files, unknown, &[]), None);
    let wrong = run(&files, &["why", "17"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", said(&wrong));
    assert!(said(&wrong).contains("32 hex digits"));
}
