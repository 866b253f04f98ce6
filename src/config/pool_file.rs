//! `[pool]` of `allocations.toml`: the contract.

use jiff::Timestamp;
use jiff::tz::{self, TimeZone};

use super::allocations_file::TeamNames;
use super::checked::{CarryOver, Money, Pool, TeamIndex};
use super::labels;
use super::reader::Reader;
use super::suggest::did_you_mean;
use super::units;
use crate::budget::credits::MicroCredits;
use crate::budget::percent::Percent;
use crate::budget::period::Calendar;

/// The most credits a year (design.md, section 7).
const ANNUAL_MAX_CREDITS: i64 = 1_000_000_000_000;

/// The pool as far as it could be read: shares are checked against it even where something else is wrong.
pub(super) struct ReadPool {
    pub(super) annual_credits: Option<MicroCredits>,
    pub(super) central_buffer: Percent,
    calendar: Option<Calendar>,
    annual_cost: Option<Money>,
    burst: Percent,
    trip: Percent,
    rate_card: Option<String>,
    unattributed: Option<Unattributed>,
    overage_cap: Option<MicroCredits>,
    carry_over: CarryOver,
    client_tags: Vec<String>,
}

#[derive(Clone, Copy)]
enum Unattributed {
    Refuse,
    Team(TeamIndex),
}

impl ReadPool {
    /// The contract's time zone.
    pub(super) fn zone(&self) -> Option<&TimeZone> {
        self.calendar.as_ref().map(Calendar::zone)
    }

    /// The pool; `None` where a part could not be read.
    pub(super) fn whole(self) -> Option<Pool> {
        Some(Pool {
            annual_credits: self.annual_credits?,
            annual_cost: self.annual_cost?,
            calendar: self.calendar?,
            central_buffer: self.central_buffer,
            burst: self.burst,
            trip: self.trip,
            rate_card: self.rate_card?,
            unattributed: match self.unattributed? {
                Unattributed::Refuse => None,
                Unattributed::Team(team) => Some(team),
            },
            overage_cap: self.overage_cap,
            carry_over: self.carry_over,
            client_tags: self.client_tags,
        })
    }
}

pub(super) fn read(
    root: &Reader<'_, '_>,
    teams: &TeamNames<'_>,
    cards: &[&str],
    now: Timestamp,
) -> Option<ReadPool> {
    if !root.has("pool") {
        let help = "required: annual_credits, annual_cost, contract_start, time_zone, rate_card and unattributed";
        root.missing("[pool]", help);
    }
    let table = root.table("pool")?;
    let share = |key, usual| table.percent(key).map_or(usual, |at| at.value);
    let pool = ReadPool {
        annual_credits: annual_credits(&table),
        annual_cost: annual_cost(&table),
        calendar: calendar(&table, now),
        central_buffer: share("central_buffer", Percent::whole(15)),
        burst: share("burst", Percent::whole(15)),
        trip: share("trip", Percent::whole(90)),
        rate_card: rate_card(&table, cards),
        unattributed: unattributed(&table, teams),
        overage_cap: table.credits("overage_cap").map(|at| at.value),
        carry_over: table
            .word("carry_over", &CarryOver::WORDS)
            .unwrap_or(CarryOver::None),
        client_tags: client_tags(&table),
    };
    table.finish();
    Some(pool)
}

fn annual_credits(table: &Reader<'_, '_>) -> Option<MicroCredits> {
    let help = "the credits of a contract year, as in annual_credits = 7_200_000";
    table.require("annual_credits", help);
    let annual = table.credits("annual_credits")?;
    let (least, most) = (1, ANNUAL_MAX_CREDITS);
    let within = MicroCredits::from_credits(least)?..=MicroCredits::from_credits(most)?;
    if !within.contains(&annual.value) {
        let message = format!("annual_credits is not between {least} and {most}");
        table.source().fault(&annual.place, message, "");
        return None;
    }
    Some(annual.value)
}

fn annual_cost(pool: &Reader<'_, '_>) -> Option<Money> {
    let example = "as in annual_cost = { amount = \"36000.00\", currency = \"USD\" }";
    pool.require("annual_cost", example);
    let table = pool.table("annual_cost")?;
    table.require("amount", example);
    // The same digits as credits: at most six after the point.
    let amount = table.credits("amount").map(|at| at.value.micros());
    let written = table.peek_text("amount").map_or("", |at| at.value);
    let decimals = written.split_once('.').map_or(0, |(_, part)| part.len());
    table.require("currency", example);
    let currency = table.parsed("currency", |text| {
        let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
        is_code
            .then(|| text.to_owned())
            .ok_or("no ISO 4217 code like \"USD\"")
    });
    table.finish();
    Some(Money {
        micros: amount?,
        decimals: u8::try_from(decimals).ok()?,
        currency: currency?.value,
    })
}

fn calendar(table: &Reader<'_, '_>, now: Timestamp) -> Option<Calendar> {
    let help = "the contract's first day, as in contract_start = \"2026-02-01\"";
    table.require("contract_start", help);
    let start = table.dated("contract_start", units::day);
    let zone = zone(table);
    let (start, zone) = (start?, zone?);
    let calendar = Calendar::new(start.value, zone);
    if calendar.period_at(now).is_none() {
        let message = format!("the contract starts in the future, on {}", start.value);
        let help = format!(
            "contract_start is the first day of the running contract; the clock says {now:.0}"
        );
        table.source().fault(&start.place, message, help);
    }
    Some(calendar)
}

fn zone(table: &Reader<'_, '_>) -> Option<TimeZone> {
    table.require("time_zone", "as in time_zone = \"America/Los_Angeles\"");
    let name = table.text("time_zone")?;
    let zone = TimeZone::get(name.value).ok();
    if zone.is_none() {
        let known: Vec<_> = tz::db().available().collect();
        let near = did_you_mean(name.value, known.iter().map(|name| name.as_str()));
        let help = match near.is_empty() {
            true => "an IANA name like \"Europe/Berlin\"".to_owned(),
            false => near,
        };
        let message = format!("no time zone is called {:?}", name.value);
        table.source().fault(&name.place, message, help);
    }
    zone
}

fn rate_card(table: &Reader<'_, '_>, cards: &[&str]) -> Option<String> {
    let help = format!("there is no default; choose one of: {}", cards.join(", "));
    let card = table.required_text("rate_card", help)?;
    if !cards.contains(&card.value) {
        let help = did_you_mean(card.value, cards.iter().copied());
        let message = format!("no rate card is called {:?}", card.value);
        table.source().fault(&card.place, message, help);
    }
    Some(card.value.to_owned())
}

fn unattributed(table: &Reader<'_, '_>, teams: &TeamNames<'_>) -> Option<Unattributed> {
    let help = "\"refuse\", or the team that pays for calls of nobody";
    let who = table.required_text("unattributed", help)?;
    match who.value {
        "refuse" => Some(Unattributed::Refuse),
        _ => teams.find(table.source(), &who).map(Unattributed::Team),
    }
}

/// `["project"]` unless written.
fn client_tags(table: &Reader<'_, '_>) -> Vec<String> {
    if !table.has("client_tags") {
        return vec!["project".to_owned()];
    }
    let tags = table.texts("client_tags");
    tags.iter()
        .map(|tag| labels::tag_key(table.source(), tag))
        .collect()
}
