//! What a call is tagged with: as configured, and what a client may add to it (design.md, section 4).

use std::sync::Arc;

use http::HeaderMap;

use super::headers::Present;
use super::identify::{Claims, TAGS};
use super::snapshot::{KeyEntry, NamedEntry, Snapshot};
use crate::config::checked::Tags;

/// The most bytes of one client tag value.
const TAG_VALUE_MAX: usize = 64;
/// What values beyond the bound are booked under.
pub(super) const OTHER: &str = "other";

/// Tags beyond the team's own, as canonical JSON.
pub(super) fn tags(
    snapshot: &Snapshot,
    team: usize,
    key: Option<&KeyEntry>,
    entry: Option<&NamedEntry>,
    claims: &Claims<'_>,
) -> Option<Arc<str>> {
    let key = key.and_then(|key| key.tags.as_ref());
    let entry = entry.and_then(|entry| entry.tags.as_ref());
    match (key, entry, claims.present.has(Present::TAGS)) {
        (None, None, false) => None,
        (Some(tags), None, false) | (None, Some(tags), false) => Some(Arc::clone(tags)),
        (key, entry, is_tagged) => {
            let mut all = Tags::new();
            for tags in [key, entry].into_iter().flatten() {
                all.extend(serde_json::from_str::<Tags>(tags).ok()?);
            }
            if is_tagged {
                client_tags(snapshot, team, claims.headers, &mut all);
            }
            (!all.is_empty())
                .then(|| serde_json::to_string(&all).ok().map(Arc::from))
                .flatten()
        }
    }
}

/// `project=atlas, phase=2`, in one header or several: only keys listed in `client_tags`, values bounded in length
/// and number. Configured tags are authoritative: what team, key or named thing say is not said again.
fn client_tags(snapshot: &Snapshot, team: usize, headers: &HeaderMap, all: &mut Tags) {
    let allocations = &snapshot.checked.allocations;
    let of_team = allocations.teams.get(team).map(|team| &team.tags);
    let may_say = |key: &str, said: &Tags| {
        allocations
            .pool
            .client_tags
            .iter()
            .any(|known| known == key)
            && !of_team.is_some_and(|tags| tags.contains_key(key))
            && !said.contains_key(key)
    };
    let configured = all.clone();
    let headers = headers.get_all(&TAGS).iter();
    let pairs = headers
        .filter_map(|header| header.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|pair| pair.trim().split_once('='));
    for (key, value) in pairs {
        if !may_say(key, &configured) || value.len() > TAG_VALUE_MAX {
            continue;
        }
        let is_known = snapshot
            .team(team)
            .is_some_and(|team| team.seen.tags.admits((key, value), || true));
        let value = if is_known { value } else { OTHER };
        all.insert(key.to_owned(), value.to_owned());
    }
}
