//! `explain` as people ask it: by API and command, beside a running gateway or without one.

use std::path::PathBuf;
use std::process::Output;

use breakerbox::simulator::{Settings, Simulator};
use serde_json::{Value, json};

use crate::explain::{ROWS, explain};
use crate::http::call;
use crate::process::{Process, run, said};
use crate::stage::{
    AGENT, CHAT, Files, MODEL_PATH, PREDICT_PATH, SALES_KEY, SUPPORT_KEY, Stage, allocations,
    any_port,
};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);

#[test]
fn payers_are_asked_for_by_name_and_no_key_is_ever_told() {
    let stage = Stage::on_card("guide", "12_000");
    let payer = |question: Value| explain(&stage, &question)["payer"].clone();
    let by_key = payer(json!({ "path": MODEL_PATH, "key_name": "support-key" }));
    assert_eq!(
        (&by_key["team"], &by_key["key"]),
        (&json!("support"), &json!("support-key"))
    );
    let of_team = payer(json!({ "path": MODEL_PATH, "team": "sales", "class": "background" }));
    assert_eq!(
        (&of_team["team"], &of_team["class"], &of_team["class_asked"]),
        (&json!("sales"), &json!("background"), &json!("background"))
    );
    let turn = "/einstein/ai-agent/v1/sessions/s/messages";
    let agents = payer(json!({ "path": turn, "agent": AGENT }));
    assert_eq!(
        (&agents["team"], &agents["class"], &agents["class_from"]),
        (
            &json!("sales"),
            &json!("critical"),
            &json!("what the request names")
        )
    );
    for (headers, path) in [
        (
            json!({ "Breakerbox-Key": SALES_KEY }),
            MODEL_PATH.to_owned(),
        ),
        (json!({}), format!("/k/{SALES_KEY}{MODEL_PATH}")),
        (
            json!({ "Breakerbox-Key": SALES_KEY }),
            format!("/k/{SUPPORT_KEY}{MODEL_PATH}"),
        ),
        (json!({}), format!("/k/{SALES_KEY}/nowhere")),
    ] {
        let told = explain(&stage, &json!({ "path": path, "headers": headers })).to_string();
        assert!(
            !told.contains(SALES_KEY) && !told.contains(SUPPORT_KEY),
            "{told}"
        );
    }
}

#[test]
fn a_question_that_contradicts_itself_is_refused_and_no_key_is_repeated() {
    let stage = Stage::on_card("guide", "12_000");
    let refused = |question: Value, says: &str| {
        let reply = call(
            stage.admin(),
            "POST",
            "/api/v1/explain",
            &[],
            &question.to_string(),
        );
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(reply.text().contains(says), "{}", reply.text());
        assert!(!reply.text().contains(SALES_KEY), "{}", reply.text());
    };
    refused(
        json!({ "path": MODEL_PATH, "key_name": "none" }),
        "no key is named",
    );
    refused(
        json!({ "path": MODEL_PATH, "team": "none" }),
        "no team is named",
    );
    refused(
        json!({ "path": MODEL_PATH, "team": "sales", "key_name": "sales-key" }),
        "one of them",
    );
    let by_path = format!("/k/{SALES_KEY}{MODEL_PATH}");
    refused(json!({ "path": by_path, "team": "sales" }), "one of them");
    refused(
        json!({ "path": MODEL_PATH, "headers": { "a": format!("{SALES_KEY}\n") } }),
        "cannot be sent",
    );
    refused(json!({}), "missing field `path`");
    refused(
        json!({ "path": MODEL_PATH, "key": SALES_KEY }),
        "unknown field `key`",
    );
}

#[test]
fn an_answer_is_priced_as_it_would_be_settled() {
    let stage = Stage::on_card("guide", "12_000");
    let headers = [KEY, ("x-sim-tokens", "2500")];
    let reply = stage.post(MODEL_PATH, &headers, CHAT);
    let id = reply
        .header("breakerbox-request-id")
        .expect("an id")
        .to_owned();
    let question =
        json!({ "path": MODEL_PATH, "team": "sales", "body": CHAT, "answer": reply.text() });
    let settled = explain(&stage, &question)["settlement"].clone();
    let charged = stage.why(&id)["charged"].clone();
    for field in ["credits", "units", "input_tokens", "output_tokens"] {
        assert_eq!(settled[field], charged[field], "{field}");
    }
    assert_eq!(settled["outcome"], charged["kind"]);
    let said = |usage: Value| {
        let question =
            json!({ "path": PREDICT_PATH, "team": "sales", "body": ROWS, "usage": usage });
        explain(&stage, &question)["settlement"]["credits"].to_string()
    };
    assert_eq!(said(json!({ "units": 7 })), "1.4");
    assert_eq!(said(json!({})), "0.2");
}

#[test]
fn a_body_that_is_too_large_is_refused_by_what_the_head_says() {
    let stage = Stage::on_card("guide", "12_000");
    let check = |bytes: u64, verdict: &str, estimate: &str| {
        let headers = json!({ "Content-Length": bytes.to_string() });
        let question =
            json!({ "path": PREDICT_PATH, "team": "sales", "headers": headers, "body": ROWS });
        let told = explain(&stage, &question);
        assert_eq!(told["verdict"], verdict, "{told}");
        assert_eq!(told["price"]["estimate"].to_string(), estimate);
    };
    check(u64::try_from(ROWS.len()).expect("small"), "admit", "0.6");
    check(2 << 20, "admit", "40"); // over price_body_bytes: 200 rows
    check(200 << 20, "refuse", "null");
}

fn file(files: &Files, name: &str, content: &str) -> PathBuf {
    let path = files.folder.path().join(name);
    std::fs::write(&path, content).expect("write");
    path
}

fn ask(files: &Files, arguments: &[&str]) -> (Output, Value) {
    let output = run(
        files,
        &[&["explain", "--format", "json"], arguments].concat(),
    );
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, told)
}

#[test]
fn the_command_asks_a_gateway_or_judges_by_the_ledger_and_says_which() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "12"));
    let chat = file(&files, "chat.json", CHAT);
    let chat = chat.to_str().expect("text");
    let standard = ["--path", MODEL_PATH, "--team", "sales", "--body", chat];
    let (empty, told) = ask(&files, &standard);
    assert_eq!(empty.status.code(), Some(1), "{}", said(&empty));
    assert_eq!(told["refusal"], "team_exhausted");
    let judged_by = told["judged_by"].as_str().expect("a state");
    assert!(judged_by.starts_with("an empty ledger"), "{judged_by}");
    assert!(!files.ledger().exists(), "asking makes no ledger");

    let process = Process::serve(&files);
    let key = [KEY, ("x-sim-tokens", "2500")];
    let body = json!({ "credits": 12, "source": "annual", "reason": "r", "author": "a" });
    let over = "/api/v1/teams/sales/override";
    let made = call(process.admin, "POST", over, &[], &body.to_string());
    assert_eq!(made.status, 200, "{}", made.text());
    for _ in 0..3 {
        assert_eq!(
            call(process.proxy, "POST", MODEL_PATH, &key, CHAT).status,
            200
        );
    }
    let admin = format!("http://{}", process.admin);
    let (asked, told) = ask(&files, &[&standard[..], &["--admin", &admin]].concat());
    assert_eq!(asked.status.code(), Some(0), "{}", said(&asked));
    assert_eq!(told["judged_by"], "the running gateway");
    assert_eq!(told["admission"][0]["committed"].to_string(), "6");
    // Beside it, from what it wrote: overrides and counters too.
    crate::stage::wait_for("on disk", std::time::Duration::from_secs(5), || {
        let (offline, told) = ask(&files, &[&standard[..], &["--offline"]].concat());
        offline.status.code() == Some(0) && told["admission"][0]["committed"] == 6
    });
    assert_eq!(process.stop(), Some(0));
    let (offline, told) = ask(&files, &standard);
    assert_eq!(offline.status.code(), Some(0), "{}", said(&offline));
    let judged_by = told["judged_by"].as_str().expect("a state");
    assert!(judged_by.starts_with("the ledger "), "{judged_by}");
    assert_eq!(told["admission"][0]["at_most"].to_string(), "11.115"); // 90 % of 12.35

    let (gone, _) = ask(&files, &[&standard[..], &["--admin", &admin]].concat());
    assert_eq!(gone.status.code(), Some(2));
    assert!(
        said(&gone).contains("no gateway answers"),
        "{}",
        said(&gone)
    );
}

#[test]
fn the_command_prints_lines_and_cells_and_says_what_is_wrong() {
    let simulator = Simulator::start(any_port(), Settings::default()).expect("a simulator");
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let rows = file(&files, "rows.json", ROWS);
    let answer = file(&files, "answer.json", r#"{"predictions":[{},{}]}"#);
    let (rows, answer) = (rows.to_str().expect("text"), answer.to_str().expect("text"));
    let arguments = [
        "--path",
        PREDICT_PATH,
        "--key-name",
        "sales-key",
        "--body",
        rows,
    ];
    let with_answer = [&["explain"], &arguments[..], &["--answer", answer]].concat();
    let output = run(&files, &with_answer);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = said(&output);
    for line in [
        "verdict ",
        "  operation             einstein.predict",
        "  key                   sales-key",
        "  units                 3, read from the body",
        "  price                 0.2 a unit",
        "  team trip point       0 + 0.6 <= 315: yes",
        "  contract year         0 + 0.6 <= 12000: yes",
        "  month's pool          0 + 0.6 <= 1000: yes",
        "  credits               0.4",
    ] {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines = text.lines().map(words);
        let wanted = words(line);
        assert!(
            lines.clone().any(|line| line.starts_with(&wanted)),
            "{line}\n{text}"
        );
    }
    let csv = run(
        &files,
        &[&["explain", "--format", "csv"], &arguments[..]].concat(),
    );
    let csv = said(&csv);
    assert!(csv.starts_with("section,what,value\n"), "{csv}");
    assert!(csv.contains("price,estimate,0.6\n"), "{csv}");
    assert!(
        csv.contains("admission,team trip point,0 + 0.6 <= 315: yes\n"),
        "{csv}"
    );
    let check = |arguments: &[&str], says: &str| {
        let output = run(&files, &[&["explain"], arguments].concat());
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    };
    check(&[], "--path");
    check(&["--path", "not a path"], "write it as in /einstein");
    check(&["--path", "/x", "--team", "nobody"], "no team is named");
    check(
        &["--path", "/x", "--team", "sales", "--key-name", "k"],
        "cannot be used with",
    );
    check(
        &["--path", "/x", "--body", "gone.json"],
        "gone.json cannot be read",
    );
    check(
        &["--path", "/x", "--admin", "https://x"],
        "http://127.0.0.1:9090",
    );
    check(&["--path", "/x", "--method", "GET IT"], "is none");
}
