//! Sums by the hour: the finest, and those usage by team is read from.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::batch::{RollupKey, RollupSums};
use super::hours::Hours;
use super::rows::{code, confidence_code, count};

/// What is added to a row that is there.
pub(super) const ADDED: &str = "ON CONFLICT DO UPDATE SET
    requests = requests + excluded.requests, credits = credits + excluded.credits, units = units + excluded.units,
    input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens";

/// Adds sums: by everything there is, and by team.
pub(super) fn add<'r>(
    transaction: &Transaction<'_>,
    hours: &mut Hours,
    rollups: impl IntoIterator<Item = (&'r RollupKey, &'r RollupSums)>,
) -> rusqlite::Result<()> {
    let mut finest = transaction.prepare_cached(&format!(
        "INSERT INTO rollup (minute, period, team, operation, class, source, confidence, named_kind, named, agent_type,
             key, tags, requests, credits, units, input_tokens, output_tokens)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {ADDED}"
    ))?;
    let mut by_team: BTreeMap<_, RollupSums> = BTreeMap::new();
    for (key, sums) in rollups {
        let minute = hours.minute(transaction, key.period, key.quarter)?;
        let account = (key.period, key.team, key.source);
        let rest = (key.operation, key.class, key.confidence);
        by_team
            .entry((minute, account, rest))
            .or_default()
            .add(sums);
        finest.execute(params![
            minute,
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
    let mut upsert = transaction.prepare_cached(&format!(
        "INSERT INTO rollup_team (minute, period, team, operation, class, source, confidence, requests, credits, units,
             input_tokens, output_tokens)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {ADDED}"
    ))?;
    for ((minute, (period, team, source), (operation, class, confidence)), sums) in by_team {
        upsert.execute(params![
            minute,
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
