//! Overrides as rows: written once, ended once, and never after whoever asked was told no.

use std::sync::mpsc::sync_channel;

use super::*;
use crate::config::checked::{EventRows, LedgerSettings};
use crate::ledger::audit;

fn open(folder: &tempfile::TempDir) -> Ledger {
    let settings = LedgerSettings {
        path: folder.path().join("breakerbox.db"),
        events: EventRows::All,
        events_keep_days: 400,
        events_max_bytes: None,
    };
    let opened = Ledger::open(&settings, 1, crate::clock::now());
    opened.unwrap_or_else(|error| panic!("{error}")).0
}

fn row(effect: Effect) -> Override {
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    Override {
        id: 0,
        at,
        period: PeriodName::from_code(202_611).unwrap(),
        team: None,
        effect,
        until: at,
        reason: "INC-117".to_owned(),
        author: "ops".to_owned(),
        asked_as: None,
        ended: None,
    }
}

fn actions(ledger: &Ledger) -> Vec<(String, Option<i64>)> {
    let all = audit::read(ledger.path(), Timestamp::UNIX_EPOCH, Timestamp::MAX).unwrap();
    all.into_iter()
        .rev()
        .map(|entry| (entry.action, entry.override_id))
        .collect()
}

#[test]
fn a_row_reads_back_and_what_it_replaces_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    let team = Some(ledger.team("sales").unwrap());
    let credits = MicroCredits::from_micros(500_500_000);
    for effect in [
        Effect::Credits(Funded::Buffer, credits),
        Effect::Credits(Funded::Annual, credits),
        Effect::Hold(Hold::Open),
        Effect::Hold(Hold::Closed),
        Effect::Shadow,
    ] {
        let made = Override {
            team: team.filter(|_| !effect.is_mode()),
            ..row(effect)
        };
        let id = ledger.make_override(made.clone(), "here", vec![]).unwrap();
        let read = ledger.override_of(id).unwrap().unwrap();
        assert_eq!(read, Override { id, ..made });
    }
    ledger
        .make_override(row(Effect::Hold(Hold::Open)), "here", vec![3, 4])
        .unwrap();
    let open: Vec<_> = ledger.open_overrides().unwrap();
    let open: Vec<_> = open.iter().map(|row| row.id).collect();
    assert_eq!(open, [1, 2, 5, 6]);
    let by = By {
        reason: "over".to_owned(),
        author: "ops".to_owned(),
        remote: String::new(),
    };
    for _ in 0..2 {
        let at = Timestamp::from_second(1_800_000_001).unwrap();
        ledger.end_override(5, at, by.clone()).unwrap();
    }
    let ends = actions(&ledger).split_off(6);
    let want = [
        ("override_ended", 3),
        ("override_ended", 4),
        ("mode_ended", 5),
    ];
    assert_eq!(ends, want.map(|(action, id)| (action.to_owned(), Some(id))));
    ledger.stop().unwrap();
}

#[test]
fn what_was_said_no_to_is_not_done_later() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder);
    let (reply, answer) = sync_channel(1);
    let made = Made {
        row: row(Effect::Shadow),
        remote: "here".to_owned(),
        replaces: Vec::new(),
        wanted: Arc::new(AtomicBool::new(false)), // whoever asked gave up while the disk stalled
    };
    let command = Command::MakeOverride(Box::new(made), reply);
    assert!(ledger.0.commands.try_send(command).is_ok());
    ledger.wake();
    assert!(answer.recv().unwrap().is_err());
    assert_eq!(ledger.open_overrides().unwrap(), []);
    assert_eq!(actions(&ledger), []);
    ledger.stop().unwrap();
}
