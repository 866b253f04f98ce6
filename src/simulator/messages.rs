//! The messages a turn ends with, as the Agent API words them (salesforce-apis.md, section 1.4).

use fastrand::Rng;

use super::call::uuid;
use super::clock;
use super::errors::quoted;
use super::turn::Action;

/// What a turn ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An answer, with the results of what ran.
    Inform,
    /// A question, for an action that has not run yet.
    Inquire,
    /// The same, for a yes.
    Confirm,
    /// An action failed.
    Failure,
    /// A person takes over.
    Escalate,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Inform,
        Self::Inquire,
        Self::Confirm,
        Self::Failure,
        Self::Escalate,
    ];

    /// By its `type`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Inform => "Inform",
            Self::Inquire => "Inquire",
            Self::Confirm => "Confirm",
            Self::Failure => "Failure",
            Self::Escalate => "Escalate",
        }
    }

    /// The name of its event in a stream.
    pub(crate) const fn event(self) -> &'static str {
        match self {
            Self::Inform => "INFORM",
            Self::Inquire => "INQUIRE",
            Self::Confirm => "CONFIRM",
            Self::Failure => "FAILURE",
            Self::Escalate => "ESCALATE",
        }
    }

    /// The message, after these actions ran.
    pub(crate) fn message(self, rng: &mut Rng, text: &str, actions: &[Action]) -> String {
        let (name, id, plan) = (self.name(), uuid(rng), uuid(rng));
        let input = || {
            let action = "Create_Account";
            format!("copilotActionInput/{action}_{}", action_id(action))
        };
        let (text, more) = match self {
            Self::Inform => {
                let results = results(actions);
                (
                    text,
                    format!(r#""result":[{results}],"citedReferences":[]"#),
                )
            }
            Self::Inquire => (
                "What is the name of the account?",
                format!(
                    r#""collect":[{{"targetType":"{}","targetProperty":"accountName","data":null}}]"#,
                    input()
                ),
            ),
            Self::Confirm => (
                "Shall I create the account?",
                format!(
                    r#""confirm":[{{"type":"{}","value":{{"accountName":"Acme"}},"property":""}}]"#,
                    input()
                ),
            ),
            Self::Failure => (
                "",
                r#""code":"ACTION_FAILED","errors":["The flow ended with an error"]"#.to_owned(),
            ),
            Self::Escalate => (
                "I hand you over to a colleague.",
                r#""targets":[{"id":"300Hn000000AAAAIA4","type":"Flow","label":"Route to service"}]"#
                    .to_owned(),
            ),
        };
        let text = quoted(text);
        format!(
            r#"{{"type":"{name}","id":"{id}","metrics":{{}},"feedbackId":"{plan}","planId":"{plan}","isContentSafe":true,"message":{text},{more}}}"#
        )
    }
}

/// An `Error` message, as it comes inside a 200.
pub(crate) fn error(rng: &mut Rng) -> String {
    let (id, trace, now) = (uuid(rng), trace_id(rng), clock::epoch_ms());
    format!(
        r#"{{"type":"Error","id":"{id}","feedbackId":"","httpStatus":500,"traceId":"{trace}","error":"PLANNER_LLM_GATEWAY_TIMEOUT","message":"The model did not answer in time","timestamp":{now},"expected":false,"botMode":"Copilot"}}"#
    )
}

/// What takes a streamed text back.
pub(crate) fn validation_failure(rng: &mut Rng) -> String {
    let id = uuid(rng);
    format!(
        r#"{{"type":"ValidationFailureChunk","id":"{id}","metrics":{{}},"offset":0,"reason":"The answer was not grounded"}}"#
    )
}

/// The entries of `result`, one an action run.
fn results(actions: &[Action]) -> String {
    let result = |Action { name, .. }: &Action| {
        let id = action_id(name);
        format!(
            r#"{{"type":"copilotActionOutput/{name}_{id}","property":"","value":{{"status":"Done"}}}}"#
        )
    };
    actions.iter().map(result).collect::<Vec<_>>().join(",")
}

/// 15 characters that are always the same for the same action.
fn action_id(name: &str) -> String {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut rng = Rng::with_seed(seed);
    let tail: String = std::iter::repeat_with(|| rng.alphanumeric())
        .take(6)
        .collect();
    format!("179J90000{tail}")
}

pub(crate) fn trace_id(rng: &mut Rng) -> String {
    format!("{:032x}", rng.u128(..))
}
