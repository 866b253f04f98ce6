//! Whose is it: who pays for a request, and how much it matters (design.md, section 4).

mod keys;

use std::borrow::Cow;
use std::sync::Arc;

use compact_str::CompactString;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

pub use self::keys::{KEY_LEN, KeyCache};
use super::headers::Present;
use super::refusal::{Refusal, Refused};
use super::snapshot::{KeyEntry, NamedEntry, Snapshot};
use super::tags::tags;
use crate::budget::operation::Class;
use crate::salesforce::{NamedKind, names};

/// The key header.
pub const KEY: HeaderName = HeaderName::from_static("breakerbox-key");
/// The header by which a client lowers its class.
pub const CLASS: HeaderName = HeaderName::from_static("breakerbox-class");
/// The header by which a client adds tags.
pub const TAGS: HeaderName = HeaderName::from_static("breakerbox-tags");

/// Who pays, and what is known of the call for events.
#[derive(Clone, Debug)]
pub struct Payer {
    /// The position of the team in the snapshot.
    pub team: usize,
    /// How much the call matters.
    pub class: Class,
    /// The key that was given.
    pub key: Option<Arc<KeyEntry>>,
    /// What the request named.
    pub named: Option<(NamedKind, CompactString)>,
    /// The named agent's type.
    pub agent_type: Option<Arc<str>>,
    /// Tags beyond the team's own, as canonical JSON.
    pub tags: Option<Arc<str>>,
    /// The position of the named agent's fuse in the snapshot, whoever pays.
    pub fuse: Option<usize>,
    /// Why this team pays, for the decision record.
    pub because: Because,
    /// A refusal of its identity was only noted: it is charged, whatever the limits.
    pub is_shadow: bool,
}

/// Why a team pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Its key was given.
    Key,
    /// The request names something of its own.
    Named,
    /// It pays for what nobody else does.
    Unattributed,
    /// Nobody pays; noted in shadow mode, or free.
    Nobody,
}

impl Because {
    /// The word in decision records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Named => "named",
            Self::Unattributed => "pool.unattributed",
            Self::Nobody => "nobody",
        }
    }
}

/// What a request says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Claims<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Which of them matter.
    pub present: Present,
    /// The key in its path.
    pub path_key: Option<&'a str>,
    /// What it names.
    pub named: Option<(NamedKind, &'a str)>,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
}

impl<'a> Claims<'a> {
    fn header(&self, present: Present, name: &HeaderName) -> Option<&'a HeaderValue> {
        self.present.has(present).then(|| self.headers.get(name))?
    }
}

/// Finds the payer.
///
/// # Errors
/// `unknown_key`, `team_mismatch`, `unattributed`, or a class that is none.
pub fn identify(
    snapshot: &Snapshot,
    keys: &KeyCache,
    claims: &Claims<'_>,
) -> Result<Payer, Box<Refused>> {
    let key = given_key(snapshot, keys, claims)?;
    of_key(snapshot, key, claims)
}

/// Finds the payer of a request with this key, or with none.
///
/// # Errors
/// As [`identify`].
pub(super) fn of_key(
    snapshot: &Snapshot,
    key: Option<Arc<KeyEntry>>,
    claims: &Claims<'_>,
) -> Result<Payer, Box<Refused>> {
    let key = key.map(|key| valid(key, claims)).transpose()?;
    let names = Names::of(snapshot, claims);
    let (team, because) = match (&key, names.entry) {
        (Some(key), Some(entry))
            if entry.team != key.team && !key.may_use.contains(&entry.team) =>
        {
            return Err(mismatch(snapshot, key, entry));
        }
        (Some(key), _) => (key.team, Because::Key),
        (None, Some(entry)) => (entry.team, Because::Named),
        (None, None) => match snapshot.unattributed {
            Some(team) => (team, Because::Unattributed),
            None => return Err(unattributed()),
        },
    };
    paid_by(snapshot, claims, names, (team, because), key)
}

/// Whether a request whose payer is refused goes on, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpaid {
    /// It costs nothing.
    Free,
    /// In shadow mode, where it is only noted.
    Noted,
}

/// A free call needs nobody; where the team a refusal names, or else the process, is in shadow mode, it is only noted.
pub(super) fn unpaid(snapshot: &Snapshot, is_free: bool, refused: &Refused) -> Option<Unpaid> {
    if !refused.refusal.shadowed() {
        return None;
    }
    if is_free {
        return Some(Unpaid::Free);
    }
    let team = refused.team.and_then(|team| snapshot.team(team));
    let enforces = team.map_or(snapshot.enforce, |team| team.enforce);
    (!enforces).then_some(Unpaid::Noted)
}

/// Who pays where a refusal is only noted: the team it names, as if nothing were wrong.
///
/// # Errors
/// A class that is none.
pub(super) fn in_shadow(
    snapshot: &Snapshot,
    key: Option<Arc<KeyEntry>>,
    claims: &Claims<'_>,
    refused: &Refused,
) -> Result<Payer, Box<Refused>> {
    let payer = match refused.team {
        None => nobody(snapshot, claims),
        Some(team) => {
            let names = Names::of(snapshot, claims);
            paid_by(snapshot, claims, names, (team, Because::Key), key)?
        }
    };
    Ok(Payer {
        is_shadow: true,
        ..payer
    })
}

/// Nobody pays: a call that is free, or one whose refusal is only noted.
pub(super) fn nobody(snapshot: &Snapshot, claims: &Claims<'_>) -> Payer {
    let team = snapshot.unattributed_booking();
    Payer {
        team,
        class: Class::Standard,
        key: None,
        named: Names::of(snapshot, claims).counted(snapshot, team),
        agent_type: None,
        tags: None,
        fuse: None,
        because: Because::Nobody,
        is_shadow: false,
    }
}

fn paid_by(
    snapshot: &Snapshot,
    claims: &Claims<'_>,
    names: Names<'_, '_>,
    (team, because): (usize, Because),
    key: Option<Arc<KeyEntry>>,
) -> Result<Payer, Box<Refused>> {
    let entry = names.entry;
    Ok(Payer {
        team,
        class: classified(snapshot, team, key.as_deref(), entry, claims)?.class,
        tags: tags(snapshot, team, key.as_deref(), entry, claims),
        agent_type: entry.and_then(|entry| entry.agent_type.clone()),
        fuse: entry.and_then(|entry| entry.fuse),
        named: names.counted(snapshot, team),
        key,
        because,
        is_shadow: false,
    })
}

/// What a request names, decoded, and what is configured of it.
struct Names<'s, 'a> {
    named: Option<(NamedKind, Cow<'a, str>)>,
    entry: Option<&'s NamedEntry>,
}

impl<'s, 'a> Names<'s, 'a> {
    fn of(snapshot: &'s Snapshot, claims: &Claims<'a>) -> Self {
        let named = claims.named.map(|(kind, id)| (kind, decoded(id)));
        let entry = named.as_ref();
        let entry = entry.and_then(|(kind, id)| snapshot.named(*kind, id));
        Self { named, entry }
    }

    /// A thing is counted by the id it is configured by. What a client made up is counted only as far as it is short
    /// and plain, and so many of a team and period; the rest is `other`.
    fn counted(self, snapshot: &Snapshot, team: usize) -> Option<(NamedKind, CompactString)> {
        let (kind, id) = self.named?;
        if let Some(entry) = self.entry {
            return Some((kind, entry.id.clone()));
        }
        let seen = snapshot.team(team).map(|team| &team.seen.names);
        let is_kept = seen.is_some_and(|seen| seen.admits((kind, &*id), || names::is_kept(&id)));
        let id = if is_kept { &id } else { names::OTHER };
        Some((kind, CompactString::from(id)))
    }
}

fn unknown(detail: &'static str) -> Box<Refused> {
    Refused::new(Refusal::UnknownKey, detail)
}

/// An expired key is none, but it is known whose.
fn valid(key: Arc<KeyEntry>, claims: &Claims<'_>) -> Result<Arc<KeyEntry>, Box<Refused>> {
    let has_expired = |expires| claims.now_ms >= expires;
    if key.expires_ms.is_some_and(has_expired) {
        let mut refused = unknown("this key has expired");
        refused.team = Some(key.team);
        return Err(refused);
    }
    Ok(key)
}

pub(super) fn given_key(
    snapshot: &Snapshot,
    keys: &KeyCache,
    claims: &Claims<'_>,
) -> Result<Option<Arc<KeyEntry>>, Box<Refused>> {
    let header = if claims.present.has(Present::KEY) {
        let mut headers = claims.headers.get_all(&KEY).iter();
        let header = headers.next();
        if headers.next().is_some() {
            return Err(unknown("more than one Breakerbox-Key header"));
        }
        header.map(HeaderValue::as_bytes)
    } else {
        None
    };
    let given = match (header, claims.path_key.map(str::as_bytes)) {
        (None, None) => return Ok(None),
        (Some(header), Some(path)) if header != path => {
            return Err(unknown(
                "the key in the header and the key in the path differ",
            ));
        }
        (Some(key), _) | (None, Some(key)) => key,
    };
    let key = keys.find(snapshot, given);
    let key =
        key.ok_or_else(|| unknown("this key is not configured; see `breakerbox key --help`"))?;
    Ok(Some(key))
}

fn mismatch(snapshot: &Snapshot, key: &KeyEntry, entry: &NamedEntry) -> Box<Refused> {
    let name = |at| snapshot.team(at).map_or("", |team| &*team.name);
    let (pays, owns) = (name(key.team), name(entry.team));
    let detail = format!(
        "the key is {pays}'s, what the request names is {owns}'s; may_use in the key would allow it"
    );
    let mut refused = Refused::new(Refusal::TeamMismatch, detail);
    refused.team = Some(key.team);
    refused
}

fn unattributed() -> Box<Refused> {
    let detail = "nobody is known to pay: send a Breakerbox-Key, or add what the request names to allocations.toml";
    Refused::new(Refusal::Unattributed, detail)
}

/// A request's class, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Classified {
    /// What counts.
    pub(super) class: Class,
    /// Who stated a class first.
    pub(super) stated_by: StatedBy,
    /// What the key allows at most.
    pub(super) ceiling: Option<Class>,
    /// What the client asked for.
    pub(super) asked: Option<Class>,
}

/// Who stated a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatedBy {
    /// What the request names.
    Named,
    /// The key.
    Key,
    /// The team.
    Team,
    /// Nobody: it is standard.
    Nobody,
}

/// The named thing's class, else the key's, else the team's, else standard; a key's is also a ceiling, and the
/// client may lower it further.
pub(super) fn classified(
    snapshot: &Snapshot,
    team: usize,
    key: Option<&KeyEntry>,
    entry: Option<&NamedEntry>,
    claims: &Claims<'_>,
) -> Result<Classified, Box<Refused>> {
    let ceiling = key.and_then(|key| key.class);
    let of_team = snapshot.team(team).and_then(|team| team.class);
    let (stated, stated_by) = match (entry.and_then(|entry| entry.class), ceiling, of_team) {
        (Some(class), _, _) => (class, StatedBy::Named),
        (None, Some(class), _) => (class, StatedBy::Key),
        (None, None, Some(class)) => (class, StatedBy::Team),
        (None, None, None) => (Class::Standard, StatedBy::Nobody),
    };
    let class = ceiling.map_or(stated, |ceiling| stated.at_most(ceiling));
    let classified = |class, asked| Classified {
        class,
        stated_by,
        ceiling,
        asked,
    };
    let Some(asked) = claims.header(Present::CLASS, &CLASS) else {
        return Ok(classified(class, None));
    };
    let asked = asked
        .to_str()
        .ok()
        .and_then(|name| Class::parse(&name.trim().to_ascii_lowercase()));
    let asked = asked.ok_or_else(|| {
        Refused::new(
            Refusal::BadRequest,
            "Breakerbox-Class is critical, standard or background",
        )
    })?;
    Ok(classified(class.at_most(asked), Some(asked)))
}

/// A name in a path, decoded; not one byte is copied where nothing is encoded.
pub(super) fn decoded(id: &str) -> Cow<'_, str> {
    match memchr::memchr(b'%', id.as_bytes()) {
        None => Cow::Borrowed(id),
        Some(_) => percent_decode_str(id).decode_utf8_lossy(),
    }
}
