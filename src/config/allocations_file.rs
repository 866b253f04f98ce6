//! `allocations.toml`: the contract, the teams, and what belongs to them.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::checked::{Allocations, Team, TeamIndex};
use super::reader::Reader;
use super::source::{At, Place, Source};
use super::suggest::did_you_mean;
use super::{payers_file, pool_file, team_file};
use crate::budget::allocation::{self, Share};
use crate::budget::credits::MicroCredits;
use crate::budget::percent::Percent;

/// Reads the file. `cards` are the names `rate_card` may choose from.
pub(super) fn read(source: &Source<'_>, cards: &[&str], now: Timestamp) -> Option<Allocations> {
    let root = source.root()?;
    let tables = root.tables("team");
    let names = TeamNames::new(&tables);
    let teams: Vec<_> = tables.iter().map(team_file::read).collect();
    if tables.is_empty() {
        root.source()
            .warn(&(0..0), "no [[team]]: nobody can spend", "");
    }
    let pool = pool_file::read(&root, &names, cards, now);
    let zone = pool.as_ref().and_then(|pool| pool.zone());
    let named = payers_file::named(&root, &names);
    let keys = payers_file::keys(&root, &names, zone);
    root.finish();
    if let Some(pool) = &pool {
        shares_fit(
            source,
            pool.central_buffer,
            pool.annual_credits,
            &shares(&tables, &teams),
        );
    }
    Some(Allocations {
        pool: pool?.whole()?,
        teams,
        named,
        keys,
    })
}

/// Teams by name, also those with faults: one bad line is no reason to call a team unknown elsewhere.
pub(super) struct TeamNames<'t>(BTreeMap<&'t str, TeamIndex>);

impl<'t> TeamNames<'t> {
    /// Notes names used twice.
    fn new(tables: &[Reader<'t, '_>]) -> Self {
        let mut by_name = BTreeMap::new();
        for (at, table) in tables.iter().enumerate() {
            let Some(name) = table.peek_text("name") else {
                continue;
            };
            if by_name.insert(name.value, TeamIndex(at)).is_some() {
                let message = format!("another team is called {:?} already", name.value);
                table
                    .source()
                    .fault(&name.place, message, "names are unique");
            }
        }
        Self(by_name)
    }

    pub(super) fn find(&self, source: &Source<'_>, name: &At<&str>) -> Option<TeamIndex> {
        let found = self.0.get(name.value).copied();
        if found.is_none() {
            let help = did_you_mean(name.value, self.0.keys().copied());
            let message = format!("no team is called {:?}", name.value);
            source.fault(&name.place, message, help);
        }
        found
    }
}

/// What each team claims, and where it says so.
fn shares(tables: &[Reader<'_, '_>], teams: &[Team]) -> Vec<(Share, Place)> {
    let place = |table: &Reader<'_, '_>, share| table.place_of(team_file::share_key(share));
    let shares = tables.iter().zip(teams);
    shares
        .map(|(table, team)| (team.share, place(table, team.share)))
        .collect()
}

/// Shares and buffer together are at most the pool, in the smallest month. The first share that does not fit is
/// the fault.
fn shares_fit(
    source: &Source<'_>,
    buffer: Percent,
    annual: Option<MicroCredits>,
    shares: &[(Share, Place)],
) {
    let of_pool = |share: &Share| match share {
        Share::OfPool(percent) => percent.bp(),
        Share::Monthly(_) | Share::OfBuffer(_) => 0,
    };
    let of_buffer = |share: &Share| match share {
        Share::OfBuffer(percent) => percent.bp(),
        Share::Monthly(_) | Share::OfPool(_) => 0,
    };
    let total = sum(shares, of_pool).saturating_add(buffer.bp());
    if total > Percent::WHOLE_BP {
        let place = first_over(shares, of_pool, buffer.bp());
        let message = format!(
            "the shares ({}) and the central buffer ({buffer}) are {} together",
            percent(sum(shares, of_pool)),
            percent(total)
        );
        return source.fault(&place, message, "at most 100%");
    }
    let carved = sum(shares, of_buffer);
    if carved > Percent::WHOLE_BP {
        let place = first_over(shares, of_buffer, 0);
        let message = format!("the shares of the buffer are {} together", percent(carved));
        return source.fault(&place, message, "at most 100%");
    }
    let Some(annual) = annual else { return };
    let month = allocation::month_pool(annual, 0);
    let all: Vec<_> = shares.iter().map(|(share, _)| *share).collect();
    if let Err(error) = allocation::split(month, buffer, &all) {
        let fixed = shares.iter().rev();
        let place = fixed
            .filter(|(share, _)| matches!(share, Share::Monthly(_)))
            .map(|(_, place)| place.clone())
            .next();
        let message = format!("{error} of a month, with the central buffer of {buffer}");
        let help = "lower monthly_credits, a share or central_buffer";
        source.fault(&place.unwrap_or(0..0), message, help);
    }
}

fn sum(shares: &[(Share, Place)], part: impl Fn(&Share) -> u32) -> u32 {
    shares.iter().map(|(share, _)| part(share)).sum()
}

/// Where the sum first passes the whole.
fn first_over(shares: &[(Share, Place)], part: impl Fn(&Share) -> u32, start: u32) -> Place {
    let mut total = start;
    let over = shares.iter().find(|(share, _)| {
        total = total.saturating_add(part(share));
        total > Percent::WHOLE_BP
    });
    over.map_or(0..0, |(_, place)| place.clone())
}

/// Basis points that may be over 100 %.
fn percent(bp: u32) -> String {
    let (whole, part) = (bp.div_euclid(100), bp.rem_euclid(100));
    match part {
        0 => format!("{whole}%"),
        _ => format!("{whole}.{part:02}%"),
    }
}

#[cfg(test)]
#[path = "allocations_file_tests.rs"]
mod tests;
