//! What the two bodies of a call say about its cost.
//!
//! A [`Tap`] is shown the answer's bytes as they pass and keeps at most a bounded copy. It never changes or
//! delays them.

use bytes::Bytes;
use compact_str::CompactString;

use super::agent_api::{self, Turn};
use super::call::Endpoint;
pub use super::facts::RequestFacts;
use super::{models, predictions, prompts, sse};
use crate::budget::usage::Usage;

/// Reads a request body strictly; what is in doubt is left out.
pub fn read_request(endpoint: Endpoint, body: &[u8]) -> RequestFacts {
    match endpoint {
        Endpoint::PromptTemplate => prompts::read(body),
        Endpoint::Embeddings => models::read_embeddings(body),
        Endpoint::Predict => predictions::read(body),
        Endpoint::SessionOpen
        | Endpoint::Turn
        | Endpoint::TurnStream
        | Endpoint::Generation
        | Endpoint::ChatGeneration => RequestFacts::default(),
    }
}

/// What the answer said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// What was used; `None` where the answer could not be read.
    pub usage: Option<Usage>,
    /// The turn is over, or there is none.
    pub turn_over: bool,
    /// An Error message in a 200.
    pub error_inside: bool,
    /// Some of a turn could not be read, so that more may have run than was seen.
    pub unreadable: bool,
    /// The session that was opened.
    pub session: Option<CompactString>,
}

/// Looks at an answer as it passes.
#[derive(Debug)]
pub struct Tap {
    reads: Reads,
    bound_bytes: usize,
}

#[derive(Debug)]
enum Reads {
    /// An answer nobody can read: its encoding is not identity.
    Nothing { is_turn: bool },
    /// An answer that does not matter: the call costs the same whatever it says.
    Flat,
    /// The whole answer at its end.
    Whole { endpoint: Endpoint, kept: Kept },
    /// Each event of a stream.
    Stream {
        reader: Box<sse::Reader>,
        turn: Turn,
    },
}

/// A copy of the body, as one piece where it came as one.
#[derive(Debug, Default)]
struct Kept {
    first: Bytes,
    rest: Vec<u8>,
    over_bound: bool,
}

impl Tap {
    /// A tap for the answer to a call. At most `bound_bytes` of it are kept.
    pub fn new(endpoint: Endpoint, bound_bytes: usize, readable: bool) -> Self {
        let is_turn = matches!(endpoint, Endpoint::Turn | Endpoint::TurnStream);
        let reads = match endpoint {
            _ if !readable => Reads::Nothing { is_turn },
            Endpoint::TurnStream => Reads::Stream {
                reader: Box::new(sse::Reader::new(bound_bytes)),
                turn: Turn::default(),
            },
            Endpoint::SessionOpen
            | Endpoint::Turn
            | Endpoint::PromptTemplate
            | Endpoint::Generation
            | Endpoint::ChatGeneration
            | Endpoint::Embeddings
            | Endpoint::Predict => Reads::Whole {
                endpoint,
                kept: Kept::default(),
            },
        };
        Self { reads, bound_bytes }
    }

    /// A tap for a call that costs the same whatever its answer says.
    pub const fn flat() -> Self {
        Self {
            reads: Reads::Flat,
            bound_bytes: 0,
        }
    }

    /// The next bytes of the answer.
    pub fn pass(&mut self, bytes: &Bytes) {
        match &mut self.reads {
            Reads::Nothing { .. } | Reads::Flat => {}
            Reads::Whole { kept, .. } => kept.keep(bytes, self.bound_bytes),
            Reads::Stream { reader, turn } => reader.read(bytes, turn),
        }
    }

    /// Bytes kept of the answer.
    pub const fn held_bytes(&self) -> usize {
        match &self.reads {
            Reads::Nothing { .. } | Reads::Flat => 0,
            Reads::Whole { kept, .. } => kept.held_bytes(),
            Reads::Stream { reader, .. } => reader.held_bytes(),
        }
    }

    /// Lets go of what is kept: there is no room for it. What it would have said is unread.
    pub fn let_go(&mut self) {
        match &mut self.reads {
            Reads::Nothing { .. } | Reads::Flat => {}
            Reads::Whole { kept, .. } => *kept = Kept::over_bound(),
            Reads::Stream { reader, .. } => reader.let_go(),
        }
    }

    /// Whether an answer that is read at its end may end with these bytes: JSON does not end before its last bracket.
    pub fn may_end_with(&self, bytes: &[u8]) -> bool {
        match &self.reads {
            Reads::Nothing { .. } | Reads::Flat | Reads::Stream { .. } => false,
            Reads::Whole { kept, .. } => {
                let last = bytes.trim_ascii_end().last();
                !kept.over_bound && matches!(last, None | Some(b'}' | b']'))
            }
        }
    }

    /// What a stream showed of its turn so far.
    pub fn streamed_turn(&self) -> Option<&Turn> {
        match &self.reads {
            Reads::Stream { turn, .. } => Some(turn),
            Reads::Nothing { .. } | Reads::Flat | Reads::Whole { .. } => None,
        }
    }

    /// What was learned, once the answer ended or broke off; with the bytes of the request, which is over by then.
    pub fn learned(&mut self, request_bytes: u64) -> Learned {
        match &mut self.reads {
            Reads::Nothing { is_turn } => Learned {
                turn_over: !*is_turn,
                ..Learned::default()
            },
            Reads::Flat => {
                let usage = Some(Usage {
                    estimated: true,
                    ..Usage::of_units(1)
                });
                Learned {
                    usage,
                    turn_over: true,
                    ..Learned::default()
                }
            }
            Reads::Stream { turn, .. } => turn_learned(turn),
            Reads::Whole {
                endpoint: Endpoint::Turn,
                kept,
                ..
            } => {
                let mut turn = Turn::default();
                turn.read_answer(kept.bytes());
                turn_learned(&turn)
            }
            Reads::Whole { endpoint, kept } => {
                let mut learned = Learned {
                    turn_over: true,
                    ..Learned::default()
                };
                if !kept.over_bound {
                    learned.usage = read_answer(*endpoint, request_bytes, kept.bytes());
                    if *endpoint == Endpoint::SessionOpen {
                        learned.session = agent_api::opened_session(kept.bytes());
                    }
                }
                learned
            }
        }
    }
}

fn turn_learned(turn: &Turn) -> Learned {
    let usage = Usage {
        units: turn.actions(),
        estimated: turn.unreadable,
        ..Usage::default()
    };
    Learned {
        usage: Some(usage),
        turn_over: turn.is_over() && !turn.unreadable,
        error_inside: turn.error_inside,
        unreadable: turn.unreadable,
        session: None,
    }
}

fn read_answer(endpoint: Endpoint, request_bytes: u64, answer: &[u8]) -> Option<Usage> {
    match endpoint {
        Endpoint::PromptTemplate => prompts::usage(request_bytes, answer),
        Endpoint::Generation => models::generation_usage(request_bytes, answer),
        Endpoint::ChatGeneration => models::chat_usage(request_bytes, answer),
        Endpoint::Embeddings => models::embeddings_usage(request_bytes, answer),
        Endpoint::Predict => predictions::usage(answer),
        Endpoint::SessionOpen | Endpoint::Turn | Endpoint::TurnStream => Some(Usage::of_units(1)),
    }
}

impl Kept {
    fn over_bound() -> Self {
        Self {
            over_bound: true,
            ..Self::default()
        }
    }

    const fn held_bytes(&self) -> usize {
        self.first.len().saturating_add(self.rest.capacity())
    }

    fn keep(&mut self, bytes: &Bytes, bound_bytes: usize) {
        let so_far = self.first.len().saturating_add(self.rest.len());
        if self.over_bound || so_far.saturating_add(bytes.len()) > bound_bytes {
            *self = Self::over_bound();
        } else if so_far == 0 {
            self.first = bytes.clone();
        } else {
            if self.rest.is_empty() {
                self.rest
                    .extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.rest.extend_from_slice(bytes);
        }
    }

    fn bytes(&self) -> &[u8] {
        if self.rest.is_empty() {
            &self.first
        } else {
            &self.rest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole_whatever_its_pieces() {
        let answer = br#"{"predictions":[{},{},{}]}"#;
        for size in 1..=answer.len() {
            let mut tap = Tap::new(Endpoint::Predict, 1 << 20, true);
            answer
                .chunks(size)
                .for_each(|piece| tap.pass(&Bytes::copy_from_slice(piece)));
            assert_eq!(
                tap.learned(0).usage,
                Some(Usage::of_units(3)),
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn only_what_can_be_an_end_is_taken_for_one() {
        let check = |endpoint, bytes: &str, want| {
            let tap = Tap::new(endpoint, 1 << 20, true);
            assert_eq!(
                tap.may_end_with(bytes.as_bytes()),
                want,
                "{endpoint:?} {bytes}"
            );
        };
        check(Endpoint::Predict, r#"{"a":1}"#, true);
        check(Endpoint::Turn, "}\r\n ", true);
        check(Endpoint::Predict, "[1]", true);
        check(Endpoint::Predict, "\n", true);
        check(Endpoint::Predict, r#"{"a":"#, false);
        check(Endpoint::TurnStream, "data: {}\n\n}", false);
    }

    #[test]
    fn what_is_let_go_of_is_unread() {
        let check = |endpoint, answer: &'static str, (first, held): (usize, bool)| {
            let mut tap = Tap::new(endpoint, 1 << 20, true);
            let answer = Bytes::from_static(answer.as_bytes());
            tap.pass(&answer.slice(..first));
            assert_eq!(tap.held_bytes() > 0, held, "{endpoint:?}");
            tap.let_go();
            assert_eq!(tap.held_bytes(), 0, "{endpoint:?}");
            tap.pass(&answer.slice(first..));
            let learned = tap.learned(0);
            assert!(
                learned.usage.is_none() || learned.unreadable,
                "{endpoint:?}"
            );
        };
        check(Endpoint::Predict, r#"{"predictions":[{}]}"#, (9, true));
        let stream = "event: INFORM\ndata: {\"message\":{\"type\":\"Inform\"}}\n\n";
        check(Endpoint::TurnStream, stream, (20, true)); // in a line
        check(Endpoint::TurnStream, stream, (stream.len() - 1, true)); // between lines
    }

    #[test]
    fn an_answer_over_the_bound_or_encoded_is_unread_not_free() {
        let check = |endpoint, bound, readable, turn_over| {
            let mut tap = Tap::new(endpoint, bound, readable);
            tap.pass(&Bytes::from_static(br#"{"predictions":[{}]}"#));
            let learned = tap.learned(0);
            assert!(
                learned.usage.is_none() || learned.unreadable,
                "{endpoint:?}"
            );
            assert_eq!(learned.turn_over, turn_over, "{endpoint:?}");
        };
        check(Endpoint::Predict, 8, true, true);
        check(Endpoint::Predict, 1 << 20, false, true);
        check(Endpoint::Turn, 1 << 20, false, false);
        check(Endpoint::Turn, 8, true, false);
    }
}
