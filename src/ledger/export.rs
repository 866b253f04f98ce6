//! Every event of a time, row by row, as it was written: the same question twice gives the same bytes.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::rows::millis;
use super::stored::{COLUMNS, Stored};
use super::{LedgerError, OpenError, days, files, schema, sqlite};

/// What to export.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first instant.
    pub from: Timestamp,
    /// The instant after the last.
    pub to: Timestamp,
}

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Rows handed over.
    pub rows: u64,
    /// Days of the span whose rows retention dropped.
    pub dropped: Vec<String>,
}

/// The ledger's own name: what an event's `source` is made of.
///
/// # Errors
/// When the ledger cannot be read.
pub fn node(path: &Path) -> Result<String, LedgerError> {
    let main = open(path)?;
    let sql = "SELECT value FROM meta WHERE key = 'node'";
    Ok(main.query_row(sql, [], |row| row.get(0))?)
}

/// Hands every event of a span to `take`, day by day in the order they were written, beside a running gateway or
/// without one. `progress` hears rows done, of how many, and the day.
///
/// # Errors
/// When the ledger cannot be read, a day is missing or damaged, or `take` cannot go on.
pub fn export(
    path: &Path,
    span: Span,
    take: &mut dyn FnMut(&Stored) -> io::Result<()>,
    progress: &mut dyn FnMut(u64, u64, &str),
) -> Result<Exported, LedgerError> {
    let main = open(path)?;
    let batch = files::meta(&main, "batch")?.unwrap_or(0);
    let (first, last) = (days::of(span.from), days::of(span.to));
    let mut select = main.prepare(
        "SELECT d.day, sum(d.rows), EXISTS (SELECT 1 FROM dropped_day x WHERE x.day = d.day)
         FROM event_day d WHERE d.day BETWEEN ? AND ? GROUP BY d.day ORDER BY d.day",
    )?;
    let known = select.query_map([first, last], |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, bool>(2)?,
        ))
    })?;
    let known = known.collect::<rusqlite::Result<Vec<_>>>()?;
    let count = |rows: i64| u64::try_from(rows).unwrap_or(0);
    let total: u64 = known.iter().map(|(_, rows, _)| count(*rows)).sum();
    let mut exported = Exported::default();
    let mut seen = 0_u64;
    for (day, rows, is_dropped) in known {
        let name = days::name(day);
        if is_dropped {
            exported.dropped.push(name);
            seen = seen.saturating_add(count(rows));
            continue;
        }
        let file = days::path(&days::folder(path), day);
        if !file.exists() {
            return Err(LedgerError::Refused(format!(
                "the events of {name} are missing: {} rows. Restore {} from a backup, or leave the day out",
                rows,
                file.display()
            )));
        }
        let connection = days::open_to_read(&file)?;
        let mut day_rows = || -> Result<(), OpenError> {
            let mut select = connection.prepare(&format!(
                "SELECT {COLUMNS} FROM event e LEFT JOIN team t ON t.id = e.team
                 WHERE e.batch <= ? AND e.at_ms >= ? AND e.at_ms < ? ORDER BY e.id",
            ))?;
            let mut rows = select.query([batch, millis(span.from), millis(span.to)])?;
            while let Some(row) = rows.next()? {
                let stored = Stored::read(day, row)?;
                take(&stored).map_err(OpenError::Output)?;
                exported.rows = exported.rows.saturating_add(1);
                seen = seen.saturating_add(1);
                progress(seen, total, &name);
            }
            Ok(())
        };
        day_rows().map_err(|error| error.in_day(&file))?;
    }
    Ok(exported)
}

/// `breakerbox.db`, to read; it must be there, and as this version writes it.
pub(super) fn open(path: &Path) -> Result<rusqlite::Connection, LedgerError> {
    std::fs::metadata(path).map_err(|cause| OpenError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    let main = sqlite::open_to_read(path)?;
    let known = schema::MAIN;
    let found = schema::look(&main, known)?;
    if found < known {
        return Err(OpenError::Older { found, known }.into());
    }
    Ok(main)
}
