//! `[[team]]` of `allocations.toml`.

use std::num::NonZeroU32;

use super::checked::{OnBound, Tags, Team, UNATTRIBUTED};
use super::labels;
use super::reader::Reader;
use super::units;
use crate::budget::admission::OnTrip;
use crate::budget::allocation::Share;
use crate::budget::percent::Percent;

/// Slots a minute where nothing is written.
const RATE: NonZeroU32 = NonZeroU32::new(6).expect("six is not zero");

pub(super) fn read(table: &Reader<'_, '_>) -> Team {
    let name = name(table);
    let owner_help = "who answers for these credits, as in owner = \"sales-ops@example.com\"";
    let owner = table.required_text("owner", owner_help);
    let owner = owner.map(|owner| labels::bounded(table.source(), "owner", owner));
    // Only beside a fault is there none.
    let share = share(table).unwrap_or(Share::OfPool(Percent::ZERO));
    let (on_trip, throttle_per_minute) = on_trip(table);
    let percent = |key| table.percent(key).map(|at| at.value);
    let fuses = labels::fuses(table);
    let on_bound = [("extend", OnBound::Extend), ("cut", OnBound::Cut)];
    let yes = |key| table.boolean(key).unwrap_or(true);
    let trip = percent("trip").unwrap_or(Percent::whole(90));
    let team = Team {
        name: name.unwrap_or_default(),
        owner: owner.unwrap_or_default().to_owned(),
        share,
        class: labels::class(table),
        trip,
        alerts: alerts(table, trip),
        on_trip,
        throttle_per_minute,
        buffer_max: percent("buffer_max"),
        emergency: percent("emergency").unwrap_or(Percent::whole(1)),
        max_per_request: fuses.max_per_request,
        max_per_hour: fuses.max_per_hour,
        enforce: yes("enforce"),
        finish_conversations: yes("finish_conversations"),
        on_bound: table.word("on_bound", &on_bound).unwrap_or_default(),
        tags: tags(table),
    };
    table.finish();
    team
}

fn name(table: &Reader<'_, '_>) -> Option<String> {
    let name = labels::name(table, "as in name = \"sales\"")?;
    // Words that config and reports use themselves.
    if [UNATTRIBUTED, "refuse"].contains(&name.value) {
        let message = format!("{:?} is no name for a team", name.value);
        let help = "the word means calls that nobody pays for";
        table.source().fault(&name.place, message, help);
    }
    Some(name.value.to_owned())
}

const SHARES: [&str; 3] = ["share", "monthly_credits", "buffer_share"];

/// The key that says a share.
pub(super) const fn share_key(share: Share) -> &'static str {
    match share {
        Share::OfPool(_) => "share",
        Share::Monthly(_) => "monthly_credits",
        Share::OfBuffer(_) => "buffer_share",
    }
}

fn share(table: &Reader<'_, '_>) -> Option<Share> {
    let help = "share = \"35%\", or monthly_credits = 210_000, or buffer_share = \"30%\"";
    let written: Vec<_> = SHARES.into_iter().filter(|key| table.has(key)).collect();
    if written.is_empty() {
        table.missing("share", help);
    }
    if let [_, second, ..] = written.as_slice() {
        let message = format!("a team has one of {}", written.join(" and "));
        table.source().fault(&table.place_of(second), message, help);
    }
    let pool = table.percent("share").map(|at| Share::OfPool(at.value));
    let monthly = table.credits("monthly_credits");
    let buffer = table.percent("buffer_share");
    pool.or(monthly.map(|at| Share::Monthly(at.value)))
        .or(buffer.map(|at| Share::OfBuffer(at.value)))
}

/// In rising order, each once. Unless written, only those up to the trip point, where the breaker's own alert comes.
fn alerts(table: &Reader<'_, '_>, trip: Percent) -> Vec<Percent> {
    if !table.has("alerts") {
        let usual = [50, 75, 90].map(Percent::whole);
        return usual.into_iter().filter(|level| *level <= trip).collect();
    }
    let levels = table.texts("alerts").into_iter();
    let levels = levels.filter_map(|level| {
        let percent = Percent::parse(level.value).map_err(|error| {
            table
                .source()
                .fault(&level.place, format!("alerts: {error}"), "")
        });
        percent.ok()
    });
    let mut levels: Vec<_> = levels.collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

/// `{ standard = "throttle", rate = "6/min" }`, `{ standard = "reject" }` or `{ standard = "pace" }`.
fn on_trip(table: &Reader<'_, '_>) -> (OnTrip, NonZeroU32) {
    let Some(table) = table.table("on_trip") else {
        return (OnTrip::Throttle, RATE);
    };
    let words = [
        ("throttle", OnTrip::Throttle),
        ("reject", OnTrip::Reject),
        ("pace", OnTrip::Pace),
    ];
    let standard = table.word("standard", &words).unwrap_or(OnTrip::Throttle);
    let rate = table.parsed("rate", units::per_minute);
    let does = match standard {
        OnTrip::Throttle => None,
        OnTrip::Reject => Some("rejected"),
        OnTrip::Pace => Some("paced"),
    };
    if let (Some(does), Some(rate)) = (does, &rate) {
        let message = format!("rate has no effect: standard traffic is {does}");
        table.source().warn(&rate.place, message, "");
    }
    table.finish();
    (standard, rate.map_or(RATE, |at| at.value))
}

/// `tags`, and those that have a key of their own.
fn tags(table: &Reader<'_, '_>) -> Tags {
    let mut tags = labels::tags(table);
    for key in ["business_unit", "cost_center", "project"] {
        let Some(value) = table.text(key) else {
            continue;
        };
        let place = value.place.clone();
        let value = labels::bounded(table.source(), key, value);
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            let message = format!("{key} is in tags as well");
            table.source().fault(&place, message, "say it once");
        }
    }
    tags
}
