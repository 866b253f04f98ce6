//! Agent API: what a session's opening and its turns say about what ran.
//!
//! The answer carries no billing signal. Distinct actions are counted from `copilotActionOutput/...` results and
//! from ACTION progress frames; a stream reports the same action in both, so the larger count is taken, never
//! the sum. A `result` names each action; progress frames only carry a text, so they are told apart by it.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use compact_str::CompactString;
use serde::Deserialize;

use super::sse;

/// A turn's distinct actions beyond this are not told apart: no card prices so many.
const ACTIONS_MAX: usize = 1024;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Opened<'a> {
    #[serde(borrow)]
    session_id: Cow<'a, str>,
}

/// The session id in the answer to an opening.
pub fn opened_session(answer: &[u8]) -> Option<CompactString> {
    let opened: Opened<'_> = serde_json::from_slice(answer).ok()?;
    Some(CompactString::from(opened.session_id.as_ref()))
}

/// What was seen of a turn so far.
#[derive(Debug, Default)]
pub struct Turn {
    outputs: Vec<u64>,
    progress: Vec<u64>,
    end: End,
    /// An Error message was seen.
    pub error_inside: bool,
    /// Something could not be read, so that the count may be too low.
    pub unreadable: bool,
}

/// How far a turn is from its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// It goes on.
    #[default]
    Open,
    /// It ends here if nothing follows.
    Answered,
    /// It is over.
    Over,
    /// `END_OF_TURN` itself was seen: Salesforce takes the session's next turn.
    Ended,
}

impl Turn {
    /// Distinct actions seen.
    pub fn actions(&self) -> u64 {
        let most = self.outputs.len().max(self.progress.len());
        u64::try_from(most).unwrap_or(u64::MAX)
    }

    /// Whether the turn came to its end: a stream's by its last event, since an agent may ask, fail or hand over and
    /// go on to run actions.
    pub fn is_over(&self) -> bool {
        self.end != End::Open
    }

    /// Salesforce takes the session's next turn, and nothing of this one went by unread.
    pub fn is_ended(&self) -> bool {
        self.end == End::Ended && !self.unreadable
    }

    /// Reads the answer of a synchronous turn: nothing follows it, so whatever an agent ends with ends the turn.
    pub fn read_answer(&mut self, answer: &[u8]) {
        match serde_json::from_slice::<Frame<'_>>(answer) {
            Ok(frame) => frame.each(|message| {
                if self.message(message) != Says::More {
                    self.end = End::Over;
                }
            }),
            Err(_) => self.unreadable = true,
        }
    }

    fn message(&mut self, message: &Message<'_>) -> Says {
        for result in message.result.iter().flatten() {
            if let Some(action) = result.kind.strip_prefix("copilotActionOutput/") {
                note(&mut self.outputs, action);
            }
        }
        match message.kind.as_ref() {
            "ProgressIndicator" if message.indicator_type.as_deref() == Some("ACTION") => {
                note(
                    &mut self.progress,
                    message.message.as_deref().unwrap_or_default(),
                );
                Says::More
            }
            "Error" => {
                self.error_inside = true;
                Says::More
            }
            "EndOfTurn" => Says::EndOfTurn,
            "SessionEnded" => Says::End,
            "Inform" => Says::Answer,
            "Inquire" | "Confirm" | "Escalate" | "Failure" => Says::Other,
            _ => Says::More,
        }
    }
}

/// What a message says of its turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    /// It goes on.
    More,
    /// It ends here, and the next one may come.
    EndOfTurn,
    /// It ends here.
    End,
    /// It ends here if nothing follows.
    Answer,
    /// A question back, a hand-over, a failure: it ends here if the answer does.
    Other,
}

impl sse::Events for Turn {
    fn event(&mut self, name: &[u8], data: Option<&[u8]>) {
        if self.end == End::Answered {
            self.end = End::Open;
        }
        if name == b"TEXT_CHUNK" {
            return; // most of a stream, and says nothing of actions
        }
        let frame = data.map(serde_json::from_slice::<Frame<'_>>);
        match frame {
            Some(Ok(frame)) => frame.each(|message| {
                let says = self.message(message);
                self.end = match (self.end, says) {
                    (End::Ended, _) | (_, Says::EndOfTurn) => End::Ended,
                    (End::Over, _) | (_, Says::End) => End::Over,
                    (_, Says::Answer) => End::Answered,
                    (_, Says::More | Says::Other) => End::Open,
                };
            }),
            Some(Err(_)) | None => self.unreadable = true,
        }
    }
}

fn note(seen: &mut Vec<u64>, action: &str) {
    let mut hasher = DefaultHasher::new();
    action.hash(&mut hasher);
    let action = hasher.finish();
    if seen.len() < ACTIONS_MAX && !seen.contains(&action) {
        seen.push(action);
    }
}

/// Both shapes of a frame: `{"message":{..}}` as captured and `{"messages":[..]}` as documented.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(default, borrow)]
    message: Option<Message<'a>>,
    #[serde(default, borrow)]
    messages: Option<Vec<Message<'a>>>,
}

impl<'a> Frame<'a> {
    fn each(&self, read: impl FnMut(&Message<'a>)) {
        let many = self.messages.iter().flatten();
        self.message.iter().chain(many).for_each(read);
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow, rename = "indicatorType")]
    indicator_type: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    result: Option<Vec<ActionResult<'a>>>,
}

#[derive(Deserialize)]
struct ActionResult<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRESS: &str = concat!(
        "event: PROGRESS_INDICATOR\nid: 1-REQ\n",
        r#"data: {"timestamp":17,"offset" :0,"message":{"type":"ProgressIndicator","id":"7","metrics":{},"indicatorType":"ACTION" ,"message":"Searching"}}"#,
        "\n\n"
    );
    const INFORM: &str = concat!(
        "event: INFORM\nid: 1-REQ\n",
        r#"data: {"message":{"type":"Inform","message":"done","result":[{"type":"copilotActionOutput/Search_1"},{"type":"copilotActionOutput/Book_2"},{"type":"copilotActionOutput/Search_1"}]}}"#,
        "\n\n"
    );
    const END: &str = "event: END_OF_TURN\ndata: {\"message\":{\"type\":\"EndOfTurn\"}}\n\n";

    fn check(stream: &[&str], want: (u64, bool, bool, bool)) {
        let (mut reader, mut turn) = (sse::Reader::new(1 << 20), Turn::default());
        reader.read(stream.concat().as_bytes(), &mut turn);
        let got = (
            turn.actions(),
            turn.is_over(),
            turn.error_inside,
            turn.unreadable,
        );
        assert_eq!(got, want, "{stream:?}");
    }

    #[test]
    fn actions_are_counted_once() {
        check(&[PROGRESS], (1, false, false, false));
        check(&[PROGRESS, PROGRESS], (1, false, false, false));
        check(&[PROGRESS, INFORM, END], (2, true, false, false));
        check(
            &["event: TEXT_CHUNK\ndata: not json\n\n", END],
            (0, true, false, false),
        );
        let error = "event: ERROR\ndata: {\"message\":{\"type\":\"Error\",\"httpStatus\":500}}\n\n";
        check(&[PROGRESS, error], (1, false, true, false));
        check(
            &["event: INFORM\ndata: {\"message\":\n\n"],
            (0, false, false, true),
        );
    }

    #[test]
    fn only_an_end_or_a_last_answer_ends_a_stream() {
        let event = |name: &str, kind: &str| {
            format!("event: {name}\ndata: {{\"message\":{{\"type\":\"{kind}\"}}}}\n\n")
        };
        let inform = event("INFORM", "Inform");
        let over = |stream: &[&str], over| check(stream, (0, over, false, false));
        for (name, kind) in [
            ("INQUIRE", "Inquire"),
            ("CONFIRM", "Confirm"),
            ("ESCALATE", "Escalate"),
            ("FAILURE", "Failure"),
        ] {
            let other = event(name, kind);
            over(&[&other], false);
            over(&[&other, &inform], true);
            over(&[&inform, &other], false);
            over(&[&other, END], true);
        }
        over(&[&inform, "event: TEXT_CHUNK\ndata: {}\n\n"], false);
        over(&[&event("SESSION_ENDED", "SessionEnded")], true);
        let both = r#"{"messages":[{"type":"Inform"},{"type":"Escalate"}]}"#;
        over(&[&format!("event: INFORM\ndata: {both}\n\n")], false);
    }

    #[test]
    fn only_the_end_of_a_turn_lets_the_next_one_come() {
        let check = |stream: &[&str], want: bool| {
            let (mut reader, mut turn) = (sse::Reader::new(1 << 20), Turn::default());
            reader.read(stream.concat().as_bytes(), &mut turn);
            assert_eq!(turn.is_ended(), want, "{stream:?}");
        };
        let session_ended =
            "event: SESSION_ENDED\ndata: {\"message\":{\"type\":\"SessionEnded\"}}\n\n";
        check(&[PROGRESS, INFORM], false);
        check(&[PROGRESS, INFORM, END], true);
        check(&[END, INFORM], true);
        check(&[session_ended], false);
        check(&[session_ended, END], true);
        check(&[END, session_ended], true);
        check(&["event: INFORM\ndata: {\"message\":\n\n", END], false); // what it cost is not known yet
    }

    #[test]
    fn both_shapes_of_an_answer_are_read() {
        let check = |answer: &str, want: (u64, bool, bool)| {
            let mut turn = Turn::default();
            turn.read_answer(answer.as_bytes());
            assert_eq!(
                (turn.actions(), turn.is_over(), turn.unreadable),
                want,
                "{answer}"
            );
        };
        check(
            r#"{"messages":[{"type":"Inform","metrics":{},"result":[{"type":"copilotActionOutput/A_1","value":{}}]}]}"#,
            (1, true, false),
        );
        check(
            r#"{"message":{"type":"Inform","result":[]}}"#,
            (0, true, false),
        );
        check(
            r#"{"messages":[{"type":"Confirm","confirm":[{"type":"copilotActionInput/A_1"}]}]}"#,
            (0, true, false),
        );
        check("gone", (0, false, true));
    }

    #[test]
    fn an_opening_names_its_session() {
        assert_eq!(
            opened_session(br#"{"sessionId":"8e71","_links":{}}"#).as_deref(),
            Some("8e71")
        );
        assert_eq!(opened_session(b"{}"), None);
    }
}
