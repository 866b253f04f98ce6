//! Where a team stands, as headers: on answers and refusals alike.

use http::HeaderName;
use http::header::{HeaderMap, HeaderValue};
use jiff::Timestamp;

use super::snapshot::{Held, Snapshot, TeamEntry};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Class;

/// The header with the team that pays.
pub const TEAM: HeaderName = HeaderName::from_static("breakerbox-team");
/// The header with the breaker's state.
pub const BREAKER: HeaderName = HeaderName::from_static("breakerbox-breaker");
/// The header with the whole credits this class may still spend.
pub const REMAINING: HeaderName = HeaderName::from_static("breakerbox-remaining");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The headers that tell where a team stands; with `now` also when its quota ends, if the draft's are wanted.
pub fn add_team(
    headers: &mut HeaderMap,
    held: &Held,
    team: &TeamEntry,
    class: Class,
    now: Option<Timestamp>,
) {
    let remaining = remaining(held, team, class);
    headers.insert(TEAM, team.header.clone());
    headers.insert(
        BREAKER,
        HeaderValue::from_static(team.books.shown.get().name()),
    );
    headers.insert(REMAINING, HeaderValue::from(remaining));
    if held.checked.gateway.mode.rate_limit_headers {
        add_rate_limit(headers, held, team, remaining, now);
    }
}

/// The draft's fields (draft-ietf-httpapi-ratelimit-headers-10). An origin's own are kept: ours are added under a
/// name of our own.
fn add_rate_limit(
    headers: &mut HeaderMap,
    held: &Held,
    team: &TeamEntry,
    remaining: i64,
    now: Option<Timestamp>,
) {
    let period = &held.live.books.period;
    let window_s = period
        .end
        .as_second()
        .saturating_sub(period.start.as_second());
    let quota = team.limits.allocation.whole_credits();
    let policy = format!("\"team-credits\";q={quota};w={window_s};qu=\"flex-credits\"");
    let resets = now.map_or_else(String::new, |now| {
        format!(";t={}", period.seconds_left(now))
    });
    let limit = format!("\"team-credits\";r={}{resets}", remaining.max(0));
    for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, limit)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.append(name, value);
        }
    }
}

/// Whole credits this class may still spend, for `Breakerbox-Remaining`.
fn remaining(held: &Snapshot, team: &TeamEntry, class: Class) -> i64 {
    let (limits, pool, books) = (&team.limits, &held.pool, &held.live.books);
    let left = |limit: MicroCredits, committed: MicroCredits| {
        limit
            .checked_sub(committed)
            .unwrap_or(MicroCredits::ZERO)
            .max(MicroCredits::ZERO)
    };
    let own = team.books.own.committed();
    let pool_left = |limit| left(limit, books.pool.committed());
    let year = left(pool.annual, books.year.committed.committed());
    let spendable = match class {
        Class::Background => left(limits.trip_at, own)
            .min(pool_left(pool.trip_at))
            .min(year),
        Class::Standard => left(limits.within_reach(), own)
            .min(pool_left(pool.month))
            .min(year),
        Class::Critical => {
            let buffer = left(pool.buffer, books.buffer.committed());
            let buffer = buffer.min(left(limits.buffer_max, team.books.buffer.committed()));
            let burst = left(pool.burst, books.burst.committed());
            let overage = left(pool.overage_cap, books.year.overage.committed());
            let within = [left(limits.allocation, own), buffer, burst]
                .into_iter()
                .sum::<Option<_>>();
            within
                .unwrap_or(MicroCredits::MAX)
                .min(year)
                .checked_add(overage)
                .unwrap_or(MicroCredits::MAX)
        }
    };
    spendable.whole_credits()
}
