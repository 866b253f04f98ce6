//! Usage as reports ask for it: by whatever it was recorded under, and on the day it was in the pool's zone.

use super::*;
use crate::ledger::periods::AllocationFact;
use crate::ledger::query::Dimension;
use crate::salesforce::NamedKind;

/// What a question gets, as `key key: credits`.
fn ask(ledger: &Ledger, query: UsageQuery, group_by: &[&str]) -> Vec<String> {
    let group_by = group_by.iter().map(|name| Dimension::parse(name).unwrap());
    let query = UsageQuery {
        group_by: group_by.collect(),
        ..query
    };
    let rows = answered(ledger.usage(query, |rows| rows)).unwrap();
    let rows = rows.into_iter();
    rows.map(|row| format!("{}: {}", row.keys.join(" "), row.credits.micros()))
        .collect()
}

fn since(from: Timestamp, zone: &TimeZone) -> UsageQuery {
    UsageQuery {
        from,
        to: None,
        period: None,
        group_by: Vec::new(),
        zone: zone.clone(),
    }
}

#[test]
fn usage_is_summed_by_what_is_asked_for() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, _period) = live(&ledger);
    let facts = AllocationFact {
        team,
        allocation: micros(1),
        by_override: MicroCredits::ZERO,
        tags: r#"{"cost_center":"4100"}"#.into(),
    };
    let change = AllocationChange {
        new_teams: Vec::new(),
        facts: vec![facts],
        at: clock::now(),
        config_hash: "test".to_owned(),
    };
    ledger.record_allocations(period().name, change).unwrap();
    let mut sink = ledger.sink(0);
    sink.push(event(team, 5));
    sink.push(Event {
        tags: Some(r#"{"project":"atlas"}"#.into()),
        class: Class::Critical,
        ..event(team, 7)
    });
    drop(sink);
    ledger.stop().unwrap();
    let (ledger, _) = bench.open();
    let check = |group_by: &[&str], want: &[&str]| {
        let query = since(period().start, &TimeZone::UTC);
        assert_eq!(ask(&ledger, query, group_by), want, "{group_by:?}");
    };
    check(&[], &[": 12"]);
    check(&["team", "service"], &["sales models: 12"]);
    check(&["class"], &["critical: 7", "standard: 5"]);
    check(&["tag:project"], &[": 5", "atlas: 7"]);
    check(&["tag:cost_center"], &["4100: 12"]);
    assert_eq!(Dimension::parse("colour"), None);
    ledger.stop().unwrap();
}

/// Three credits five minutes before a month ends in a zone, one five minutes after it; and seven of the old month an
/// hour later, when the clock was not believed.
struct MonthsEdge {
    zone: TimeZone,
    edge: Timestamp,
    months: [Period; 2],
}

impl MonthsEdge {
    fn in_zone(name: &str) -> Self {
        let zone = TimeZone::get(name).unwrap();
        let calendar = Calendar::new("2026-01-01".parse().unwrap(), zone.clone());
        let november = calendar.period_at("2026-11-15T00:00:00Z".parse().unwrap());
        let november = november.unwrap();
        Self {
            zone,
            edge: november.end,
            months: [november, calendar.period_at(november.end).unwrap()],
        }
    }

    fn name(&self) -> &str {
        self.zone.iana_name().unwrap()
    }

    fn begin(&self, ledger: &Ledger, month: usize) -> Period {
        let facts = PeriodFacts {
            zone: self.name().to_owned(),
            ..facts()
        };
        let period = self.months[month];
        let _live = ledger.period(&period, &facts).unwrap();
        period
    }

    fn spend(&self, ledger: &Ledger) {
        let team = ledger.team("sales").unwrap();
        let mut sink = ledger.sink(0);
        for (month, minutes, credits) in [(0, -5, 3), (1, 5, 1), (0, 65, 7)] {
            let period = self.begin(ledger, month);
            sink.push(Event {
                at: self.edge + jiff::SignedDuration::from_mins(minutes),
                period: period.name,
                ..event(team, credits)
            });
        }
    }

    fn check(&self, ledger: &Ledger) {
        let [november, december] = &self.months;
        let check = |query: UsageQuery, group_by: &[&str], want: &[&str]| {
            let case = format!("{} by {group_by:?}: {query:?}", self.name());
            assert_eq!(ask(ledger, query, group_by), want, "{case}");
        };
        let since = |from| since(from, &self.zone);
        let days = ["2026-11-30: 3", "2026-12-01: 8"];
        check(since(november.start), &["day"], &days);
        check(since(self.edge), &["team"], &["sales: 8"]);
        let before = UsageQuery {
            to: Some(self.edge),
            ..since(november.start)
        };
        check(before, &["team"], &["sales: 3"]);
        let running = UsageQuery {
            period: Some(december.name),
            ..since(december.start)
        };
        check(running, &["team"], &["sales: 1"]);
        // By hours of UTC nothing is cut.
        let hours = ask(ledger, since(november.start), &["hour"]).len();
        let is_within_an_hour = self.edge.as_second().rem_euclid(3_600) != 0;
        assert_eq!(
            hours,
            if is_within_an_hour { 2 } else { 3 },
            "{}",
            self.name()
        );
    }
}

/// In a zone of :30 or :45 the hour of a month's edge was of one month, and of one day, whole.
#[test]
fn what_is_used_around_midnight_is_counted_on_its_day_in_every_zone() {
    for zone in [
        "UTC",
        "America/Los_Angeles",
        "Asia/Kolkata",
        "Asia/Kathmandu",
    ] {
        let (bench, edge) = (Bench::new(), MonthsEdge::in_zone(zone));
        let (ledger, _) = bench.open();
        edge.begin(&ledger, 0);
        ledger.stop().unwrap();
        let backup = bench.backup();
        let (ledger, _) = bench.open();
        edge.spend(&ledger);
        ledger.stop().unwrap();
        let (ledger, _) = bench.open();
        edge.check(&ledger);
        ledger.stop().unwrap();
        // Counted in from the rows it is the same.
        bench.restore(&backup);
        let (ledger, restart) = bench.open();
        assert_eq!(restart.above.adopted, 3);
        edge.check(&ledger);
        ledger.stop().unwrap();
    }
}

#[test]
fn agents_are_told_from_other_things_and_requests_from_adjustments() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, _period) = live(&ledger);
    let mut sink = ledger.sink(0);
    for (kind, name) in [(NamedKind::Agent, "guide"), (NamedKind::Template, "letter")] {
        sink.push(Event {
            named: Some((kind, name.into())),
            ..event(team, 5)
        });
    }
    sink.push(Event {
        confidence: Confidence::Adjusted,
        ..event(team, -1)
    });
    drop(sink);
    ledger.stop().unwrap();
    let (ledger, _) = bench.open();
    let query = UsageQuery {
        group_by: vec![Dimension::Agent],
        ..since(period().start, &TimeZone::UTC)
    };
    let rows = answered(ledger.usage(query, |rows| rows)).unwrap();
    let told = |row: &UsageRow| (row.keys[0].clone(), row.requests, row.credits.micros());
    let told: Vec<_> = rows.iter().map(told).collect();
    assert_eq!(told, [(String::new(), 1, 4), ("guide".to_owned(), 1, 5)]);
    ledger.stop().unwrap();
}

/// What was summed up by whole hours can be cut where a period began.
#[test]
fn sums_of_version_4_are_cut_by_period() {
    let (bench, edge) = (Bench::new(), MonthsEdge::in_zone("Asia/Kolkata"));
    let (ledger, _) = bench.open();
    edge.spend(&ledger);
    ledger.stop().unwrap();
    let main = sqlite::open(&bench.path(), false).unwrap();
    for table in ["rollup", "rollup_team"] {
        main.execute_batch(&format!(
            "ALTER TABLE {table} RENAME COLUMN minute TO hour; UPDATE {table} SET hour = hour / 60;"
        ))
        .unwrap();
    }
    main.execute_batch(UNDO_8).unwrap();
    main.execute_batch("DROP TABLE hour_alert; DROP TABLE idempotency; ALTER TABLE correction DROP COLUMN refused; PRAGMA user_version = 4")
        .unwrap();
    drop(main);
    let (ledger, _) = bench.open();
    edge.check(&ledger);
    ledger.stop().unwrap();
    let verdict = bench.verified();
    assert!(verdict.is_sound(), "{verdict:?}");
}
