//! What requests look things up in: keys, what belongs to a team, upstreams.

use std::collections::HashMap;
use std::sync::Arc;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use http::HeaderValue;
use jiff::Timestamp;

use crate::config::checked::{Checked, Named, Tags, Upstream};
use crate::proxy::snapshot::{KeyEntry, NamedEntry, Snapshot, UpstreamEntry};
use crate::salesforce::NamedKind;
use crate::salesforce::call::UpstreamName;

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
    all: &[Named],
) -> [HashMap<CompactString, NamedEntry, FixedState>; NamedKind::ALL.len()] {
    NamedKind::ALL.map(|kind| {
        let of_kind = all.iter().filter(|named| named.kind == kind).map(|named| {
            let entry = NamedEntry {
                team: named.team.0,
                class: named.class,
                agent_type: named.agent_type.as_deref().map(Arc::from),
                tags: json(&named.tags),
            };
            (CompactString::from(named.id.as_str()), entry)
        });
        of_kind.collect()
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
