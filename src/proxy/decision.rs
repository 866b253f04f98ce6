//! Why a request was refused, kept for whoever asks: `GET /api/v1/decisions/{request-id}`.
//!
//! Workers push into bounded rings, the oldest falls out; the admin thread collects from them.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use jiff::Timestamp;
use serde::Serialize;

use super::fuses::FuseBlown;
use super::refusal::Refusal;
use crate::budget::admission::{OnTrip, Rule, View};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Operation};
use crate::ledger::event::RequestId;

/// Decisions a worker keeps until they are collected.
const RING: usize = 4_096;
/// Decisions kept for questions.
const KEPT: usize = 20_000;

/// What was decided, with everything it was decided by.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Which request.
    pub request: RequestId,
    /// When.
    pub at: Timestamp,
    /// Why it was refused, or would have been.
    pub refusal: Refusal,
    /// Only noted.
    pub shadow: bool,
    /// What it did wrong.
    pub detail: String,
    /// Who would have paid.
    pub team: Option<Arc<str>>,
    /// Why that team.
    pub payer: &'static str,
    /// How much it mattered.
    pub class: Option<Class>,
    /// What it would have been billed as.
    pub operation: Option<Operation>,
    /// What it was expected to cost, and might have at most.
    pub quote: Option<(MicroCredits, MicroCredits)>,
    /// The rate card that priced it.
    pub rate_card: Option<String>,
    /// The numbers compared.
    pub view: Option<View>,
    /// The fuse that said no.
    pub fuse: Option<FuseBlown>,
    /// When the period ends.
    pub period_ends: Option<Timestamp>,
    /// The config in force.
    pub config_hash: Arc<str>,
}

/// The record as told by the admin API.
#[derive(Debug, Serialize)]
pub struct Told {
    request_id: String,
    at: String,
    verdict: &'static str,
    refusal: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<Arc<str>>,
    payer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<MicroCredits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<MicroCredits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_card: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Compared>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period_ends: Option<String>,
    config_hash: Arc<str>,
}

/// The numbers compared, as told.
#[derive(Debug, Serialize)]
pub(super) struct Compared {
    /// The limit that said no.
    binding: Binding,
    own_committed: MicroCredits,
    allocation: MicroCredits,
    trip_at: MicroCredits,
    buffer_committed: MicroCredits,
    buffer: MicroCredits,
    burst_committed: MicroCredits,
    burst: MicroCredits,
    overage_committed: MicroCredits,
    overage_cap: MicroCredits,
    pool_committed: MicroCredits,
    pool_month: MicroCredits,
    pool_trip_at: MicroCredits,
    year_committed: MicroCredits,
    annual_credits: MicroCredits,
}

/// The limit that said no, and what was compared with it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Binding {
    /// In words.
    pub limit: &'static str,
    /// What was committed.
    pub committed: MicroCredits,
    /// What the request would have added.
    pub estimate: MicroCredits,
    /// The most that both may be together.
    pub at_most: MicroCredits,
}

impl Decision {
    /// For people.
    pub fn told(self) -> Told {
        Told {
            request_id: self.request.to_string(),
            at: self.at.to_string(),
            verdict: if self.shadow {
                "would_refuse"
            } else {
                "refuse"
            },
            refusal: self.refusal.name(),
            detail: self.detail,
            team: self.team,
            payer: self.payer,
            class: self.class.map(Class::name),
            operation: self.operation.map(Operation::name),
            estimate: self.quote.map(|(estimate, _)| estimate),
            bound: self.quote.map(|(_, bound)| bound),
            rate_card: self.rate_card,
            compared: self
                .view
                .map(|view| compared(self.refusal, &view, self.fuse.as_ref())),
            period_ends: self.period_ends.map(|end| end.to_string()),
            config_hash: self.config_hash,
        }
    }
}

impl Binding {
    /// Of a budget's refusal.
    pub fn of(refusal: Refusal, view: &View, fuse: Option<&FuseBlown>) -> Self {
        let trip = Self {
            limit: Rule::TeamTrip.limit(),
            committed: view.own.committed,
            estimate: view.estimate,
            at_most: view.own_trip_at,
        };
        let of_fuse = |fuse: &FuseBlown| Self {
            limit: fuse.limit(),
            committed: fuse.blown.committed,
            at_most: fuse.blown.at_most,
            ..trip
        };
        match refusal {
            Refusal::FuseBlown => fuse.map_or(trip, of_fuse),
            Refusal::Throttled if view.on_trip == OnTrip::Pace => Self {
                limit: Rule::PacingLine.limit(),
                at_most: view.paced_to,
                ..trip
            },
            Refusal::TeamExhausted => Self {
                limit: Rule::Allocation.limit(),
                at_most: view.own.limit,
                ..trip
            },
            Refusal::PoolBreakerOpen => Self {
                limit: Rule::PoolTrip.limit(),
                committed: view.pool.committed,
                at_most: view.pool_trip_at,
                ..trip
            },
            Refusal::PoolExhausted if view.is_year_used_up() => Self {
                limit: Rule::Year.limit(),
                committed: view.year.committed,
                at_most: view.year.limit,
                ..trip
            },
            Refusal::PoolExhausted => Self {
                limit: Rule::Month.limit(),
                committed: view.pool.committed,
                at_most: view.pool.limit,
                ..trip
            },
            _ => trip,
        }
    }
}

/// The numbers behind a refusal, and the limit that said no.
pub(super) fn compared(refusal: Refusal, view: &View, fuse: Option<&FuseBlown>) -> Compared {
    Compared {
        binding: Binding::of(refusal, view, fuse),
        own_committed: view.own.committed,
        allocation: view.own.limit,
        trip_at: view.own_trip_at,
        buffer_committed: view.buffer.committed,
        buffer: view.buffer.limit,
        burst_committed: view.burst.committed,
        burst: view.burst.limit,
        overage_committed: view.overage.committed,
        overage_cap: view.overage.limit,
        pool_committed: view.pool.committed,
        pool_month: view.pool.limit,
        pool_trip_at: view.pool_trip_at,
        year_committed: view.year.committed,
        annual_credits: view.year.limit,
    }
}

/// The rings of all workers.
#[derive(Debug)]
pub struct DecisionRings(Vec<ArrayQueue<Box<Decision>>>);

impl DecisionRings {
    /// One ring a worker.
    pub fn new(workers: usize) -> Self {
        Self(
            std::iter::repeat_with(|| ArrayQueue::new(RING))
                .take(workers)
                .collect(),
        )
    }

    /// Keeps a decision; where the ring is full the oldest is forgotten.
    pub fn push(&self, worker: usize, decision: Box<Decision>) {
        if let Some(ring) = self.0.get(worker) {
            ring.force_push(decision);
        }
    }
}

/// The decisions collected so far, the newest 20,000. Owned by the admin side.
#[derive(Debug, Default)]
pub struct Decisions {
    order: VecDeque<RequestId>,
    by_request: HashMap<RequestId, Box<Decision>>,
}

impl Decisions {
    /// Collects what the workers decided since the last time.
    pub fn collect(&mut self, rings: &DecisionRings) {
        for ring in &rings.0 {
            while let Some(decision) = ring.pop() {
                let request = decision.request;
                if self.by_request.insert(request, decision).is_some() {
                    continue; // noted before and refused after all: the last word counts
                }
                self.order.push_back(request);
                if self.order.len() > KEPT
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.by_request.remove(&oldest);
                }
            }
        }
    }

    /// The decision on one request.
    pub fn get(&self, request: RequestId) -> Option<Decision> {
        self.by_request
            .get(&request)
            .map(|decision| Decision::clone(decision))
    }

    /// The newest decisions first. Workers are collected from one after the other: the order is by time.
    pub fn newest(&self, count: usize) -> Vec<Decision> {
        let mut newest: Vec<_> = self.by_request.values().collect();
        newest.sort_unstable_by_key(|decision| Reverse((decision.at, decision.request.0)));
        let newest = newest.into_iter().take(count);
        newest.map(|decision| Decision::clone(decision)).collect()
    }
}
