//! Who calls are known by: agents, templates, models and the like, and keys.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::allocations_file::TeamNames;
use super::checked::{Key, Named, NamedKind, TeamIndex};
use super::labels::{self, Fuses};
use super::reader::Reader;
use super::source::At;
use super::units;

/// `[[agent]]`, `[[template]]`, ... in the order of the kinds.
pub(super) fn named(root: &Reader<'_, '_>, teams: &TeamNames<'_>) -> Vec<Named> {
    let mut all = Vec::new();
    for kind in NamedKind::ALL {
        let mut seen = BTreeSet::new();
        for table in root.tables(kind.name()) {
            let id = id(&table, kind);
            if let Some(id) = id.as_ref().filter(|id| !seen.insert(id.value)) {
                let message = format!("another {} is called {:?} already", kind.name(), id.value);
                let help = "each belongs to one team";
                table.source().fault(&id.place, message, help);
            }
            all.extend(one_named(&table, kind, id, teams));
        }
    }
    all
}

/// What requests call it: `id`, else `name`. A client's is also `client_id`; an agent's is never its name.
fn id<'s>(table: &Reader<'s, '_>, kind: NamedKind) -> Option<At<&'s str>> {
    let (key, id) = match kind {
        NamedKind::Agent => (
            "id",
            table.required_text("id", "as in id = \"0XxHn000000AAAAKA4\""),
        ),
        NamedKind::Client if table.has("client_id") => ("client_id", table.text("client_id")),
        _ if table.has("id") => ("id", table.text("id")),
        _ => ("name", table.required_text("name", "what requests call it")),
    };
    let id = id?;
    let place = id.place.clone();
    Some(At {
        value: labels::bounded(table.source(), key, id),
        place,
    })
}

fn one_named(
    table: &Reader<'_, '_>,
    kind: NamedKind,
    id: Option<At<&str>>,
    teams: &TeamNames<'_>,
) -> Option<Named> {
    let bounded = |key| Some(labels::bounded(table.source(), key, table.text(key)?));
    let name = bounded("name");
    warn_if_idle(table, kind);
    let is_agent = kind == NamedKind::Agent;
    let agent_type = if is_agent { agent_type(table) } else { None };
    let fuses = match is_agent {
        true => labels::fuses(table),
        false => Fuses {
            max_per_request: None,
            max_per_hour: None,
        },
    };
    let team = team(table, teams);
    let class = labels::class(table);
    let tags = labels::tags(table);
    table.finish();
    let id = id?.value;
    Some(Named {
        kind,
        id: id.to_owned(),
        name: name.unwrap_or(id).to_owned(),
        agent_type,
        team: team?,
        class,
        max_per_request: fuses.max_per_request,
        max_per_hour: fuses.max_per_hour,
        tags,
    })
}

/// Who pays is not found by it yet.
fn warn_if_idle(table: &Reader<'_, '_>, kind: NamedKind) {
    let help = match kind {
        NamedKind::Agent | NamedKind::Template | NamedKind::Model | NamedKind::Prediction => return,
        NamedKind::Source | NamedKind::Segment => {
            "no call that names one has a price yet; see [unpriced] data"
        }
        NamedKind::Client => "give its callers a [[key]]; whose an access token is, is not known",
    };
    let message = format!("[[{}]] has no effect in this version", kind.name());
    table.source().warn(table.place(), message, help);
}

/// Agents are grouped by it in reports.
fn agent_type(table: &Reader<'_, '_>) -> Option<String> {
    let written = table.parsed("type", |text| match labels::is_label(text) {
        true => Ok(text.to_owned()),
        false => Err("not a short name like \"sdr\""),
    });
    written.map(|at| at.value)
}

/// The team a table names.
fn team(table: &Reader<'_, '_>, teams: &TeamNames<'_>) -> Option<TeamIndex> {
    let name = table.required_text("team", "the team that pays")?;
    teams.find(table.source(), &name)
}

/// `[[key]]`.
pub(super) fn keys(
    root: &Reader<'_, '_>,
    teams: &TeamNames<'_>,
    zone: Option<&TimeZone>,
) -> Vec<Key> {
    let (mut names, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    let mut all = Vec::new();
    for table in root.tables("key") {
        let name = labels::name(&table, "as in name = \"batch-scorer\"");
        if let Some(name) = name.as_ref().filter(|name| !names.insert(name.value)) {
            let message = format!("another key is called {:?} already", name.value);
            table
                .source()
                .fault(&name.place, message, "names are unique");
        }
        table.require("sha256", "`breakerbox key new` prints one");
        let sha256 = table.parsed("sha256", units::sha256);
        if let Some(hash) = sha256.as_ref().filter(|hash| !hashes.insert(hash.value)) {
            let message = "another key has this sha256 already";
            table
                .source()
                .fault(&hash.place, message, "each key is one");
        }
        let team = team(&table, teams);
        let may_use = table.texts("may_use");
        let key = Key {
            name: name.map_or_else(String::new, |name| name.value.to_owned()),
            sha256: sha256.map_or([0; 32], |hash| hash.value),
            team: team.unwrap_or(TeamIndex(0)),
            class: labels::class(&table),
            may_use: may_use
                .iter()
                .filter_map(|name| teams.find(table.source(), name))
                .collect(),
            expires: expires(&table, zone),
            tags: labels::tags(&table),
        };
        table.finish();
        all.push(key);
    }
    all
}

/// An instant, or a day or time of day in the pool's zone.
fn expires(table: &Reader<'_, '_>, zone: Option<&TimeZone>) -> Option<Timestamp> {
    // Without a zone there is a fault already.
    let zone = zone.cloned().unwrap_or(TimeZone::UTC);
    let expires = table.dated("expires", |text| units::instant(text, &zone));
    expires.map(|at| at.value)
}
