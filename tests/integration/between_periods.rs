//! What goes on from one period to the next, what does not, and what ends with the contract year.

use std::time::Duration;

use breakerbox::simulator::{Settings, Simulator};

use crate::http::{Reply, call, get};
use crate::process::{Process, run, said};
use crate::stage::{
    CHAT, Files, MODEL_PATH, SALES_KEY, SUPPORT_KEY, allocations, any_port, wait_for,
};
use crate::wall_clock::WallClock;

const EDGE: Duration = Duration::from_secs(20);
/// Sales has 350 credits a month, support 250, the buffer 150, all of them 1,000.
const ANNUAL: &str = "12_000";

fn ask(process: &Process, key: &str) -> Reply {
    call(
        process.proxy,
        "POST",
        MODEL_PATH,
        &[("Breakerbox-Key", key)],
        CHAT,
    )
}

fn told(process: &Process, path: &str, field: &str) -> String {
    let told = get(process.admin, path).json();
    told[field].to_string().trim_matches('"').to_owned()
}

/// Allocations of sales and of support, buffer, pool, and what was carried.
fn allocated(process: &Process) -> String {
    let team = |team| told(process, &format!("/api/v1/teams/{team}"), "allocation");
    let pool = |field| told(process, "/api/v1/pool", field);
    [
        team("sales"),
        team("support"),
        pool("buffer"),
        pool("allocation"),
        pool("carried"),
    ]
    .join(" ")
}

fn simulator() -> Simulator {
    Simulator::start(any_port(), Settings::default()).expect("a simulator")
}

fn next_month(process: &Process) {
    wait_for("the next month", EDGE, || {
        told(process, "/api/v1/pool", "period") == "2026-12"
    });
}

/// November ends two seconds after ten credits of sales and none of support were spent.
fn check_carried(carry_over: &str, contract_start: &str, want: &str) {
    let simulator = simulator();
    let text = allocations("guide", ANNUAL)
        .replace("client_tags", &format!("{carry_over}\nclient_tags"))
        .replace("2026-01-01", contract_start);
    let files = Files::write(simulator.address, &text);
    let Some(clock) = WallClock::at(&files, "2026-11-30T23:59:56Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    for _ in 0..10 {
        assert_eq!(ask(&process, SALES_KEY).status, 200);
    }
    assert_eq!(allocated(&process), "350 250 150 1000 0");
    next_month(&process);
    assert_eq!(allocated(&process), want, "{carry_over}");
    assert_eq!(ask(&process, SUPPORT_KEY).status, 200);
    process.kill();
    // It was decided as the month began: neither a restart nor another configuration decides again.
    let other = text.replace(carry_over, "carry_over = \"team\"");
    std::fs::write(files.allocations(), other).expect("write");
    let process = Process::serve_with(&files, clock.command());
    assert_eq!(allocated(&process), want, "{carry_over} after a restart");
    assert_eq!(process.stop(), Some(0));
    let verified = run(&files, &["ledger", "verify"]);
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
}

#[test]
fn what_is_left_over_is_gone_unless_told_otherwise() {
    check_carried("# carry_over is none", "2026-01-01", "350 250 150 1000 0");
}

#[test]
fn what_a_team_leaves_over_it_has_in_the_next_period() {
    check_carried(
        "carry_over = \"team\"",
        "2026-01-01",
        "690 500 150 1590 590",
    );
}

#[test]
fn what_teams_leave_over_the_buffer_has_in_the_next_period() {
    check_carried(
        "carry_over = \"buffer\"",
        "2026-01-01",
        "350 250 740 1590 590",
    );
}

/// Its share went to sales: what was left of it was carried twice.
#[test]
fn what_a_removed_team_left_over_is_carried_by_nobody() {
    let simulator = simulator();
    let text =
        allocations("guide", ANNUAL).replace("client_tags", "carry_over = \"buffer\"\nclient_tags");
    let files = Files::write(simulator.address, &text);
    let Some(clock) = WallClock::at(&files, "2026-11-30T23:59:54Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    for _ in 0..10 {
        assert_eq!(ask(&process, SALES_KEY).status, 200);
    }
    let without = |text: &str, from: &str, to: &str| {
        let (before, rest) = text.split_once(from).expect("there");
        let (_, after) = rest.split_once(to).expect("there");
        format!("{before}{to}{after}")
    };
    let fewer = without(&text, "[[team]]\nname = \"support\"", "[[agent]]");
    let (fewer, _) = fewer
        .split_once("[[key]]\nname = \"support-key\"")
        .expect("there");
    let fewer = fewer.replace("share = \"35%\"", "share = \"60%\"");
    std::fs::write(files.allocations(), fewer).expect("write");
    let reloaded = call(process.admin, "POST", "/api/v1/config/reload", &[], "{}");
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    let shown = |process: &Process| {
        let pool = ["buffer", "allocation", "carried"];
        pool.map(|field| told(process, "/api/v1/pool", field))
            .join(" ")
    };
    assert_eq!(shown(&process), "150 1000 0");
    next_month(&process);
    assert_eq!(shown(&process), "740 1590 590");
    assert_eq!(process.stop(), Some(0));
}

#[test]
fn nothing_is_carried_over_the_edge_of_the_contract_year() {
    check_carried("carry_over = \"team\"", "2025-12-01", "350 250 150 1000 0");
}

#[test]
fn overage_has_its_cap_for_a_year_also_over_a_restart() {
    let simulator = simulator();
    let text = allocations("guide", "24")
        .replace(
            "[[key]]\nname = \"support-key\"",
            "class = \"critical\"\n\n[[key]]\nname = \"support-key\"",
        )
        .replace(
            "central_buffer = \"15%\"\nburst = \"15%\"",
            "central_buffer = \"0%\"\nburst = \"0%\"\noverage_cap = 3",
        )
        .replace("share = \"35%\"", "share = \"100%\"")
        .replace("share = \"25%\"", "share = \"0%\"")
        .replace("2026-01-01", "2025-12-01");
    let files = Files::write(simulator.address, &text);
    let Some(clock) = WallClock::at(&files, "2026-11-30T23:59:50Z") else {
        return;
    };
    let process = Process::serve_with(&files, clock.command());
    // A call reserves two credits and costs one: own has room for one call, the cap for two.
    let passed = |process: &Process| {
        (0..6)
            .filter(|_| ask(process, SALES_KEY).status == 200)
            .count()
    };
    assert_eq!(passed(&process), 3);
    assert_eq!(ask(&process, SALES_KEY).refusal(), Some("team_exhausted"));
    let overage = |process: &Process| told(process, "/api/v1/pool", "overage_used");
    assert_eq!(overage(&process), "2");
    assert_eq!(process.stop(), Some(0));
    let process = Process::serve_with(&files, clock.command());
    assert_eq!((passed(&process), overage(&process)), (0, "2".to_owned()));
    // The next contract year has its own.
    next_month(&process);
    assert_eq!((passed(&process), overage(&process)), (3, "2".to_owned()));
    assert_eq!(process.stop(), Some(0));
    assert_eq!(simulator.billed().guide.total_micro_credits, 6_000_000);
}

#[test]
fn an_experiment_spends_its_share_of_the_buffer_and_no_more() {
    let simulator = simulator();
    let text = allocations("guide", "480").replace("share = \"25%\"", "buffer_share = \"50%\"");
    let files = Files::write(simulator.address, &text);
    let process = Process::serve(&files);
    // A month has 40 credits, its buffer 6, the experiment half of that; what passes its trip point is refused.
    assert_eq!(allocated(&process), "14 3 3 40 0");
    let statuses = [(); 2].map(|()| ask(&process, SUPPORT_KEY));
    assert_eq!(statuses[0].status, 200, "{}", statuses[0].text());
    assert_eq!(statuses[1].refusal(), Some("team_breaker_open"));
    let used = told(&process, "/api/v1/teams/support", "used");
    let of_buffer = told(&process, "/api/v1/pool", "buffer_used");
    assert_eq!((used, of_buffer), ("1".to_owned(), "0".to_owned()));
    wait_for("the report", EDGE, || {
        let usage = get(process.admin, "/api/v1/usage?group_by=team,source").json();
        usage[0]["team"] == "support" && usage[0]["source"] == "own"
    });
    assert_eq!(process.stop(), Some(0));
}
