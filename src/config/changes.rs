//! What a reload changes: a pure value computed from two configurations, for log and API.
//!
//! Settings are compared as they are written in the files. Each is listed by taking its struct apart, so that
//! a new field cannot be forgotten here.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::checked::{
    Allocations, Checked, Gateway, Key, Named, OnBound, Pool, Tags, Team, TeamIndex,
};
use super::{gateway_settings, units};
use crate::budget::admission::OnTrip;
use crate::budget::allocation::Share;
use crate::budget::operation::Operation;
use crate::rates::card::Card;

/// The differences between two configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// In the order of the files: pool, teams, what belongs to them, cards, gateway.
    pub changes: Vec<Change>,
    /// What waits for a restart, as in `listen.proxy`.
    pub needs_restart: Vec<String>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `team`, `agent`, `key`, `card`, or the section of a setting: `pool`, `limits`, ...
    pub subject: &'static str,
    /// Which team, agent, ...; empty for sections.
    pub name: String,
    /// What happened to it.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum What {
    /// It is new.
    Added,
    /// It is gone; its counts stay.
    Removed,
    /// A setting that is told nobody has another value.
    Replaced {
        /// The key in the file.
        setting: &'static str,
    },
    /// A setting has another value.
    Changed {
        /// The key in the file.
        setting: &'static str,
        /// As configured before.
        from: String,
        /// As configured now.
        to: String,
    },
}

/// The setting that is told nobody: it stands for a secret.
const UNTOLD: &str = "sha256";

/// Settings as written, in a fixed order.
pub(super) type Settings = Vec<(&'static str, String)>;

/// What is compared, by subject and name.
type Entries = BTreeMap<String, Settings>;

impl Changes {
    /// From one configuration to the next.
    pub fn between(before: &Checked, after: &Checked) -> Self {
        let mut changes = Self::default();
        let (old, new) = (&before.allocations, &after.allocations);
        changes.settings("pool", "", &pool(old), &pool(new));
        changes.entries("team", &teams(old), &teams(new));
        for kind in super::checked::NamedKind::ALL {
            let named = |all: &Allocations| {
                let named = all.named.iter().filter(|named| named.kind == kind);
                named
                    .map(|it| (it.id.clone(), named_settings(it, all)))
                    .collect()
            };
            changes.entries(kind.name(), &named(old), &named(new));
        }
        changes.entries("key", &keys(old), &keys(new));
        changes.entries("card", &cards(before), &cards(after));
        changes.gateway(&before.gateway, &after.gateway);
        changes
    }

    /// Whether both mean the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// One line each.
    pub fn lines(&self) -> Vec<String> {
        let needs_restart = |change: &Change| match &change.what {
            What::Changed { setting, .. } => {
                let setting = format!("{}.{setting}", change.subject);
                self.needs_restart.contains(&setting)
            }
            What::Added | What::Removed | What::Replaced { .. } => false,
        };
        let line = |change: &Change| match needs_restart(change) {
            true => format!("{change}, after a restart"),
            false => change.to_string(),
        };
        self.changes.iter().map(line).collect()
    }

    fn note(&mut self, subject: &'static str, name: &str, what: What) {
        self.changes.push(Change {
            subject,
            name: name.to_owned(),
            what,
        });
    }

    fn settings(&mut self, subject: &'static str, name: &str, old: &Settings, new: &Settings) {
        for ((setting, from), (_, to)) in old.iter().zip(new) {
            if from != to {
                let (from, to) = (from.clone(), to.clone());
                let what = match *setting {
                    UNTOLD => What::Replaced { setting },
                    setting => What::Changed { setting, from, to },
                };
                self.note(subject, name, what);
            }
        }
    }

    fn entries(&mut self, subject: &'static str, old: &Entries, new: &Entries) {
        for (name, settings) in new {
            match old.get(name) {
                None => self.note(subject, name, What::Added),
                Some(before) => self.settings(subject, name, before, settings),
            }
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            self.note(subject, name, What::Removed);
        }
    }

    fn gateway(&mut self, old: &Gateway, new: &Gateway) {
        let sections = gateway_settings::sections(old)
            .into_iter()
            .zip(gateway_settings::sections(new));
        for ((section, old), (_, new)) in sections {
            self.settings(section, "", &old, &new);
        }
        let waits = |change: &Change| match (change.subject, &change.what) {
            (section @ ("listen" | "ledger"), What::Changed { setting, .. }) => {
                Some(format!("{section}.{setting}"))
            }
            _ => None,
        };
        self.needs_restart = self.changes.iter().filter_map(waits).collect();
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.subject;
        match &self.what {
            What::Added => write!(f, "{subject} {}: added", self.name),
            What::Removed if subject == "team" => {
                write!(f, "team {}: removed; its counts stay", self.name)
            }
            What::Removed => write!(f, "{subject} {}: removed", self.name),
            What::Replaced { setting } => write!(f, "{subject} {}: {setting} replaced", self.name),
            What::Changed { setting, from, to } if self.name.is_empty() => {
                write!(f, "{subject}.{setting}: {from} -> {to}")
            }
            What::Changed { setting, from, to } => {
                write!(f, "{subject} {}: {setting} {from} -> {to}", self.name)
            }
        }
    }
}

/// A line each.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

/// Why a valid configuration is not taken unforced: one that drops more than half the teams is likely a mistake.
pub fn reject_reason(before: &Checked, after: &Checked, force: bool) -> Option<String> {
    let stays = |name: &str| after.allocations.teams.iter().any(|team| team.name == name);
    let teams = &before.allocations.teams;
    let dropped = teams.iter().filter(|team| !stays(&team.name)).count();
    (!force && dropped.saturating_mul(2) > teams.len()).then(|| {
        format!(
            "allocations.toml: drops {dropped} of {} teams; if that is meant, POST /api/v1/config/reload?force=true",
            teams.len()
        )
    })
}

fn pool(all: &Allocations) -> Settings {
    let Pool {
        annual_credits,
        annual_cost,
        calendar,
        central_buffer,
        burst,
        trip,
        rate_card,
        unattributed,
        overage_cap,
        carry_over,
        client_tags,
    } = &all.pool;
    let zone = calendar.zone().iana_name().unwrap_or("unnamed");
    let unattributed = unattributed.map_or("refuse", |team| team_name(all, team));
    vec![
        ("annual_credits", annual_credits.to_string()),
        (
            "annual_cost",
            format!("{annual_cost} {}", annual_cost.currency),
        ),
        ("contract_start", calendar.contract_start().to_string()),
        ("time_zone", zone.to_owned()),
        ("central_buffer", central_buffer.to_string()),
        ("burst", burst.to_string()),
        ("trip", trip.to_string()),
        ("rate_card", rate_card.clone()),
        ("unattributed", unattributed.to_owned()),
        ("overage_cap", or_none(overage_cap.as_ref())),
        ("carry_over", carry_over.name().to_owned()),
        ("client_tags", client_tags.join(", ")),
    ]
}

fn teams(all: &Allocations) -> Entries {
    let entry = |team: &Team| (team.name.clone(), team_settings(team));
    all.teams.iter().map(entry).collect()
}

fn team_settings(team: &Team) -> Settings {
    let Team {
        name: _,
        owner,
        share,
        class,
        trip,
        alerts,
        on_trip,
        throttle_per_minute,
        buffer_max,
        emergency,
        max_per_request,
        max_per_hour,
        enforce,
        finish_conversations,
        on_bound,
        tags,
    } = team;
    let alerts: Vec<_> = alerts.iter().map(ToString::to_string).collect();
    let on_trip = match on_trip {
        OnTrip::Throttle => format!("throttle at {throttle_per_minute}/min"),
        OnTrip::Reject => "reject".to_owned(),
        OnTrip::Pace => "pace".to_owned(),
    };
    let on_bound = match on_bound {
        OnBound::Extend => "extend",
        OnBound::Cut => "cut",
    };
    vec![
        ("owner", owner.clone()),
        ("share", share_text(*share)),
        ("class", or_none(class.as_ref())),
        ("trip", trip.to_string()),
        ("alerts", alerts.join(", ")),
        ("on_trip", on_trip),
        ("buffer_max", or_none(buffer_max.as_ref())),
        ("emergency", emergency.to_string()),
        ("max_per_request", or_none(max_per_request.as_ref())),
        ("max_per_hour", or_none(max_per_hour.as_ref())),
        ("enforce", enforce.to_string()),
        ("finish_conversations", finish_conversations.to_string()),
        ("on_bound", on_bound.to_owned()),
        ("tags", tags_text(tags)),
    ]
}

fn share_text(share: Share) -> String {
    match share {
        Share::OfPool(percent) => percent.to_string(),
        Share::Monthly(credits) => format!("{credits} credits a month"),
        Share::OfBuffer(percent) => format!("{percent} of the buffer"),
    }
}

fn named_settings(named: &Named, all: &Allocations) -> Settings {
    let Named {
        kind: _,
        id: _,
        name,
        agent_type,
        team,
        class,
        max_per_request,
        max_per_hour,
        tags,
    } = named;
    vec![
        ("name", name.clone()),
        ("type", or_none(agent_type.as_ref())),
        ("team", team_name(all, *team).to_owned()),
        ("class", or_none(class.as_ref())),
        ("max_per_request", or_none(max_per_request.as_ref())),
        ("max_per_hour", or_none(max_per_hour.as_ref())),
        ("tags", tags_text(tags)),
    ]
}

fn keys(all: &Allocations) -> Entries {
    let entry = |key: &Key| (key.name.clone(), key_settings(key, all));
    all.keys.iter().map(entry).collect()
}

fn key_settings(key: &Key, all: &Allocations) -> Settings {
    let Key {
        name: _,
        sha256,
        team,
        class,
        may_use,
        expires,
        tags,
    } = key;
    let may_use: Vec<_> = may_use.iter().map(|team| team_name(all, *team)).collect();
    vec![
        (UNTOLD, units::hex(sha256)),
        ("team", team_name(all, *team).to_owned()),
        ("class", or_none(class.as_ref())),
        ("may_use", may_use.join(", ")),
        ("expires", or_none(expires.as_ref())),
        ("tags", tags_text(tags)),
    ]
}

fn cards(all: &Checked) -> Entries {
    let line = |card: &Card, operation: &Operation| {
        (operation.name(), format!("{:?}", card.line(*operation)))
    };
    let settings = |card: &Card| {
        let effective = ("effective", card.effective.to_string());
        let lines = Operation::ALL.iter().map(|operation| line(card, operation));
        std::iter::once(effective).chain(lines).collect()
    };
    let cards = all.cards.iter();
    cards
        .map(|(name, card)| (name.clone(), settings(card)))
        .collect()
}

fn team_name(all: &Allocations, team: TeamIndex) -> &str {
    all.teams.get(team.0).map_or("?", |team| &team.name)
}

fn tags_text(tags: &Tags) -> String {
    let tags: Vec<_> = tags
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    tags.join(", ")
}

/// A setting that may be left out.
pub(super) fn or_none(setting: Option<&impl ToString>) -> String {
    setting.map_or_else(|| "none".to_owned(), ToString::to_string)
}

#[cfg(test)]
#[path = "changes_tests.rs"]
mod tests;
