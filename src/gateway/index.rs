//! What requests look things up in: keys, what belongs to a team, upstreams.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use http::HeaderValue;
use jiff::Timestamp;

use super::fuses;
use crate::config::checked::{Allocations, Checked, Tags, Upstream};
use crate::proxy::snapshot::{KeyEntry, NamedEntry, Snapshot, UpstreamEntry};
use crate::salesforce::call::UpstreamName;
use crate::salesforce::{NamedKind, names};

pub(super) fn keys(checked: &Checked) -> HashMap<[u8; 32], Arc<KeyEntry>> {
    let keys = checked.allocations.keys.iter().map(|key| {
        let entry = KeyEntry {
            name: Arc::from(key.name.as_str()),
            team: key.team.0,
            class: key.class,
            may_use: key.may_use.iter().map(|team| team.0).collect(),
            expires_ms: key.expires.map(Timestamp::as_millisecond),
            tags: json(&key.tags),
        };
        (key.sha256, Arc::new(entry))
    });
    keys.collect()
}

pub(super) fn named(
    all: &Allocations,
) -> [HashMap<CompactString, NamedEntry, FixedState>; NamedKind::ALL.len()] {
    let fuses: HashMap<_, _> = (0..)
        .zip(fuses::agents_with_one(all))
        .map(|(at, (agent, _))| (agent.id.as_str(), at))
        .collect();
    NamedKind::ALL.map(|kind| {
        let is_agent = kind == NamedKind::Agent;
        let mut of_kind = HashMap::default();
        for named in all.named.iter().filter(|named| named.kind == kind) {
            let id = CompactString::from(named.id.as_str());
            let entry = NamedEntry {
                id: id.clone(),
                team: named.team.0,
                class: named.class,
                agent_type: named.agent_type.as_deref().map(Arc::from),
                tags: json(&named.tags),
                fuse: fuses.get(named.id.as_str()).copied().filter(|_| is_agent),
            };
            let mut buffer = [0; names::NAME_MAX];
            if let Some(spelling) = names::one_spelling(kind, &named.id, &mut buffer) {
                of_kind.insert(CompactString::from(spelling), entry.clone());
            }
            of_kind.insert(id, entry);
        }
        of_kind
    })
}

/// Canonical: keys in order.
pub(super) fn json(tags: &Tags) -> Option<Arc<str>> {
    if tags.is_empty() {
        None
    } else {
        serde_json::to_string(tags).ok().map(Arc::from)
    }
}

/// An unchanged upstream keeps its entry, and with it its idle connections.
pub(super) fn upstreams(
    checked: &Checked,
    previous: Option<&Snapshot>,
) -> [Option<Arc<UpstreamEntry>>; UpstreamName::ALL.len()] {
    let configured = &checked.gateway.upstreams;
    UpstreamName::ALL.map(|name| {
        let at: &Upstream = match name {
            UpstreamName::Api => Some(&configured.api),
            UpstreamName::Org => Some(&configured.org),
            UpstreamName::Data => configured.data.as_ref(),
            UpstreamName::OpenConnector => configured.openconnector.as_ref(),
        }?;
        let before = previous.and_then(|previous| previous.upstream(name));
        if let Some(same) = before.filter(|before| before.at == *at) {
            return Some(Arc::clone(same));
        }
        let host =
            HeaderValue::try_from(at.authority.as_str()).unwrap_or(HeaderValue::from_static(""));
        Some(Arc::new(UpstreamEntry {
            at: at.clone(),
            host,
        }))
    })
}
