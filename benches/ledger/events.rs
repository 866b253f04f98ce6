//! Events as traffic makes them: 20 teams with 10 agents, templates or keys each, a quarter of them turns of agents.

use std::path::Path;
use std::sync::Arc;

use breakerbox::budget::credits::MicroCredits;
use breakerbox::budget::operation::{Class, Operation, Source};
use breakerbox::budget::period::Calendar;
use breakerbox::budget::usage::Usage;
use breakerbox::config::checked::{EventRows, LedgerSettings};
use breakerbox::ledger::event::{Confidence, Event, EventKind, RequestId, SessionRow, TeamId};
use breakerbox::salesforce::NamedKind;
use compact_str::{CompactString, format_compact};
use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(crate) const TEAMS: u32 = 20;
const THINGS: usize = 10;
/// Turns of one conversation.
const TURNS: u64 = 4;

pub(crate) fn settings(folder: &Path) -> LedgerSettings {
    LedgerSettings {
        path: folder.join("data/breakerbox.db"),
        events: EventRows::All,
        events_keep_days: 400,
        events_max_bytes: None,
    }
}

pub(crate) fn calendar() -> Calendar {
    Calendar::new("2026-01-01".parse().unwrap(), TimeZone::UTC)
}

pub(crate) fn team_name(team: u32) -> String {
    format!("team-{team:02}")
}

/// What the events of a run have in common.
pub(crate) struct Traffic {
    teams: Vec<TeamId>,
    keys: Vec<Arc<str>>,
    agent_type: Arc<str>,
    tags: Arc<str>,
    agents: Vec<CompactString>,
    templates: Vec<CompactString>,
    chance: fastrand::Rng,
    conversation: u64,
}

impl Traffic {
    pub(crate) fn new(teams: Vec<TeamId>, seed: u64) -> Self {
        let things = teams.len() * THINGS;
        let all = |name: fn(usize) -> CompactString| (0..things).map(name).collect();
        Self {
            keys: (0..things).map(|n| format!("key-{n}").into()).collect(),
            agents: all(|n| format_compact!("0XxHn0000{n:05}AAKA4")),
            templates: all(|n| format_compact!("Quote_Summary_{n}")),
            agent_type: "sdr".into(),
            tags: r#"{"project":"atlas"}"#.into(),
            chance: fastrand::Rng::with_seed(seed),
            conversation: seed << 32,
            teams,
        }
    }

    pub(crate) fn team(&mut self) -> usize {
        self.chance.usize(0..self.teams.len())
    }

    /// An event of a team at an instant; the caller says in which period that is.
    pub(crate) fn event(
        &mut self,
        team: usize,
        at: Timestamp,
        period: breakerbox::budget::period::PeriodName,
    ) -> Event {
        let thing = team * THINGS + self.chance.usize(0..THINGS);
        let (operation, class, named) = match self.chance.u32(0..4) {
            0 => {
                let agent = (NamedKind::Agent, self.agents[thing].clone());
                (Operation::AgentTurn, Class::Critical, Some(agent))
            }
            1 => {
                let template = (NamedKind::Template, self.templates[thing].clone());
                (Operation::PromptGenerate, Class::Background, Some(template))
            }
            _ => (Operation::ModelGenerate, Class::Standard, None),
        };
        let is_turn = operation == Operation::AgentTurn;
        let session = is_turn.then(|| Box::new(self.session(team, at)));
        Event {
            at,
            request: RequestId(self.chance.u128(..)),
            period,
            team: self.teams[team],
            operation,
            class,
            source: Source::Own,
            credits: MicroCredits::from_micros(self.chance.i64(1..4) * 1_000_000),
            estimate: MicroCredits::from_micros(2_000_000),
            kind: EventKind::Measured,
            confidence: Confidence::Measured,
            shadow: false,
            continued: false,
            named,
            agent_type: is_turn.then(|| Arc::clone(&self.agent_type)),
            key: (!is_turn).then(|| Arc::clone(&self.keys[thing])),
            tags: thing.is_multiple_of(2).then(|| Arc::clone(&self.tags)),
            usage: Usage {
                units: 1,
                input_tokens: self.chance.u64(50..2_000),
                output_tokens: self.chance.u64(50..500),
                ..Usage::default()
            },
            status: 200,
            duration_ms: self.chance.u32(200..9_000),
            session,
            idempotency: None,
        }
    }

    fn session(&mut self, team: usize, at: Timestamp) -> SessionRow {
        self.conversation += 1;
        let (number, turn) = (self.conversation / TURNS, self.conversation % TURNS);
        SessionRow {
            session: format_compact!("8e715939-a121-40ec-{:04x}-{number:012x}", number % 0xffff),
            agent: self.agents[team * THINGS].clone(),
            team: self.teams[team],
            charged: MicroCredits::from_micros(2_000_000),
            opened_below_trip: true,
            opening_paid: true,
            last_used: at,
            version: i64::try_from(turn).unwrap() + 1,
        }
    }
}
