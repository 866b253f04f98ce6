//! How far the ledger had come, in a small file beside it: `breakerbox.db.mark`.
//!
//! Written after commits, every few seconds, and at a clean stop. A ledger that is older than its mark was restored;
//! what its accounts had been granted by then is granted again, and charged, so that no counter is lower than what
//! was spent, also where events keep no rows. The file is a memory, not a promise: losing it loses nothing else.

use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::live::LivePeriod;
use super::rows::code;
use super::{OpenError, private};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Source;

/// What a mark says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Whose it is: another ledger's says nothing.
    pub(super) node: String,
    pub(super) batch: i64,
    pub(super) granted: Vec<Granted>,
}

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Granted {
    period: i64,
    team: String,
    source: i64,
    micros: i64,
}

/// Where a ledger's mark is.
pub(super) fn path(ledger: &Path) -> PathBuf {
    let mut path = ledger.as_os_str().to_owned();
    path.push(".mark");
    PathBuf::from(path)
}

impl Mark {
    /// The same ledger later, from the counters in memory. Periods that are not there are what they were.
    pub(super) fn moved_on(
        &self,
        batch: i64,
        live: &[std::sync::Arc<LivePeriod>],
        names: &[String],
    ) -> Self {
        let is_live = |code: i64| {
            let names = live.iter().map(|live| live.books.period.name);
            names.into_iter().any(|name| name.code() == code)
        };
        let before = self.granted.iter().filter(|known| !is_live(known.period));
        let mut granted: Vec<_> = before.cloned().collect();
        for period in live {
            for (team, books) in names.iter().zip(period.teams().iter()) {
                for source in Source::ALL {
                    let micros = books.account(*source).figures().granted.micros();
                    granted.push(Granted {
                        period: period.books.period.name.code(),
                        team: team.clone(),
                        source: code(source.index()),
                        micros,
                    });
                }
            }
        }
        granted.retain(|granted| granted.micros != 0);
        Self {
            node: self.node.clone(),
            batch,
            granted,
        }
    }

    /// From the rows of a ledger at rest.
    pub(super) fn read_from(main: &Connection) -> rusqlite::Result<Self> {
        let text = |key: &str| {
            let sql = "SELECT value FROM meta WHERE key = ?";
            main.query_row(sql, [key], |row| row.get(0))
        };
        let mut select = main.prepare(
            "SELECT a.period, t.name, a.source, sum(a.granted) FROM account a JOIN team t ON t.id = a.team
             GROUP BY a.period, a.team, a.source",
        )?;
        let rows = select.query_map([], |row| {
            Ok(Granted {
                period: row.get(0)?,
                team: row.get(1)?,
                source: row.get(2)?,
                micros: row.get(3)?,
            })
        })?;
        Ok(Self {
            node: text("node")?,
            batch: super::files::meta(main, "batch")?.unwrap_or(0),
            granted: rows.collect::<rusqlite::Result<_>>()?,
        })
    }

    /// Writes the mark. Whole or not at all, and not waited for: an older one is only less exact.
    pub(super) fn write(&self, ledger: &Path) -> std::io::Result<()> {
        let (mark, mut new) = (path(ledger), path(ledger).into_os_string());
        new.push(".new");
        private::create(Path::new(&new))?.write_all(&serde_json::to_vec(self)?)?;
        std::fs::rename(new, mark)
    }
}

/// The mark beside a ledger; nothing where there is none, another ledger's, or one that a crash cut off.
pub(super) fn read(ledger: &Path, node: &str) -> Option<Mark> {
    let text = std::fs::read(path(ledger)).ok()?;
    let mark: Mark = serde_json::from_slice(&text).ok()?;
    (mark.node == node).then_some(mark)
}

/// Grants again what was granted by the time of a mark, where the accounts say less.
pub(super) fn catch_up(main: &mut Connection, mark: &Mark) -> Result<(), OpenError> {
    let transaction = main.transaction()?;
    let mut raised = 0_i64;
    for account in &mark.granted {
        let Granted {
            period,
            team,
            source,
            micros,
        } = account;
        let team = team_id(&transaction, team)?;
        let known: i64 = transaction.query_row(
            "SELECT coalesce(sum(granted), 0) FROM account WHERE (period, team, source) = (?, ?, ?)",
            params![period, team, source],
            |row| row.get(0),
        )?;
        let more = micros.saturating_sub(known);
        if more > 0 {
            raised = raised.saturating_add(more);
            transaction.execute(
                "INSERT INTO account (period, team, source, holder, granted, settled) VALUES (?, ?, ?, ?, ?, 0)
                 ON CONFLICT DO UPDATE SET granted = granted + excluded.granted",
                params![period, team, source, mark.node, more],
            )?;
        }
    }
    let batch = super::files::meta(&transaction, "batch")?.unwrap_or(0);
    super::files::set_meta(&transaction, "batch", batch.max(mark.batch))?;
    transaction.commit()?;
    tracing::warn!(
        credits = %MicroCredits::from_micros(raised),
        "the ledger is older than its mark: it was restored. What was granted since is charged as crash_adjustment"
    );
    Ok(())
}

/// The number of a team; a new one where the restored ledger does not know it yet.
fn team_id(main: &Connection, name: &str) -> rusqlite::Result<i64> {
    use rusqlite::OptionalExtension;
    let known = main.query_row("SELECT id FROM team WHERE name = ?", [name], |row| {
        row.get(0)
    });
    match known.optional()? {
        Some(id) => Ok(id),
        None => main.query_row(
            "INSERT INTO team (id, name) SELECT coalesce(max(id) + 1, 0), ? FROM team RETURNING id",
            [name],
            |row| row.get(0),
        ),
    }
}
