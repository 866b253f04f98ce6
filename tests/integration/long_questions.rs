//! A question that takes long holds up nobody: probes, metrics, reloads and alerts go on meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::http::{Connection, call, get};
use crate::stage::Stage;

/// Enough to sum up for seconds.
const ROWS: u32 = 600_000;

#[test]
fn a_years_usage_does_not_hold_up_probes_metrics_and_reloads() {
    let mut stage = Stage::on_card("guide", "12_000");
    stage.stop();
    let ledger = rusqlite::Connection::open(stage.files.ledger()).expect("open");
    let many = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {ROWS})
         INSERT INTO rollup SELECT (490000 + i % 8000) * 60, 202611, 0, 1, 1, 0, 0, 'agent', 'agent-' || i, '', '',
            '{{\"project\":\"p' || (i % 10) || '\",\"cost_center\":\"4100\"}}', 1, 1, 1, 1, 1 FROM n"
    );
    ledger.execute(&many, []).expect("rows");
    drop(ledger);
    stage.restart();
    let asked = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let usage = scope.spawn(|| {
            let began = Instant::now();
            let path = "/api/v1/usage?from=2025-01-01&to=2027-01-01&group_by=tag:project";
            let reply = get(stage.admin(), path);
            asked.store(false, Ordering::Relaxed);
            (reply, began.elapsed())
        });
        let mut worst = Duration::ZERO;
        let mut looks = 0;
        while asked.load(Ordering::Relaxed) {
            for path in ["/livez", "/metrics"] {
                let began = Instant::now();
                assert_eq!(get(stage.admin(), path).status, 200);
                worst = worst.max(began.elapsed());
            }
            let began = Instant::now();
            let reload = call(stage.admin(), "POST", "/api/v1/config/reload", &[], "");
            assert_eq!(reload.status, 200);
            worst = worst.max(began.elapsed());
            looks += 1;
        }
        let (reply, took) = usage.join().expect("an answer");
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json().as_array().map(Vec::len), Some(10));
        assert!(worst < Duration::from_secs(1), "{worst:?}");
        assert!(
            took > Duration::from_secs(1) && looks > 1,
            "not long enough to tell: {took:?}"
        );
    });
}

#[test]
fn more_questions_at_once_than_may_wait_are_all_answered() {
    let stage = Stage::on_card("guide", "12_000");
    // Those that do not fit are told so at once.
    let mut askers: Vec<_> = (0..200).map(|_| Connection::open(stage.admin())).collect();
    for asker in &mut askers {
        let path = "/api/v1/usage?group_by=hour";
        asker.ask("GET", path, &[], "").expect("send");
    }
    for asker in &mut askers {
        let reply = asker.read_reply().expect("an answer");
        assert!(matches!(reply.status, 200 | 503), "{}", reply.text());
    }
}
