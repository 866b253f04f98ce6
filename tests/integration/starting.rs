//! What stands in the way of a start, and what it says then.

use breakerbox::simulator::{Settings, Simulator};

use crate::process::{Process, run, said};
use crate::stage::{Files, allocations, any_port};

/// Files with addresses of their own instead of any free ones, as people write them.
fn with_fixed_ports(simulator: &Simulator) -> Files {
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let mut text = std::fs::read_to_string(files.config()).expect("read");
    // Both held at once, so that they differ.
    let held = [(); 2].map(|()| std::net::TcpListener::bind(any_port()).expect("bind"));
    for listener in &held {
        let free = listener.local_addr().expect("an address").to_string();
        text = text.replacen("127.0.0.1:0", &free, 1);
    }
    std::fs::write(files.config(), text).expect("write");
    files
}

fn simulator() -> Simulator {
    Simulator::start(any_port(), Settings::default()).expect("a simulator")
}

#[test]
fn a_second_process_is_told_who_has_the_ledger() {
    let simulator = simulator();
    let files = with_fixed_ports(&simulator);
    let process = Process::serve(&files);
    let output = run(&files, &["serve"]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    let holder = format!("in use by process {}", process.child.id());
    assert!(told.contains(&holder), "{told}");
    assert_eq!(process.stop(), Some(0));
}

/// The ledger's commands are needed most when something is wrong.
#[test]
fn the_ledgers_commands_do_not_wait_for_the_allocations_to_be_right() {
    let simulator = simulator();
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    assert_eq!(Process::serve(&files).stop(), Some(0));
    std::fs::write(files.allocations(), "[pool]\nannual_credits = lots\n").expect("write");
    let check = |arguments: &[&str]| {
        let output = run(&files, arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            said(&output)
        );
    };
    let backup = files.folder.path().join("backup");
    let backup = backup.to_str().expect("text");
    check(&["ledger", "verify"]);
    check(&["ledger", "backup", backup]);
    check(&["ledger", "restore", backup]);
    check(&["ledger", "export", "--from", "2026-11-01"]);
    check(&["ledger", "accept-clock"]);
    std::fs::remove_file(files.allocations()).expect("remove");
    check(&["ledger", "verify"]);
    // But a name that may be the ledger's is not passed over: that would be another file.
    let text = std::fs::read_to_string(files.config()).expect("read");
    std::fs::write(files.config(), text.replace("[ledger]", "[ledgr]")).expect("write");
    let output = run(&files, &["ledger", "verify"]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("did you mean \"ledger\"?"), "{told}");
}

/// A path that is not the ledger's is said to be so, and left as it was.
#[test]
fn the_ledgers_commands_say_what_is_not_a_ledger() {
    let simulator = simulator();
    let files = Files::write(simulator.address, &allocations("guide", "12_000"));
    let backup = files.folder.path().join("backup");
    let commands = [
        &["ledger", "accept-clock"][..],
        &["ledger", "verify"],
        &["ledger", "export", "--from", "2026-11-01"],
        &["ledger", "backup", backup.to_str().expect("text")],
    ];
    let check = |why: &str| {
        for command in commands {
            let output = run(&files, command);
            let told = said(&output);
            assert_eq!(output.status.code(), Some(1), "{command:?}: {told}");
            assert!(told.contains(why), "{command:?}: {told}");
            assert!(!backup.with_extension("partial").exists(), "{command:?}");
        }
    };
    check("is this the ledger's configuration?");
    std::fs::create_dir(files.folder.path().join("data")).expect("a folder");
    let foreign = rusqlite::Connection::open(files.ledger()).expect("open");
    foreign
        .execute_batch("CREATE TABLE theirs (a);")
        .expect("a table");
    drop(foreign);
    let before = std::fs::read(files.ledger()).expect("read");
    check("no ledger of breakerbox; choose another path in [ledger] store");
    assert_eq!(std::fs::read(files.ledger()).expect("read"), before);
}
