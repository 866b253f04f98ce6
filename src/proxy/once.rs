//! Nothing is made twice at a time: a request holds its idempotency key and its session's turn until it ends.
//!
//! What a request holds is let go by dropping it, whatever ends the request: a refusal, a client that left, an
//! upstream that broke off. What Salesforce may have run stays known (README, duplicates).

use http::request::Parts;

use super::body::Read;
use super::exchange::Exchange;
use super::headers::Present;
use super::idempotency::{self, Claim, Payload, Taken};
use super::identify::Payer;
use super::incoming::Outgoing;
use super::refusal::{Refusal, Refused};
use super::turns::{Ended, InFlight, TurnSlot};
use crate::clock;
use crate::config::checked::DuplicateTurns;
use crate::ledger::event::{IdempotencyRow, RequestId};

/// What one request holds, so that nobody makes it beside it or again.
#[derive(Default)]
pub struct Once {
    claim: Option<Claim>,
    slot: Option<TurnSlot>,
    /// Hash of a turn's body, where duplicates are refused.
    turn_body: Option<u128>,
    /// An event-stream client says that it had this turn before.
    pub reposted: bool,
}

impl Once {
    /// The turn is over, its answer not yet: from here on the session's next turn may come.
    pub(super) fn turn_over(&mut self, request: RequestId) {
        self.let_go(request, true);
    }

    /// Whether the session is still taken.
    pub(super) const fn holds_turn(&self) -> bool {
        self.slot.is_some()
    }

    /// The request ended. `made`: Salesforce may have run it. What is left to write down.
    pub(super) fn ended(&mut self, request: RequestId, made: bool) -> Option<Box<IdempotencyRow>> {
        self.let_go(request, made);
        let claim = self.claim.take().filter(|_| made)?;
        claim.used_up(clock::now()).map(Box::new)
    }

    fn let_go(&mut self, request: RequestId, made: bool) {
        let Some(slot) = self.slot.take() else { return };
        if let Some(body) = self.turn_body.filter(|_| made) {
            let at = clock::now();
            slot.ended(body, Ended { request, at }); // before the session is let go: no gap between them
        }
    }
}

impl Exchange {
    /// Holds what a request needs so that it is made once. Nothing where it has no idempotency key and is no turn:
    /// such a request pays for a branch, and carries a pointer.
    pub(super) async fn once(
        &self,
        parts: &Parts,
        payer: &Payer,
        session: Option<&str>,
        outgoing: &mut Outgoing,
    ) -> Result<Option<Box<Once>>, Box<Refused>> {
        let has_key = self.present.has(Present::IDEMPOTENCY_KEY);
        if session.is_none() && !has_key {
            return Ok(None);
        }
        let refuses = session.is_some()
            && self.held.checked.gateway.mode.duplicate_turns == DuplicateTurns::Refuse;
        let body = if has_key || refuses {
            // Boxed: rare, and every request would carry it.
            Box::pin(self.body_hash(outgoing)).await?
        } else {
            None
        };
        let held = self.hold(parts, payer, session, body, refuses);
        held.map(|once| Some(Box::new(once)))
            .map_err(|mut refused| {
                (refused.team, refused.class) = (Some(payer.team), Some(payer.class));
                refused
            })
    }

    /// The key first: a request made again in flight is a duplicate, not a second turn.
    fn hold(
        &self,
        parts: &Parts,
        payer: &Payer,
        session: Option<&str>,
        body: Option<u128>,
        refuses: bool,
    ) -> Result<Once, Box<Refused>> {
        let mut once = Once {
            turn_body: body.filter(|_| refuses),
            reposted: session.is_some() && self.present.has(Present::LAST_EVENT_ID),
            ..Once::default()
        };
        if self.present.has(Present::IDEMPOTENCY_KEY) {
            once.claim = self.claim(parts, payer, body)?;
        }
        let Some(session) = session else {
            return Ok(once);
        };
        let turn = InFlight {
            request: self.request,
            since: self.now,
        };
        let slot = TurnSlot::take(&self.desk, session, turn).map_err(in_flight)?;
        // Taken first: a turn that ends meanwhile is seen as either.
        let before = once
            .turn_body
            .and_then(|body| slot.just_ended(body, self.now));
        if let Some(before) = before {
            return Err(just_made(before));
        }
        once.slot = Some(slot);
        Ok(once)
    }

    fn claim(
        &self,
        parts: &Parts,
        payer: &Payer,
        body: Option<u128>,
    ) -> Result<Option<Claim>, Box<Refused>> {
        let key = idempotency::key(&parts.headers);
        let key = key.map_err(|fault| Refused::new(Refusal::BadRequest, fault))?;
        let Some((key, team)) = key.zip(self.held.team(payer.team)) else {
            return Ok(None);
        };
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let call = [parts.method.as_str().as_bytes(), b" ", path.as_bytes()];
        let payload = Payload {
            call: idempotency::hash(call),
            body,
        };
        Claim::take(&self.desk, (team.id, &key), payload, self.request, self.now)
            .map(Some)
            .map_err(taken)
    }

    /// The body's hash, where it is small enough to be read ahead.
    async fn body_hash(&self, outgoing: &mut Outgoing) -> Result<Option<u128>, Box<Refused>> {
        if outgoing.ahead.is_none() {
            self.read_ahead(outgoing).await?;
        }
        let whole = outgoing
            .ahead
            .as_ref()
            .filter(|ahead| ahead.read == Read::Whole);
        Ok(whole.map(|ahead| idempotency::hash(ahead.pieces.iter().map(|piece| &piece[..]))))
    }
}

pub(super) fn in_flight(turn: InFlight) -> Box<Refused> {
    let InFlight { request, since } = turn;
    let detail = format!(
        "request {request} is a turn of this session and in flight since {since}; Salesforce runs one at a time"
    );
    Refused::new(Refusal::TurnInFlight, detail)
}

fn just_made(before: Ended) -> Box<Refused> {
    let Ended { request, at } = before;
    let detail = format!(
        "request {request}, which ended at {at}, sent this session the same message; see [mode] duplicate_turns"
    );
    Refused::new(Refusal::DuplicateRequest, detail)
}

fn taken(taken: Taken) -> Box<Refused> {
    let Taken { request, since, .. } = taken;
    let state = if taken.in_flight {
        "is in flight since"
    } else {
        "was made and ended at"
    };
    let (refusal, next) = if taken.differs {
        (
            Refusal::IdempotencyMismatch,
            "and was another call; use a new key for this one",
        )
    } else {
        (
            Refusal::DuplicateRequest,
            "and is not made twice; its answer is not kept",
        )
    };
    let detail = format!("request {request} of this Idempotency-Key {state} {since} {next}");
    Refused::new(refusal, detail)
}
