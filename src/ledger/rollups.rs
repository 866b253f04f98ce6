//! Hourly sums: the finest, and those usage by team is read from.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::batch::{RollupKey, RollupSums};
use super::rows::{code, confidence_code, count};

/// Adds sums by everything there is.
pub(super) fn finest<'r>(
    transaction: &Transaction<'_>,
    rollups: impl IntoIterator<Item = (&'r RollupKey, &'r RollupSums)>,
) -> rusqlite::Result<()> {
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO rollup (hour, period, team, operation, class, source, confidence, named_kind, named, agent_type,
             key, tags, requests, credits, units, input_tokens, output_tokens)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET
             requests = requests + excluded.requests, credits = credits + excluded.credits,
             units = units + excluded.units, input_tokens = input_tokens + excluded.input_tokens,
             output_tokens = output_tokens + excluded.output_tokens",
    )?;
    for (key, sums) in rollups {
        upsert.execute(params![
            key.hour,
            key.period.code(),
            key.team.0,
            code(key.operation.index()),
            code(key.class.index()),
            code(key.source.index()),
            confidence_code(key.confidence),
            key.named.as_ref().map_or("", |(kind, _)| kind.name()),
            key.named.as_ref().map_or("", |(_, id)| id.as_str()),
            key.agent_type.as_deref().unwrap_or_default(),
            key.key.as_deref().unwrap_or_default(),
            key.tags.as_deref().unwrap_or_default(),
            count(sums.requests),
            sums.credits_micros,
            count(sums.units),
            count(sums.input_tokens),
            count(sums.output_tokens),
        ])?;
    }
    Ok(())
}

/// Adds the same without what is named.
pub(super) fn by_team<'r>(
    transaction: &Transaction<'_>,
    rollups: impl IntoIterator<Item = (&'r RollupKey, &'r RollupSums)>,
) -> rusqlite::Result<()> {
    let mut sums: BTreeMap<_, RollupSums> = BTreeMap::new();
    for (key, more) in rollups {
        let account = (key.period, key.team, key.source);
        let rest = (key.operation, key.class, key.confidence);
        sums.entry((key.hour, account, rest)).or_default().add(more);
    }
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO rollup_team (hour, period, team, operation, class, source, confidence, requests, credits, units,
             input_tokens, output_tokens)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET
             requests = requests + excluded.requests, credits = credits + excluded.credits,
             units = units + excluded.units, input_tokens = input_tokens + excluded.input_tokens,
             output_tokens = output_tokens + excluded.output_tokens",
    )?;
    for ((hour, (period, team, source), (operation, class, confidence)), sums) in sums {
        upsert.execute(params![
            hour,
            period.code(),
            team.0,
            code(operation.index()),
            code(class.index()),
            code(source.index()),
            confidence_code(confidence),
            count(sums.requests),
            sums.credits_micros,
            count(sums.units),
            count(sums.input_tokens),
            count(sums.output_tokens),
        ])?;
    }
    Ok(())
}
