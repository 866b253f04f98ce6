//! The disk fails, fills up, stalls or is read-only under a running gateway: critical traffic goes on within grants
//! and its emergency, other traffic is refused by name, nothing that was counted is dropped, and somebody hears.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use breakerbox::simulator::{Settings, Simulator};

use crate::http::{Reply, call, get};
use crate::process::{Process, run, said};
use crate::stage::{
    CHAT, Files, MODEL_PATH, SALES_KEY, SUPPORT_KEY, allocations, any_port, has, is_here, series,
    wait_for,
};

pub(crate) const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Sales is critical and may spend 35 credits in an emergency; support is standard.
pub(crate) fn files(simulator: &Simulator) -> Files {
    let text = allocations("guide", "120_000").replace(
        "[[key]]\nname = \"support-key\"",
        "class = \"critical\"\n\n[[key]]\nname = \"support-key\"",
    );
    Files::write(simulator.address, &text)
}

pub(crate) fn simulator() -> Simulator {
    Simulator::start(any_port(), Settings::default()).expect("a simulator")
}

fn ask(process: &Process, key: &str) -> Reply {
    call(
        process.proxy,
        "POST",
        MODEL_PATH,
        &[("Breakerbox-Key", key)],
        CHAT,
    )
}

fn check_passes(process: &Process) {
    for key in [SALES_KEY, SUPPORT_KEY] {
        let reply = ask(process, key);
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
}

/// Spends until the answer is `ledger_unavailable`; how many calls passed before.
fn until_refused(process: &Process, key: &str) -> u32 {
    for passed in 0..500 {
        let reply = ask(process, key);
        if reply.status != 200 {
            assert_eq!(reply.status, 503, "{}", reply.text());
            assert_eq!(reply.refusal(), Some("ledger_unavailable"));
            return passed;
        }
    }
    panic!("never refused");
}

fn check_told(process: &Process) {
    wait_for("the metric", TEN_SECONDS, || {
        series(&process.metrics(), "breakerbox_ledger_writing") == "0"
    });
    let began = Instant::now();
    assert_eq!(
        get(process.admin, "/readyz").status,
        200,
        "traffic is welcome still"
    );
    let told = get(process.admin, "/readyz?verbose").json();
    assert_eq!(told["ledger"]["writing"], false, "{told}");
    assert!(told["ledger"]["last_error"].is_string(), "{told}");
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "probes do not wait for the disk"
    );
    wait_for("the log", TEN_SECONDS, || {
        process.log().contains("within grants only")
    });
}

/// What the trouble table promises while nothing can be written.
fn check_trouble(process: &Process) {
    let standard = until_refused(process, SUPPORT_KEY);
    let critical = until_refused(process, SALES_KEY);
    println!("passed while the disk failed: {standard} standard, {critical} critical");
    assert!(
        critical >= 35,
        "critical goes on for its emergency: {critical}"
    );
    assert_eq!(
        ask(process, SUPPORT_KEY).refusal(),
        Some("ledger_unavailable")
    );
    check_told(process);
    assert_ne!(
        series(&process.metrics(), "breakerbox_ledger_errors_total"),
        "0"
    );
}

/// Back to normal; what was counted is what was spent, everywhere.
fn check_recovered(process: Process, files: &Files, simulator: &Simulator) {
    wait_for("it writes again", TEN_SECONDS, || {
        series(&process.metrics(), "breakerbox_ledger_writing") == "1"
    });
    check_passes(&process);
    let used = || {
        let teams = get(process.admin, "/api/v1/pool").json();
        teams["used"].to_string()
    };
    let spent = simulator.billed().guide.total_micro_credits;
    let spent = breakerbox::budget::credits::MicroCredits::from_micros(spent).to_string();
    wait_for("settled", TEN_SECONDS, || used() == spent);
    let metrics = process.metrics();
    for team in ["sales", "support"] {
        let name = format!("breakerbox_conservation_difference_microcredits{{team=\"{team}\"}}");
        assert_eq!(series(&metrics, &name), "0");
    }
    assert_eq!(process.stop(), Some(0));
    let output = run(
        files,
        &["ledger", "verify", "--thorough", "--format", "json"],
    );
    let told = said(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let on_disk = serde_json::from_str::<serde_json::Value>(&told).expect("json");
    let settled = on_disk["accounts"].as_array().expect("accounts").iter();
    let settled: i64 = settled
        .map(|account| account["settled"].as_str().expect("credits"))
        .map(|credits| {
            breakerbox::budget::credits::MicroCredits::parse(credits)
                .expect("credits")
                .micros()
        })
        .sum();
    assert_eq!(settled, simulator.billed().guide.total_micro_credits);
}

pub(crate) fn with_faults(files: &Files) -> Process {
    let control = files.folder.path().join("fiu");
    let mut command = Command::new("fiu-run");
    command
        .arg("-x")
        .arg("-f")
        .arg(&control)
        .arg(env!("CARGO_BIN_EXE_breakerbox"));
    Process::serve_with(files, command)
}

pub(crate) fn fault(process: &Process, files: &Files, what: &str) {
    let done = Command::new("fiu-ctrl")
        .arg("-f")
        .arg(files.folder.path().join("fiu"))
        .args(["-c", what])
        .arg(process.child.id().to_string())
        .output()
        .expect("fiu-ctrl");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn writes_that_fail_stop_nothing_that_is_critical_and_lose_nothing() {
    if !has("fiu-run") {
        return;
    }
    // EIO and ENOSPC, when it is written and when it is synced.
    for (point, errno) in [("posix/io/sync/fsync", 5), ("posix/io/rw/pwrite", 28)] {
        println!("{point} fails with {errno}");
        let simulator = simulator();
        let files = files(&simulator);
        let process = with_faults(&files);
        check_passes(&process);
        fault(
            &process,
            &files,
            &format!("enable name={point},failinfo={errno}"),
        );
        check_trouble(&process);
        fault(&process, &files, &format!("disable name={point}"));
        check_recovered(process, &files, &simulator);
    }
}

/// Every second write takes only a part of what it was given; the rest is written on.
#[test]
fn short_writes_are_no_fault_and_lose_nothing() {
    if !has("fiu-run") {
        return;
    }
    let simulator = simulator();
    let files = files(&simulator);
    let process = with_faults(&files);
    let reduce = "posix/io/rw/pwrite/reduce";
    fault(
        &process,
        &files,
        &format!("enable_random name={reduce},probability=0.5"),
    );
    for _ in 0..20 {
        check_passes(&process);
    }
    fault(&process, &files, &format!("disable name={reduce}"));
    let errors = series(&process.metrics(), "breakerbox_ledger_errors_total");
    assert_eq!(errors, "0");
    check_recovered(process, &files, &simulator);
}

#[test]
fn a_stop_while_the_disk_fails_ends_and_the_grant_covers_what_was_not_written() {
    if !has("fiu-run") {
        return;
    }
    let simulator = simulator();
    let files = files(&simulator);
    let process = with_faults(&files);
    check_passes(&process);
    fault(
        &process,
        &files,
        "enable name=posix/io/sync/fsync,failinfo=5",
    );
    let _within_grants = until_refused(&process, SUPPORT_KEY);
    let began = Instant::now();
    assert_eq!(process.stop(), Some(1));
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    let process = Process::serve(&files);
    let pool = get(process.admin, "/api/v1/pool").json();
    let used = breakerbox::budget::credits::MicroCredits::parse(&pool["used"].to_string());
    let spent = simulator.billed().guide.total_micro_credits;
    assert!(
        used.expect("credits").micros() >= spent,
        "{pool} of {spent}"
    );
    assert_eq!(process.stop(), Some(0));
}

/// A file system of its own in memory; taken away when dropped.
struct Tmpfs<'p>(&'p Path);

impl<'p> Tmpfs<'p> {
    fn mount(at: &'p Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        is_here("mount", mounted).then_some(Self(at)) // it takes a right that containers often lack
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_stops_nothing_that_is_critical_and_loses_nothing() {
    let simulator = simulator();
    let files = files(&simulator);
    let data = files.folder.path().join("data");
    let Some(_tmpfs) = Tmpfs::mount(&data, "size=2m") else {
        return;
    };
    let process = Process::serve(&files);
    check_passes(&process);
    let filler = data.join("filler");
    let mut file = std::fs::File::create(&filler).expect("filler");
    let full = std::io::copy(&mut std::io::repeat(0), &mut file);
    assert!(full.is_err(), "the disk is full");
    drop(file); // held open it would keep its space
    check_trouble(&process);
    std::fs::remove_file(filler).expect("remove");
    check_recovered(process, &files, &simulator);
}

#[test]
fn a_read_only_folder_is_refused_at_start_with_what_to_do() {
    let simulator = simulator();
    let files = files(&simulator);
    let data = files.folder.path().join("data");
    let Some(_tmpfs) = Tmpfs::mount(&data, "ro") else {
        return;
    };
    let output = run(&files, &["serve"]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("cannot write") && told.contains("check owner, permissions"),
        "{told}"
    );
}

const STALL: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
int fsync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    const char *file = getenv("BB_TEST_STALL");
    if (file && unlink(file) == 0) sleep(5);
    return next(fd);
}
"#;

/// A gateway whose disk stalls once when told; nothing where there is no C compiler.
fn stalling(files: &Files) -> Option<Process> {
    if !has("cc") {
        return None;
    }
    let at = |name: &str| files.folder.path().join(name);
    std::fs::write(at("stall.c"), STALL).expect("write");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([at("stall.so"), at("stall.c")])
        .status();
    assert!(built.expect("cc").success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_breakerbox"));
    command
        .env("LD_PRELOAD", at("stall.so"))
        .env("BB_TEST_STALL", at("stall"));
    Some(Process::serve_with(files, command))
}

/// The next time something is synced.
fn stall(files: &Files) -> std::path::PathBuf {
    let told = files.folder.path().join("stall");
    std::fs::write(&told, "").expect("write");
    told
}

#[test]
fn an_fsync_that_stalls_for_5_s_delays_nobody_who_does_not_need_it() {
    let simulator = simulator();
    let files = files(&simulator);
    let Some(process) = stalling(&files) else {
        return;
    };
    check_passes(&process);
    let told = stall(&files);
    wait_for("the stall begins", TEN_SECONDS, || {
        ask(&process, SALES_KEY);
        !told.exists()
    });
    let standard = until_refused(&process, SUPPORT_KEY);
    let critical = (0..10)
        .filter(|_| ask(&process, SALES_KEY).status == 200)
        .count();
    println!("passed during the stall: {standard} standard, {critical} critical");
    check_told(&process);
    assert_eq!(critical, 10);
    check_recovered(process, &files, &simulator);
}

/// Probes are answered by the thread that asked.
#[test]
fn a_stall_that_hits_what_a_reload_writes_down_holds_up_no_probe() {
    let simulator = simulator();
    let files = files(&simulator);
    let Some(process) = stalling(&files) else {
        return;
    };
    check_passes(&process);
    wait_for("nothing is left to write", TEN_SECONDS, || {
        said(&run(&files, &["ledger", "verify"])).contains("2 event rows")
    });
    let told = stall(&files);
    let text = std::fs::read_to_string(files.allocations()).expect("read");
    std::fs::write(files.allocations(), text.replace("35%", "36%")).expect("write");
    wait_for("the stall begins", TEN_SECONDS, || !told.exists());
    let began = Instant::now();
    assert_eq!(get(process.admin, "/readyz").status, 200);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    check_told(&process);
    check_recovered(process, &files, &simulator);
}
