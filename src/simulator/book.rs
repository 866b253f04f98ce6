//! What was really spent: totals, the last requests one by one, and sums per team.
//!
//! Both cards are kept at once, so that one run serves a test of either.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::price::Charge;
use crate::budget::operation::Operation;

/// Requests remembered one by one; the oldest make room.
const REQUESTS_KEPT: usize = 200_000;

/// Teams told apart; what others spend is summed under `other`.
const TEAMS_KEPT: usize = 1_000;

/// Everything the simulator billed: the body of `GET /_sim/billed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Billed {
    /// By the card `guide`.
    pub guide: CardTotal,
    /// By the card `flex-2026-08`.
    #[serde(rename = "flex-2026-08")]
    pub flex: CardTotal,
    /// What was run, whatever it costs.
    pub units: Units,
    /// Requests received, billable or not, without those to `/_sim`.
    pub requests: u64,
    /// Answers still being worked on, callers present or not: at 0 the totals stand still.
    pub running: usize,
    /// The last 200,000 billable requests, oldest first; with `?by=request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_request: Option<Vec<Record>>,
    /// Sums per value of `x-sim-team`; with `?by=header:x-sim-team`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by_header: Option<BTreeMap<String, MicroCredits>>,
}

/// One card's totals, in micro-credits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CardTotal {
    /// The sum.
    pub total_micro_credits: i64,
    /// Its parts, by operation; operations never called are left out.
    pub by_operation: BTreeMap<&'static str, i64>,
}

/// An amount on both cards, in micro-credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MicroCredits {
    /// By the card `guide`.
    pub guide: i64,
    /// By the card `flex-2026-08`.
    #[serde(rename = "flex-2026-08")]
    pub flex: i64,
}

/// What was run, by operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Units {
    /// Sessions opened.
    #[serde(rename = "agent.conversation")]
    pub conversations: u64,
    /// Messages worked on and the actions they ran.
    #[serde(rename = "agent.turn")]
    pub turns: TurnUnits,
    /// Prompt templates that called a model.
    #[serde(rename = "prompt.generate")]
    pub prompts: CallUnits,
    /// Text and chat generations of the Models API.
    #[serde(rename = "model.generate")]
    pub generations: CallUnits,
    /// Embedding calls of the Models API; `inputs` counts the texts.
    #[serde(rename = "model.embed")]
    pub embeddings: EmbedUnits,
    /// Chat completions of the Open Connector.
    #[serde(rename = "openconnector.chat")]
    pub chats: CallUnits,
    /// Predictions.
    #[serde(rename = "einstein.predict")]
    pub predictions: PredictUnits,
}

/// Messages and actions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TurnUnits {
    /// Messages worked on.
    pub turns: u64,
    /// Actions run.
    pub actions: u64,
}

/// Model calls and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CallUnits {
    /// Model calls: one request can hold several.
    pub calls: u64,
    /// Tokens in and out.
    pub tokens: u64,
}

/// Embedding calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EmbedUnits {
    /// Requests.
    pub calls: u64,
    /// Texts embedded.
    pub inputs: u64,
    /// Tokens in.
    pub tokens: u64,
}

/// Predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PredictUnits {
    /// Requests.
    pub calls: u64,
    /// Rows or records predicted.
    pub rows: u64,
}

/// One billable request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The request's `x-request-id`, or one of the simulator's.
    pub request_id: Box<str>,
    /// The agent session, where there is one.
    pub session: Option<Box<str>>,
    /// The operation's name.
    pub operation: &'static str,
    /// What the request ran, so far.
    #[serde(flatten)]
    pub counts: Counts,
    /// What that costs, so far.
    pub micro_credits: MicroCredits,
}

/// What one request ran; what does not apply is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Model calls, sessions opened, messages worked on.
    pub calls: u64,
    /// Actions run.
    pub actions: u64,
    /// Tokens in and out.
    pub tokens: u64,
    /// Rows predicted, or texts embedded.
    pub rows: u64,
}

/// A place in the book that belongs to one request.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    number: u64,
    operation: Operation,
    team: Option<Box<str>>,
}

/// The running totals.
#[derive(Debug, Default)]
pub(crate) struct Book {
    totals: BTreeMap<Operation, (Counts, MicroCredits)>,
    teams: BTreeMap<String, MicroCredits>,
    records: VecDeque<Record>,
    /// Number of the next record; `next - records.len()` is the oldest one's.
    next: u64,
    requests: u64,
}

impl Book {
    /// Counts a request, billable or not.
    pub(crate) const fn count_request(&mut self) {
        self.requests += 1;
    }

    /// Starts a request's record at nothing.
    pub(crate) fn open(
        &mut self,
        operation: Operation,
        request_id: &str,
        session: Option<&str>,
        team: Option<&str>,
    ) -> Entry {
        if self.records.len() == REQUESTS_KEPT {
            drop(self.records.pop_front());
        }
        self.records.push_back(Record {
            request_id: request_id.into(),
            session: session.map(Into::into),
            operation: operation.name(),
            counts: Counts::default(),
            micro_credits: MicroCredits::default(),
        });
        let number = self.next;
        self.next += 1;
        Entry {
            number,
            operation,
            team: team.map(Into::into),
        }
    }

    /// Bills what was just run.
    pub(crate) fn bill(&mut self, entry: &Entry, counts: Counts, charge: Charge) {
        let (run, spent) = self.totals.entry(entry.operation).or_default();
        run.add(counts);
        spent.add(charge);
        if let Some(team) = entry.team.as_deref() {
            self.team(team).add(charge);
        }
        // A record that fell out of the ring, or is from before a reset, has no place any more.
        let oldest = self.next - u64::try_from(self.records.len()).unwrap_or(self.next);
        let place = entry
            .number
            .checked_sub(oldest)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(record) = place.and_then(|place| self.records.get_mut(place)) {
            record.counts.add(counts);
            record.micro_credits.add(charge);
        }
    }

    /// Starts again from zero.
    pub(crate) fn reset(&mut self) {
        // Numbers go on, so that an entry from before cannot hit a record from after.
        *self = Self {
            next: self.next,
            ..Self::default()
        };
    }

    /// The totals; `running` is not the book's to know and stays 0.
    pub(crate) fn billed(&self) -> Billed {
        let mut billed = Billed {
            requests: self.requests,
            ..Billed::default()
        };
        for (operation, (run, spent)) in &self.totals {
            billed.guide.add(*operation, spent.guide);
            billed.flex.add(*operation, spent.flex);
            billed.units.note(*operation, *run);
        }
        billed
    }

    /// The records, oldest first.
    pub(crate) fn by_request(&self) -> Vec<Record> {
        self.records.iter().cloned().collect()
    }

    /// The sums per team.
    pub(crate) fn by_team(&self) -> BTreeMap<String, MicroCredits> {
        self.teams.clone()
    }

    fn team(&mut self, name: &str) -> &mut MicroCredits {
        let known = self.teams.contains_key(name) || self.teams.len() < TEAMS_KEPT;
        self.teams
            .entry(if known { name } else { "other" }.to_owned())
            .or_default()
    }
}

impl CardTotal {
    fn add(&mut self, operation: Operation, micro_credits: i64) {
        self.total_micro_credits += micro_credits;
        self.by_operation.insert(operation.name(), micro_credits);
    }
}

impl MicroCredits {
    const fn add(&mut self, charge: Charge) {
        self.guide += charge.guide;
        self.flex += charge.flex;
    }
}

impl Counts {
    const fn add(&mut self, more: Self) {
        self.calls += more.calls;
        self.actions += more.actions;
        self.tokens += more.tokens;
        self.rows += more.rows;
    }
}

impl Units {
    const fn note(&mut self, operation: Operation, run: Counts) {
        let Counts {
            calls,
            actions,
            tokens,
            rows,
        } = run;
        match operation {
            Operation::AgentConversation => self.conversations = calls,
            Operation::AgentTurn => {
                self.turns = TurnUnits {
                    turns: calls,
                    actions,
                }
            }
            Operation::PromptGenerate => self.prompts = CallUnits { calls, tokens },
            Operation::ModelGenerate => self.generations = CallUnits { calls, tokens },
            Operation::ModelEmbed => {
                self.embeddings = EmbedUnits {
                    calls,
                    inputs: rows,
                    tokens,
                }
            }
            Operation::OpenConnectorChat => self.chats = CallUnits { calls, tokens },
            Operation::EinsteinPredict => self.predictions = PredictUnits { calls, rows },
            // No route of the simulator runs these.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTION: Counts = Counts {
        calls: 0,
        actions: 1,
        tokens: 0,
        rows: 0,
    };

    fn check(case: &str, book: &Book, guide: i64, flex: i64) {
        let billed = book.billed();
        let totals = (
            billed.guide.total_micro_credits,
            billed.flex.total_micro_credits,
        );
        assert_eq!(totals, (guide, flex), "{case}");
    }

    #[test]
    fn records_teams_and_totals_agree() {
        let mut book = Book::default();
        let entry = book.open(Operation::AgentTurn, "r1", Some("s1"), Some("sales"));
        book.bill(&entry, ACTION, Charge { guide: 1, flex: 20 });
        book.bill(&entry, ACTION, Charge { guide: 0, flex: 20 });
        check("two actions", &book, 1, 40);
        let record = &book.by_request()[0];
        assert_eq!((&*record.request_id, record.counts.actions), ("r1", 2));
        assert_eq!(record.micro_credits, book.by_team()["sales"]);

        book.reset();
        check("after a reset", &book, 0, 0);
        let other = book.open(Operation::AgentTurn, "r2", None, None);
        book.bill(&entry, ACTION, Charge { guide: 1, flex: 20 });
        assert_eq!(
            book.by_request()[0].counts.actions,
            0,
            "a late bill keeps off r2's record"
        );
        book.bill(&other, ACTION, Charge { guide: 1, flex: 20 });
        check("a turn that outlived the reset still counts", &book, 2, 40);
    }

    #[test]
    fn teams_and_records_are_bounded() {
        let mut book = Book::default();
        for number in 0..TEAMS_KEPT + 5 {
            let entry = book.open(
                Operation::AgentTurn,
                "r",
                None,
                Some(&format!("team-{number}")),
            );
            book.bill(&entry, ACTION, Charge { guide: 1, flex: 20 });
        }
        assert_eq!(book.by_team()["other"].guide, 5);
        for _ in 0..REQUESTS_KEPT {
            drop(book.open(Operation::AgentTurn, "later", None, None));
        }
        assert_eq!(book.by_request().len(), REQUESTS_KEPT);
        assert_eq!(&*book.by_request()[0].request_id, "later");
    }
}
