//! The fuses of a configuration, on the request path: each with the running hour and the next.
//!
//! Both hours are in the snapshot, so the hour switches by the request's own clock and without a step of anybody's;
//! the owner of changes makes the one after next in time. A request finds its team's fuse by the team's position and
//! its agent's by the position its entry states: nothing is looked up.

use std::sync::Arc;

use compact_str::CompactString;
use jiff::Timestamp;

use super::identify::Payer;
use crate::budget::credits::MicroCredits;
use crate::budget::fuse::{self, Blown, FuseLimits, Hour};
use crate::clock;
use crate::ledger::event::TeamId;

/// Every fuse of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Fuses {
    /// The hour of the first slots, counted from the epoch.
    pub first: i64,
    /// By the team's position; empty where no team has one.
    pub teams: Vec<Option<Fuse>>,
    /// By [`super::snapshot::NamedEntry::fuse`].
    pub agents: Vec<Fuse>,
}

/// One fuse.
#[derive(Clone, Debug)]
pub struct Fuse {
    /// The team it is of, or that the agent belongs to.
    pub team: TeamId,
    /// The agent it is of; `None` for a team's own.
    pub agent: Option<CompactString>,
    /// What it lets through.
    pub limits: FuseLimits,
    /// The running hour and the next: kept across reloads, whatever the limits.
    pub hours: [Arc<Hour>; 2],
}

/// Which of the two hours a request was counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourAt(bool);

/// A fuse that refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FuseBlown {
    /// The agent it is of; `None` for the team's own.
    pub agent: Option<CompactString>,
    /// What it compared.
    pub blown: Blown,
    /// The hour's end.
    pub until: Timestamp,
}

impl Fuses {
    /// Every fuse.
    pub fn all(&self) -> impl Iterator<Item = &Fuse> {
        self.teams.iter().flatten().chain(&self.agents)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty() && self.teams.is_empty()
    }

    /// A team's own fuse, and its hour at a moment.
    pub fn of_team(&self, team: TeamId, now: Timestamp) -> Option<(&FuseLimits, &Hour)> {
        let mut teams = self.teams.iter().flatten();
        let fuse = teams.find(|fuse| fuse.team == team)?;
        Some((&fuse.limits, fuse.hour(self.at(now))))
    }

    /// The hour of a moment: before the first it is the first, after the second the second.
    fn at(&self, now: Timestamp) -> HourAt {
        HourAt(fuse::hour_of(now.as_second()) > self.first)
    }

    /// The fuses a request must pass.
    pub(super) fn of(&self, payer: &Payer, now: Timestamp) -> Option<InForce<'_>> {
        if self.is_empty() {
            return None;
        }
        let (team, agent) = self.pair(payer);
        let at = self.at(now);
        (team.is_some() || agent.is_some()).then_some(InForce { agent, team, at })
    }

    fn pair(&self, payer: &Payer) -> (Option<&Fuse>, Option<&Fuse>) {
        let team = self.teams.get(payer.team).and_then(Option::as_ref);
        (team, payer.fuse.and_then(|at| self.agents.get(at)))
    }

    /// Replaces the estimate by the price, nothing where it was void. An answer that was too dear blows the hour it is
    /// found in.
    pub(super) fn settle(
        &self,
        payer: &Payer,
        at: HourAt,
        estimate: MicroCredits,
        price: MicroCredits,
    ) {
        let (team, agent) = self.pair(payer);
        for fuse in [team, agent].into_iter().flatten() {
            if fuse.hour(at).settle(&fuse.limits, estimate, price) {
                let found = fuse.hour(self.at(clock::now()));
                found.too_dear(&fuse.limits, price);
            }
        }
    }
}

impl Fuse {
    fn hour(&self, at: HourAt) -> &Hour {
        let [first, second] = &self.hours;
        if at.0 { second } else { first }
    }

    fn refused(&self, at: HourAt, blown: Blown) -> FuseBlown {
        let end = fuse::end_of_hour(self.hour(at).number());
        FuseBlown {
            agent: self.agent.clone(),
            blown,
            until: Timestamp::from_second(end).unwrap_or(Timestamp::MAX),
        }
    }
}

/// The fuses of one request, in its hour.
#[derive(Clone, Copy, Debug)]
pub(super) struct InForce<'f> {
    agent: Option<&'f Fuse>,
    team: Option<&'f Fuse>,
    at: HourAt,
}

impl InForce<'_> {
    /// The agent's first: it says more.
    fn each(&self) -> impl Iterator<Item = &Fuse> {
        [self.agent, self.team].into_iter().flatten()
    }

    /// Where the request is counted.
    pub(super) fn hour(&self) -> HourAt {
        self.at
    }

    /// Whether a request may pass; takes nothing.
    pub(super) fn look(&self, estimate: MicroCredits) -> Result<(), FuseBlown> {
        for fuse in self.each() {
            let looked = fuse.hour(self.at).look(&fuse.limits, estimate);
            looked.map_err(|blown| fuse.refused(self.at, blown))?;
        }
        Ok(())
    }

    /// Each limit in words: whose, and where its hour stands.
    pub(super) fn told(&self) -> Vec<(&'static str, String)> {
        let told = self.each().flat_map(|fuse| {
            let [request, hour] = match fuse.agent {
                Some(_) => ["agent max_per_request", "agent max_per_hour"],
                None => ["team max_per_request", "team max_per_hour"],
            };
            let FuseLimits {
                per_request,
                per_hour,
            } = fuse.limits;
            let committed = fuse.hour(self.at).committed();
            [
                (request, per_request, format!("{per_request} at most")),
                (
                    hour,
                    per_hour,
                    format!("{committed} in this hour, {per_hour} at most"),
                ),
            ]
        });
        let limits = told.filter(|(_, limit, _)| *limit != MicroCredits::MAX);
        limits.map(|(what, _, value)| (what, value)).collect()
    }

    /// Takes the estimate from every hour, or from none.
    pub(super) fn take(&self, estimate: MicroCredits) -> Result<(), FuseBlown> {
        for (taken, fuse) in self.each().enumerate() {
            let hour = fuse.hour(self.at);
            if let Err(blown) = hour.take(&fuse.limits, estimate) {
                let back = 0_i64.saturating_sub(estimate.micros());
                let before = self.each().take(taken);
                before.for_each(|before| before.hour(self.at).add(back));
                return Err(fuse.refused(self.at, blown));
            }
        }
        Ok(())
    }

    /// Counts a request that is not limited: shadow mode.
    pub(super) fn add(&self, estimate: MicroCredits) {
        for fuse in self.each() {
            fuse.hour(self.at).add(estimate.micros());
        }
    }
}

impl FuseBlown {
    /// What it says to a client.
    pub(super) fn detail(&self, estimate: MicroCredits) -> String {
        use fuse::Cause;
        let Blown {
            cause,
            committed,
            at_most,
        } = self.blown;
        let whose = match &self.agent {
            Some(agent) => format!("agent {agent}"),
            None => "the team".to_owned(),
        };
        let (limit, until) = (cause.limit(), self.until);
        match cause {
            Cause::RequestTooDear | Cause::RequestOverHour => format!(
                "this request is expected to cost {estimate} credits, and {limit} of {whose} is {at_most}"
            ),
            Cause::AnswerTooDear => format!(
                "an answer cost {committed} credits, and {limit} of {whose} is {at_most}; its fuse has blown until {until}"
            ),
            Cause::HourFull => format!(
                "{whose} has committed {committed} credits in this hour, and {limit} is {at_most}; its fuse has blown until {until}"
            ),
        }
    }

    /// The same for programs.
    pub(super) fn told(&self) -> serde_json::Value {
        let Blown {
            cause,
            committed,
            at_most,
        } = self.blown;
        serde_json::json!({
            "agent": self.agent.as_deref(),
            "limit": cause.limit(),
            "committed": committed,
            "at_most": at_most,
            "blown": cause.is_blown(),
        })
    }

    /// The limit as decision records name it.
    pub(super) fn limit(&self) -> &'static str {
        use fuse::Cause;
        match (self.agent.is_some(), self.blown.cause) {
            (true, Cause::RequestOverHour | Cause::HourFull) => "agent max_per_hour",
            (true, Cause::RequestTooDear | Cause::AnswerTooDear) => "agent max_per_request",
            (false, Cause::RequestOverHour | Cause::HourFull) => "team max_per_hour",
            (false, Cause::RequestTooDear | Cause::AnswerTooDear) => "team max_per_request",
        }
    }
}
