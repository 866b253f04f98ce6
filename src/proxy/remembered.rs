//! What clients made up before the last restart: its bound is a period's, not a process's.

use std::sync::Arc;

use super::desk::Shared;
use super::snapshot::{Snapshot, TeamEntry};
use super::tags::OTHER;
use crate::config::checked::Tags;
use crate::ledger::query::BookedUnder;
use crate::salesforce::{NamedKind, names};

/// Takes up the names and tag values that use of the running period was booked under. What clients say while the
/// ledger is read counts as well.
pub async fn remember(shared: Arc<Shared>) {
    let snapshot = shared.snapshot.load_full();
    let since = snapshot.live.books.period.start;
    let booked = match shared.ledger.booked_since(since).await {
        Ok(booked) => booked,
        Err(error) => {
            tracing::warn!(%error, "what clients made up before the restart is not known: up to 256 more of each are kept");
            return;
        }
    };
    for under in booked {
        let team = snapshot.teams.iter().find(|known| known.id == under.team);
        if let Some(team) = team {
            admit_name(&snapshot, team, &under);
            admit_tags(&snapshot, team, &under);
        }
    }
}

fn admit_name(snapshot: &Snapshot, team: &TeamEntry, under: &BookedUnder) {
    let mut kinds = NamedKind::ALL.into_iter();
    let kind = kinds.find(|kind| kind.name() == under.named_kind);
    let made_up = |kind: &NamedKind| {
        under.named != names::OTHER && snapshot.named(*kind, &under.named).is_none()
    };
    if let Some(kind) = kind.filter(made_up) {
        let _is_known = team.seen.names.admits((kind, &*under.named), || true);
    }
}

fn admit_tags(snapshot: &Snapshot, team: &TeamEntry, under: &BookedUnder) {
    let may_say = &snapshot.checked.allocations.pool.client_tags;
    let tags = serde_json::from_str::<Tags>(&under.tags).unwrap_or_default();
    for (key, value) in tags.iter().filter(|(key, _)| may_say.contains(key)) {
        if value != OTHER {
            let _is_known = team.seen.tags.admits((&**key, &**value), || true);
        }
    }
}
