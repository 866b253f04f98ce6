//! How a request would be priced and judged, line by line, and nothing else: no reservation, no slot, no count.
//!
//! Takes the steps of [`super::exchange`] in their order, each with the function the request path takes it with.

mod told;

use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use jiff::Timestamp;

use self::told::{CallTold, PayerTold, PriceTold};
pub use self::told::{Explained, Settled};
use super::admit::{self, BY_NAME_MAX, LastNo};
use super::body;
use super::forward;
use super::headers::Present;
use super::identify::{self, Because, CLASS, Claims, KeyCache, Payer, Unpaid};
use super::incoming;
use super::once;
use super::pricing;
use super::refusal::Refused;
use super::sessions::{Sessions, Stands};
use super::snapshot::{KeyEntry, Snapshot, TeamEntry};
use super::ticket;
use super::turns::Turns;
use crate::budget::admission;
use crate::budget::settlement::{self, Reached, Seen};
use crate::budget::usage::Usage;
use crate::rates::quote::Terms;
use crate::rates::quote::lines::PriceLine;
use crate::salesforce::NamedKind;
use crate::salesforce::call::{Call, Needs, Paid, Price};
use crate::salesforce::composite;
use crate::salesforce::tap::{self, Learned, RequestFacts};

/// A request that is only asked about.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Its method.
    pub method: Method,
    /// Path and query; a key in the path is taken off, and told to nobody.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
    /// As if this key had been sent: its name in the configuration.
    pub key_name: Option<String>,
    /// As if a key of this team had been sent.
    pub team: Option<String>,
    /// As if its session had been opened with this agent.
    pub agent: Option<CompactString>,
    /// As if it had asked for this class.
    pub class: Option<String>,
    /// Its body.
    pub body: Bytes,
    /// What a complete 2xx answer says, to price the settlement too.
    pub answer: Option<Answered>,
}

/// What is said of an answer.
#[derive(Clone, Debug)]
pub enum Answered {
    /// Its body.
    Body(Bytes),
    /// What it used.
    Usage(Usage),
}

/// Why a question has no answer: what it names is not there.
pub type BadQuestion = String;

/// What a request is judged by.
#[derive(Clone, Copy, Debug)]
pub struct JudgedBy<'s> {
    /// Limits and counters.
    pub snapshot: &'s Snapshot,
    /// Conversations.
    pub sessions: &'s Sessions,
    /// Turns in flight.
    pub turns: &'s Turns,
}

/// What is known on the way.
struct Walk<'w> {
    snapshot: &'w Snapshot,
    state: JudgedBy<'w>,
    question: &'w Question,
    headers: HeaderMap,
    present: Present,
    path_key: Option<String>,
    /// Whose key it is, where that was asked for by name.
    key: Option<Arc<KeyEntry>>,
    bytes: u64,
    now: Timestamp,
    told: Explained,
}

/// How it ends: with what was only noted, or with a refusal.
type Ended = Result<Option<Box<Refused>>, Box<Refused>>;

/// Explains a request, as things stand.
///
/// # Errors
/// When the question names a key or a team that is not configured, or contradicts itself.
pub fn explain(
    state: JudgedBy<'_>,
    question: &Question,
    now: Timestamp,
) -> Result<Explained, BadQuestion> {
    let snapshot = state.snapshot;
    let key = key(snapshot, question)?;
    let request = Request::builder()
        .method(question.method.clone())
        .uri(question.uri.clone())
        .body(())
        .map_err(|_| "this is no path; write it as in /einstein/...".to_owned())?;
    let (mut parts, ()) = request.into_parts();
    let path_key = incoming::take_path_key(&mut parts);
    let mut headers = question.headers.clone();
    headers.remove(identify::TAGS); // they decide nothing here, and a new value would be counted
    if let Some(class) = &question.class {
        let class = HeaderValue::try_from(class);
        let class = class.map_err(|_| "this is no class: critical, standard or background")?;
        headers.insert(CLASS, class);
    }
    if key.is_some() && (path_key.is_some() || headers.contains_key(identify::KEY)) {
        return Err("a key was given besides key_name or team: one of them".to_owned());
    }
    let read = u64::try_from(question.body.len()).unwrap_or(u64::MAX);
    let mut walk = Walk {
        snapshot,
        state,
        question,
        present: Present::of(&headers),
        bytes: incoming::stated_bytes(&headers).unwrap_or(0).max(read),
        headers,
        path_key,
        key,
        now,
        told: Explained::new(snapshot, now),
    };
    let ended = walk.call(&parts.method, &parts.uri);
    walk.told.end(snapshot, ended, now);
    Ok(walk.told)
}

/// The key that was asked for by its name, or by its team's.
fn key(snapshot: &Snapshot, question: &Question) -> Result<Option<Arc<KeyEntry>>, BadQuestion> {
    match (question.key_name.as_deref(), question.team.as_deref()) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err("key_name or team: one of them".to_owned()),
        (Some(name), None) => {
            let key = snapshot.keys.values().find(|key| *key.name == *name);
            let key = key.ok_or_else(|| format!("no key is named {name:?}; see /api/v1/config"))?;
            Ok(Some(Arc::clone(key)))
        }
        (None, Some(name)) => {
            let team = snapshot.teams.iter().position(|team| *team.name == *name);
            let team =
                team.ok_or_else(|| format!("no team is named {name:?}; see /api/v1/teams"))?;
            Ok(Some(Arc::new(KeyEntry {
                name: Arc::from(""),
                team,
                class: None,
                may_use: Vec::new(),
                expires_ms: None,
                tags: None,
            })))
        }
    }
}

impl Walk<'_> {
    /// Which call it is.
    fn call(&mut self, method: &Method, uri: &Uri) -> Ended {
        let bound = self.snapshot.checked.gateway.limits.body_bytes;
        if self.bytes > bound {
            return Err(incoming::too_large(bound));
        }
        let call = incoming::recognise(method, uri, self.present)?;
        self.told.call = Some(CallTold::new(&call));
        pricing::configured(self.snapshot, call.upstream)?;
        match call.price {
            Price::Free => Ok(None),
            Price::Unpriced(service) => self.unpriced(&call, service),
            Price::Composite(kind) => match composite::is_harmless(kind, self.readable()) {
                true => Ok(None),
                false => Err(incoming::not_harmless()),
            },
            Price::Paid(paid) => self.paid(&call, &paid),
        }
    }

    fn unpriced(&mut self, call: &Call<'_>, service: &str) -> Ended {
        let Some(terms) = pricing::without_price(self.snapshot, call.upstream, service)? else {
            return Ok(None);
        };
        let said = Usage::of_units(1);
        self.price(&terms, terms.flat_lines());
        self.settle(call, &terms, said);
        self.judge(&terms, None, None, &Stands::default())
    }

    fn paid(&mut self, call: &Call<'_>, paid: &Paid<'_>) -> Ended {
        let facts = match paid.endpoint.needs() {
            Needs::Whole if self.is_plain() => tap::read_request(paid.endpoint, self.readable()),
            Needs::Whole | Needs::Size | Needs::Nothing => RequestFacts::default(),
        };
        let mut stands = paid.session.map(|id| self.state.sessions.look(id));
        if let (Some(stands), Some(agent)) = (&mut stands, &self.question.agent) {
            stands.agent = Some(agent.clone());
        }
        let stands = stands.unwrap_or_default();
        let named = pricing::named(paid, &facts, stands.agent.as_deref());
        let asked = pricing::asked(paid, &facts, self.most_bytes(), stands.conversation);
        let card = &self.snapshot.card;
        let terms = card.quote(paid.operation, &asked);
        self.price(&terms, card.lines(paid.operation, &asked, &terms));
        self.settle(call, &terms, pricing::said(&facts));
        self.judge(&terms, named, paid.session, &stands)
    }

    /// The most bytes of text its body can have.
    fn most_bytes(&self) -> u64 {
        let most = self.snapshot.checked.gateway.limits.body_bytes;
        match self.is_plain() {
            true => self.bytes,
            false => body::unfolded(&self.headers, self.bytes).map_or(most, |all| all.min(most)),
        }
    }

    /// The body, as far as it is read to price a call.
    fn readable(&self) -> &[u8] {
        let bound = self.snapshot.checked.gateway.limits.price_body_bytes;
        match usize::try_from(self.bytes) {
            Ok(bytes) if bytes <= bound => &self.question.body,
            _ => &[],
        }
    }

    fn is_plain(&self) -> bool {
        !self.present.has(Present::CONTENT_ENCODING) || body::is_plain(&self.headers)
    }

    fn price(&mut self, terms: &Terms, lines: Vec<PriceLine>) {
        self.told.price = Some(PriceTold::new(terms, lines));
    }

    /// What a complete answer would cost.
    fn settle(&mut self, call: &Call<'_>, terms: &Terms, said: Usage) {
        let limits = &self.snapshot.checked.gateway.limits;
        let learned = match &self.question.answer {
            None => return,
            Some(Answered::Usage(usage)) => Learned {
                usage: Some(*usage),
                turn_over: true,
                ..Learned::default()
            },
            Some(Answered::Body(answer)) => {
                let mut tap = forward::tap(&call.price, limits.price_body_bytes, true);
                tap.pass(answer);
                tap.learned(self.most_bytes())
            }
        };
        let (usage, metered) = ticket::metered(terms, &said, Reached::Complete, &learned);
        let seen = Seen {
            metered,
            turn_over: learned.turn_over,
            error_inside: learned.error_inside,
            on_late_5xx: limits.on_late_5xx,
        };
        let charge = settlement::charge(Reached::Complete, &terms.quote, &seen);
        self.told.settlement = Some(Settled::new(charge, usage));
    }

    /// Identity, then the session, then the budget.
    fn judge(
        &mut self,
        terms: &Terms,
        named: Option<(NamedKind, &str)>,
        session: Option<&str>,
        stands: &Stands,
    ) -> Ended {
        let (payer, mut noted) = self.payer(terms, named)?;
        if let Some(turn) = session.and_then(|session| self.state.turns.holder(session)) {
            let mut refused = once::in_flight(turn);
            (refused.team, refused.class) = (Some(payer.team), Some(payer.class));
            return Err(refused);
        }
        let Some(team) = self.snapshot.team(payer.team) else {
            return Ok(noted);
        };
        let by_name = team
            .presence
            .by_name_in_flight
            .load(std::sync::atomic::Ordering::Relaxed);
        if payer.because == Because::Named && by_name >= BY_NAME_MAX {
            return Err(admit::too_many_by_name(&payer));
        }
        if payer.is_shadow {
            return Ok(noted); // charged, whatever the limits
        }
        if let Some(refused) = self.admission(team, &payer, terms, stands.opened_below_trip) {
            if team.enforce {
                return Err(refused);
            }
            noted = Some(refused);
        }
        Ok(noted)
    }

    /// Whose is it; with the refusal that is only noted, where nobody is known.
    fn payer(
        &mut self,
        terms: &Terms,
        named: Option<(NamedKind, &str)>,
    ) -> Result<(Payer, Option<Box<Refused>>), Box<Refused>> {
        let claims = Claims {
            headers: &self.headers,
            present: self.present,
            path_key: self.path_key.as_deref(),
            named,
            now_ms: self.now.as_millisecond(),
        };
        let key = match self.key.clone() {
            Some(key) => Ok(Some(key)),
            None => identify::given_key(self.snapshot, &KeyCache::default(), &claims),
        };
        let given = key.as_ref().ok().cloned().flatten();
        let payer = key.and_then(|key| identify::of_key(self.snapshot, key, &claims));
        let (payer, noted) = match payer {
            Ok(payer) => (payer, None),
            Err(refused) => match identify::unpaid(self.snapshot, terms.is_free(), &refused) {
                None => return Err(refused),
                Some(Unpaid::Free) => (identify::nobody(self.snapshot, &claims), None),
                Some(Unpaid::Noted) => {
                    let payer = identify::in_shadow(self.snapshot, given, &claims, &refused)?;
                    (payer, Some(refused))
                }
            },
        };
        self.told.payer = Some(PayerTold::new(self.snapshot, &payer, &claims));
        Ok((payer, noted))
    }

    /// The rules in their order; the refusal of the first that fails.
    fn admission(
        &mut self,
        team: &TeamEntry,
        payer: &Payer,
        terms: &Terms,
        may_continue: bool,
    ) -> Option<Box<Refused>> {
        let ask = admit::asks(team, payer, &terms.quote, may_continue, self.now);
        let no = LastNo::default();
        let books = &self.snapshot.live.books;
        let view = books.view(&team.books, &team.limits, &self.snapshot.pool, &ask);
        let denied = |refusal| Some(no.explained(team, payer, refusal, view, self.now));
        if let Some(fuses) = admit::fuses(self.snapshot, payer, &terms.quote, self.now) {
            let looked = fuses.look(ask.estimate);
            self.told.fuses(&fuses, looked.is_ok());
            if let Err(blown) = looked {
                return denied(no.fuse(blown));
            }
        }
        let mut compared = Vec::new();
        let decided = admission::decide_noting(&view, |one| compared.push(one));
        self.told.rules(&view, &compared);
        let plan = match decided {
            Ok(plan) => plan,
            Err(refusal) => return denied(refusal),
        };
        self.told.source = Some(plan.source.name());
        if !plan.needs_slot {
            return None;
        }
        let free = team.throttle.look();
        self.told.slot(team.throttle.rate_per_minute(), free);
        match free {
            Ok(()) => None,
            Err(wait) => denied(no.slot(wait)),
        }
    }
}
