//! The README's commands, as somebody types them who has nothing else.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::stage::{any_port, has};

/// The block of shell commands that begins so.
fn block(start: &str) -> &'static str {
    let readme = include_str!("../../README.md");
    let mut blocks = readme.split("```sh\n").skip(1);
    let block = blocks.find(|block| block.starts_with(start));
    let (block, _) = block
        .expect("the block")
        .split_once("```")
        .expect("its end");
    block
}

#[test]
fn from_nothing_to_a_refused_background_call() {
    if !has("curl") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // The build is ours, and other ports are free.
    let (build, script) =
        block("cargo build --release\n").split_at("cargo build --release\n".len());
    assert_eq!(build.trim(), "cargo build --release");
    let binary = Path::new(env!("CARGO_BIN_EXE_breakerbox"))
        .parent()
        .expect("a folder");
    let held = [(); 3].map(|()| TcpListener::bind(any_port()).expect("bind"));
    let [proxy, admin, salesforce] = held.map(|held| held.local_addr().expect("an address"));
    let script = script
        .replace("$PWD/target/release", &binary.display().to_string())
        .replace("127.0.0.1:8081", &salesforce.to_string())
        .replace("127.0.0.1:8080", &proxy.to_string())
        .replace("127.0.0.1:9090", &admin.to_string())
        .replace("breakerbox simulator &", &format!("breakerbox simulator --listen {salesforce} &"))
        .replace(
            "\n[upstreams]",
            &format!("\n[listen]\nproxy = \"{proxy}\"\nadmin = \"{admin}\"\n[upstreams]"),
        )
        .replace("sleep 1", "curl -s --retry 50 --retry-connrefused --retry-delay 0 -o /dev/null \
             http://ADMIN/readyz; curl -s --retry 50 --retry-connrefused --retry-delay 0 -o /dev/null http://SIM/_sim/billed")
        .replace("ADMIN", &admin.to_string())
        .replace("SIM", &salesforce.to_string());
    let output = Command::new("timeout")
        .args(["60", "bash", "-c", &script])
        .current_dir(&folder)
        .output()
        .expect("bash");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let check = |want: &str| assert!(said.contains(want), "{want}: {said}\n{complained}");
    check("valid: 1 teams");
    check("201 201 ");
    check(" 429 ");
    check("HTTP/1.1 429");
    check("breakerbox-refusal: team_breaker_open");
    check("\"breaker\":\"open\"");
    let events = said
        .matches(",sales,prompt.generate,background,own,1,")
        .count();
    assert_eq!(events, said.matches("201 ").count(), "{said}\n{complained}");
    assert_eq!(output.status.code(), Some(0), "{complained}");
}
