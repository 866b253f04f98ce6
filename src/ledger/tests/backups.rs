//! Backups beside a gateway that goes on, and who may read what the ledger writes.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A day that was dropped while the backup was made: the copy knew of its rows, and called them missing.
#[test]
fn a_day_dropped_while_it_is_copied_is_dropped_in_the_copy_too() {
    let bench = Bench::new();
    bench.run(&[(1, 2), (0, 3)]);
    let to = bench.folder.path().join("copy");
    private::create_folder(&to.join("events")).unwrap();
    backup::copy_main(&bench.path(), &to).unwrap();
    let main = sqlite::open(&bench.path(), false).unwrap();
    let sql = "INSERT INTO dropped_day (day, at_ms, why) VALUES (?, 0, 'events_max_bytes')";
    main.execute(sql, [days::of(back(1))]).unwrap();
    std::fs::remove_file(bench.day_file(1)).unwrap();
    backup::copy_days(&bench.path(), &to, &mut |_, _, _| {}).unwrap();
    let mut asked = verify::Asked {
        thorough: true,
        progress: &mut |_, _, _| {},
    };
    let verdict = verify::verify(&to.join(backup::MAIN), &mut asked).unwrap();
    assert!(verdict.is_sound(), "{verdict:?}");
    assert_eq!((verdict.files, verdict.rows), (1, 1));
}

fn modes(folder: &Path, all: &mut Vec<(PathBuf, u32)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        all.push((entry.path(), mode));
        if entry.path().is_dir() {
            modes(&entry.path(), all);
        }
    }
}

#[test]
fn nobody_else_reads_what_the_ledger_writes() {
    let bench = Bench::new();
    bench.run(&[(1, 2), (0, 3)]);
    let backup = bench.backup();
    damage(&bench.day_file(1));
    bench.restore(&backup);
    let (ledger, _) = bench.open();
    let mut all = Vec::new();
    modes(&bench.folder.path().join("data"), &mut all);
    let files = all.iter().filter(|(path, _)| path.is_file());
    for (path, mode) in files {
        assert_eq!(*mode, 0o600, "{}", path.display());
    }
    let folder = std::fs::metadata(&backup).unwrap().permissions();
    assert_eq!(folder.mode() & 0o777, 0o700);
    ledger.stop().unwrap();
    // From the moment it is made.
    let path = bench.folder.path().join("new");
    let file = private::create(&path).unwrap();
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}
