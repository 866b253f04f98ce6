//! What requests call things: whoever it belongs to pays in every spelling, and what nobody configured stays small.

use std::time::Duration;

use rusqlite::Connection;

use crate::origin::{Behind, answering, whole};
use crate::stage::{
    AGENT, CHAT, Files, MODEL_PATH, PREDICT_PATH, PROMPT, PROMPT_PATH, SUPPORT_KEY, allocations,
    wait_for,
};
use crate::verify::day_file;

const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;

/// A gateway whose strangers are paid for by support, before an upstream with one answer.
fn open_house(status: &str, answer: &str) -> Behind {
    let open = allocations("guide", "12_000_000_000")
        .replace("unattributed = \"refuse\"", "unattributed = \"support\"");
    Behind::start(answering(whole(status, answer.as_bytes())), &open, "")
}

/// One figure of the stopped ledger, in `breakerbox.db` and in the day's file.
fn figures(files: &Files, sql: &str) -> [i64; 2] {
    [files.ledger(), day_file(files)].map(|path| {
        let ledger = Connection::open(path).expect("a ledger");
        let table = ["event", "rollup"]
            .into_iter()
            .find(|table| ledger.prepare(&format!("SELECT 1 FROM {table}")).is_ok())
            .expect("a table");
        let sql = sql.replace("{}", table);
        ledger
            .query_row(&sql, [], |row| row.get(0))
            .expect("a figure")
    })
}

fn predict(definition: &str) -> String {
    format!(r#"{{"predictionDefinition":"{definition}","rows":[["1"]],"columnNames":["a"]}}"#)
}

#[test]
fn a_name_nobody_configured_is_kept_only_while_it_is_one() {
    let behind = open_house("200 OK", r#"{"sessionId":"s1","predictions":[{}]}"#);
    let long = "x".repeat(12_000);
    let agent = |id: &str| format!("/einstein/ai-agent/v1/agents/{id}/sessions");
    for (path, body) in [
        (agent(&long), "{}".to_owned()),
        (agent("a%20b"), "{}".to_owned()),
        (PREDICT_PATH.to_owned(), predict(&"y".repeat(1_000_000))),
        (PREDICT_PATH.to_owned(), predict("ssn 078-05-1120")),
        (PREDICT_PATH.to_owned(), predict(&"z".repeat(64))),
        (PREDICT_PATH.to_owned(), predict("1ORxx00000000B1")),
    ] {
        assert_eq!(behind.post(&path, &[], &body).status, 200);
    }
    let files = behind.stop();
    let count = |named: &str| figures(&files, &format!("SELECT sum({named}) FROM {{}}"));
    assert_eq!(count("named = '1ORxx00000000B1'"), [1, 1]);
    assert_eq!(count("length(named) = 64"), [1, 1]);
    assert_eq!(count("length(named) > 64 OR named LIKE '% %'"), [0, 0]);
    let others = "SELECT count(DISTINCT named_kind) FROM {} WHERE named = 'other'";
    assert_eq!(
        figures(&files, others),
        [2, 2],
        "the agents and the definitions"
    );
}

#[test]
fn the_257th_name_nobody_configured_is_other() {
    let behind = open_house("201 Created", r#"{"predictions":[{}]}"#);
    for at in 0..300 {
        let body = predict(&format!("1OR{at:012}"));
        assert_eq!(behind.post(PREDICT_PATH, &[], &body).status, 201);
    }
    let files = behind.stop();
    assert_eq!(
        figures(&files, "SELECT count(DISTINCT named) FROM {}"),
        [257, 257]
    );
}

/// The bound is a period's: a restart is no way to 256 more.
#[test]
fn names_of_before_a_restart_count() {
    let opened = r#"{"sessionId":"s","_links":{},"messages":[]}"#;
    let behind = open_house("200 OK", opened);
    let open = |behind: &Behind, agent: usize| {
        let path = format!("/einstein/ai-agent/v1/agents/made-up-{agent}/sessions");
        let reply = behind.post(&path, &[], r#"{"externalSessionKey":"1"}"#);
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    (0..256).for_each(|agent| open(&behind, agent));
    let behind = behind.restarted();
    let has_other = |behind: &Behind| {
        let usage = behind.usage("agent");
        usage.iter().any(|row| row["agent"] == "other")
    };
    assert!(!has_other(&behind), "all of them were kept");
    let mut agent = 256;
    wait_for("what was before is known", Duration::from_secs(5), || {
        open(&behind, agent);
        agent += 1;
        has_other(&behind)
    });
    assert!(agent < 400, "{agent}: as if nothing had been before");
}

#[test]
fn a_session_that_is_none_is_refused_or_forgotten() {
    let behind = open_house("404 Not Found", "{}");
    let turn = |session: &str| format!("/einstein/ai-agent/v1/sessions/{session}/messages");
    let long = behind.post(&turn(&"s".repeat(129)), &[], TURN);
    assert_eq!((long.status, long.refusal()), (400, Some("bad_request")));
    for at in 0..10 {
        assert_eq!(behind.post(&turn(&format!("s{at}")), &[], TURN).status, 404);
    }
    assert_eq!(behind.team("support", "used"), "0");
    let files = behind.stop();
    let ledger = Connection::open(files.ledger()).expect("a ledger");
    let sessions: i64 = ledger
        .query_row("SELECT count(*) FROM session", [], |row| row.get(0))
        .expect("a count");
    assert_eq!(sessions, 0);
}

#[test]
fn an_id_in_either_length_and_a_name_in_any_case_have_one_owner() {
    let more = "\n[[model]]\nname = \"sfdc_ai__DefaultGPT4Omni\"\nteam = \"sales\"\n\
                \n[[prediction]]\nid = \"1ORxx00000000B1\"\nteam = \"sales\"\n";
    let allocations = allocations("guide", "12_000_000_000") + more;
    let answer = whole(
        "200 OK",
        br#"{"sessionId":"s1","predictions":[{}],"generations":[]}"#,
    );
    let behind = Behind::start(answering(answer), &allocations, "");
    let agent = |id: &str| format!("/einstein/ai-agent/v1/agents/{id}/sessions");
    let key = ("Breakerbox-Key", SUPPORT_KEY);
    let check = |path: &str, body: &str, owned: bool| {
        let want = owned.then_some("team_mismatch");
        let reply = behind.post(path, &[key], body);
        assert_eq!(reply.refusal(), want, "{path} {body}");
    };
    check(&agent(AGENT), "{}", true);
    check(&agent(&AGENT[..15]), "{}", true);
    check(&agent(&AGENT.to_ascii_lowercase()), "{}", true); // the last three characters tell the case
    check(&agent(&AGENT[..15].to_ascii_lowercase()), "{}", false); // another agent
    check(PREDICT_PATH, &predict("1ORxx00000000B1"), true);
    check(PREDICT_PATH, &predict("1ORxx00000000B1GAI"), true);
    check(PREDICT_PATH, &predict("1ORxx00000000b1"), false);
    check(PROMPT_PATH, PROMPT, true);
    check(
        &PROMPT_PATH.replace("Quote_Summary", "QUOTE_summary"),
        PROMPT,
        true,
    );
    check(
        &PROMPT_PATH.replace("Quote_Summary", "Quote_Summary_2"),
        PROMPT,
        false,
    );
    check(MODEL_PATH, CHAT, true);
    check(&MODEL_PATH.replace("GPT4", "gpt4"), CHAT, true);
    // What is counted has the configured name.
    assert_eq!(
        behind
            .post(&PROMPT_PATH.replace("Quote", "quote"), &[], PROMPT)
            .status,
        200
    );
    let files = behind.stop();
    let named = figures(
        &files,
        "SELECT count(*) FROM {} WHERE named = 'Quote_Summary'",
    );
    assert_eq!(named, [1, 1]);
}
