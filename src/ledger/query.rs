//! Usage by whatever it was recorded under, from the hourly rollups, beside the running writer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rusqlite::{Connection, params};

use super::event::{Confidence, TeamId};
use super::rows::{class, confidence_code, confidence_name, operation, source};
use super::{LedgerError, hours};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::{Class, Operation, Source};
use crate::budget::period::PeriodName;

/// A question.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// Since when; rounded down to an hour, unless a day begins then.
    pub from: Timestamp,
    /// Until when, rounded up likewise; `None` is whatever there is.
    pub to: Option<Timestamp>,
    /// Only what is charged to this period.
    pub period: Option<PeriodName>,
    /// What to sum by, in order.
    pub group_by: Vec<Dimension>,
    /// The zone days are counted in.
    pub zone: TimeZone,
}

/// What usage can be summed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Who paid.
    Team,
    /// The agent, template, model or prediction.
    Agent,
    /// The agent's configured type.
    AgentType,
    /// The operation.
    Operation,
    /// The service it belongs to.
    Service,
    /// The class.
    Class,
    /// What funded it.
    Source,
    /// How sure the charge is.
    Confidence,
    /// The value of one tag.
    Tag(String),
    /// The hour, in UTC.
    Hour,
    /// The day, in the pool's zone.
    Day,
}

impl Dimension {
    /// Reads `team`, `agent_type`, `tag:project`, ...
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "team" => Self::Team,
            "agent" => Self::Agent,
            "agent_type" => Self::AgentType,
            "operation" => Self::Operation,
            "service" => Self::Service,
            "class" => Self::Class,
            "source" => Self::Source,
            "confidence" => Self::Confidence,
            "hour" => Self::Hour,
            "day" => Self::Day,
            _ => Self::Tag(
                text.strip_prefix("tag:")
                    .filter(|key| !key.is_empty())?
                    .to_owned(),
            ),
        })
    }

    /// The name it is read by.
    pub fn name(&self) -> String {
        match self {
            Self::Team => "team".to_owned(),
            Self::Agent => "agent".to_owned(),
            Self::AgentType => "agent_type".to_owned(),
            Self::Operation => "operation".to_owned(),
            Self::Service => "service".to_owned(),
            Self::Class => "class".to_owned(),
            Self::Source => "source".to_owned(),
            Self::Confidence => "confidence".to_owned(),
            Self::Hour => "hour".to_owned(),
            Self::Day => "day".to_owned(),
            Self::Tag(key) => format!("tag:{key}"),
        }
    }
}

/// An answer's line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageRow {
    /// The value of each dimension asked for, in order; empty where there is none.
    pub keys: Vec<String>,
    /// Operations.
    pub requests: u64,
    /// What they cost.
    pub credits: MicroCredits,
    /// Units, as each operation counts them.
    pub units: u64,
    /// Tokens in.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
}

/// The most lines of an answer; a finer question needs a shorter time.
pub const ROWS_MAX: usize = 100_000;

/// The finest rollups.
const FINEST: &str = "
SELECT r.minute, t.name, r.operation, r.class, r.source, r.confidence,
    CASE r.named_kind WHEN 'agent' THEN r.named ELSE '' END, r.agent_type, r.tags, t.tags,
    r.requests, r.credits, r.units, r.input_tokens, r.output_tokens
FROM rollup r JOIN team t ON t.id = r.team
WHERE r.minute >= ?1 AND r.minute < ?2 AND (?3 IS NULL OR r.period = ?3)";

/// Those without what is named: a tenth of the rows and less.
const BY_TEAM: &str = "
SELECT r.minute, t.name, r.operation, r.class, r.source, r.confidence, '', '', '', t.tags,
    r.requests, r.credits, r.units, r.input_tokens, r.output_tokens
FROM rollup_team r JOIN team t ON t.id = r.team
WHERE r.minute >= ?1 AND r.minute < ?2 AND (?3 IS NULL OR r.period = ?3)";

/// Sums up the rollups.
///
/// # Errors
/// When the ledger cannot be read, or the answer is too long.
pub(super) fn usage(
    connection: &Connection,
    query: &UsageQuery,
) -> Result<Vec<UsageRow>, LedgerError> {
    let is_named = |dimension: &Dimension| match dimension {
        Dimension::Agent | Dimension::AgentType | Dimension::Tag(_) => true,
        Dimension::Team
        | Dimension::Operation
        | Dimension::Service
        | Dimension::Class
        | Dimension::Source
        | Dimension::Confidence
        | Dimension::Hour
        | Dimension::Day => false,
    };
    let sql = if query.group_by.iter().any(is_named) {
        FINEST
    } else {
        BY_TEAM
    };
    let mut select = connection.prepare(sql)?;
    let from = hours::minute(hours::first(query.from, &query.zone));
    // Whatever begins before the end is in, whole.
    let to = query.to.map_or(i64::MAX, |to| {
        to.as_second().saturating_add(59).div_euclid(60)
    });
    let mut rows = select.query(params![from, to, query.period.map(PeriodName::code)])?;
    let mut sums: BTreeMap<Vec<String>, UsageRow> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let mut keys = Vec::with_capacity(query.group_by.len());
        for dimension in &query.group_by {
            keys.push(value(row, dimension, &query.zone)?);
        }
        if sums.len() >= ROWS_MAX && !sums.contains_key(&keys) {
            return Err(LedgerError::TooMany);
        }
        let sum = sums.entry(keys).or_default();
        let count = |at| {
            row.get::<_, i64>(at)
                .map(|count| u64::try_from(count).unwrap_or(0))
        };
        // What somebody decided, or a crash left behind, is no request of anybody's.
        if row.get::<_, i64>(5)? != confidence_code(Confidence::Adjusted) {
            sum.requests = sum.requests.saturating_add(count(10)?);
        }
        let credits = MicroCredits::from_micros(row.get(11)?);
        sum.credits = sum
            .credits
            .checked_add(credits)
            .ok_or(LedgerError::TooMany)?;
        sum.units = sum.units.saturating_add(count(12)?);
        sum.input_tokens = sum.input_tokens.saturating_add(count(13)?);
        sum.output_tokens = sum.output_tokens.saturating_add(count(14)?);
    }
    Ok(sums
        .into_iter()
        .map(|(keys, row)| UsageRow { keys, ..row })
        .collect())
}

/// What a team's use was booked under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedUnder {
    /// Which team.
    pub team: TeamId,
    /// Which sort of thing was named; empty where nothing was.
    pub named_kind: String,
    /// By what name.
    pub named: String,
    /// Tags beside the team's own, as JSON; empty where there are none.
    pub tags: String,
}

/// Every name and every set of tags that use was booked under since an hour.
pub(super) fn booked_since(
    connection: &Connection,
    from: Timestamp,
) -> Result<Vec<BookedUnder>, LedgerError> {
    let sql = "SELECT DISTINCT team, named_kind, named, tags FROM rollup
         WHERE minute >= ? AND (named <> '' OR tags <> '') LIMIT ?";
    let mut select = connection.prepare(sql)?;
    let most = i64::try_from(ROWS_MAX).unwrap_or(i64::MAX);
    let rows = select.query_map([hours::minute(from), most], |row| {
        Ok(BookedUnder {
            team: TeamId(row.get(0)?),
            named_kind: row.get(1)?,
            named: row.get(2)?,
            tags: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn value(
    row: &rusqlite::Row<'_>,
    dimension: &Dimension,
    zone: &TimeZone,
) -> rusqlite::Result<String> {
    let named = |name: Option<&'static str>| name.unwrap_or_default().to_owned();
    let begins = |within: i64| -> rusqlite::Result<Timestamp> {
        let minute = row
            .get::<_, i64>(0)?
            .div_euclid(within)
            .saturating_mul(within);
        Ok(Timestamp::from_second(minute.saturating_mul(60)).unwrap_or(Timestamp::UNIX_EPOCH))
    };
    Ok(match dimension {
        Dimension::Team => row.get(1)?,
        Dimension::Operation => named(operation(row.get(2)?).map(Operation::name)),
        Dimension::Service => {
            named(operation(row.get(2)?).map(|operation| operation.service().name()))
        }
        Dimension::Class => named(class(row.get(3)?).map(Class::name)),
        Dimension::Source => named(source(row.get(4)?).map(Source::name)),
        Dimension::Confidence => confidence_name(row.get(5)?).to_owned(),
        Dimension::Agent => row.get(6)?,
        Dimension::AgentType => row.get(7)?,
        Dimension::Tag(key) => {
            let (own, team): (String, String) = (row.get(8)?, row.get(9)?);
            tag(&own, key)
                .or_else(|| tag(&team, key))
                .unwrap_or_default()
        }
        Dimension::Hour => begins(60)?.to_string(),
        Dimension::Day => begins(1)?
            .to_zoned_datetime(zone.clone())
            .date()
            .to_string(),
    })
}

fn tag(json: &str, key: &str) -> Option<String> {
    let tags: BTreeMap<String, String> = serde_json::from_str(json).ok()?;
    tags.get(key).cloned()
}
