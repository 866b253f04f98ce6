//! Data of commands, for programs: `--format json` and `csv`.

use std::net::SocketAddr;

use serde_json::Value;

use crate::process::{Process, run, said};
use crate::stage::{Files, allocations};

/// Files without anybody behind the upstreams.
fn files(annual: &str) -> Files {
    Files::write(
        SocketAddr::from(([127, 0, 0, 1], 9)),
        &allocations("guide", annual),
    )
}

/// Standard output, where nothing is said besides.
fn check(files: &Files, arguments: &[&str], code: i32) -> String {
    let output = run(files, arguments);
    assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    assert!(output.stderr.is_empty(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_figures_of_check() {
    let files = files("\"120001.2\""); // 10,000.1 a month
    let text = check(&files, &["check", "--format", "json"], 0);
    let told: Value = serde_json::from_str(&text).expect("json");
    assert_eq!(told["valid"], true);
    assert_eq!(told["warnings"], Value::Array(Vec::new()));
    assert_eq!(told["teams"][0]["team"], "sales");
    // The digits as they are printed: exact.
    for exact in ["\"allocation\":3500.035,", "\"trips_at\":3150.0315}"] {
        assert!(text.contains(exact), "{exact}: {text}");
    }
    let table = check(&files, &["check"], 0);
    let sales = "\n  sales                   3500.035 credits, trips at 3150.0315\n";
    assert!(table.contains(sales), "figures below one another: {table}");
    let csv = check(&files, &["check", "--format", "csv"], 0);
    let lines: Vec<_> = csv.lines().collect();
    assert_eq!(lines[0], "kind,team,allocation,trips_at");
    assert_eq!(lines[1], "team,sales,3500.035,3150.0315");
    assert_eq!(lines[4], "unassigned,,2500.025,");
}

#[test]
fn the_faults_of_check() {
    let files = files("120_000");
    let text = std::fs::read_to_string(files.allocations()).expect("read");
    std::fs::write(files.allocations(), text.replace("35%", "350%")).expect("write");
    let text = check(&files, &["check", "--format", "json"], 2);
    let told: Value = serde_json::from_str(&text).expect("json");
    assert_eq!(told["valid"], false);
    let fault = &told["faults"][0];
    assert_eq!(
        (&fault["line"], &fault["column"]),
        (&14.into(), &9.into()),
        "{told}"
    );
    assert_eq!(fault["message"], "share: over 100%");
}

#[test]
fn what_backup_and_restore_did() {
    let files = files("120_000");
    assert_eq!(Process::serve(&files).stop(), Some(0));
    let folder = files.folder.path().join("backup, first");
    let folder = folder.to_str().expect("text");
    let text = check(&files, &["ledger", "backup", folder, "--format", "json"], 0);
    let told: Value = serde_json::from_str(&text).expect("json");
    assert_eq!(
        (&told["folder"], &told["rows"]),
        (&folder.into(), &0.into())
    );
    let csv = check(&files, &["ledger", "restore", folder, "--format", "csv"], 0);
    let batch = &told["batch"];
    let aside = files.folder.path().join("data/before-restore-");
    let want = format!(
        "batch,days,kept,aside,accept_lower\n{batch},0,0,{}",
        aside.display()
    );
    assert!(csv.starts_with(&want), "{csv}");
    let folder = format!("{folder}2");
    let csv = check(&files, &["ledger", "backup", &folder, "--format", "csv"], 0);
    assert!(
        csv.contains(&format!("\"{folder}\",{batch},0,0\n")),
        "{csv}"
    );
}
