//! The settings of `breakerbox.toml` as written, section by section, to compare two of them.

use std::time::Duration;

use super::changes::{Settings, or_none};
use super::checked::{
    Alerts, DuplicateTurns, EventRows, Gateway, LedgerSettings, Limits, Listen, Mode, Unpriced,
    UnpricedPolicy, Upstream, Upstreams,
};
use crate::budget::settlement::OnLate5xx;

pub(super) fn sections(gateway: &Gateway) -> [(&'static str, Settings); 7] {
    let Gateway {
        listen,
        upstreams,
        limits,
        ledger,
        mode,
        unpriced,
        alerts,
    } = gateway;
    [
        ("listen", self::listen(listen)),
        ("upstreams", self::upstreams(upstreams)),
        ("limits", self::limits(limits)),
        ("ledger", self::ledger(ledger)),
        ("mode", self::mode(mode)),
        ("unpriced", self::unpriced(unpriced)),
        ("alerts", self::alerts(alerts)),
    ]
}

fn listen(listen: &Listen) -> Settings {
    let Listen {
        proxy,
        admin,
        health,
        health_metrics,
        workers,
    } = listen;
    vec![
        ("proxy", proxy.to_string()),
        ("admin", admin.to_string()),
        ("health", or_none(health.as_ref())),
        ("health_metrics", health_metrics.to_string()),
        ("workers", workers.to_string()),
    ]
}

fn upstreams(upstreams: &Upstreams) -> Settings {
    let Upstreams {
        api,
        org,
        data,
        openconnector,
    } = upstreams;
    let url = |upstream: &Upstream| {
        let scheme = if upstream.tls { "https" } else { "http" };
        format!("{scheme}://{}", upstream.authority)
    };
    vec![
        ("api", url(api)),
        ("org", url(org)),
        ("data", or_none(data.as_ref().map(url).as_ref())),
        (
            "openconnector",
            or_none(openconnector.as_ref().map(url).as_ref()),
        ),
    ]
}

fn limits(limits: &Limits) -> Settings {
    let Limits {
        head_bytes,
        price_body_bytes,
        body_bytes,
        connections,
        in_flight,
        connect_timeout,
        response_timeout,
        idle_body_timeout,
        total_timeout,
        drain_timeout,
        retry_after_max,
        on_late_5xx,
    } = limits;
    let on_late_5xx = match on_late_5xx {
        OnLate5xx::Estimate => "estimate",
        OnLate5xx::Void => "void",
    };
    let time = |time: &Duration| format!("{time:?}");
    vec![
        ("head_bytes", head_bytes.to_string()),
        ("price_body_bytes", price_body_bytes.to_string()),
        ("body_bytes", body_bytes.to_string()),
        ("connections", connections.to_string()),
        ("in_flight", in_flight.to_string()),
        ("connect_timeout", time(connect_timeout)),
        ("response_timeout", time(response_timeout)),
        ("idle_body_timeout", time(idle_body_timeout)),
        ("total_timeout", time(total_timeout)),
        ("drain_timeout", time(drain_timeout)),
        ("retry_after_max", time(retry_after_max)),
        ("on_late_5xx", on_late_5xx.to_owned()),
    ]
}

fn ledger(ledger: &LedgerSettings) -> Settings {
    let LedgerSettings {
        path,
        events,
        events_keep_days,
        events_max_bytes,
    } = ledger;
    let events = match events {
        EventRows::All => "all",
        EventRows::Rollups => "rollups",
    };
    vec![
        ("store", format!("sqlite:{}", path.display())),
        ("events", events.to_owned()),
        ("events_keep_days", events_keep_days.to_string()),
        ("events_max_bytes", or_none(events_max_bytes.as_ref())),
    ]
}

fn mode(mode: &Mode) -> Settings {
    let Mode {
        enforce,
        rate_limit_headers,
        duplicate_turns,
    } = mode;
    let duplicate_turns = match duplicate_turns {
        DuplicateTurns::Charge => "charge",
        DuplicateTurns::Refuse => "refuse",
    };
    vec![
        ("enforce", enforce.to_string()),
        ("rate_limit_headers", rate_limit_headers.to_string()),
        ("duplicate_turns", duplicate_turns.to_owned()),
    ]
}

fn unpriced(unpriced: &Unpriced) -> Settings {
    let Unpriced {
        api,
        org,
        data,
        openconnector,
    } = unpriced;
    let policy = |policy: &UnpricedPolicy| match policy {
        UnpricedPolicy::Refuse => "refuse".to_owned(),
        UnpricedPolicy::Pass => "pass".to_owned(),
        UnpricedPolicy::Charge(credits) => format!("charge:{credits}"),
    };
    vec![
        ("api", policy(api)),
        ("org", policy(org)),
        ("data", policy(data)),
        ("openconnector", policy(openconnector)),
    ]
}

fn alerts(alerts: &Alerts) -> Settings {
    let Alerts {
        abnormal_times,
        abnormal_at_least,
    } = alerts;
    vec![
        ("abnormal_times", abnormal_times.to_string()),
        ("abnormal_at_least", abnormal_at_least.to_string()),
    ]
}
