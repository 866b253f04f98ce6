//! Sessions, turns, streams, and what breaks in them.

use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::{AGENT, MESSAGE, ask, check, messages_of, open, send, start, stream_of, until};
use crate::simulator::{Settings, TurnUnits};

#[tokio::test]
async fn a_stream_has_the_captured_shape() {
    let sim = start(Settings::default());
    let session = open(&sim).await;
    let headers = ["x-sim-actions: Get_Order", "x-sim-repeat-progress: 1"];
    let reply = ask(&sim, &stream_of(&session), &headers, MESSAGE).await;
    assert!(
        reply.head.contains("content-type: text/event-stream"),
        "{}",
        reply.head
    );
    assert!(reply.complete);

    let mut ids = Vec::new();
    let mut events = Vec::new();
    for frame in &reply.frames {
        let lines: Vec<&str> = frame.split('\n').collect();
        let [event, id, data, "", ""] = lines[..] else {
            panic!("{frame:?}")
        };
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let id = id.strip_prefix("id: ").unwrap();
        assert_eq!(data["originEventId"], id, "{frame}");
        ids.push(id.to_owned());
        events.push((event.strip_prefix("event: ").unwrap(), data));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "all events of a turn share their id");
    assert!(ids[0].ends_with("-REQ"));

    let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
    assert_eq!(names[..2], ["PROGRESS_INDICATOR", "PROGRESS_INDICATOR"]);
    assert_eq!(names[2], "TEXT_CHUNK");
    assert_eq!(names[names.len() - 2..], ["INFORM", "END_OF_TURN"]);
    let progress = &reply.frames[0];
    assert!(progress.contains(r#","offset" :0,"message":{"type":"ProgressIndicator","#));
    assert!(progress.contains(r#""indicatorType":"ACTION" ,"message":"Running Get Order"}"#));
    let said: String = events
        .iter()
        .filter_map(|(_, data)| {
            (data["message"]["type"] == "TextChunk").then(|| data["message"]["message"].as_str())?
        })
        .collect();
    let inform = &events[events.len() - 2].1["message"];
    assert_eq!(inform["message"], said);
    assert_eq!(inform["planId"], inform["feedbackId"]);
    let results = inform["result"].as_array().unwrap();
    assert_eq!(results.len(), 1);
    assert!(
        results[0]["type"]
            .as_str()
            .unwrap()
            .starts_with("copilotActionOutput/Get_Order_179J")
    );
    check("one action", &sim, 30, 200);
}

#[tokio::test]
async fn what_breaks_off_is_visibly_truncated_and_billed() {
    let sim = start(Settings::default());
    let session = open(&sim).await;
    let headers = ["x-sim-actions: 2", "x-sim-cut-after: 2"];
    let reply = ask(&sim, &stream_of(&session), &headers, MESSAGE).await;
    assert_eq!(
        (reply.status, reply.frames.len(), reply.complete),
        (200, 2, false)
    );
    check("a cut stream's actions ran", &sim, 40, 400);

    let headers = ["x-sim-cut-after: 99", "x-sim-actions: 0"];
    let reply = ask(&sim, &stream_of(&session), &headers, MESSAGE).await;
    assert!(
        reply
            .frames
            .last()
            .unwrap()
            .starts_with("event: END_OF_TURN")
    );
    assert!(!reply.complete, "only the end of the message is missing");

    let headers = ["x-sim-actions: 1", "x-sim-cut-after: 1"];
    let reply = ask(&sim, &messages_of(&session), &headers, MESSAGE).await;
    assert_eq!((reply.frames.len(), reply.complete), (1, false));
    let headers = ["x-sim-actions: 0", "x-sim-hang: 1"];
    let reply = ask(&sim, &messages_of(&session), &headers, MESSAGE).await;
    assert_eq!(
        (reply.status, reply.head.as_str()),
        (0, ""),
        "no head at all"
    );
    check("one action more", &sim, 50, 600);
}

#[tokio::test]
async fn a_turn_goes_on_when_its_reader_leaves() {
    let sim = start(Settings::default());
    let session = open(&sim).await;
    let early = ["x-sim-actions: 3", "x-sim-delay-ms: 300"];
    let stream = send(&sim, &messages_of(&session), &early, MESSAGE).await;
    until("the turn began", || sim.billed().running == 1).await;
    check("nothing ran yet", &sim, 20, 0);
    drop(stream);
    until("the turn ended", || sim.billed().running == 0).await;
    check("left before the head", &sim, 50, 600);

    let midway = ["x-sim-actions: 4", "x-sim-chunk-delay-ms: 20"];
    let mut stream = send(&sim, &stream_of(&session), &midway, MESSAGE).await;
    assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
    drop(stream);
    until("the stream's turn ended", || sim.billed().running == 0).await;
    check("left in the middle; the guide stops at 8", &sim, 80, 1_400);
    assert_eq!(
        sim.billed().units.turns,
        TurnUnits {
            turns: 2,
            actions: 7
        }
    );
}

#[tokio::test]
async fn a_session_serves_one_request_at_a_time() {
    let sim = start(Settings::default());
    let session = open(&sim).await;
    let slow = ["x-sim-delay-ms: 600000"];
    let first = send(&sim, &messages_of(&session), &slow, MESSAGE).await;
    until("the first turn began", || sim.billed().running == 1).await;

    let reply = ask(&sim, &stream_of(&session), &[], MESSAGE).await;
    assert_eq!(reply.status, 423);
    let error = reply.json();
    assert_eq!(error["message"], "Session Already Locked Exception");
    let told = ask(&sim, &stream_of(&session), &["x-sim-status: 423"], MESSAGE).await;
    assert_eq!(
        told.json()["error"],
        error["error"],
        "one code, told or met"
    );
    for field in ["status", "path", "requestId", "error", "timestamp"] {
        assert!(!error[field].is_null(), "{field}");
    }
    let path = format!("DELETE /einstein/ai-agent/v1/sessions/{session}");
    let reason = ["x-session-end-reason: UserRequest"];
    assert_eq!(ask(&sim, &path, &reason, "").await.status, 423);
    assert_eq!(
        ask(&sim, &messages_of(&open(&sim).await), &[], MESSAGE)
            .await
            .status,
        200
    );
    drop(first);
}

#[tokio::test]
async fn the_same_message_again_runs_again_and_is_billed_again() {
    let sim = start(Settings::default());
    let session = open(&sim).await;
    let cut = [
        "x-sim-actions: 1",
        "x-sim-cut-after: 1",
        "x-sim-chunk-delay-ms: 100",
    ];
    let first = ask(&sim, &stream_of(&session), &cut, MESSAGE).await;
    assert!(!first.complete);
    let again = ["x-sim-actions: 1", "Last-Event-ID: 1-REQ"];
    let locked = ask(&sim, &stream_of(&session), &again, MESSAGE).await;
    assert_eq!(locked.status, 423, "the turn goes on without its reader");
    until("the first turn ended", || sim.billed().running == 0).await;
    for _ in 0..2 {
        let reply = ask(&sim, &stream_of(&session), &again, MESSAGE).await;
        assert_eq!((reply.status, reply.complete), (200, true));
    }
    check("three times one action", &sim, 50, 600);
}

#[tokio::test]
async fn sessions_open_and_end_as_documented() {
    let sim = start(Settings::default());
    let path = format!("POST /einstein/ai-agent/v1/agents/{AGENT}/sessions");
    let opened = ask(&sim, &path, &[], "{}").await.json();
    assert_eq!(opened["messages"][0]["planId"], "");
    let session = opened["sessionId"].as_str().unwrap();
    let stream = opened["_links"]["messagesStream"]["href"].as_str().unwrap();
    assert!(
        stream.starts_with("http://sim.test/einstein/ai-agent/v1/sessions/"),
        "{stream}"
    );

    let status =
        async |request: &str, headers: &[&str]| ask(&sim, request, headers, "{}").await.status;
    let end = format!("DELETE /einstein/ai-agent/v1/sessions/{session}");
    let feedback = format!("POST /einstein/ai-agent/v1/sessions/{session}/feedback");
    let plain = ["content-type: text/plain"];
    assert_eq!(status(&path, &plain).await, 500);
    assert_eq!(
        status("POST /einstein/ai-agent/v1/agents/x/sessions", &[]).await,
        400
    );
    assert_eq!(status(&feedback, &plain).await, 201);
    assert_eq!(status(&end, &[]).await, 400);
    assert_eq!(
        status(&end, &["x-session-end-reason: UserRequest"]).await,
        200
    );
    assert_eq!(status(&messages_of(session), &[]).await, 404);
    check("only the opening", &sim, 20, 0);
}

#[tokio::test]
async fn refusals_cost_nothing_and_late_ones_do() {
    let sim = start(Settings::default());
    let session = open(&sim).await;
    let turn = async |headers: &[&str]| ask(&sim, &messages_of(&session), headers, MESSAGE).await;
    assert_eq!(
        turn(&["x-sim-actions: 2", "x-sim-status: 503"])
            .await
            .status,
        503
    );
    assert_eq!(
        turn(&["x-sim-actions: 2", "x-sim-status: 302"])
            .await
            .status,
        302
    );
    assert_eq!(turn(&["x-sim-acitons: 2"]).await.status, 400);
    check("nothing ran", &sim, 20, 0);
    assert_eq!(
        turn(&["x-sim-actions: 2", "x-sim-late: 1"]).await.status,
        500
    );
    check("the actions ran", &sim, 40, 400);

    let reply = turn(&["x-sim-actions: A,A,B", "x-sim-error-frame: 1"]).await;
    let messages = reply.json()["messages"].clone();
    assert_eq!(
        (reply.status, &messages[1]["type"]),
        (200, &Value::from("Error"))
    );
    assert_eq!(messages[0]["result"].as_array().unwrap().len(), 3);
    check("A twice: one distinct, two runs", &sim, 60, 1_000);
}

/// The types a turn ends with besides `Inform`, in both kinds of answer.
#[tokio::test]
async fn every_message_a_turn_may_end_with_can_be_had() {
    let sim = start(Settings::default());
    let session = open(&sim).await;
    let all = "x-sim-messages: Inform,Inquire,Confirm,Failure,Escalate";
    let headers = ["x-sim-actions: 1", all];
    let answer = ask(&sim, &messages_of(&session), &headers, MESSAGE)
        .await
        .json();
    let messages = answer["messages"].as_array().unwrap();
    let types: Vec<_> = messages.iter().map(|message| &message["type"]).collect();
    assert_eq!(
        types,
        ["Inform", "Inquire", "Confirm", "Failure", "Escalate"]
    );
    let field = |at: usize, pointer: &str| messages[at].pointer(pointer).unwrap().to_string();
    assert!(field(1, "/collect/0/targetType").contains("copilotActionInput/Create_Account_"));
    assert!(field(2, "/confirm/0/type").contains("copilotActionInput/Create_Account_"));
    assert_eq!(field(3, "/code"), "\"ACTION_FAILED\"");
    assert_eq!(field(4, "/targets/0/type"), "\"Flow\"");

    let headers = ["x-sim-messages: Escalate", "x-sim-validation-failure: 1"];
    let reply = ask(&sim, &stream_of(&session), &headers, MESSAGE).await;
    let event = |frame: &String| frame.lines().next().unwrap().replace("event: ", "");
    let mut events: Vec<_> = reply.frames.iter().map(event).collect();
    events.dedup();
    events.retain(|event| event != "PROGRESS_INDICATOR");
    let want = [
        "TEXT_CHUNK",
        "VALIDATION_FAILURE_CHUNK",
        "TEXT_CHUNK",
        "ESCALATE",
        "END_OF_TURN",
    ];
    assert_eq!(events, want);
}
