//! `GET /api/v1/teams`, `/api/v1/teams/{team}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;

use super::money::PercentOf;
use super::{overrides, problem};
use crate::budget::credits::MicroCredits;
use crate::budget::fuse;
use crate::budget::operation::Class;
use crate::clock;
use crate::config::checked::{Tags, Team};
use crate::gateway::control::Control;
use crate::proxy::snapshot::{Snapshot, TeamEntry, UNATTRIBUTED};

/// One team in the running period. Credits are exact decimals.
#[derive(Debug, Serialize)]
struct TeamStatus {
    team: Arc<str>,
    period: String,
    /// What it may spend of its own.
    allocation: MicroCredits,
    /// The part of it that it left over of the period before.
    carried: MicroCredits,
    /// The part of it that overrides gave.
    by_override: MicroCredits,
    /// Own credits settled, imported ones included.
    used: MicroCredits,
    /// Own credits in flight.
    reserved: MicroCredits,
    /// Settled of the contract: own, buffer and burst.
    total_used: MicroCredits,
    /// `100 * (used + reserved) / allocation`, two decimals, rounded down.
    percent: PercentOf,
    breaker: &'static str,
    /// `open` or `closed` where a person holds it.
    held: Option<&'static str>,
    buffer_used: MicroCredits,
    burst_used: MicroCredits,
    overage_used: MicroCredits,
    owner: Option<String>,
    class: &'static str,
    trip: String,
    /// The most background traffic may commit.
    trip_at: MicroCredits,
    enforce: bool,
    /// What the ledger has written down as spendable of own.
    granted: MicroCredits,
    period_start: String,
    period_end: String,
    tags: Tags,
    /// Those in force.
    overrides: Vec<overrides::Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fuse: Option<FuseStatus>,
}

/// Where a team's own fuse stands in the running hour.
#[derive(Debug, Serialize)]
struct FuseStatus {
    max_per_request: Option<MicroCredits>,
    max_per_hour: Option<MicroCredits>,
    /// Settled and in flight.
    hour_committed: MicroCredits,
    /// Every call is refused until the hour's end.
    blown: bool,
    hour_ends: String,
}

pub(super) async fn list(State(control): State<Arc<Control>>) -> Response {
    let (snapshot, names) = (
        control.shared.snapshot.load_full(),
        control.shared.ledger.teams(),
    );
    let teams: Vec<_> = snapshot
        .teams
        .iter()
        .filter(|team| is_shown(team))
        .map(|team| status(&snapshot, team, &names))
        .collect();
    Json(teams).into_response()
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Response {
    let snapshot = control.shared.snapshot.load_full();
    match snapshot.teams.iter().find(|team| *team.name == *name) {
        Some(team) => {
            let names = control.shared.ledger.teams();
            Json(status(&snapshot, team, &names)).into_response()
        }
        None => problem(
            StatusCode::NOT_FOUND,
            "no team of this name is configured; see /api/v1/teams",
        ),
    }
}

/// The booking of what nobody pays for appears once something is booked on it.
fn is_shown(team: &TeamEntry) -> bool {
    &*team.name != UNATTRIBUTED || !team.books.own.committed().is_zero()
}

fn status(snapshot: &Snapshot, team: &TeamEntry, names: &[String]) -> TeamStatus {
    let (own, period) = (team.books.own.figures(), &snapshot.live.books.period);
    let settled = |account: &crate::budget::account::Account| account.figures().settled;
    let (buffer, burst) = (settled(&team.books.buffer), settled(&team.books.burst));
    let total = [own.settled, buffer, burst].into_iter().sum::<Option<_>>();
    let configured = configured(snapshot, team);
    TeamStatus {
        team: Arc::clone(&team.name),
        period: period.name.to_string(),
        allocation: team.limits.allocation,
        carried: snapshot.live.carried_by(team.id),
        by_override: team.by_override,
        used: own.settled,
        reserved: own.reserved(),
        total_used: total.unwrap_or(MicroCredits::MAX),
        percent: PercentOf::new(own.committed, team.limits.allocation),
        breaker: team.books.shown.get().name(),
        held: team.held.map(|held| held.hold.name()),
        buffer_used: buffer,
        burst_used: burst,
        overage_used: settled(&team.books.overage),
        owner: configured.map(|team| team.owner.clone()),
        class: team.class.unwrap_or(Class::Standard).name(),
        trip: team.limits.trip.to_string(),
        trip_at: team.limits.trip_at,
        enforce: team.enforce,
        granted: own.granted,
        period_start: period.start.to_string(),
        period_end: period.end.to_string(),
        tags: configured.map(|team| team.tags.clone()).unwrap_or_default(),
        fuse: fuse(snapshot, team),
        overrides: overrides::in_force(snapshot, team.id, names),
    }
}

fn fuse(snapshot: &Snapshot, team: &TeamEntry) -> Option<FuseStatus> {
    let (limits, hour) = snapshot.fuses.of_team(team.id, clock::now())?;
    let set = |limit: MicroCredits| (limit < MicroCredits::MAX).then_some(limit);
    let ends = Timestamp::from_second(fuse::end_of_hour(hour.number()));
    Some(FuseStatus {
        max_per_request: set(limits.per_request),
        max_per_hour: set(limits.per_hour),
        hour_committed: hour.committed(),
        blown: hour.found(limits).any(|found| found.cause.is_blown()),
        hour_ends: ends.map_or_else(|_| String::new(), |ends| ends.to_string()),
    })
}

fn configured<'s>(snapshot: &'s Snapshot, team: &TeamEntry) -> Option<&'s Team> {
    snapshot
        .checked
        .allocations
        .teams
        .iter()
        .find(|configured| *configured.name == *team.name)
}
