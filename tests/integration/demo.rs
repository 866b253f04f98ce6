//! The demo: what a newcomer sees first.

use std::process::Command;

/// The figures behind a line that begins so.
fn figures(told: &str, begins: &str) -> Vec<u64> {
    let line = told.lines().find(|line| line.starts_with(begins));
    let line = line.unwrap_or_else(|| panic!("no line {begins:?} in\n{told}"));
    let words = line.split(|c: char| !c.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn it_shows_breakers_open_and_counts_to_the_credit_what_is_billed() {
    let output = Command::new(env!("CARGO_BIN_EXE_breakerbox"))
        .args(["demo", "--for", "12s"])
        .args(["--proxy", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .output()
        .expect("the demo");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}");
    for alert in ["passed 50 %", "passed 75 %", "'s breaker opened"] {
        assert!(told.contains(alert), "{alert}:\n{told}");
    }
    let background = figures(&told, "marketing   background");
    let critical = figures(&told, "sales       critical");
    assert!(background[1] > 0, "nothing was refused:\n{told}");
    assert_eq!(critical[1], 0, "critical traffic was refused:\n{told}");
    let [counted, billed] = figures(&told, "counted by breakerbox")[..] else {
        panic!("{told}")
    };
    assert_eq!(counted, billed, "{told}");
}
