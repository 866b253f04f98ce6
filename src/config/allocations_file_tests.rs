use super::*;
use crate::budget::admission::OnTrip;
use crate::budget::operation::Class;
use crate::config::checked::{CarryOver, NamedKind, OnBound};

#[path = "payers_file_tests.rs"]
mod payers;
#[path = "pool_file_tests.rs"]
mod pool;
#[path = "team_file_tests.rs"]
mod team;

const POOL: &str = r#"[pool]
annual_credits = 1_200_000
annual_cost = { amount = "36000.00", currency = "USD" }
contract_start = "2026-02-01"
time_zone = "America/Los_Angeles"
rate_card = "flex-2026-08"
unattributed = "refuse"
"#;
/// Lines 8 to 11.
const SALES: &str = "[[team]]\nname = \"sales\"\nowner = \"o@example.com\"\nshare = \"35%\"\n";

fn findings(text: &str) -> (Option<Allocations>, Vec<String>, Vec<String>) {
    let source = Source::new("allocations.toml", text);
    let now = "2026-11-24T00:00:00Z".parse().unwrap();
    let allocations = read(&source, &["flex-2026-08", "guide"], now);
    let (faults, warnings) = source.into_findings();
    (allocations, faults.sorted().lines(), warnings.lines())
}

fn valid(text: &str) -> Allocations {
    let (allocations, faults, _) = findings(text);
    assert_eq!(faults, Vec::<String>::new(), "{text}");
    allocations.unwrap()
}

fn has_one_fault(text: &str, case: &str, want: &str) {
    let (_, faults, _) = findings(text);
    assert_eq!(faults.len(), 1, "{case}: {faults:?}");
    assert!(faults[0].contains(want), "{case}: {}", faults[0]);
}

/// A line of the pool that is edited has one fault.
fn check_pool(from: &str, to: &str, want: &str) {
    assert!(POOL.contains(from), "{from} is not in the pool");
    has_one_fault(&format!("{}{SALES}", POOL.replacen(from, to, 1)), to, want);
}

/// A line of the team (8 to 11) that is edited has one fault.
fn check_team(from: &str, to: &str, want: &str) {
    assert!(SALES.contains(from), "{from} is not in the team");
    has_one_fault(&format!("{POOL}{}", SALES.replacen(from, to, 1)), to, want);
}

/// What follows the team, from line 12 on, has one fault.
fn check(more: &str, want: &str) {
    has_one_fault(&format!("{POOL}{SALES}{more}"), more, want);
}

fn check_warning(more: &str, want: &str) {
    let (_, faults, warnings) = findings(&format!("{POOL}{SALES}{more}"));
    assert_eq!(faults, Vec::<String>::new(), "{more}");
    assert_eq!(warnings.len(), 1, "{more}: {warnings:?}");
    assert!(warnings[0].contains(want), "{more}: {}", warnings[0]);
}

fn percent(text: &str) -> Percent {
    Percent::parse(text).unwrap()
}

#[test]
fn what_is_not_written_has_its_default() {
    let allocations = valid(&format!("{POOL}{SALES}"));
    let pool = &allocations.pool;
    assert_eq!(
        (pool.central_buffer, pool.burst, pool.trip),
        (percent("15%"), percent("15%"), percent("90%"))
    );
    assert_eq!((pool.unattributed, pool.overage_cap), (None, None));
    assert_eq!(pool.carry_over, CarryOver::None);
    assert_eq!(pool.client_tags, ["project"]);
    let team = &allocations.teams[0];
    assert_eq!((team.trip, team.emergency), (percent("90%"), percent("1%")));
    assert_eq!(team.alerts, ["50%", "75%", "90%"].map(percent));
    assert_eq!(
        (team.on_trip, team.throttle_per_minute.get()),
        (OnTrip::Throttle, 6)
    );
    assert_eq!((team.class, team.buffer_max), (None, None));
    assert!(team.enforce && team.finish_conversations);
    assert_eq!(team.on_bound, OnBound::Extend);
}

/// A setting of each kind, around the team on its usual lines.
const MORE_POOL: &str = r#"overage_cap = "0.5"
carry_over = "buffer"
central_buffer = "20%"
"#;
const MORE: &str = r#"class = "critical"
alerts = ["90%", "50%", "50%"]
on_trip = { standard = "throttle", rate = "10/min" }
buffer_max = "25%"
on_bound = "cut"
business_unit = "Sales"
cost_center = "4100"
tags = { region = "emea" }
[[team]]
name = "support 2"
owner = "o@example.com"
monthly_credits = 10_000
on_trip = { standard = "reject" }
[[team]]
name = "lab"
owner = "o@example.com"
buffer_share = "12.5%"
[[agent]]
id = "0XxA"
name = "SDR agent"
type = "sdr"
team = "support 2"
class = "background"
[[template]]
name = "Quote_Summary"
team = "sales"
[[client]]
client_id = "3MVG9"
name = "middleware"
team = "lab"
[[key]]
name = "batch"
sha256 = "@HASH@"
team = "lab"
may_use = ["sales", "support 2"]
expires = 2027-01-01
"#;

#[test]
fn what_is_written_is_meant() {
    let more = MORE.replace("@HASH@", &("0aF".repeat(21) + "f"));
    let allocations = valid(&format!("{POOL}{MORE_POOL}{SALES}{more}"));
    let [sales, support, lab] = allocations.teams.as_slice() else {
        panic!("{:?}", allocations.teams);
    };
    assert_eq!(sales.class, Some(Class::Critical));
    assert_eq!(sales.alerts, ["50%", "90%"].map(percent));
    assert_eq!(sales.throttle_per_minute.get(), 10);
    assert_eq!(
        (sales.buffer_max, sales.on_bound),
        (Some(percent("25%")), OnBound::Cut)
    );
    let tags: Vec<_> = sales
        .tags
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    assert_eq!(
        tags,
        ["business_unit=Sales", "cost_center=4100", "region=emea"]
    );
    assert_eq!(
        support.share,
        Share::Monthly(MicroCredits::from_credits(10_000).unwrap())
    );
    assert_eq!(support.on_trip, OnTrip::Reject);
    assert_eq!(lab.share, Share::OfBuffer(percent("12.5%")));
    let named: Vec<_> = allocations
        .named
        .iter()
        .map(|named| {
            (
                named.kind,
                named.id.as_str(),
                named.name.as_str(),
                named.team.0,
            )
        })
        .collect();
    assert_eq!(
        named,
        [
            (NamedKind::Agent, "0XxA", "SDR agent", 1),
            (NamedKind::Template, "Quote_Summary", "Quote_Summary", 0),
            (NamedKind::Client, "3MVG9", "middleware", 2),
        ]
    );
    let key = &allocations.keys[0];
    assert_eq!((key.sha256[0], key.sha256[31]), (0x0a, 0xff));
    assert_eq!(key.may_use, [TeamIndex(0), TeamIndex(1)]);
    // Midnight in Los Angeles.
    assert_eq!(key.expires.unwrap().to_string(), "2027-01-01T08:00:00Z");
    assert_eq!(allocations.pool.carry_over, CarryOver::Buffer);
    assert_eq!(
        allocations.pool.overage_cap,
        Some(MicroCredits::from_micros(500_000))
    );
    assert_eq!(
        (
            allocations.pool.annual_cost.micros,
            allocations.pool.annual_cost.decimals
        ),
        (36_000_000_000, 2)
    );
}

#[test]
fn shares_fit_into_the_pool() {
    let team =
        |name: &str, share: &str| format!("[[team]]\nname = \"{name}\"\nowner = \"o\"\n{share}\n");
    let two = |a: &str, b: &str| format!("{}{}", team("a", a), team("b", b));
    check(
        &two("share = \"50.01%\"", "share = \"10%\""),
        "15:9: the shares (95.01%) and the central buffer (15%) are 110.01% together (at most 100%)",
    );
    valid(&format!(
        "{POOL}{SALES}{}",
        two("share = \"49%\"", "share = \"1%\"")
    ));
    // 100,000 a month, of which half is claimed already.
    valid(&format!(
        "{POOL}{SALES}{}",
        team("a", "monthly_credits = 50_000")
    ));
    check(
        &team("a", "monthly_credits = 50_001"),
        "15:19: the shares claim 100001 of 100000 credits of a month, with the central buffer of 15%",
    );
    check(
        &two("buffer_share = \"60%\"", "buffer_share = \"41%\""),
        "19:16: the shares of the buffer are 101% together",
    );
    // Also where something else in the pool is wrong.
    let (_, faults, _) = findings(&format!(
        "{}{SALES}{}",
        POOL.replace("USD", "usd"),
        team("a", "share = \"60%\"")
    ));
    assert_eq!(faults.len(), 2, "{faults:?}");
}

#[test]
fn a_team_with_a_fault_is_still_known() {
    let text = format!(
        "{POOL}{}[[agent]]\nid = \"a\"\nteam = \"sales\"\n",
        SALES.replace("35%", "350%")
    );
    has_one_fault(&text, "a bad share", "11:9: share: over 100%");
}

/// Of three faults, the one syntax error among them was said.
#[test]
fn wrong_syntax_hides_no_more_than_it_must() {
    let check = |text: &str, want: &[&str]| {
        let (_, faults, _) = findings(text);
        let all = faults.len() == want.len();
        let each = want
            .iter()
            .zip(&faults)
            .all(|(want, fault)| fault.starts_with(want));
        assert!(all && each, "{text}: {faults:?}");
    };
    check(
        "[pool]\ntrip = \nburst = 15%\n[[team]\n",
        &[
            "allocations.toml:2:8: not TOML: ",
            "allocations.toml:3:9: not TOML: ",
            "allocations.toml:4:8: not TOML: ",
        ],
    );
    // A key written twice is said beside what else is wrong.
    let twice = format!(
        "{POOL}trip = \"190%\"\ntrip = \"80%\"\n{}",
        SALES.replace("35%", "350%")
    );
    check(
        &twice,
        &[
            "allocations.toml:8:8: trip: over 100%",
            "allocations.toml:9:1: not TOML: duplicate key",
            "allocations.toml:13:9: share: over 100%",
        ],
    );
    // A table written twice is one: nothing is said to be missing from the second.
    check(
        &format!("{POOL}{SALES}[pool]\ntrip = \"80%\"\n"),
        &["allocations.toml:12:2: not TOML: duplicate key"],
    );
    check(" \n", &["allocations.toml:1:1: the file is empty"]);
    let other = "{\"pool\": 1}\n".repeat(100);
    let (_, faults, _) = findings(&other);
    assert_eq!(faults.len(), 20, "a file that is something else");
    check(
        "\u{e4}\u{e4} = 1 \u{20ac} = 2",
        &[
            "allocations.toml:1:1: not TOML",
            "allocations.toml:1:6: not TOML",
            "allocations.toml:1:10: not TOML",
        ],
    );
}
