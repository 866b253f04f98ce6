//! The direction between the rooms of the code: who may know whom (docs/ARCHITECTURE.md).

use std::path::{Path, PathBuf};

/// A room, and the rooms it may name. `counters` and `clock` hold no knowledge of ours.
const MAY_KNOW: [(&str, &[&str]); 14] = [
    ("budget", &[]),
    ("counters", &["budget"]),
    ("clock", &[]),
    ("rates", &["budget"]),
    ("salesforce", &["budget"]),
    ("config", &["budget", "rates", "salesforce"]),
    (
        "ledger",
        &["budget", "salesforce", "config", "counters", "clock"],
    ),
    (
        "proxy",
        &[
            "budget",
            "rates",
            "salesforce",
            "config",
            "ledger",
            "counters",
            "clock",
        ],
    ),
    ("alerts", &["budget", "ledger", "proxy"]),
    (
        "metrics",
        &["budget", "counters", "ledger", "proxy", "salesforce"],
    ),
    (
        "gateway",
        &[
            "budget",
            "rates",
            "salesforce",
            "config",
            "ledger",
            "proxy",
            "alerts",
            "metrics",
            "admin",
            "counters",
            "clock",
        ],
    ),
    (
        "admin",
        &[
            "budget", "config", "ledger", "proxy", "metrics", "gateway", "clock",
        ],
    ),
    ("simulator", &["budget"]),
    (
        "cli",
        &[
            "budget",
            "rates",
            "config",
            "ledger",
            "proxy",
            "gateway",
            "simulator",
            "clock",
        ],
    ),
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => files(&path, found),
            path => found.push(path),
        }
    }
}

#[test]
fn no_room_knows_more_than_it_may() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&source, &mut all);
    let mut wrong = Vec::new();
    for path in all
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
    {
        let inside = path.strip_prefix(&source).expect("inside");
        let first = inside.iter().next().expect("a name").to_string_lossy();
        let room = first.trim_end_matches(".rs").to_owned();
        if room == "lib" || room == "main" {
            continue;
        }
        let (_, may_know) = MAY_KNOW
            .iter()
            .find(|(name, _)| *name == room)
            .unwrap_or_else(|| panic!("{room} is new"));
        let text = std::fs::read_to_string(path).expect("read");
        for (at, line) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for rest in line.split("crate::").skip(1) {
                let named: String = rest
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                let is_room = MAY_KNOW.iter().any(|(name, _)| *name == named);
                if is_room && named != room && !may_know.contains(&named.as_str()) {
                    wrong.push(format!(
                        "{}:{}: {room} knows {named}",
                        inside.display(),
                        at + 1
                    ));
                }
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
