use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::budget::credits::MicroCredits;
use crate::config::checked::{NamedKind, UnpricedPolicy};
use crate::config::load::{self, Files, Sources};

fn example() -> Checked {
    let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/breakerbox.toml");
    let files = Files::read(&Sources::new(config)).unwrap();
    let now = "2026-11-24T00:00:00Z".parse().unwrap();
    load::check(&files, now).unwrap().0
}

fn check(edit: impl FnOnce(&mut Checked), want: &[&str]) {
    let before = example();
    let mut after = before.clone();
    edit(&mut after);
    assert_eq!(Changes::between(&before, &after).lines(), want);
}

fn percent(text: &str) -> crate::budget::percent::Percent {
    crate::budget::percent::Percent::parse(text).unwrap()
}

#[test]
fn the_same_has_no_changes() {
    let example = example();
    assert!(Changes::between(&example, &example).is_empty());
}

#[test]
fn teams_are_compared_by_name() {
    check(
        |checked| {
            let teams = &mut checked.allocations.teams;
            teams[0].share = Share::OfPool(percent("40%"));
            teams[0].on_trip = OnTrip::Reject;
            teams[0].max_per_hour = MicroCredits::from_credits(2_000);
            teams[1].name = "service".to_owned();
            teams[2].share = Share::OfBuffer(percent("5%"));
            teams[2].tags.insert("region".to_owned(), "emea".to_owned());
        },
        &[
            "team marketing: share 10% -> 5% of the buffer",
            "team marketing: tags business_unit=Marketing, cost_center=4300 -> \
             business_unit=Marketing, cost_center=4300, region=emea",
            "team sales: share 30% -> 40%",
            "team sales: on_trip throttle at 6/min -> reject",
            "team sales: max_per_hour none -> 2000",
            "team service: added",
            "team support: removed; its counts stay",
            "agent 0XxHn000000BBBBKA4: team support -> service",
            "template Case_Summary: team support -> service",
        ],
    );
}

#[test]
fn the_order_of_teams_is_no_change() {
    check(
        |checked| {
            checked.allocations.teams.reverse();
            for named in &mut checked.allocations.named {
                named.team = TeamIndex(3 - named.team.0);
            }
        },
        &[],
    );
}

#[test]
fn payers_and_cards() {
    check(
        |checked| {
            let named = &mut checked.allocations.named;
            named.retain(|named| named.kind != NamedKind::Model);
            named[0].class = Some(crate::budget::operation::Class::Critical);
            let key = Key {
                name: "batch".to_owned(),
                sha256: [0; 32],
                team: TeamIndex(0),
                class: None,
                may_use: Vec::new(),
                expires: None,
                tags: Tags::new(),
            };
            checked.allocations.keys.push(key);
            let mut card = Card::clone(checked.card().unwrap());
            card.effective = card.effective.tomorrow().unwrap();
            checked.cards.insert(card.name.clone(), Arc::new(card));
            checked.cards.remove("guide");
        },
        &[
            "agent 0XxHn000000AAAAKA4: class none -> critical",
            "model sfdc_ai__DefaultOpenAITextEmbeddingAda_002: removed",
            "key batch: added",
            "card flex-2026-08: effective 2026-08-31 -> 2026-09-01",
            "card guide: removed",
        ],
    );
}

#[test]
fn sections_are_compared_by_setting() {
    let edit = |checked: &mut Checked| {
        checked.allocations.pool.unattributed = Some(TeamIndex(0));
        checked.allocations.pool.rate_card = "guide".to_owned();
        checked.allocations.pool.carry_over = crate::config::checked::CarryOver::Team;
        checked.gateway.listen.workers = 4;
        checked.gateway.ledger.events = crate::config::checked::EventRows::Rollups;
        checked.gateway.limits.in_flight = 10;
        checked.gateway.unpriced.org = UnpricedPolicy::Refuse;
        checked.gateway.alerts.abnormal_times = 0;
    };
    check(
        edit,
        &[
            "pool.rate_card: flex-2026-08 -> guide",
            "pool.unattributed: refuse -> sales",
            "pool.carry_over: none -> team",
            "listen.workers: 0 -> 4, after a restart",
            "limits.in_flight: 4096 -> 10",
            "ledger.events: all -> rollups, after a restart",
            "unpriced.org: pass -> refuse",
            "alerts.abnormal_times: 3 -> 0",
        ],
    );
    let mut after = example();
    edit(&mut after);
    let changes = Changes::between(&example(), &after);
    assert_eq!(changes.needs_restart, ["listen.workers", "ledger.events"]);
}

#[test]
fn changes_are_json() {
    let mut after = example();
    after.allocations.teams[0].share = Share::OfPool(percent("31%"));
    after.allocations.teams[3].name = "data".to_owned();
    after.allocations.named.clear();
    let mut before = example();
    before.allocations.named.clear();
    let json = serde_json::to_value(Changes::between(&before, &after)).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "changes": [
                { "subject": "team", "name": "data", "change": "added" },
                { "subject": "team", "name": "sales", "change": "changed",
                  "setting": "share", "from": "30%", "to": "31%" },
                { "subject": "team", "name": "data-platform", "change": "removed" },
            ],
            "needs_restart": [],
        })
    );
}

#[test]
fn another_key_is_told_without_its_hash() {
    let with_key = |byte| {
        let mut checked = example();
        checked.allocations.keys.push(Key {
            name: "batch".to_owned(),
            sha256: [byte; 32],
            team: TeamIndex(0),
            class: None,
            may_use: Vec::new(),
            expires: None,
            tags: Tags::new(),
        });
        checked
    };
    let changes = Changes::between(&with_key(1), &with_key(2));
    assert_eq!(changes.lines(), ["key batch: sha256 replaced"]);
}

#[test]
fn losing_more_than_half_the_teams_must_be_meant() {
    let check = |keep: usize, force, rejected: bool| {
        let before = example();
        let mut after = before.clone();
        after.allocations.teams.truncate(keep);
        let reason = reject_reason(&before, &after, force);
        assert_eq!(reason.is_some(), rejected, "{keep} of 4: {reason:?}");
    };
    check(4, false, false);
    check(2, false, false);
    check(1, false, true);
    check(0, false, true);
    check(0, true, false);
}
