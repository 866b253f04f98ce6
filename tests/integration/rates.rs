//! Abnormal rates: an agent, or a conversation, far above its own norm is told of once an hour; nothing is refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::stage::{AGENT, SALES_KEY, Stage, allocations, series, wait_for};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;
/// An agent that has always been as busy.
const BUSY: &str = "0XxHn000000BBBBKA4";

fn hour_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("now");
    i64::try_from(now.as_secs() / 3_600).expect("an hour")
}

/// A gateway that remembers two weeks of both agents, and tells of what costs more than three times as much as it
/// used to, from 5 credits on.
fn with_history() -> Stage {
    let busy = format!("[[agent]]\nid = \"{BUSY}\"\nteam = \"support\"\n\n[[key]]");
    let text = allocations("guide", "120_000").replacen("[[key]]", &busy, 1);
    let mut stage = Stage::start(&text);
    stage.stop();
    let config = std::fs::read_to_string(stage.files.config()).expect("read");
    let config = format!("{config}\n[alerts]\nabnormal_times = 3\nabnormal_at_least = 5\n");
    std::fs::write(stage.files.config(), config).expect("write");
    let database = rusqlite::Connection::open(stage.files.ledger()).expect("open");
    let insert = "INSERT INTO rollup (minute, period, team, operation, class, source, confidence, named_kind, named,
            agent_type, key, tags, requests, credits, units, input_tokens, output_tokens)
        VALUES (?, 202610, 0, 0, 0, 0, 0, 'agent', ?, '', '', '', 1, ?, 1, 0, 0)";
    // Two in three hours of two weeks; one in forty of them dear.
    for ago in (2..14 * 24).filter(|ago| ago % 3 != 0) {
        let dear = if ago % 40 == 0 { 30 } else { 1 };
        for (agent, credits) in [(AGENT, 2 * dear), (BUSY, 40)] {
            let row = ((hour_now() - ago) * 60, agent, credits * 1_000_000_i64);
            database.execute(insert, row).expect("insert");
        }
    }
    drop(database);
    stage.restart();
    stage
}

fn open(stage: &Stage, agent: &str) -> String {
    let path = format!("/einstein/ai-agent/v1/agents/{agent}/sessions");
    let reply = stage.post(&path, &[], r#"{"externalSessionKey":"1"}"#);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let session = reply.json()["sessionId"].clone();
    session.as_str().expect("a session").to_owned()
}

/// What abnormal rates are about, with what was used and what is usual.
fn alerts(stage: &Stage) -> Vec<(String, String, String, String)> {
    let alerts = stage.ask("/api/v1/alerts");
    let rates = alerts.as_array().expect("a list").iter();
    let rates = rates.filter(|alert| alert["alert"] == "abnormal_rate");
    let told = rates.map(|alert| {
        assert_eq!(alert["level"], "warning", "{alert}");
        let text = |field: &str| alert[field].to_string().trim_matches('"').to_owned();
        (text("about"), text("agent"), text("used"), text("allowed"))
    });
    told.collect()
}

fn about(about: &str, used: &str, allowed: &str) -> (String, String, String, String) {
    let of = |text: &str| text.to_owned();
    (of(about), of(AGENT), of(used), of(allowed))
}

#[test]
fn an_agent_and_a_conversation_far_above_their_own_norm_are_told_of_once() {
    let within = |limit: u64| Duration::from_secs(limit);
    let left = || {
        3_600
            - SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("now")
                .as_secs()
                % 3_600
    };
    wait_for("a new hour", within(80), || left() > 70);
    let mut stage = with_history();
    // 6 credits are three times its norm of 2, and one more conversation is more.
    for _ in 0..3 {
        open(&stage, AGENT);
    }
    for _ in 0..20 {
        open(&stage, BUSY);
    }
    std::thread::park_timeout(Duration::from_secs(6)); // its history is read within four: nothing may come
    assert_eq!(alerts(&stage), []);
    open(&stage, AGENT);
    wait_for("the agent's alert", within(25), || {
        alerts(&stage) == [about("agent", "8", "2")]
    });
    let raised = "breakerbox_alerts_total{team=\"sales\",level=\"warning\"}";
    wait_for("the metric", within(5), || {
        series(&stage.metrics(), raised) == "1"
    });

    // A norm of conversations wants 24 of them.
    for _ in 4..40 {
        open(&stage, AGENT);
    }
    let dear = open(&stage, AGENT);
    let path = format!("/einstein/ai-agent/v1/sessions/{dear}/messages");
    let turn = stage.post(&path, &[KEY, ("x-sim-actions", "6")], TURN);
    assert_eq!(turn.status, 200, "8 credits in all: nothing is refused");
    let both = [about("agent", "8", "2"), about("session", "8", "2")];
    wait_for("the conversation's alert", within(25), || {
        alerts(&stage) == both
    });

    stage.restart();
    std::thread::park_timeout(Duration::from_secs(6));
    assert_eq!(alerts(&stage), both, "once an hour, also across a restart");
    assert_eq!(series(&stage.metrics(), raised), "0");
}
