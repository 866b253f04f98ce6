//! From one period to the next: what ended stays as it was.

use super::*;

/// It stayed until a clean stop: a crash a week later charged it to the month before.
#[test]
fn what_an_ended_period_was_granted_and_did_not_spend_is_taken_back() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    let (team, old) = live(&ledger);
    let mut sink = ledger.sink(0);
    spend(&ledger, &mut sink, team, &old, 5);
    let granted = || {
        let main = sqlite::open_to_read(&bench.path()).unwrap();
        let sql = "SELECT granted, settled FROM account WHERE period = ? AND source = 0";
        let period = old.books.period.name.code();
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        main.query_row(sql, [period], read).unwrap_or_default()
    };
    wait_for("granted ahead", || granted().0 > 5 && granted().1 == 5);
    let next = ledger.period(&following(&old.books.period), &facts());
    let next = next.unwrap();
    wait_for("it is taken back", || granted() == (5, 5));
    // Whoever was admitted before still gets what it needs, and no more.
    spend(&ledger, &mut sink, team, &old, 7);
    wait_for("it is taken back again", || granted() == (12, 12));
    assert_eq!(old.team(team).own.figures().granted, micros(12));
    spend(&ledger, &mut sink, team, &next, 3);
    wait_for("settled on disk", || sums(&bench.path()).0 == 15);
    ledger.abort();
    let (ledger, restart) = bench.open();
    let charged = restart.adjustments.iter();
    let charged: Vec<_> = charged.map(|charged| charged.period).collect();
    assert_eq!(charged, [next.books.period.name]);
    ledger.stop().unwrap();
}
