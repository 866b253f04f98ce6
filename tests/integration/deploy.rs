//! What lies in `deploy/` works.

use std::process::Command;

use crate::stage::has;

const UNIT: &str = include_str!("../../deploy/systemd/breakerbox.service");

#[test]
fn systemd_takes_the_unit_as_it_is() {
    if !has("systemd-analyze") {
        return;
    }
    // The binary need not be installed on this machine.
    let installed = "/usr/local/bin/breakerbox";
    assert!(UNIT.contains(installed));
    let unit = UNIT.replace(installed, env!("CARGO_BIN_EXE_breakerbox"));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("breakerbox.service");
    std::fs::write(&path, unit).expect("write");
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&path)
        .output();
    let verified = verified.expect("systemd-analyze");
    let said = String::from_utf8_lossy(&verified.stderr);
    // What it does not know it says, and goes on.
    assert!(verified.status.success() && said.is_empty(), "{said}");
}

/// The unit waits for the end of a drain, and starts what the help says.
#[test]
fn the_unit_and_the_defaults_agree() {
    let config = include_str!("../../config/breakerbox.toml");
    assert!(config.contains("# drain_timeout = \"140s\""));
    assert!(
        UNIT.contains("TimeoutStopSec=160\n"),
        "longer than the drain"
    );
    let start = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let (_, arguments) = start
        .expect("ExecStart")
        .split_once(' ')
        .expect("arguments");
    let help = Command::new(env!("CARGO_BIN_EXE_breakerbox"))
        .args(arguments.split(' '))
        .arg("--help")
        .output();
    assert!(help.expect("breakerbox").status.success(), "{arguments}");
}
