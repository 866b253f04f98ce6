//! One turn of an agent: which actions it runs, and the answer's events or messages.
//!
//! A turn is planned as a list of [`Step`]s. Taking a step runs its action, that is bills it, and
//! then gives the frame to send, so that a client that saw an action finds it billed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use tokio::sync::mpsc;

use super::book::Entry;
use super::call::{Call, uuid};
use super::clock;
use super::controls::Actions;
use super::errors::quoted;
use super::messages::{self, trace_id};
use super::state::Lock;

/// Bytes of a text chunk of an ordinary answer, and of one padded to a length.
const CHUNK_BYTES: usize = 16;
const PADDED_CHUNK_BYTES: usize = 1_024;

/// Actions a turn runs by chance, at the most.
const ACTIONS_MOST: u32 = 200;

/// What agents run when nobody says otherwise.
const NAMES: [&str; 8] = [
    "Identify_Customer",
    "Get_Order_Status",
    "Search_Knowledge",
    "Energy_Efficiency_Rewards_Active_Promotions",
    "Summarize_Case",
    "Draft_Reply",
    "Update_Record",
    "Check_Entitlement",
];

/// One action of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    pub(crate) name: Arc<str>,
    first_of_its_name: bool,
}

/// A frame to send, and the action that runs before it is sent.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) action: Option<Action>,
    pub(crate) frame: Bytes,
}

/// The turn's actions in the order they run.
pub(crate) fn actions(call: &mut Call, most: u32) -> Vec<Action> {
    let names: Vec<Arc<str>> = match call.controls.actions.take() {
        Some(Actions::Names(names)) => names.into_iter().map(Arc::from).collect(),
        Some(Actions::Count(count)) => (0..count).map(|place| name(place, 0)).collect(),
        None if most == 0 => Vec::new(),
        None => {
            let offset = call.rng.u32(0..8);
            (0..call.rng.u32(0..=most.min(ACTIONS_MOST)))
                .map(|place| name(place, offset))
                .collect()
        }
    };
    let mut seen = BTreeSet::new();
    let first = |name: Arc<str>| Action {
        first_of_its_name: seen.insert(Arc::clone(&name)),
        name,
    };
    names.into_iter().map(first).collect()
}

/// Different for every `place`.
fn name(place: u32, offset: u32) -> Arc<str> {
    let round = place.div_euclid(8);
    let chosen = usize::try_from((place + offset).rem_euclid(8)).unwrap_or(0);
    let name = NAMES.get(chosen).copied().unwrap_or("Run_Flow");
    if round == 0 {
        Arc::from(name)
    } else {
        Arc::from(format!("{name}_{round}"))
    }
}

/// The events of a streamed turn.
pub(crate) fn plan(call: &mut Call, actions: Vec<Action>) -> Vec<Step> {
    let text = call.text();
    let padded = call.controls.body_bytes > 0;
    let repeats = call.controls.repeat_progress;
    let says = call.controls.says.clone();
    let mut events = Events::begin(&mut call.rng);
    let mut steps = Vec::new();
    for action in &actions {
        let frame = events.progress(&action.name);
        steps.push(Step {
            action: Some(action.clone()),
            frame,
        });
        for _ in 0..repeats {
            let frame = events.progress(&action.name);
            steps.push(Step {
                action: None,
                frame,
            });
        }
    }
    if call.controls.error_frame {
        let message = messages::error(events.rng);
        steps.push(Step {
            action: None,
            frame: events.event("ERROR", r#""offset":0"#, &message),
        });
    } else {
        let size = if padded {
            PADDED_CHUNK_BYTES
        } else {
            CHUNK_BYTES
        };
        let frames = |frames: Vec<Bytes>| {
            let step = |frame| Step {
                action: None,
                frame,
            };
            frames.into_iter().map(step)
        };
        steps.extend(frames(events.text(&text, size)));
        if says.taken_back {
            steps.extend(frames(vec![events.validation_failure()]));
            steps.extend(frames(events.text(&text, size)));
        }
        for kind in says.messages {
            let message = kind.message(events.rng, &text, &actions);
            let frame = events.event(kind.event(), r#""offset":0"#, &message);
            steps.extend(frames(vec![frame]));
        }
    }
    let id = uuid(events.rng);
    let message = format!(r#"{{"type":"EndOfTurn","id":"{id}","metrics":{{}}}}"#);
    steps.push(Step {
        action: None,
        frame: events.event("END_OF_TURN", r#""offset":0"#, &message),
    });
    steps
}

/// Writes the events of one turn, which share their id; spaces are where Salesforce puts them.
struct Events<'a> {
    rng: &'a mut Rng,
    origin: String,
    trace: String,
}

impl<'a> Events<'a> {
    fn begin(rng: &'a mut Rng) -> Self {
        let origin = format!("{}-REQ", clock::epoch_ms());
        let trace = trace_id(rng);
        Self { rng, origin, trace }
    }

    fn event(&self, event: &str, offset: &str, message: &str) -> Bytes {
        let Self { origin, trace, .. } = self;
        let now = clock::epoch_ms();
        Bytes::from(format!(
            "event: {event}\nid: {origin}\ndata: {{\"timestamp\":{now},\"originEventId\":\"{origin}\",\"traceId\":\"{trace}\",{offset},\"message\":{message}}}\n\n"
        ))
    }

    fn progress(&mut self, action: &str) -> Bytes {
        let (id, action) = (uuid(self.rng), action.replace('_', " "));
        let message = format!(
            r#"{{"type":"ProgressIndicator","id":"{id}","metrics":{{}},"indicatorType":"ACTION" ,"message":"Running {action}"}}"#
        );
        self.event("PROGRESS_INDICATOR", r#""offset" :0"#, &message)
    }

    /// A text in chunks of so many bytes; it is ASCII, see `Call::text`.
    fn text(&mut self, text: &str, size: usize) -> Vec<Bytes> {
        let chunks = text.as_bytes().chunks(size).enumerate();
        let mut frames = Vec::new();
        for (offset, chunk) in chunks {
            frames.push(self.text_chunk(offset, &String::from_utf8_lossy(chunk)));
        }
        frames
    }

    /// What was said so far is to be forgotten. How Salesforce calls this event is not documented.
    fn validation_failure(&mut self) -> Bytes {
        let message = messages::validation_failure(self.rng);
        self.event("VALIDATION_FAILURE_CHUNK", r#""offset":0"#, &message)
    }

    fn text_chunk(&mut self, offset: usize, text: &str) -> Bytes {
        let (id, text) = (uuid(self.rng), quoted(text));
        let message = format!(
            r#"{{"type":"TextChunk","id":"{id}","offset":{offset},"message":{text},"formatType":"Text"}}"#
        );
        self.event("TEXT_CHUNK", &format!(r#""offset":{offset}"#), &message)
    }
}

/// A turn in progress: it goes on to its end whether or not anybody reads along.
#[derive(Debug)]
pub(crate) struct Turn {
    lock: Lock,
    entry: Entry,
}

impl Turn {
    /// Begins the turn: from here on its actions will run.
    pub(crate) fn begin(call: &Call, session: &str, lock: Lock) -> Self {
        let entry = lock.begin_turn(call, session);
        Self { lock, entry }
    }

    /// Runs one action.
    pub(crate) fn run(&self, action: &Action) {
        self.lock.run_action(&self.entry, action.first_of_its_name);
    }

    /// The session's agent.
    pub(crate) fn agent(&self) -> &str {
        self.lock.agent()
    }

    /// Takes all steps at once and frees the session; the frames.
    pub(crate) fn at_once(self, steps: Vec<Step>) -> Vec<Bytes> {
        let mut frames = Vec::with_capacity(steps.len());
        for Step { action, frame } in steps {
            if let Some(action) = &action {
                self.run(action);
            }
            frames.push(frame);
        }
        frames
    }
}

/// The steps of a turn still to be taken, one every `pace`.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) turn: Turn,
    pub(crate) steps: Vec<Step>,
    pub(crate) pace: Duration,
    /// Holds all the steps' frames: sending never waits for the reader.
    pub(crate) frames: mpsc::Sender<Bytes>,
}

impl Rest {
    /// Takes the steps; the session is free before the last frame is sent.
    pub(crate) async fn run(self) {
        let Self {
            turn,
            mut steps,
            pace,
            frames,
        } = self;
        let last = steps.pop();
        for Step { action, frame } in steps {
            if let Some(action) = &action {
                turn.run(action);
            }
            // A reader that left misses a frame, not an action.
            drop(frames.try_send(frame));
            tokio::time::sleep(pace).await;
        }
        drop(turn);
        if let Some(last) = last {
            drop(frames.try_send(last.frame));
        }
    }
}
