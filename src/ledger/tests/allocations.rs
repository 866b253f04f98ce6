//! New teams and allocations: one step, under the numbers they are named by.

use super::*;
use crate::ledger::periods::AllocationFact;

fn change(teams: &[(u32, &str)]) -> AllocationChange {
    let fact = |(id, _): &(u32, &str)| AllocationFact {
        team: TeamId(*id),
        allocation: micros(7),
        by_override: MicroCredits::ZERO,
        tags: "{}".into(),
    };
    let new = teams
        .iter()
        .map(|(id, name)| (TeamId(*id), (*name).to_owned()));
    AllocationChange {
        new_teams: new.collect(),
        facts: teams.iter().map(fact).collect(),
        at: clock::now(),
        config_hash: "test".to_owned(),
    }
}

/// Whoever asked first gave up on a slow disk, and was heard all the same.
#[test]
fn a_number_that_another_team_got_meanwhile_is_not_given_again() {
    let bench = Bench::new();
    let (ledger, _) = bench.open();
    live(&ledger); // sales is 0
    let record = |teams: &[(u32, &str)]| ledger.record_allocations(period().name, change(teams));
    record(&[(1, "first")]).unwrap();
    let late = record(&[(1, "second")]);
    assert!(matches!(late, Err(LedgerError::NoAnswer)), "{late:?}");
    assert_eq!(*ledger.teams(), ["sales", "first"]);
    record(&[(2, "second")]).unwrap();
    ledger.stop().unwrap();
    let main = sqlite::open(&bench.path(), false).unwrap();
    let sql = "SELECT group_concat(t.name) FROM allocation a JOIN team t ON t.id = a.team WHERE credits > 0";
    let allocated: String = main.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(allocated, "first,second");
}
