use std::time::Duration;

use super::*;
use crate::budget::settlement::OnLate5xx;

const LEAST: &str = "[upstreams]\napi = \"https://api.example\"\norg = \"https://org.example\"\n";

fn findings(text: &str) -> (Option<Gateway>, Vec<String>, Vec<String>) {
    let source = Source::new("breakerbox.toml", text);
    let gateway = read(&source, Path::new("/etc/bb"));
    let (faults, warnings) = source.into_findings();
    (gateway, faults.lines(), warnings.lines())
}

fn valid(more: &str) -> Gateway {
    let (gateway, faults, _) = findings(&format!("{LEAST}{more}"));
    assert!(faults.is_empty(), "{more}: {faults:?}");
    gateway.unwrap()
}

/// `more` follows three lines, and has one fault.
fn check(more: &str, want: &str) {
    let (_, faults, _) = findings(&format!("{LEAST}{more}"));
    assert_eq!(faults.len(), 1, "{more}: {faults:?}");
    assert!(faults[0].contains(want), "{more}: {}", faults[0]);
}

fn check_warning(more: &str, want: &str) {
    let (_, faults, warnings) = findings(&format!("{LEAST}{more}"));
    assert!(faults.is_empty(), "{more}: {faults:?}");
    assert_eq!(warnings.len(), 1, "{more}: {warnings:?}");
    assert!(warnings[0].contains(want), "{more}: {}", warnings[0]);
}

#[test]
fn what_is_not_written_has_its_default() {
    let gateway = valid("");
    assert_eq!(gateway.listen.proxy.to_string(), "127.0.0.1:8080");
    assert_eq!(gateway.listen.admin.to_string(), "127.0.0.1:9090");
    assert_eq!((gateway.listen.workers, gateway.listen.health), (0, None));
    let limits = gateway.limits;
    assert_eq!(
        (limits.head_bytes, limits.price_body_bytes),
        (16_384, 1 << 20)
    );
    assert_eq!(limits.body_bytes, 160 << 20);
    assert_eq!((limits.connections, limits.in_flight), (20_000, 4_096));
    let seconds = [
        limits.connect_timeout,
        limits.response_timeout,
        limits.idle_body_timeout,
        limits.total_timeout,
        limits.drain_timeout,
        limits.retry_after_max,
    ];
    assert_eq!(
        seconds.map(|time| time.as_secs()),
        [5, 130, 60, 900, 140, 3_600]
    );
    assert_eq!(gateway.ledger.path, Path::new("/etc/bb/data/breakerbox.db"));
    assert_eq!(gateway.ledger.events, EventRows::All);
    assert_eq!(gateway.ledger.events_keep_days, 400);
    assert_eq!(gateway.ledger.events_max_bytes, None);
    assert!(gateway.mode.enforce && !gateway.mode.rate_limit_headers);
    let unpriced = gateway.unpriced;
    assert_eq!(unpriced.api, UnpricedPolicy::Refuse);
    assert_eq!(unpriced.org, UnpricedPolicy::Pass);
    assert_eq!(unpriced.data, UnpricedPolicy::Refuse);
    assert_eq!(unpriced.openconnector, UnpricedPolicy::Refuse);
    let hundred = MicroCredits::from_credits(100).unwrap();
    let alerts = gateway.alerts;
    assert_eq!(
        (alerts.abnormal_times, alerts.abnormal_at_least),
        (3, hundred)
    );
}

#[test]
fn what_is_written_is_meant() {
    let gateway = valid(
        "[listen]\nproxy = \"0.0.0.0:80\"\nadmin = \"[::1]:0\"\nhealth = \"0.0.0.0:9091\"\nworkers = 3\n\
         [limits]\nhead_bytes = 32768\nprice_body_bytes = \"2MiB\"\nconnect_timeout = \"250ms\"\n\
         total_timeout = \"1h\"\non_late_5xx = \"void\"\n\
         [ledger]\nstore = \"sqlite:/var/lib/bb.db\"\nevents = \"rollups\"\nevents_keep_days = 30\nevents_max_bytes = \"50GiB\"\n\
         [mode]\nduplicate_turns = \"charge\"\nrate_limit_headers = true\n\
         [unpriced]\norg = \"charge:0.5\"\napi = \"pass\"\n\
         [alerts]\nabnormal_times = 5\nabnormal_at_least = \"0.5\"\n",
    );
    assert_eq!(gateway.listen.workers, 3);
    assert_eq!(gateway.listen.health.unwrap().port(), 9091);
    assert_eq!(
        (gateway.limits.head_bytes, gateway.limits.price_body_bytes),
        (32_768, 2 << 20)
    );
    assert_eq!(gateway.limits.connect_timeout, Duration::from_millis(250));
    assert_eq!(gateway.limits.on_late_5xx, OnLate5xx::Void);
    assert_eq!(gateway.ledger.path, Path::new("/var/lib/bb.db"));
    assert_eq!(gateway.ledger.events, EventRows::Rollups);
    assert_eq!(gateway.ledger.events_keep_days, 30);
    assert_eq!(gateway.ledger.events_max_bytes, Some(50 << 30));
    assert!(gateway.mode.rate_limit_headers);
    let half = MicroCredits::from_micros(500_000);
    assert_eq!(gateway.unpriced.org, UnpricedPolicy::Charge(half));
    assert_eq!(gateway.unpriced.api, UnpricedPolicy::Pass);
    let alerts = gateway.alerts;
    assert_eq!((alerts.abnormal_times, alerts.abnormal_at_least), (5, half));
    assert_eq!(
        valid("[alerts]\nabnormal_times = 0\n")
            .alerts
            .abnormal_times,
        0
    );
    check(
        "[alerts]\nabnormal_times = 1_001\n",
        "5:18: abnormal_times: not between 0 and 1000",
    );
}

#[test]
fn an_upstream_is_scheme_host_and_port() {
    let good = |text: &str, tls, authority: &str, host: &str, port| {
        let got = upstream(text).unwrap();
        let got = (got.tls, got.authority.as_str(), got.host.as_str(), got.port);
        assert_eq!(got, (tls, authority, host, port), "{text}");
    };
    good(
        "https://api.salesforce.com",
        true,
        "api.salesforce.com",
        "api.salesforce.com",
        443,
    );
    good(
        "https://api.salesforce.com:443/",
        true,
        "api.salesforce.com",
        "api.salesforce.com",
        443,
    );
    good(
        "http://Local_Host:8081",
        false,
        "local_host:8081",
        "local_host",
        8081,
    );
    good("http://[::1]:80", false, "[::1]", "::1", 80);
    good(
        "http://127.0.0.1:443",
        false,
        "127.0.0.1:443",
        "127.0.0.1",
        443,
    );
    for (text, want) in [
        ("api.salesforce.com", "no scheme"),
        ("ftp://host", "http or https"),
        ("https://host/path", "scheme, host and port only"),
        ("https://host?query", "scheme, host and port only"),
        ("https://host#part", "scheme, host and port only"),
        ("https://user:pass@host", "no user name or password"),
        ("https://", "not a host name"),
        ("https://:443", "not a host name"),
        ("https://host:", "not a port"),
        ("https://host:0", "not a port"),
        ("https://host:65536", "not a port"),
        ("https://a..b", "not a host name"),
        ("https://ho st", "not a host name"),
        ("https://h%6fst", "not a host name"),
        ("https://bücher.example", "not a host name"),
        ("https://[::g]", "not a host name"),
    ] {
        let got = upstream(text).unwrap_err();
        let want = want.replace("http or https", "https or http");
        assert!(got.contains(&want), "{text}: {got}");
    }
}

#[test]
fn upstreams_are_required() {
    let lines = |text| findings(text).1;
    assert_eq!(
        lines("[mode]\n"),
        ["breakerbox.toml:1:1: the file has no [upstreams] (api and org are required)"]
    );
    let none = lines("\n[upstreams]\ndata = \"https://data.example\"\n");
    assert!(
        none[0].starts_with("breakerbox.toml:2:1: [upstreams] has no api (as in"),
        "{none:?}"
    );
    assert!(
        none[1].starts_with("breakerbox.toml:2:1: [upstreams] has no org (as in"),
        "{none:?}"
    );
    assert_eq!(lines("\n"), ["breakerbox.toml:1:1: the file is empty"]);
}

#[test]
fn listeners_are_loopback_and_apart() {
    check(
        "[listen]\nproxy = 8080",
        "breakerbox.toml:5:9: proxy is an integer, not a string in quotes",
    );
    check(
        "[listen]\nproxy = \"localhost:8080\"",
        "5:9: proxy: not an address and port",
    );
    check(
        "[listen]\nadmin = \"0.0.0.0:9090\"",
        "5:9: admin is not a loopback address (there are no tokens",
    );
    check(
        "[listen]\nproxy = \"127.0.0.1:9090\"",
        "4:1: admin listens on 127.0.0.1:9090, which proxy takes already",
    );
    check(
        "[listen]\nproxy = \"0.0.0.0:9090\"",
        "which proxy takes already",
    );
    check(
        "[listen]\nhealth = \"127.0.0.1:8080\"",
        "5:10: health listens on 127.0.0.1:8080, which proxy takes",
    );
    check(
        "[listen]\ntls = { cert = \"a\" }",
        "5:7: tls comes with a later version (terminate TLS in front",
    );
    check(
        "[listen]\nworkers = 2000",
        "5:11: workers: not between 0 and 1024",
    );
    check(
        "[listen]\nworkers = -1",
        "5:11: workers: not between 0 and 1024",
    );
    check_warning(
        "[listen]\nhealth_metrics = true",
        "5:18: health_metrics has no effect without health",
    );
    valid("[listen]\nproxy = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"");
}

#[test]
fn limits_are_in_range() {
    check(
        "[limits]\nhead_bytes = \"1KiB\"",
        "5:14: head_bytes is not between 8192 and 1048576 bytes",
    );
    check(
        "[limits]\nbody_bytes = \"lots\"",
        "5:14: body_bytes: not a size; write it like \"16KiB\"",
    );
    check(
        "[limits]\nbody_bytes = 1.5",
        "5:14: body_bytes is a float, not a size like \"16KiB\"",
    );
    check(
        "[limits]\nconnections = 0",
        "5:15: connections: not between 1 and 1000000",
    );
    check(
        "[limits]\nin_flight = \"4096\"",
        "5:13: in_flight is a string, not a whole number",
    );
    check(
        "[limits]\ntotal_timeout = \"0s\"",
        "5:17: total_timeout is not between 1ms and 24h",
    );
    check(
        "[limits]\ntotal_timeout = \"2d\"",
        "5:17: total_timeout: \"2d\" is no duration; write it like 60s",
    );
    check(
        "[limits]\nretry_after_max = \"250ms\"",
        "5:19: retry_after_max is less than a second",
    );
    check(
        "[limits]\non_late_5xx = \"viod\"",
        "5:15: on_late_5xx = \"viod\" is unknown (did you mean \"void\"?)",
    );
}

#[test]
fn ledger_mode_and_unpriced() {
    check(
        "[ledger]\nstore = \"redis://host:6379\"",
        "5:9: store: several nodes on one budget come with a later",
    );
    check(
        "[ledger]\nstore = \"breakerbox.db\"",
        "5:9: store: write it like \"sqlite:data/breakerbox.db\"",
    );
    check("[ledger]\nstore = \"sqlite:\"", "5:9: store: write it like");
    check(
        "[ledger]\nstore = \"sqlite::memory:\"",
        "5:9: store: counts must outlive the process",
    );
    check(
        "[ledger]\nlocal = \"data/b.db\"",
        "5:9: local is for several nodes",
    );
    check(
        "[ledger]\nevents = \"some\"",
        "5:10: events = \"some\" is unknown (known: all, rollups)",
    );
    check(
        "[mode]\nenforce = \"yes\"",
        "5:11: enforce is a string, not true or false",
    );
    check(
        "[mode]\nduplicate_turns = \"ignore\"",
        "5:19: duplicate_turns: write \"charge\" or \"refuse\"",
    );
    check_warning(
        "[mode]\npublic_url = \"https://bb.example\"",
        "5:14: public_url has no effect in this version",
    );
    check_warning("[mode]\nenforce = false", "5:11: enforce = false: refusals");
    check(
        "[unpriced]\norg = \"deny\"",
        "5:7: org: write \"refuse\", \"pass\" or \"charge:<credits>\"",
    );
    check(
        "[unpriced]\norg = \"charge:0\"",
        "5:7: org: charges nothing; write \"pass\"",
    );
    check(
        "[unpriced]\norg = \"charge:x\"",
        "5:7: org: not a number of credits",
    );
}

#[test]
fn unknown_keys_are_faults() {
    check(
        "[limit]\n",
        "4:2: unknown key \"limit\" in the file (did you mean \"limits\"?)",
    );
    check(
        "[limits]\nhead_byte = 1",
        "5:1: unknown key \"head_byte\" in [limits] (did you mean \"head_bytes\"?)",
    );
    check(
        "[mode]\nsomething = 1",
        "5:1: unknown key \"something\" in [mode] (known: duplicate_turns, enforce,",
    );
    check("[[limits]]\n", "limits is an array, not a table");
    check("mode = 3", "4:1: unknown key \"mode\" in [upstreams]");
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let (_, faults, _) =
        findings("[upstreams]\napi = \"https://me:hunter2@host\"\norg = \"https://org.example\"\n");
    assert_eq!(
        faults,
        ["breakerbox.toml:2:7: api: no user name or password here"]
    );
}
