//! Rows added up by account: how many, what they cost, and what they are booked under.
//!
//! Events and rollups come to the same sums by different ways, and there may be millions of either. So what they are
//! booked under is not kept but summed up: the hash of each value, times what the row counts. A row that is booked
//! under something else, or split otherwise, changes the sum; memory stays that of the accounts.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use rusqlite::types::ValueRef;
use rusqlite::{Row, Rows};

/// Period, team and source, as stored.
pub(super) type Key = (i64, i64, i64);

/// So many rows, at so much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: i64,
    pub(super) credits: i64,
}

impl Sum {
    pub(super) fn add(&mut self, other: Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.credits = self.credits.saturating_add(other.credits);
    }
}

/// The rows of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Booked {
    pub(super) sum: Sum,
    /// One sum for each of [`NAMES`].
    under: Under,
}

impl Booked {
    pub(super) fn add(&mut self, other: Self) {
        self.sum.add(other.sum);
        for (sum, more) in self.under.iter_mut().zip(other.under) {
            *sum = sum.wrapping_add(more);
        }
    }

    /// What differs of what the rows are booked under.
    pub(super) fn differs_in(&self, other: &Self) -> Vec<&'static str> {
        let sums = self.under.iter().zip(other.under);
        let apart = NAMES
            .iter()
            .zip(sums)
            .filter(|(_, (one, other))| **one != *other);
        let mut names: Vec<_> = apart.map(|(name, _)| *name).collect();
        if names.contains(&COUNTS) {
            return vec![COUNTS]; // every other sum is made of them
        }
        if names.len() > 1 {
            names.pop(); // where anything differs, the combination does
        }
        names
    }
}

/// Units and tokens: rows and credits are compared by themselves.
const COUNTS: &str = "units and tokens";

type Under = [u64; NAMES.len()];

/// What is compared: the columns of [`OF_EVENTS`] from the fourth on, then the counts themselves, then all of it.
const NAMES: [&str; COLUMNS + 2] = [
    "hour",
    "operation",
    "class",
    "confidence",
    "kind of name",
    "name",
    "agent type",
    "key",
    "tags",
    COUNTS,
    "their combination",
];
const COLUMNS: usize = 9;

/// The rows of a day's file.
pub(super) const OF_EVENTS: &str = "
SELECT period, team, source, at_ms / 3600000, operation, class, confidence, coalesce(named_kind, ''),
    coalesce(named, ''), coalesce(agent_type, ''), coalesce(key, ''), coalesce(tags, ''),
    1, credits, units, input_tokens, output_tokens
FROM event WHERE batch <= ?";

/// The same of the rollups.
pub(super) const OF_ROLLUPS: &str = "
SELECT period, team, source, minute / 60, operation, class, confidence, named_kind, named, agent_type, key, tags,
    requests, credits, units, input_tokens, output_tokens
FROM rollup";

/// Adds up rows of either.
pub(super) fn read(mut rows: Rows<'_>) -> rusqlite::Result<BTreeMap<Key, Booked>> {
    let (mut all, hasher) = (BTreeMap::new(), FixedState::default());
    while let Some(row) = rows.next()? {
        let key = (row.get(0)?, row.get(1)?, row.get(2)?);
        let booked: &mut Booked = all.entry(key).or_default();
        booked.add(one(row, &hasher)?);
    }
    Ok(all)
}

fn one(row: &Row<'_>, hasher: &FixedState) -> rusqlite::Result<Booked> {
    let first = COLUMNS.saturating_add(3);
    let count = |at: usize| row.get::<_, i64>(first.saturating_add(at));
    let sum = Sum {
        rows: count(0)?,
        credits: count(1)?,
    };
    let counts = [sum.rows, sum.credits, count(2)?, count(3)?, count(4)?];
    // Linear, so that it does not matter how rows are summed up; each count has a factor of its own.
    let weight = (0_u8..).zip(counts).fold(0_u64, |weight, (at, count)| {
        let factor = hasher.hash_one(at) | 1;
        weight.wrapping_add(factor.wrapping_mul(count.cast_unsigned()))
    });
    let (mut under, mut together) = (Under::default(), 0_u64);
    for (at, sum) in under.iter_mut().enumerate().take(COLUMNS) {
        let value = match row.get_ref(at.saturating_add(3))? {
            ValueRef::Integer(value) => hasher.hash_one((at, value)),
            ValueRef::Text(value) | ValueRef::Blob(value) => hasher.hash_one((at, value)),
            ValueRef::Null | ValueRef::Real(_) => 0,
        };
        *sum = value.wrapping_mul(weight);
        together = hasher.hash_one((together, value));
    }
    let [.., counts, all] = &mut under;
    (*counts, *all) = (weight, together.wrapping_mul(weight));
    Ok(Booked { sum, under })
}
