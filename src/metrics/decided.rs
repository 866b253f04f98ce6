//! What people decided beside the configuration.

use super::family::{Families, Family, count, in_credits};
use crate::ledger::overrides::{Funded, Hold};
use crate::proxy::snapshot::Snapshot;

/// Overrides in force, by team and as a whole.
pub(super) fn overrides(families: &mut Families, snapshot: &Snapshot) {
    let help = "The part of the allocation that overrides gave.";
    let mut by_override = Family::gauge("team_override_credits", help, &["team"]);
    let help = "1 where a person holds the team's breaker in this state.";
    let mut held = Family::gauge("team_breaker_held", help, &["team", "state"]);
    for team in &snapshot.teams {
        by_override.add(&[&team.name], in_credits(team.by_override));
        for hold in [Hold::Open, Hold::Closed] {
            let is_held = team.held.is_some_and(|held| held.hold == hold);
            held.add(&[&team.name, hold.name()], flag(is_held));
        }
    }
    families.keep(by_override);
    families.keep(held);
    let mut given = |name, help, out_of| {
        families.gauge(name, help, in_credits(snapshot.given(out_of)));
    };
    let help = "What overrides added to the month, out of the contract year.";
    given("pool_override_credits", help, Funded::Annual);
    let help = "What overrides gave teams out of the central buffer.";
    given("buffer_override_credits", help, Funded::Buffer);
    let help = "1 while refusals are enforced; 0 while they are only noted.";
    families.gauge("enforcing", help, flag(snapshot.enforce));
    let shadow = snapshot.shadow();
    let until = shadow.map_or(0, |shadow| shadow.until.as_second());
    let help = "When an override that only notes refusals ends; 0 without one.";
    let until = count(u64::try_from(until).unwrap_or(0));
    families.gauge("shadow_until_timestamp_seconds", help, until);
}

const fn flag(is_set: bool) -> f64 {
    if is_set { 1.0 } else { 0.0 }
}
