//! Which overrides may be made, and how often.

use serde_json::{Value, json};

use crate::http::call;
use crate::overrides::{SALES, actions, asked, end, in_seconds, limits, made, post};
use crate::stage::Stage;

#[test]
fn a_retry_makes_no_second_one() {
    let stage = Stage::on_card("guide", "12_000");
    let body = json!({ "credits": 10, "id": "chg-1" });
    let first = made(&stage, body.clone());
    assert_eq!(made(&stage, body), first);
    let header = [("Idempotency-Key", "\"chg-1\"")];
    let again = asked(json!({ "credits": 10 })).to_string();
    let reply = call(stage.admin(), "POST", SALES, &header, &again);
    assert_eq!((reply.status, reply.json()), (200, first.clone()));
    assert_eq!(stage.team("sales", "by_override"), "10");
    let other = post(
        &stage,
        SALES,
        &asked(json!({ "credits": 11, "id": "chg-1" })),
    );
    assert_eq!(other.status, 409, "{}", other.text());
    end(&stage, &first["id"]);
    let late = made(&stage, json!({ "credits": 10, "id": "chg-1" }));
    assert_eq!(
        late["in_force"], false,
        "a late retry does not bring it back"
    );
    assert_eq!(stage.team("sales", "by_override"), "0");
    made(&stage, json!({ "credits": 10 }));
    made(&stage, json!({ "credits": 10 }));
    assert_eq!(
        stage.team("sales", "by_override"),
        "20",
        "without a name each is one"
    );
}

fn check(stage: &Stage, path: &str, body: &Value, (status, says): (u16, &str)) {
    let reply = post(stage, path, body);
    let (got, said) = (reply.status, reply.text());
    assert!(got == status && said.contains(says), "{body}: {got} {said}");
}

#[test]
fn what_cannot_be_understood_is_refused_in_words_and_changes_nothing() {
    let stage = Stage::on_card("guide", "12_000");
    let sales = |body, says| check(&stage, SALES, &asked(body), (400, says));
    sales(json!({}), "say what it shall do");
    sales(json!({ "credits": 0 }), "not more than nothing");
    sales(json!({ "credits": -5 }), "not more than nothing");
    sales(json!({ "credits": 0.0000001 }), "credits:");
    sales(json!({ "credits": "ten" }), "not a number of credits");
    sales(
        json!({ "credits": 5, "source": "savings" }),
        "\\\"buffer\\\" or \\\"annual\\\"",
    );
    sales(json!({ "credits": 5, "breaker": "open" }), "one thing");
    sales(
        json!({ "breaker": "ajar" }),
        "\\\"open\\\" or \\\"closed\\\"",
    );
    sales(
        json!({ "breaker": "open", "source": "buffer" }),
        "credits only",
    );
    sales(json!({ "credits": 5, "limit": 9 }), "unknown field `limit`");
    sales(json!({ "credits": 5, "until": "tomorrow" }), "is no time");
    let said = |body, says| check(&stage, SALES, &body, (400, says));
    said(json!({ "credits": 5, "author": "a" }), "reason is missing");
    said(json!({ "credits": 5, "reason": "r" }), "author is missing");
    said(
        json!({ "credits": 5, "reason": "a\nb", "author": "a" }),
        "in one line",
    );
    let long = "r".repeat(501);
    said(
        json!({ "credits": 5, "reason": long, "author": "a" }),
        "at most 500",
    );
    let stranger = [("Origin", "http://evil.example")];
    let body = asked(json!({ "credits": 5 })).to_string();
    let reply = call(stage.admin(), "POST", SALES, &stranger, &body);
    assert_eq!(reply.status, 403, "a page of another origin");
    assert_eq!(limits(&stage), "350 0 315 1000 150");
    assert_eq!(actions(&stage), Vec::<String>::new());
}

#[test]
fn what_is_too_much_or_too_long_is_refused_and_says_what_there_is() {
    let stage = Stage::on_card("guide", "12_000");
    let sales = |body, says| check(&stage, SALES, &asked(body), (422, says));
    sales(json!({ "credits": 1e3 }), "only 150 credits left"); // written as 1000.0
    sales(json!({ "credits": 150.000001 }), "source = \\\"annual\\\"");
    sales(
        json!({ "credits": 12_001, "source": "annual" }),
        "only 12000 credits left",
    );
    sales(json!({ "credits": 5, "until": in_seconds(-1) }), "is over");
    let days = |days: i64| in_seconds(86_400 * days);
    sales(
        json!({ "credits": 5, "until": days(40) }),
        "end with their period",
    );
    sales(
        json!({ "breaker": "open", "until": days(32) }),
        "31 days at most",
    );
    let unknown = |path, status, says| check(&stage, path, &asked(json!({})), (status, says));
    unknown("/api/v1/overrides/7/end", 404, "no such override");
    unknown("/api/v1/overrides/x/end", 400, "has a number");
    let nobody = "/api/v1/teams/nobody/override";
    let extra = asked(json!({ "credits": 5 }));
    check(&stage, nobody, &extra, (404, "no team of this name"));
    let unattributed = "/api/v1/teams/unattributed/override";
    check(&stage, unattributed, &extra, (404, "no team of this name"));
    assert_eq!(limits(&stage), "350 0 315 1000 150");
    for _ in 0..64 {
        made(&stage, json!({ "credits": 0.1 }));
    }
    check(&stage, SALES, &extra, (409, "64 overrides are in force"));
    assert_eq!(stage.team("sales", "by_override"), "6.4");
}
