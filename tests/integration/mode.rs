//! Break-glass: refusals only noted until an instant, audited, across restarts, over by itself.

use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Reply, call};
use crate::overrides::{actions, asked, audited, in_seconds, post};
use crate::stage::{CHAT, MODEL_PATH, SALES_KEY, Stage, allocations, series, wait_for};

const MODE: &str = "/api/v1/mode";
const SOON: Duration = Duration::from_secs(5);

/// A call that the budget refuses: sales has 0.35 credits a month.
fn over_budget(stage: &Stage) -> Option<String> {
    let reply = stage.post(MODEL_PATH, &[("Breakerbox-Key", SALES_KEY)], CHAT);
    reply.refusal().map(str::to_owned)
}

fn shadow(stage: &Stage, until: &str) -> Reply {
    post(
        stage,
        MODE,
        &asked(json!({ "enforce": false, "until": until })),
    )
}

/// As told in three places, which are the same while nothing changes.
fn mode(stage: &Stage) -> (bool, bool) {
    let told = stage.ask(MODE);
    let (pool, config) = (stage.ask("/api/v1/pool"), stage.ask("/api/v1/config"));
    if stage.ask(MODE) != told {
        return mode(stage); // it ended just now
    }
    assert_eq!((&pool["mode"], &config["mode"]), (&told, &told));
    assert_eq!(pool["enforce"], told["enforce"]);
    let is = |field: &Value| field.as_bool().expect("a flag");
    (is(&told["enforce"]), told["shadow"].is_object())
}

#[test]
fn refusals_are_only_noted_until_its_end_also_across_a_restart() {
    let mut stage = Stage::on_card("guide", "12");
    assert_eq!(over_budget(&stage).as_deref(), Some("team_exhausted"));
    let until = in_seconds(4);
    let told = shadow(&stage, &until);
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(told.json()["shadow"]["until"], until);
    assert_eq!(mode(&stage), (false, true));
    assert_eq!(over_budget(&stage), None);
    // An unknown payer is only noted too, and booked.
    assert_eq!(stage.post(MODEL_PATH, &[], CHAT).refusal(), None);
    let path = "/einstein/platform/v1/models/m/rerank";
    assert_eq!(stage.post(path, &[], "{}").refusal(), Some("unpriced"));
    let metrics = stage.metrics();
    assert_eq!(series(&metrics, "breakerbox_enforcing"), "0");
    assert_ne!(
        series(&metrics, "breakerbox_shadow_until_timestamp_seconds"),
        "0"
    );
    stage.restart();
    assert_eq!(mode(&stage), (false, true));
    assert_eq!(over_budget(&stage), None);
    wait_for("its end", Duration::from_secs(6), || {
        mode(&stage) == (true, false)
    });
    assert_eq!(over_budget(&stage).as_deref(), Some("team_exhausted"));
    assert_eq!(series(&stage.metrics(), "breakerbox_enforcing"), "1");
    wait_for("audited", SOON, || {
        actions(&stage) == ["mode", "mode_ended"]
    });
    assert_eq!(audited(&stage)[0]["author"], "ops@example.com");
    assert_eq!(audited(&stage)[1]["reason"], "its time is over");
    assert_eq!(
        stage.team("sales", "used"),
        "2",
        "what passed in shadow was charged, beyond the limit"
    );
}

#[test]
fn it_is_over_from_the_first_request_on_where_it_ended_while_nothing_ran() {
    let mut stage = Stage::on_card("guide", "12");
    assert_eq!(shadow(&stage, &in_seconds(1)).status, 200);
    stage.stop();
    std::thread::park_timeout(Duration::from_millis(1100));
    stage.restart();
    assert_eq!(over_budget(&stage).as_deref(), Some("team_exhausted"));
    assert_eq!(mode(&stage), (true, false));
}

/// The end needs no disk: what cannot be written down is written later.
#[test]
fn it_ends_also_while_the_ledger_cannot_be_written() {
    let stage = Stage::on_card("guide", "12");
    assert_eq!(over_budget(&stage).as_deref(), Some("team_exhausted"));
    assert_eq!(shadow(&stage, &in_seconds(3)).status, 200);
    let other = rusqlite::Connection::open(stage.files.ledger()).expect("open");
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    wait_for("its end", Duration::from_secs(6), || {
        mode(&stage) == (true, false)
    });
    assert_eq!(over_budget(&stage).as_deref(), Some("team_exhausted"));
    let refused = shadow(&stage, &in_seconds(60));
    assert_eq!(refused.status, 503, "{}", refused.text());
    other.execute_batch("ROLLBACK").expect("unlocked");
    wait_for("audited", Duration::from_secs(15), || {
        actions(&stage) == ["mode", "mode_ended"]
    });
    assert_eq!(mode(&stage), (true, false));
}

#[test]
fn it_ends_early_when_somebody_says_so_and_the_newest_end_counts() {
    let stage = Stage::on_card("guide", "12");
    let (long, short) = (in_seconds(3600), in_seconds(1800));
    assert_eq!(shadow(&stage, &long).status, 200);
    assert_eq!(shadow(&stage, &long).status, 200, "a retry");
    assert_eq!(actions(&stage), ["mode"]);
    assert_eq!(shadow(&stage, &short).json()["shadow"]["until"], short);
    assert_eq!(actions(&stage), ["mode", "mode", "mode_ended"]);
    let reply = post(&stage, MODE, &asked(json!({ "enforce": true })));
    assert_eq!((reply.status, reply.json()["enforce"] == true), (200, true));
    assert_eq!(over_budget(&stage).as_deref(), Some("team_exhausted"));
    let again = post(&stage, MODE, &asked(json!({ "enforce": true })));
    assert_eq!(again.status, 409, "{}", again.text());
}

#[test]
fn it_is_bounded_and_says_what_to_do_instead() {
    let stage = Stage::on_card("guide", "12");
    let check = |body: Value, status: u16, says: &str| {
        let reply = post(&stage, MODE, &body);
        let (got, said) = (reply.status, reply.text());
        assert!(got == status && said.contains(says), "{body}: {got} {said}");
    };
    let hours = |hours: i64| in_seconds(hours * 3600);
    check(asked(json!({ "enforce": false })), 400, "until is missing");
    check(
        asked(json!({ "enforce": false, "until": hours(25) })),
        422,
        "24 hours at most",
    );
    check(
        asked(json!({ "enforce": false, "until": hours(-1) })),
        422,
        "is over",
    );
    check(
        asked(json!({ "enforce": true, "until": hours(1) })),
        400,
        "enforced from now on",
    );
    check(
        asked(json!({ "until": hours(1) })),
        400,
        "missing field `enforce`",
    );
    check(
        json!({ "enforce": false, "until": hours(1), "author": "a" }),
        400,
        "reason is missing",
    );
    check(
        json!({ "enforce": false, "until": hours(1), "reason": "r" }),
        400,
        "author is missing",
    );
    check(asked(json!({ "enforce": true })), 409, "enforced already");
    let body = asked(json!({ "enforce": false, "until": hours(1) })).to_string();
    let stranger = [("Origin", "http://evil.example")];
    assert_eq!(
        call(stage.admin(), "POST", MODE, &stranger, &body).status,
        403
    );
    assert_eq!(mode(&stage), (true, false));
}

#[test]
fn where_the_configuration_only_notes_nobody_can_enforce_over_it() {
    let stage = Stage::start(&allocations("guide", "12"));
    let config = std::fs::read_to_string(stage.files.config()).expect("read");
    std::fs::write(
        stage.files.config(),
        format!("{config}\n[mode]\nenforce = false\n"),
    )
    .expect("write");
    let reply = call(stage.admin(), "POST", "/api/v1/config/reload", &[], "");
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(mode(&stage), (false, false));
    let reply = post(&stage, MODE, &asked(json!({ "enforce": true })));
    assert!(
        reply.status == 409 && reply.text().contains("[mode] enforce"),
        "{}",
        reply.text()
    );
}
