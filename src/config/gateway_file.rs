//! `breakerbox.toml`: listeners, upstreams, limits, ledger, mode.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use http::uri::Authority;

use super::checked::{
    Alerts, DuplicateTurns, EVENTS_KEEP_DAYS, EventRows, Gateway, LedgerSettings, Listen, Mode,
    Unpriced, UnpricedPolicy, Upstream, Upstreams,
};
use super::limits_file;
use super::reader::Reader;
use super::source::Source;
use crate::budget::credits::MicroCredits;

/// The most worker threads: far above the cores of any machine.
const WORKERS_MAX: u64 = 1_024;

/// The longest events are kept: a century, which is for ever.
const KEEP_DAYS_MAX: u64 = 36_500;

/// Reads the file. `folder` is what its relative paths are relative to.
pub(super) fn read(source: &Source<'_>, folder: &Path) -> Option<Gateway> {
    let root = source.root()?;
    let listen = listen(&root);
    let upstreams = upstreams(&root);
    let limits = limits_file::read(&root);
    let ledger = ledger(&root, folder);
    let mode = mode(&root);
    let unpriced = unpriced(&root);
    let alerts = alerts(&root);
    root.finish();
    Some(Gateway {
        listen,
        upstreams: upstreams?,
        limits,
        ledger,
        mode,
        unpriced,
        alerts,
    })
}

/// Reads `[ledger]`, and the other sections by their names only.
pub(super) fn ledger_alone(source: &Source<'_>, folder: &Path) -> Option<LedgerSettings> {
    let root = source.root()?;
    for section in [
        "alerts",
        "listen",
        "upstreams",
        "limits",
        "mode",
        "unpriced",
    ] {
        root.has(section);
    }
    let ledger = ledger(&root, folder);
    root.finish();
    Some(ledger)
}

fn listen(root: &Reader<'_, '_>) -> Listen {
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let mut listen = Listen {
        proxy: local(8080),
        admin: local(9090),
        health: None,
        health_metrics: false,
        workers: 0,
    };
    let Some(table) = root.table("listen") else {
        return listen;
    };
    let of = |key| table.parsed(key, address);
    let (proxy, admin, health) = (of("proxy"), of("admin"), of("health"));
    listen.proxy = proxy.as_ref().map_or(listen.proxy, |at| at.value);
    listen.admin = admin.as_ref().map_or(listen.admin, |at| at.value);
    listen.health = health.as_ref().map(|at| at.value);
    if let Some(admin) = admin.filter(|admin| !admin.value.ip().is_loopback()) {
        let help = "there are no tokens yet, so it binds loopback only, as in \"127.0.0.1:9090\"; for probes from elsewhere set health";
        let message = "admin is not a loopback address";
        table.source().fault(&admin.place, message, help);
    }
    distinct(&table, &listen);
    if table.has("tls") {
        let help = "terminate TLS in front of breakerbox, and leave tls out";
        let message = "tls comes with a later version";
        table.source().fault(&table.place_of("tls"), message, help);
    }
    let workers = table.integer("workers", 0..=WORKERS_MAX);
    listen.workers = workers.map_or(0, |at| usize::try_from(at.value).unwrap_or(0));
    listen.health_metrics = table.boolean("health_metrics").unwrap_or(false);
    if listen.health_metrics && !table.has("health") {
        let message = "health_metrics has no effect without health";
        let place = table.place_of("health_metrics");
        table.source().warn(&place, message, "");
    }
    table.finish();
    listen
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "not an address and port, as in \"127.0.0.1:8080\"")
}

/// No two listeners on one port, also where one of them takes all addresses.
fn distinct(table: &Reader<'_, '_>, listen: &Listen) {
    let listeners = [
        ("proxy", Some(listen.proxy)),
        ("admin", Some(listen.admin)),
        ("health", listen.health),
    ];
    let listeners: Vec<_> = listeners
        .into_iter()
        .filter_map(|(key, address)| Some((key, address?)))
        .collect();
    for (at, (key, address)) in listeners.iter().enumerate() {
        let taken = listeners.iter().take(at).find(|(_, other)| {
            let (a, b): (IpAddr, IpAddr) = (address.ip(), other.ip());
            let overlap = a == b || a.is_unspecified() || b.is_unspecified();
            // Port 0 is any free one.
            overlap && address.port() == other.port() && address.port() != 0
        });
        if let Some((other, _)) = taken {
            let message = format!("{key} listens on {address}, which {other} takes already");
            table.source().fault(&table.place_of(key), message, "");
        }
    }
}

fn upstreams(root: &Reader<'_, '_>) -> Option<Upstreams> {
    let Some(table) = root.table("upstreams") else {
        if !root.has("upstreams") {
            root.missing("[upstreams]", "api and org are required");
        }
        return None;
    };
    table.require("api", "as in api = \"https://api.salesforce.com\"");
    table.require("org", "as in org = \"https://example.my.salesforce.com\"");
    let of = |key| table.parsed(key, upstream).map(|at| at.value);
    let (api, org, data, openconnector) = (of("api"), of("org"), of("data"), of("openconnector"));
    table.finish();
    Some(Upstreams {
        api: api?,
        org: org?,
        data,
        openconnector,
    })
}

fn upstream(text: &str) -> Result<Upstream, &'static str> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or("no scheme; write it like \"https://api.salesforce.com\"")?;
    let tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err("the scheme is https or http"),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('@') {
        return Err("no user name or password here");
    }
    if rest.contains(['/', '?', '#', '\\']) {
        return Err("scheme, host and port only: calls bring their own path");
    }
    let wrong = "not a host name and optional port";
    let written: Authority = rest.parse().map_err(|_| wrong)?;
    let usual = if tls { 443 } else { 80 };
    let host = written.host().to_ascii_lowercase();
    let port = match rest.strip_prefix(written.host()).ok_or(wrong)? {
        "" => usual,
        port => port
            .strip_prefix(':')
            .filter(|port| !port.starts_with('+'))
            .and_then(|port| port.parse().ok())
            .filter(|port: &u16| *port != 0)
            .ok_or("not a port from 1 to 65535")?,
    };
    let bare = host.trim_matches(['[', ']']).to_owned();
    let is_v6 = host.starts_with('[') && bare.parse::<std::net::Ipv6Addr>().is_ok();
    if !is_v6 && !is_host_name(&host) {
        return Err(wrong);
    }
    let authority = if port == usual {
        host
    } else {
        format!("{host}:{port}")
    };
    Ok(Upstream {
        tls,
        authority: authority.parse().map_err(|_| wrong)?,
        host: bare,
        port,
    })
}

/// Labels of letters, digits, `-` and `_`, with single points between them.
fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(fits)
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

fn ledger(root: &Reader<'_, '_>, folder: &Path) -> LedgerSettings {
    let mut ledger = LedgerSettings {
        path: folder.join("data/breakerbox.db"),
        events: EventRows::All,
        events_keep_days: EVENTS_KEEP_DAYS,
        events_max_bytes: None,
    };
    let Some(table) = root.table("ledger") else {
        return ledger;
    };
    let store = table.parsed("store", |text| store(text, folder));
    let events = [("all", EventRows::All), ("rollups", EventRows::Rollups)];
    ledger.events = table.word("events", &events).unwrap_or(ledger.events);
    let keep = table.integer("events_keep_days", 1..=KEEP_DAYS_MAX);
    let keep = keep.and_then(|at| u32::try_from(at.value).ok());
    ledger.events_keep_days = keep.unwrap_or(EVENTS_KEEP_DAYS);
    ledger.events_max_bytes = table.size("events_max_bytes").map(|at| at.value);
    if table.has("local") {
        let help = "leave it out: store = \"sqlite:PATH\" is the local one";
        let message = "local is for several nodes, which come with a later version";
        table
            .source()
            .fault(&table.place_of("local"), message, help);
    }
    table.finish();
    ledger.path = store.map_or(ledger.path, |at| at.value);
    ledger
}

fn store(text: &str, folder: &Path) -> Result<PathBuf, &'static str> {
    match text.split_once(':') {
        Some(("redis" | "rediss" | "valkey", _)) => {
            Err("several nodes on one budget come with a later version; write \"sqlite:PATH\"")
        }
        Some(("sqlite", ":memory:")) => Err("counts must outlive the process; name a file"),
        Some(("sqlite", path))
            if !path.is_empty() && !path.ends_with('/') && !path.starts_with("//") =>
        {
            Ok(folder.join(path))
        }
        _ => Err("write it like \"sqlite:data/breakerbox.db\""),
    }
}

fn mode(root: &Reader<'_, '_>) -> Mode {
    let mut mode = Mode {
        enforce: true,
        rate_limit_headers: false,
        duplicate_turns: DuplicateTurns::Charge,
    };
    let Some(table) = root.table("mode") else {
        return mode;
    };
    mode.enforce = table.boolean("enforce").unwrap_or(true);
    mode.rate_limit_headers = table.boolean("rate_limit_headers").unwrap_or(false);
    let duplicates = table.parsed("duplicate_turns", |text| match text {
        "charge" => Ok(DuplicateTurns::Charge),
        "refuse" => Ok(DuplicateTurns::Refuse),
        _ => Err("write \"charge\" or \"refuse\""),
    });
    mode.duplicate_turns = duplicates.map_or(mode.duplicate_turns, |at| at.value);
    if let Some(url) = table.text("public_url") {
        let help = "answers are not rewritten yet";
        table
            .source()
            .warn(&url.place, "public_url has no effect in this version", help);
    }
    if !mode.enforce {
        let message = "enforce = false: refusals for budget and identity are only counted";
        table.source().warn(&table.place_of("enforce"), message, "");
    }
    table.finish();
    mode
}

fn unpriced(root: &Reader<'_, '_>) -> Unpriced {
    let mut unpriced = Unpriced {
        api: UnpricedPolicy::Refuse,
        org: UnpricedPolicy::Pass,
        data: UnpricedPolicy::Refuse,
        openconnector: UnpricedPolicy::Refuse,
    };
    let Some(table) = root.table("unpriced") else {
        return unpriced;
    };
    let of = |key, usual| table.parsed(key, policy).map_or(usual, |at| at.value);
    unpriced.api = of("api", unpriced.api);
    unpriced.org = of("org", unpriced.org);
    unpriced.data = of("data", unpriced.data);
    unpriced.openconnector = of("openconnector", unpriced.openconnector);
    table.finish();
    unpriced
}

fn policy(text: &str) -> Result<UnpricedPolicy, String> {
    match text.split_once(':') {
        None if text == "refuse" => Ok(UnpricedPolicy::Refuse),
        None if text == "pass" => Ok(UnpricedPolicy::Pass),
        Some(("charge", credits)) => {
            let credits = MicroCredits::parse(credits.trim()).map_err(|error| error.to_string())?;
            match credits > MicroCredits::ZERO {
                true => Ok(UnpricedPolicy::Charge(credits)),
                false => Err("charges nothing; write \"pass\"".to_owned()),
            }
        }
        _ => Err("write \"refuse\", \"pass\" or \"charge:<credits>\"".to_owned()),
    }
}

/// Far above what anybody would call normal.
const TIMES_MAX: u64 = 1_000;

fn alerts(root: &Reader<'_, '_>) -> Alerts {
    let mut alerts = Alerts::default();
    let Some(table) = root.table("alerts") else {
        return alerts;
    };
    let times = table.integer("abnormal_times", 0..=TIMES_MAX);
    let times = times.and_then(|at| u32::try_from(at.value).ok());
    alerts.abnormal_times = times.unwrap_or(alerts.abnormal_times);
    let at_least = table.credits("abnormal_at_least").map(|at| at.value);
    alerts.abnormal_at_least = at_least.unwrap_or(alerts.abnormal_at_least);
    table.finish();
    alerts
}

#[cfg(test)]
#[path = "gateway_file_tests.rs"]
mod tests;
