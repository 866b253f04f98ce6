//! `GET /api/v1/pool`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::mode;
use super::money::PercentOf;
use crate::budget::allocation;
use crate::budget::credits::MicroCredits;
use crate::gateway::control::Control;
use crate::ledger::live::Sums;
use crate::ledger::overrides::Funded;

/// The contract and the running period. Credits are exact decimals.
#[derive(Debug, Serialize)]
pub(super) struct PoolStatus {
    period: String,
    period_start: String,
    period_end: String,
    time_zone: String,
    contract_start: String,
    /// Why the period is held, if it is: `breakerbox ledger accept-clock` lets it go on.
    held: Option<String>,
    annual_credits: MicroCredits,
    annual_cost: Cost,
    /// The month's pool, and what was carried into it.
    allocation: MicroCredits,
    carry_over: &'static str,
    /// What teams left of the period before.
    carried: MicroCredits,
    /// What overrides added to the month, out of the contract year.
    by_override: MicroCredits,
    /// All teams' own and buffer, settled.
    used: MicroCredits,
    /// All teams' own and buffer, in flight.
    reserved: MicroCredits,
    percent: PercentOf,
    breaker: &'static str,
    trip: String,
    /// What is in it, without what overrides gave to teams.
    buffer: MicroCredits,
    buffer_given: MicroCredits,
    buffer_used: MicroCredits,
    burst: MicroCredits,
    burst_used: MicroCredits,
    overage_cap: MicroCredits,
    overage_used: MicroCredits,
    /// The contract year's committed credits, all sources but overage.
    year_committed: MicroCredits,
    /// What no team's share claims.
    unassigned: MicroCredits,
    rate_card: String,
    enforce: bool,
    mode: mode::Mode,
}

#[derive(Debug, Serialize)]
struct Cost {
    amount: String,
    currency: String,
}

pub(super) async fn show(State(control): State<Arc<Control>>) -> Json<PoolStatus> {
    let snapshot = control.shared.snapshot.load_full();
    let (pool, limits) = (&snapshot.checked.allocations.pool, &snapshot.pool);
    let (books, sums) = (&snapshot.live.books, Sums::of(&snapshot.live));
    let month = allocation::month_pool(pool.annual_credits, books.period.month);
    let split = snapshot.checked.allocations.split(month);
    let carried = snapshot.live.carried.iter().map(|carried| carried.credits);
    Json(PoolStatus {
        period: books.period.name.to_string(),
        period_start: books.period.start.to_string(),
        period_end: books.period.end.to_string(),
        time_zone: pool.calendar.zone().iana_name().unwrap_or("UTC").to_owned(),
        contract_start: pool.calendar.contract_start().to_string(),
        held: control.status().held.clone(),
        annual_credits: pool.annual_credits,
        annual_cost: Cost {
            amount: pool.annual_cost.to_string(),
            currency: pool.annual_cost.currency.clone(),
        },
        allocation: limits.month,
        carry_over: pool.carry_over.name(),
        carried: carried.sum::<Option<_>>().unwrap_or(MicroCredits::MAX),
        by_override: snapshot.given(Funded::Annual),
        used: sums.used,
        reserved: sums.reserved,
        percent: PercentOf::new(books.pool.committed(), limits.month),
        breaker: books.shown.get().name(),
        trip: limits.trip.to_string(),
        buffer: limits.buffer,
        buffer_given: snapshot.given(Funded::Buffer),
        buffer_used: sums.buffer,
        burst: limits.burst,
        burst_used: sums.burst,
        overage_cap: limits.overage_cap,
        overage_used: sums.overage,
        year_committed: books.year.committed.committed(),
        unassigned: split.map(|split| split.unassigned).unwrap_or_default(),
        rate_card: snapshot.card.name.clone(),
        enforce: snapshot.enforce,
        mode: mode::of(&snapshot),
    })
}
