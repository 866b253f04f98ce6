//! The events files: one a day in UTC, `events/YYYY-MM-DD.db` beside the ledger.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use rusqlite::{Connection, OptionalExtension};

use super::{OpenError, private, schema, sqlite};

/// A day's file that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DayFile {
    /// Days since the epoch.
    pub(super) day: i64,
    pub(super) path: PathBuf,
}

/// The folder of a ledger's events files.
pub(super) fn folder(ledger: &Path) -> PathBuf {
    ledger.parent().unwrap_or(Path::new(".")).join("events")
}

/// `2026-11-24`.
pub(super) fn name(day: i64) -> String {
    let at = Timestamp::from_second(day.saturating_mul(86_400)).unwrap_or(Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%d").to_string()
}

/// Days since the epoch of `2026-11-24`.
pub(super) fn parse(name: &str) -> Option<i64> {
    let date: Date = name.parse().ok()?;
    let midnight = date.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok()?;
    Some(of(midnight.timestamp()))
}

/// The day an instant lies in.
pub(super) fn of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(86_400)
}

pub(super) fn path(folder: &Path, day: i64) -> PathBuf {
    folder.join(format!("{}.db", name(day)))
}

/// Every file in the folder, the oldest first; none where there is no folder.
pub(super) fn list(folder: &Path) -> Vec<DayFile> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = files
        .filter_map(|file| {
            let path = file.path();
            let is_ours = path.extension().is_some_and(|extension| extension == "db");
            let day = parse(path.file_stem()?.to_str()?).filter(|_| is_ours)?;
            Some(DayFile { day, path })
        })
        .collect();
    found.sort();
    found
}

/// Writes down which days rows are written to.
pub(super) fn note_open(main: &Connection, days: BTreeSet<i64>) -> rusqlite::Result<()> {
    let days: Vec<_> = days.into_iter().map(name).collect();
    let sql = "INSERT OR REPLACE INTO meta (key, value) VALUES ('open_days', ?)";
    main.execute(sql, [days.join(" ")]).map(drop)
}

/// The days rows were written to last.
pub(super) fn noted_open(main: &Connection) -> rusqlite::Result<BTreeSet<i64>> {
    let sql = "SELECT value FROM meta WHERE key = 'open_days'";
    let noted = main.query_row(sql, [], |row| row.get(0)).optional()?;
    let noted: String = noted.unwrap_or_default();
    Ok(noted.split(' ').filter_map(parse).collect())
}

/// Makes a day's file unless it is there: beside its place first, then moved there whole, so that whoever reads
/// beside the writer never finds half of one.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    if path.exists() {
        return Ok(());
    }
    let new = path.with_extension("new");
    let unwritable = OpenError::unwritable(&new);
    private::create(&new).map_err(&unwritable)?;
    let make = || -> Result<(), OpenError> {
        let mut connection = sqlite::open(&new, true)?;
        schema::migrate_events(&mut connection)?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(())
    };
    make().map_err(|error| error.in_day(path))?;
    std::fs::rename(&new, path).map_err(&unwritable)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(&unwritable)
}

/// Opens a day's file to write; it must exist.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let open = || -> Result<Connection, OpenError> {
        let mut connection = sqlite::open(path, false)?;
        schema::migrate_events(&mut connection)?;
        Ok(connection)
    };
    open().map_err(|error| error.in_day(path))
}

/// Opens a day's file to read, beside its writer.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    let open = || -> Result<Connection, OpenError> {
        let connection = sqlite::open_to_read(path)?;
        schema::look(&connection, schema::EVENTS)?;
        Ok(connection)
    };
    open().map_err(|error| error.in_day(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_once(path: &Path) {
        while !path.exists() {}
        drop(open_to_read(path).unwrap());
    }

    /// `ledger verify` beside a gateway whose day began that moment called the new file damaged.
    #[test]
    fn whoever_reads_beside_the_writer_never_finds_half_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let reader =
                scope.spawn(|| (0..30).for_each(|day| read_once(&path(folder.path(), day))));
            for day in 0..30 {
                create(&path(folder.path(), day)).unwrap();
            }
            reader.join().unwrap();
        });
        assert_eq!(list(folder.path()).len(), 30);
    }

    #[test]
    fn a_day_is_named_in_utc_and_read_back() {
        let check = |day: i64, want: &str| {
            assert_eq!(name(day), want);
            assert_eq!(parse(want), Some(day));
        };
        check(0, "1970-01-01");
        check(20_781, "2026-11-24");
        assert_eq!(parse("2026-11-31"), None);
        assert_eq!(parse("backup"), None);
    }
}
