//! What a call is charged where its body or its answer does not say it plainly: never less than it can have used.

use crate::origin::{Behind, answering, whole};
use crate::stage::{PREDICT_PATH, SALES_KEY, allocations};

const KEY: (&str, &str) = ("Breakerbox-Key", SALES_KEY);
const MANY: &str = "12_000_000_000";
fn guide() -> String {
    allocations("guide", MANY)
}

#[test]
fn nothing_asked_for_is_not_free() {
    let answer = whole("201 Created", br#"{"predictions":[]}"#);
    let behind = Behind::start(answering(answer), &guide(), "");
    let none = r#"{"predictionDefinition":"1OR","rows":[],"columnNames":["a"]}"#;
    let reply = behind.post(PREDICT_PATH, &[], none);
    assert_eq!(reply.refusal(), Some("unattributed"));
    assert_eq!(behind.post(PREDICT_PATH, &[KEY], none).status, 201);
    assert_eq!(behind.team("sales", "used"), "0"); // the answer says so
}
