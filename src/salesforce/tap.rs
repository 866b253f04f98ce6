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
    Whole {
        endpoint: Endpoint,
        request_bytes: usize,
        kept: Kept,
    },
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
    pub fn new(
        endpoint: Endpoint,
        request_bytes: usize,
        bound_bytes: usize,
        readable: bool,
    ) -> Self {
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
                request_bytes,
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

    /// What a stream showed of its turn so far.
    pub fn streamed_turn(&self) -> Option<&Turn> {
        match &self.reads {
            Reads::Stream { turn, .. } => Some(turn),
            Reads::Nothing { .. } | Reads::Flat | Reads::Whole { .. } => None,
        }
    }

    /// What was learned, once the answer ended or broke off.
    pub fn learned(&mut self) -> Learned {
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
            Reads::Whole {
                endpoint,
                request_bytes,
                kept,
            } => {
                let mut learned = Learned {
                    turn_over: true,
                    ..Learned::default()
                };
                if !kept.over_bound {
                    learned.usage = read_answer(*endpoint, *request_bytes, kept.bytes());
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
        session: None,
    }
}

fn read_answer(endpoint: Endpoint, request_bytes: usize, answer: &[u8]) -> Option<Usage> {
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
    fn keep(&mut self, bytes: &Bytes, bound_bytes: usize) {
        let so_far = self.first.len().saturating_add(self.rest.len());
        if self.over_bound || so_far.saturating_add(bytes.len()) > bound_bytes {
            *self = Self {
                over_bound: true,
                ..Self::default()
            };
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
            let mut tap = Tap::new(Endpoint::Predict, 0, 1 << 20, true);
            answer
                .chunks(size)
                .for_each(|piece| tap.pass(&Bytes::copy_from_slice(piece)));
            assert_eq!(
                tap.learned().usage,
                Some(Usage::of_units(3)),
                "pieces of {size}"
            );
        }
    }

    #[test]
    fn an_answer_over_the_bound_or_encoded_is_unread_not_free() {
        let check = |endpoint, bound, readable, turn_over| {
            let mut tap = Tap::new(endpoint, 0, bound, readable);
            tap.pass(&Bytes::from_static(br#"{"predictions":[{}]}"#));
            let learned = tap.learned();
            assert!(
                learned.usage.is_none_or(|usage| usage.estimated),
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
