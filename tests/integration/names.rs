//! What requests call things: whoever it belongs to pays in every spelling, and what nobody configured stays small.

use rusqlite::Connection;

use crate::origin::{Behind, answering, whole};
use crate::stage::allocations;

const TURN: &str = r#"{"message":{"sequenceId":1,"type":"Text","text":"Hello"}}"#;

/// A gateway whose strangers are paid for by support, before an upstream with one answer.
fn open_house(status: &str, answer: &str) -> Behind {
    let open = allocations("guide", "12_000_000_000")
        .replace("unattributed = \"refuse\"", "unattributed = \"support\"");
    Behind::start(answering(whole(status, answer.as_bytes())), &open, "")
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
