use std::fs;

use super::*;

const NOW: &str = "2026-11-24T12:00:00Z";

fn file(name: &str, text: &str) -> File {
    File {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

fn files(gateway: &str, allocations: &str, cards: &[&str]) -> Files {
    let cards = cards.iter().enumerate();
    Files {
        folder: PathBuf::from("/etc/bb"),
        gateway: file("breakerbox.toml", gateway),
        allocations: file("allocations.toml", allocations),
        cards: cards
            .map(|(at, text)| file(&format!("rates/{at}.toml"), text))
            .collect(),
    }
}

fn checked(files: &Files) -> Result<(Checked, Warnings), Faults> {
    check(files, NOW.parse().unwrap())
}

const GATEWAY: &str = include_str!("../../config/breakerbox.toml");
const ALLOCATIONS: &str = include_str!("../../config/allocations.toml");

#[test]
fn the_example_is_valid() {
    let sources =
        Sources::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/breakerbox.toml"));
    let files = Files::read(&sources).unwrap();
    let (checked, warnings) = checked(&files).unwrap();
    assert_eq!(warnings.lines(), Vec::<String>::new());
    let teams: Vec<_> = checked
        .allocations
        .teams
        .iter()
        .map(|team| team.name.as_str())
        .collect();
    assert_eq!(teams, ["sales", "support", "marketing", "data-platform"]);
    assert!(
        checked
            .card()
            .is_some_and(|card| card.name == "flex-2026-08")
    );
    assert_eq!(checked.allocations.keys, [], "no key that anybody knows");
}

/// What the example shows behind a `#` is right as well, and the defaults it names are the defaults.
#[test]
fn what_the_example_comments_out_is_valid() {
    let is_setting = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        line.contains(" = ")
            && key
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            || (line.starts_with("[[") && line.ends_with("]]"))
    };
    let uncommented = |text: &str| {
        let line = |line: &str| match line.strip_prefix("# ") {
            Some(setting) if is_setting(setting) => format!("{setting}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(line).collect::<String>()
    };
    let allocations =
        uncommented(ALLOCATIONS).replace("64 hex digits: the SHA-256 of the key", &"ab".repeat(32));
    let all = files(&uncommented(GATEWAY), &allocations, &[]);
    let ledger = all.ledger().unwrap();
    let (all, warnings) = checked(&all).unwrap();
    assert_eq!(warnings.lines(), Vec::<String>::new());
    let (example, _) = checked(&files(GATEWAY, ALLOCATIONS, &[])).unwrap();
    assert_eq!(ledger, all.gateway.ledger, "the same read alone");
    assert_eq!(all.gateway.limits, example.gateway.limits);
    assert_eq!(all.gateway.mode, example.gateway.mode);
    assert_eq!(
        (all.allocations.keys.len(), all.allocations.named.len()),
        (1, 6)
    );
    let sales = |checked: &Checked| {
        let mut team = checked.allocations.teams[0].clone();
        (team.class, team.buffer_max) = (None, None);
        team.tags.remove("region");
        team
    };
    assert_eq!(sales(&all), sales(&example));
}

#[test]
fn every_fault_of_every_file_is_said_at_once() {
    let gateway = r#"[listen]
proxy = "localhost"
admin = "0.0.0.0:9090"
[upstream]
api = "https://api.salesforce.com/v1"
"#;
    let allocations = r#"[pool]
annual_credits = 7.2e6
contract_start = "2026-02-01"
time_zone = "America/Los_Angelas"
central_buffer = "15%"
rate_card = "flex"

[[team]]
name = "sales"
share = "35"
owner = "sales-ops@example.com"

[[team]]
name = "sales"
shaer = "90%"

[[agent]]
id = "0XxHn000000AAAAKA4"
team = "slaes"

[[key]]
name = "batch"
sha256 = "not hex"
team = "sales"
"#;
    let card = "name = \"guide\"\neffective = 2026\n";
    let faults = checked(&files(gateway, allocations, &[card])).unwrap_err();
    assert_eq!(
        faults.to_string(),
        r#"allocations.toml:1:1: [pool] has no annual_cost
    as in annual_cost = { amount = "36000.00", currency = "USD" }
allocations.toml:1:1: [pool] has no unattributed
    "refuse", or the team that pays for calls of nobody
allocations.toml:2:18: annual_credits is a float, which is not exact
    write it in quotes: annual_credits = "7.2e6"
allocations.toml:4:13: no time zone is called "America/Los_Angelas"
    did you mean "America/Los_Angeles"?
allocations.toml:6:13: no rate card is called "flex"
    known: flex-2026-08, guide
allocations.toml:10:9: share: not a percentage; write it like "35%" or "12.5%"
allocations.toml:13:1: [[team]] has no owner
    who answers for these credits, as in owner = "sales-ops@example.com"
allocations.toml:13:1: [[team]] has no share
    share = "35%", or monthly_credits = 210_000, or buffer_share = "30%"
allocations.toml:14:8: another team is called "sales" already
    names are unique
allocations.toml:15:1: unknown key "shaer" in [[team]]
    did you mean "share"?
allocations.toml:19:8: no team is called "slaes"
    did you mean "sales"?
allocations.toml:23:10: sha256: no SHA-256: 64 hex digits, as `breakerbox key` prints them
breakerbox.toml:1:1: the file has no [upstreams]
    api and org are required
breakerbox.toml:2:9: proxy: not an address and port, as in "127.0.0.1:8080"
breakerbox.toml:3:9: admin is not a loopback address
    there are no tokens yet, so it binds loopback only, as in "127.0.0.1:9090"; for probes from elsewhere set health
breakerbox.toml:4:2: unknown key "upstream" in the file
    did you mean "upstreams"?
rates/0.toml:1:1: the file has no operation
    a table for each, [operation."agent.turn"]
rates/0.toml:1:8: another card is called "guide" already
    names are unique, and those of the built-in cards are taken
rates/0.toml:2:13: effective is an integer, not a date like "2026-02-01"
19 faults in the configuration"#
    );
}

/// A half-written file has faults with a place, or happens to be whole.
#[test]
fn a_file_cut_anywhere_is_no_accident() {
    for end in (0..ALLOCATIONS.len()).step_by(61) {
        let cut = ALLOCATIONS.get(..end).unwrap();
        if let Err(faults) = checked(&files(GATEWAY, cut, &[])) {
            let placed = faults
                .iter()
                .all(|fault| fault.line > 0 && fault.column > 0);
            assert!(placed && !faults.is_empty(), "{end}: {faults}");
        }
    }
}

#[test]
fn own_cards_are_cards() {
    let own = rates::GUIDE.replace("name = \"guide\"", "name = \"ours\"");
    let allocations = ALLOCATIONS.replace("\"flex-2026-08\"", "\"ours\"");
    let (checked, _) = checked(&files(GATEWAY, &allocations, &[&own])).unwrap();
    let names: Vec<_> = checked.cards.keys().map(String::as_str).collect();
    assert_eq!(names, ["flex-2026-08", "guide", "ours"]);
    assert_eq!(checked.card().unwrap().name, "ours");

    let faults = check(
        &files(GATEWAY, &allocations, &[&own, &own]),
        NOW.parse().unwrap(),
    );
    assert_eq!(
        faults.unwrap_err().lines(),
        [
            "rates/1.toml:3:8: another card is called \"ours\" already (names are unique, and those of the built-in cards are taken)"
        ]
    );
}

#[test]
fn the_guide_near_the_public_price_is_suspicious() {
    let warned = |card: &str, credits: &str, amount: &str| {
        let allocations = ALLOCATIONS
            .replace("\"flex-2026-08\"", &format!("{card:?}"))
            .replace("7_200_000", credits)
            .replace("36000.00", amount);
        let (_, warnings) = checked(&files(GATEWAY, &allocations, &[])).unwrap();
        warnings
            .iter()
            .any(|warning| warning.line == 15 && warning.message.contains("planning model"))
    };
    // A credit at $0.005.
    assert!(warned("guide", "7_200_000", "36000.00"));
    assert!(!warned("flex-2026-08", "7_200_000", "36000.00"));
    // Three times that, and a third.
    assert!(warned("guide", "1_000", "15.00"));
    assert!(!warned("guide", "1_000", "15.01"));
    assert!(warned("guide", "3_000", "5.00"));
    assert!(!warned("guide", "3_000", "4.99"));
}

#[test]
fn the_hash_is_of_the_contents() {
    let digest = |gateway, allocations, cards: &[&str]| files(gateway, allocations, cards).digest();
    let first = digest("a", "b", &[]);
    assert_eq!(digest("a", "b", &[]), first);
    assert_ne!(digest("ab", "", &[]), first);
    assert_ne!(digest("a", "b", &[""]), first);
    let mut elsewhere = files("a", "b", &[]);
    elsewhere.gateway.name = "/somewhere/else.toml".to_owned();
    assert_eq!(elsewhere.digest(), first);
    let (checked, _) = checked(&files(GATEWAY, ALLOCATIONS, &[])).unwrap();
    assert_eq!(checked.hash.len(), 16);
}

#[test]
fn what_cannot_be_read_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let sources = Sources::new(path("breakerbox.toml"));
    let check = |want: &[&str]| {
        let got = Files::read(&sources).map_or_else(|faults| faults.lines(), |_| Vec::new());
        let at = folder.path().display().to_string();
        let got: Vec<_> = got.iter().map(|fault| fault.replace(&at, "")).collect();
        assert_eq!(got.len(), want.len(), "{got:?}");
        for (got, want) in got.iter().zip(want) {
            assert!(got.contains(want), "{got}");
        }
    };
    check(&[
        "/allocations.toml: cannot be read: No such file or directory (os error 2) (--config names",
        "/breakerbox.toml: cannot be read: No such file",
    ]);
    fs::write(path("breakerbox.toml"), GATEWAY).unwrap();
    fs::create_dir(path("allocations.toml")).unwrap();
    check(&["/allocations.toml: is no regular file"]);
    fs::remove_dir(path("allocations.toml")).unwrap();
    fs::write(path("allocations.toml"), b"[pool]\nna\xffme").unwrap();
    check(&["/allocations.toml:2:3: is not UTF-8 here"]);
    fs::write(path("allocations.toml"), vec![b'#'; (8 << 20) + 1]).unwrap();
    check(&["/allocations.toml: is too large (at most 8 MiB)"]);
    fs::write(path("allocations.toml"), ALLOCATIONS).unwrap();
    check(&[]);
    fs::write(path("rates"), "").unwrap();
    check(&["/rates: cannot be read: Not a directory"]);
    fs::remove_file(path("rates")).unwrap();
    fs::create_dir(path("rates")).unwrap();
    for name in [".hidden.toml", "README.md", "own.toml~"] {
        fs::write(path("rates").join(name), "no card").unwrap();
    }
    check(&[]);
    fs::create_dir(path("rates/own.toml")).unwrap();
    check(&["/rates/own.toml: is no regular file"]);
}

#[test]
fn paths_are_beside_the_file() {
    let sources = Sources::new(PathBuf::from("breakerbox.toml"));
    assert_eq!(sources.allocations(), Path::new("allocations.toml"));
    assert_eq!(sources.folder(), Path::new("."));
    let sources = Sources::new(PathBuf::from("/etc/bb/gateway.toml"));
    assert_eq!(sources.rates(), Path::new("/etc/bb/rates"));
}
