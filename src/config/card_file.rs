//! A rate card as a file: `rates/*.toml`, and the two that are built in.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reader::Reader;
use super::source::{At, Source};
use super::suggest::did_you_mean;
use super::units;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Operation;
use crate::rates::card::{Card, Large, Line, Unread};

/// Units and tokens in one price: beyond that a typing error.
const PER_MAX: u64 = 1_000_000_000_000;

/// Reads a card; `None` where it has a fault. `known` are the cards read before it.
pub(super) fn read(source: &Source<'_>, known: &BTreeMap<String, Arc<Card>>) -> Option<Card> {
    let root = source.root()?;
    let name = root.required_text("name", "the name that rate_card chooses it by");
    if let Some(name) = name.as_ref().filter(|name| known.contains_key(name.value)) {
        let help = "names are unique, and those of the built-in cards are taken";
        let message = format!("another card is called {:?} already", name.value);
        source.fault(&name.place, message, help);
    }
    root.require("effective", "the first day, as in \"2026-08-31\"");
    let effective = root.dated("effective", units::day);
    let lines = lines(&root);
    root.finish();
    Card::new(name?.value.to_owned(), effective?.value, lines?)
}

fn lines(root: &Reader<'_, '_>) -> Option<BTreeMap<Operation, Line>> {
    root.require("operation", "a table for each, [operation.\"agent.turn\"]");
    let operations = root.table("operation")?;
    let source = root.source();
    let mut lines = BTreeMap::new();
    let mut missing: Vec<_> = Operation::ALL.iter().map(|op| op.name()).collect();
    for (key, value) in operations.entries() {
        let Some(operation) = Operation::parse(key.value) else {
            let help = did_you_mean(key.value, Operation::ALL.iter().map(|op| op.name()));
            let message = format!("no operation is called {:?}", key.value);
            source.fault(&key.place, message, help);
            continue;
        };
        missing.retain(|name| *name != operation.name());
        let Some(table) = value.get_ref().as_table() else {
            let help = format!("write [operation.\"{operation}\"]");
            source.fault(&value.span(), format!("{operation} is no table"), help);
            continue;
        };
        let reader = Reader::new(source, table, value.span(), key.value);
        lines.extend(line(&reader, operation).map(|line| (operation, line)));
    }
    if !missing.is_empty() {
        let help = "a card prices every operation; one that costs nothing has measure = \"free\"";
        let message = format!("no price for {}", missing.join(", "));
        source.fault(operations.place(), message, help);
    }
    Some(lines)
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    Free,
    Call,
    Action,
    Unit,
    Tokens,
}

const MEASURES: [(&str, Measure); 5] = [
    ("free", Measure::Free),
    ("call", Measure::Call),
    ("action", Measure::Action),
    ("unit", Measure::Unit),
    ("tokens", Measure::Tokens),
];

/// How an operation is priced. Here and below, `None` is a fault that was noted.
fn line(table: &Reader<'_, '_>, operation: Operation) -> Option<Line> {
    table.require("measure", "free, call, action, unit or tokens");
    let measure = table.word("measure", &MEASURES)?;
    if measure == Measure::Action && !operation.runs_actions() {
        let message = format!("{operation} runs no actions");
        let help = "measure it by call, unit or tokens";
        table
            .source()
            .fault(&table.place_of("measure"), message, help);
        return None;
    }
    let line = match measure {
        Measure::Free => Some(Line::Free),
        Measure::Call => per_call(table),
        Measure::Action => per_action(table),
        Measure::Unit => per_unit(table),
        Measure::Tokens => per_tokens(table),
    };
    table.finish();
    line
}

fn price(table: &Reader<'_, '_>) -> Option<MicroCredits> {
    table.require("price", "credits, as in price = \"0.2\"");
    table.credits("price").map(|at| at.value)
}

/// No line is without a bound.
fn max(table: &Reader<'_, '_>) -> Option<MicroCredits> {
    table.require("max", "the most one may cost, as in max = \"6\"");
    table.credits("max").map(|at| at.value)
}

/// Nothing costs more than its bound.
fn max_covers(table: &Reader<'_, '_>, max: MicroCredits, price: MicroCredits, what: &str) {
    if max < price {
        let message = format!("max is {max}, less than the price of {price}");
        let help = format!("max is the most {what} may cost");
        table.source().fault(&table.place_of("max"), message, help);
    }
}

fn positive(table: &Reader<'_, '_>, key: &'static str) -> Option<u64> {
    table.integer(key, 1..=PER_MAX).map(|at| at.value)
}

fn per_call(table: &Reader<'_, '_>) -> Option<Line> {
    let (price, max, large) = (price(table), max(table), large(table));
    let (price, max, large) = (price?, max?, large?);
    let dearest = large.map_or(price, |large| large.price.max(price));
    max_covers(table, max, dearest, "a call");
    Some(Line::PerCall { price, large, max })
}

/// `large = { over_tokens, price }`, where it is written.
fn large(line: &Reader<'_, '_>) -> Option<Option<Large>> {
    let Some(table) = line.table("large") else {
        return Some(None);
    };
    table.require("over_tokens", "as in over_tokens = 2000");
    let (over_tokens, price) = (positive(&table, "over_tokens"), price(&table));
    table.finish();
    Some(Some(Large {
        over_tokens: over_tokens?,
        price: price?,
    }))
}

fn per_action(table: &Reader<'_, '_>) -> Option<Line> {
    let (price, max) = (price(table), max(table));
    let conversation_max = table.credits("conversation_max").map(|at| at.value);
    let estimate = table.credits("estimate").map(|at| at.value);
    let (price, max) = (price?, max?);
    max_covers(table, max, price, "a turn");
    let estimate = estimate.unwrap_or(max);
    if estimate > max || estimate.is_zero() != max.is_zero() {
        let message = format!("estimate is {estimate}, max is {max}");
        let help = "an estimate is above 0 and at most max";
        let place = table.place_of("estimate");
        table.source().fault(&place, message, help);
    }
    Some(Line::PerAction {
        price,
        estimate,
        max,
        conversation_max,
    })
}

fn per_unit(table: &Reader<'_, '_>) -> Option<Line> {
    let (price, per, unread) = (price(table), positive(table, "per"), unread(table));
    Some(Line::PerUnit {
        price: price?,
        per: per.unwrap_or(1),
        unread: unread?,
    })
}

/// `unread = { units }` or `{ bytes_per_unit }`: what is counted where a request does not tell.
fn unread(line: &Reader<'_, '_>) -> Option<Unread> {
    let help = "the bound where a request does not tell: { units = 200 } or { bytes_per_unit = 4 }";
    line.require("unread", help);
    let table = line.table("unread")?;
    let units = positive(&table, "units").map(Unread::Units);
    let bytes = positive(&table, "bytes_per_unit").map(Unread::BytesPerUnit);
    if table.has("units") == table.has("bytes_per_unit") {
        let message = "unread has one of units and bytes_per_unit";
        line.source().fault(table.place(), message, "");
    }
    table.finish();
    units.or(bytes)
}

fn per_tokens(table: &Reader<'_, '_>) -> Option<Line> {
    table.require("per", "tokens in a block, as in per = 2000");
    let per = positive(table, "per");
    let help = "the bound where a request sets none, as in output_tokens = 8192";
    table.require("output_tokens", help);
    let output_tokens = table.integer("output_tokens", 0..=PER_MAX);
    let tiers = tiers(table);
    let models = models(table, &tiers);
    let default_price = default_price(table, &tiers);
    Some(Line::PerTokens {
        per: per?,
        tiers,
        models,
        default_price: default_price?,
        output_tokens: output_tokens?.value,
    })
}

/// What a model costs that is not listed.
fn default_price(
    table: &Reader<'_, '_>,
    tiers: &BTreeMap<String, MicroCredits>,
) -> Option<MicroCredits> {
    let help = "the tier of a model that is not listed";
    let tier = table.required_text("default_tier", help)?;
    known_tier(table, tiers, &tier)
}

/// The price of a tier that is named.
fn known_tier(
    table: &Reader<'_, '_>,
    tiers: &BTreeMap<String, MicroCredits>,
    tier: &At<&str>,
) -> Option<MicroCredits> {
    let price = tiers.get(tier.value).copied();
    if price.is_none() {
        let help = did_you_mean(tier.value, tiers.keys().map(String::as_str));
        let message = format!("no tier is called {:?}", tier.value);
        table.source().fault(&tier.place, message, help);
    }
    price
}

fn tiers(reader: &Reader<'_, '_>) -> BTreeMap<String, MicroCredits> {
    reader.require(
        "tiers",
        "credits of a block by tier, as in { standard = \"4\" }",
    );
    let Some(table) = reader.table("tiers") else {
        return BTreeMap::new();
    };
    let tiers = table.entries().filter_map(|(key, value)| {
        let price = table.credits_at(value, key.value)?;
        Some((key.value.to_owned(), price.value))
    });
    tiers.collect()
}

fn models(
    reader: &Reader<'_, '_>,
    tiers: &BTreeMap<String, MicroCredits>,
) -> BTreeMap<String, String> {
    let Some(table) = reader.table("models") else {
        return BTreeMap::new();
    };
    let models = table.entries().filter_map(|(model, value)| {
        let tier = table.text_at(value, model.value)?;
        known_tier(&table, tiers, &tier);
        Some((model.value.to_owned(), tier.value.to_owned()))
    });
    models.collect()
}

#[cfg(test)]
#[path = "card_file_tests.rs"]
mod tests;
