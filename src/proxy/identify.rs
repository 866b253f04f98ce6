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
use crate::budget::operation::Class;
use crate::salesforce::NamedKind;

/// The key header.
pub const KEY: HeaderName = HeaderName::from_static("breakerbox-key");
/// The header by which a client lowers its class.
pub const CLASS: HeaderName = HeaderName::from_static("breakerbox-class");
/// The header by which a client adds tags.
pub const TAGS: HeaderName = HeaderName::from_static("breakerbox-tags");

/// The most bytes of one client tag value.
const TAG_VALUE_MAX: usize = 64;

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
    /// Why this team pays, for the decision record.
    pub because: Because,
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
    of_key(snapshot, given_key(snapshot, keys, claims)?, claims)
}

/// Finds the payer of a request with this key, or with none.
///
/// # Errors
/// As [`identify`].
pub fn of_key(
    snapshot: &Snapshot,
    key: Option<Arc<KeyEntry>>,
    claims: &Claims<'_>,
) -> Result<Payer, Box<Refused>> {
    let named = claims.named.map(|(kind, id)| (kind, decoded(id)));
    let entry = named
        .as_ref()
        .and_then(|(kind, id)| snapshot.named(*kind, id));
    let (team, because) = match (&key, entry) {
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
    Ok(Payer {
        team,
        class: classified(snapshot, team, key.as_deref(), entry, claims)?.class,
        tags: tags(snapshot, team, key.as_deref(), entry, claims),
        agent_type: entry.and_then(|entry| entry.agent_type.clone()),
        named: named.map(|(kind, id)| (kind, CompactString::from(id.as_ref()))),
        key,
        because,
    })
}

pub(super) fn given_key(
    snapshot: &Snapshot,
    keys: &KeyCache,
    claims: &Claims<'_>,
) -> Result<Option<Arc<KeyEntry>>, Box<Refused>> {
    let refused = |detail: &'static str| Refused::new(Refusal::UnknownKey, detail);
    let header = if claims.present.has(Present::KEY) {
        let mut headers = claims.headers.get_all(&KEY).iter();
        let header = headers.next();
        if headers.next().is_some() {
            return Err(refused("more than one Breakerbox-Key header"));
        }
        header.map(HeaderValue::as_bytes)
    } else {
        None
    };
    let given = match (header, claims.path_key.map(str::as_bytes)) {
        (None, None) => return Ok(None),
        (Some(header), Some(path)) if header != path => {
            return Err(refused(
                "the key in the header and the key in the path differ",
            ));
        }
        (Some(key), _) | (None, Some(key)) => key,
    };
    let key = keys.find(snapshot, given);
    let key =
        key.ok_or_else(|| refused("this key is not configured; see `breakerbox key --help`"))?;
    in_time(key, claims.now_ms).map(Some)
}

/// A key that has not expired.
pub(super) fn in_time(key: Arc<KeyEntry>, now_ms: i64) -> Result<Arc<KeyEntry>, Box<Refused>> {
    match key.expires_ms {
        Some(expires) if now_ms >= expires => {
            Err(Refused::new(Refusal::UnknownKey, "this key has expired"))
        }
        _ => Ok(key),
    }
}

/// Whether a request without a payer goes on, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpaid {
    /// In shadow mode, where it is only noted.
    Noted,
    /// It costs nothing.
    Free,
}

/// A call without a price needs nobody; in shadow mode an unknown payer is only noted.
pub(super) fn unpaid(snapshot: &Snapshot, is_free: bool, refused: &Refused) -> Option<Unpaid> {
    match refused.refusal.shadowed() {
        true if !snapshot.enforce => Some(Unpaid::Noted),
        true if is_free => Some(Unpaid::Free),
        true | false => None,
    }
}

/// Who pays where nobody does.
pub(super) fn nobody(snapshot: &Snapshot, claims: &Claims<'_>) -> Payer {
    let named = claims.named;
    Payer {
        team: snapshot.unattributed_booking(),
        class: Class::Standard,
        key: None,
        named: named.map(|(kind, id)| (kind, CompactString::from(id))),
        agent_type: None,
        tags: None,
        because: Because::Nobody,
    }
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

fn tags(
    snapshot: &Snapshot,
    team: usize,
    key: Option<&KeyEntry>,
    entry: Option<&NamedEntry>,
    claims: &Claims<'_>,
) -> Option<Arc<str>> {
    let key = key.and_then(|key| key.tags.as_ref());
    let entry = entry.and_then(|entry| entry.tags.as_ref());
    match (key, entry, claims.header(Present::TAGS, &TAGS)) {
        (None, None, None) => None,
        (Some(tags), None, None) | (None, Some(tags), None) => Some(Arc::clone(tags)),
        (key, entry, header) => {
            let mut all = client_tags(snapshot, team, header);
            // Configured tags are authoritative: they come last.
            for tags in [key, entry].into_iter().flatten() {
                all.extend(
                    serde_json::from_str::<std::collections::BTreeMap<String, String>>(tags)
                        .ok()?,
                );
            }
            (!all.is_empty())
                .then(|| serde_json::to_string(&all).ok().map(Arc::from))
                .flatten()
        }
    }
}

/// `project=atlas, phase=2`: only keys listed in `client_tags`, values bounded in length and number.
fn client_tags(
    snapshot: &Snapshot,
    team: usize,
    header: Option<&HeaderValue>,
) -> std::collections::BTreeMap<String, String> {
    let text = header
        .and_then(|header| header.to_str().ok())
        .unwrap_or_default();
    let allowed = &snapshot.checked.allocations.pool.client_tags;
    let pairs = text
        .split(',')
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .filter(|(key, value)| {
            allowed.iter().any(|known| known == key) && value.len() <= TAG_VALUE_MAX
        })
        .map(|(key, value)| {
            let known = snapshot
                .team(team)
                .is_some_and(|team| team.tag_values.admits(tag_hash(key, value)));
            (
                key.to_owned(),
                if known {
                    value.to_owned()
                } else {
                    "other".to_owned()
                },
            )
        })
        .collect()
}

fn tag_hash(key: &str, value: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

/// A name in a path, decoded; not one byte is copied where nothing is encoded.
pub(super) fn decoded(id: &str) -> Cow<'_, str> {
    match memchr::memchr(b'%', id.as_bytes()) {
        None => Cow::Borrowed(id),
        Some(_) => percent_decode_str(id).decode_utf8_lossy(),
    }
}
