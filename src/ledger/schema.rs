//! What the files look like, version by version. Forward only; an older binary refuses a newer file.
//!
//! Times are milliseconds since the epoch, credits micro-credits, periods `YYYYMM`. Codes: operation and class by
//! position in their enums; source 0 own, 1 buffer, 2 burst, 3 overage; confidence 0 measured, 1 estimated,
//! 2 imported, 3 adjusted; kind 0 measured, 1 partial, 2 uncertain, 3 void, 4 `crash_adjustment`, 5 correction.

use std::fmt::Write;
use std::path::Path;

use rusqlite::Connection;

use super::rows::KINDS;
use super::{OpenError, sqlite};
use crate::budget::operation::{Class, Operation, Source};

/// "BBOX": tells our files from others.
pub(super) const APPLICATION_ID: i32 = 0x4242_4f58;
/// The version of `breakerbox.db` this binary writes.
pub(super) const MAIN: i32 = 8;
/// The version of events files this binary writes.
pub(super) const EVENTS: i32 = 2;

/// `breakerbox.db`, from nothing to version 1.
const MAIN_1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE team (
    id INTEGER PRIMARY KEY,             -- from 0, never reused
    name TEXT NOT NULL UNIQUE,
    tags TEXT NOT NULL DEFAULT '{}'     -- the team's own, as JSON
) STRICT;
CREATE TABLE period (                   -- facts, written once when the period begins
    name INTEGER PRIMARY KEY,
    start_ms INTEGER NOT NULL,
    end_ms INTEGER NOT NULL,
    zone TEXT NOT NULL,
    year INTEGER NOT NULL,              -- contract year, YYYYMM of its first month
    month INTEGER NOT NULL,             -- 0 to 11
    month_pool INTEGER NOT NULL,
    buffer INTEGER NOT NULL,
    burst INTEGER NOT NULL,
    annual_credits INTEGER NOT NULL,
    config_hash TEXT NOT NULL
) STRICT;
CREATE TABLE allocation (               -- one row a change, the newest holds
    period INTEGER NOT NULL,
    team INTEGER NOT NULL REFERENCES team,
    at_ms INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    config_hash TEXT NOT NULL,
    PRIMARY KEY (period, team, at_ms)
) STRICT, WITHOUT ROWID;
CREATE TABLE account (                  -- cumulative, by holder
    period INTEGER NOT NULL,
    team INTEGER NOT NULL REFERENCES team,
    source INTEGER NOT NULL,
    holder TEXT NOT NULL,
    granted INTEGER NOT NULL,           -- durably spendable
    settled INTEGER NOT NULL,           -- durably spent
    PRIMARY KEY (period, team, source, holder)
) STRICT, WITHOUT ROWID;
CREATE TABLE shown (                    -- the breaker people see; team -1 is the main breaker
    period INTEGER NOT NULL,
    team INTEGER NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (period, team)
) STRICT, WITHOUT ROWID;
CREATE TABLE rollup (
    hour INTEGER NOT NULL,              -- hours since the epoch
    period INTEGER NOT NULL,
    team INTEGER NOT NULL,
    operation INTEGER NOT NULL,
    class INTEGER NOT NULL,
    source INTEGER NOT NULL,
    confidence INTEGER NOT NULL,
    named_kind TEXT NOT NULL,
    named TEXT NOT NULL,
    agent_type TEXT NOT NULL,
    key TEXT NOT NULL,
    tags TEXT NOT NULL,                 -- beyond the team's own
    requests INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    units INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    PRIMARY KEY (hour, period, team, operation, class, source, confidence, named_kind, named, agent_type, key, tags)
) STRICT, WITHOUT ROWID;
CREATE TABLE alert (
    id INTEGER PRIMARY KEY,
    period INTEGER NOT NULL,
    team INTEGER NOT NULL,
    level TEXT NOT NULL,
    percent_bp INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    used INTEGER NOT NULL,
    committed INTEGER NOT NULL,
    allocation INTEGER NOT NULL,
    rearmed_ms INTEGER                  -- since then it may be raised again
) STRICT;
CREATE UNIQUE INDEX alert_once ON alert (period, team, percent_bp) WHERE rearmed_ms IS NULL;
CREATE TABLE session (
    session TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    team INTEGER NOT NULL,
    charged INTEGER NOT NULL,
    opened_below_trip INTEGER NOT NULL,
    opening_paid INTEGER NOT NULL,
    last_used_ms INTEGER NOT NULL,
    version INTEGER NOT NULL            -- the newest row counts
) STRICT, WITHOUT ROWID;
CREATE INDEX session_age ON session (last_used_ms);
CREATE TABLE clock_accepted (at_ms INTEGER NOT NULL) STRICT;
";

/// To version 2: what has no row of its own, what each day's file holds, and what was corrected by hand; with it
/// the sums can be checked without trusting any one of them.
const MAIN_2: &str = "
ALTER TABLE account ADD COLUMN folded_rows INTEGER NOT NULL DEFAULT 0;  -- events in the rollups only
ALTER TABLE account ADD COLUMN folded INTEGER NOT NULL DEFAULT 0;       -- and what they cost
CREATE TABLE event_day (                -- what the file of a day holds, also after it was dropped
    day INTEGER NOT NULL,               -- days since the epoch
    period INTEGER NOT NULL,
    team INTEGER NOT NULL,
    source INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    PRIMARY KEY (day, period, team, source)
) STRICT, WITHOUT ROWID;
CREATE TABLE dropped_day (              -- whose file is gone on purpose
    day INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    why TEXT NOT NULL
) STRICT;
CREATE TABLE correction (               -- asked for by a person; the ledger thread makes an event of it
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    day INTEGER NOT NULL,               -- the corrected event: its day's file, and its row there
    event INTEGER NOT NULL,
    credits INTEGER NOT NULL,           -- what it shall have cost
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    change INTEGER,                     -- what was added for it; NULL until it is booked
    batch INTEGER
) STRICT;
CREATE INDEX correction_open ON correction (id) WHERE change IS NULL;
";

/// To version 3: the rollups again without what is named, so that a year by team and day is a short scan.
const MAIN_3: &str = "
CREATE TABLE rollup_team (
    hour INTEGER NOT NULL,
    period INTEGER NOT NULL,
    team INTEGER NOT NULL,
    operation INTEGER NOT NULL,
    class INTEGER NOT NULL,
    source INTEGER NOT NULL,
    confidence INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    units INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    PRIMARY KEY (hour, period, team, operation, class, source, confidence)
) STRICT, WITHOUT ROWID;
INSERT INTO rollup_team
SELECT hour, period, team, operation, class, source, confidence, sum(requests), sum(credits), sum(units),
    sum(input_tokens), sum(output_tokens)
FROM rollup GROUP BY 1, 2, 3, 4, 5, 6, 7;
";

/// To version 4: what was left over of the period before, written as a period begins.
const MAIN_4: &str = "
CREATE TABLE carried (
    period INTEGER NOT NULL,
    team INTEGER NOT NULL REFERENCES team,  -- who left it
    from_period INTEGER NOT NULL,
    to_buffer INTEGER NOT NULL,             -- 1: the central buffer has it now; 0: the team
    credits INTEGER NOT NULL,
    PRIMARY KEY (period, team)
) STRICT, WITHOUT ROWID;
";

/// To version 5: sums by the hour are cut where a day of the pool or a period begins within it (what was summed up
/// before can be cut by period, not by day); and why a correction was refused.
const MAIN_5: &str = "
ALTER TABLE correction ADD COLUMN refused TEXT;
ALTER TABLE rollup RENAME COLUMN hour TO minute;    -- since the epoch: when what is summed up begins
UPDATE rollup SET minute = max(minute * 60, coalesce((SELECT start_ms / 60000 FROM period p
    WHERE p.name = rollup.period AND p.start_ms / 3600000 = rollup.minute), 0));
ALTER TABLE rollup_team RENAME COLUMN hour TO minute;
UPDATE rollup_team SET minute = max(minute * 60, coalesce((SELECT start_ms / 60000 FROM period p
    WHERE p.name = rollup_team.period AND p.start_ms / 3600000 = rollup_team.minute), 0));
";

/// To version 6: alerts that come once an hour.
const MAIN_6: &str = "
CREATE TABLE hour_alert (
    id INTEGER PRIMARY KEY,
    hour INTEGER NOT NULL,              -- hours since the epoch
    kind TEXT NOT NULL,
    team INTEGER NOT NULL REFERENCES team,
    agent TEXT NOT NULL,                -- empty: the team's own fuse
    session TEXT NOT NULL,
    period INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    used INTEGER NOT NULL,
    allowed INTEGER NOT NULL,           -- the limit, or the norm
    blown INTEGER NOT NULL              -- 1: everything is refused until the hour's end
) STRICT;
CREATE UNIQUE INDEX hour_alert_once ON hour_alert (hour, kind, team, agent, session);
CREATE INDEX hour_alert_period ON hour_alert (period);
";

/// To version 7: idempotency keys of the last day, so that a restart forgets none.
const MAIN_7: &str = "
CREATE TABLE idempotency (
    key BLOB PRIMARY KEY,               -- hash of team and key
    call BLOB NOT NULL,                 -- hash of method, path and query
    body BLOB,                          -- its hash; NULL where it was too large to be read ahead
    request BLOB NOT NULL,
    ended_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (ended_ms);
";

/// To version 8: what people decided beside the configuration, who and why, and which configuration held when.
const MAIN_8: &str = "
CREATE TABLE override (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    period INTEGER NOT NULL,            -- it was made in; extra credits belong to it
    team INTEGER REFERENCES team,       -- NULL: all of them
    effect TEXT NOT NULL,               -- buffer_credits, annual_credits, breaker_open, breaker_closed, shadow
    credits INTEGER NOT NULL,           -- 0 where it gives none
    until_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    asked_as TEXT UNIQUE,               -- the caller's name for the request: a retry finds this row
    ended_ms INTEGER                    -- NULL until its end is written down
) STRICT;
CREATE INDEX override_open ON override (id) WHERE ended_ms IS NULL;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    action TEXT NOT NULL,               -- override, override_ended, mode, mode_ended
    override INTEGER NOT NULL REFERENCES override,
    reason TEXT NOT NULL,
    author TEXT NOT NULL,
    remote TEXT NOT NULL                -- the address that asked; empty: nobody, its time was over
) STRICT;
CREATE INDEX audit_time ON audit (at_ms);
ALTER TABLE allocation ADD COLUMN by_override INTEGER NOT NULL DEFAULT 0;   -- the part that people gave
CREATE TABLE config_used (
    since_ms INTEGER PRIMARY KEY,
    hash TEXT NOT NULL,
    rate_card TEXT NOT NULL
) STRICT;
";

/// `events/YYYY-MM-DD.db`, from nothing to version 1.
const EVENTS_1: &str = "
CREATE TABLE team (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    batch INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    request BLOB NOT NULL,
    period INTEGER NOT NULL,
    team INTEGER NOT NULL,
    operation INTEGER NOT NULL,
    class INTEGER NOT NULL,
    source INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    estimate INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    confidence INTEGER NOT NULL,
    flags INTEGER NOT NULL,             -- 1 shadow, 2 continued
    named_kind TEXT,
    named TEXT,
    agent_type TEXT,
    key TEXT,
    tags TEXT,
    session TEXT,
    units INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    status INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL
) STRICT;
";

/// To version 2: why a correction was made.
const EVENTS_2: &str = "
ALTER TABLE event ADD COLUMN note TEXT;
DROP VIEW IF EXISTS events_readable;
";

/// Brings `breakerbox.db` to this version.
pub(super) fn migrate_main(connection: &mut Connection) -> Result<(), OpenError> {
    let steps = [
        MAIN_1, MAIN_2, MAIN_3, MAIN_4, MAIN_5, MAIN_6, MAIN_7, MAIN_8,
    ];
    migrate(connection, &steps, MAIN)
}

/// Brings an events file to this version.
pub(super) fn migrate_events(connection: &mut Connection) -> Result<(), OpenError> {
    let second = format!("{EVENTS_2}{}", readable_view());
    migrate(connection, &[EVENTS_1, &second], EVENTS)
}

/// Whether a file is one of ours, and of a version this binary knows: at most `known`.
pub(super) fn look(connection: &Connection, known: i32) -> Result<i32, OpenError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (id, version) = (pragma("application_id")?, pragma("user_version")?);
    if id != APPLICATION_ID {
        return Err(OpenError::Foreign);
    }
    if version > known {
        let found = version;
        return Err(OpenError::Newer { found, known });
    }
    Ok(version)
}

/// Opens `breakerbox.db` to read, beside its writer: only one of ours, and as this binary writes it.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    std::fs::metadata(path).map_err(|cause| OpenError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    let open = || -> Result<Connection, OpenError> {
        let main = sqlite::open_to_read(path)?;
        let found = look(&main, MAIN)?;
        let known = MAIN;
        match found < known {
            true => Err(OpenError::Older { found, known }),
            false => Ok(main),
        }
    };
    open().map_err(|error| error.in_main(path))
}

/// Takes the steps that are missing, each from one version to the next.
fn migrate(connection: &mut Connection, steps: &[&str], known: i32) -> Result<(), OpenError> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    let version = match tables == 0 && id == 0 {
        true => 0,
        false => look(connection, known)?,
    };
    if version == known {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    let taken = usize::try_from(version).unwrap_or(0);
    for step in steps.iter().skip(taken) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

/// The same rows with names for codes, for people with `sqlite3`.
fn readable_view() -> String {
    let names = |names: &mut dyn Iterator<Item = &'static str>, column: &str| {
        let mut case = format!("CASE e.{column}");
        for (code, name) in names.enumerate() {
            // Writing to a String cannot fail.
            _ = write!(case, " WHEN {code} THEN '{name}'");
        }
        format!("{case} END AS {column}")
    };
    let operation = names(
        &mut Operation::ALL.iter().map(|value| value.name()),
        "operation",
    );
    let class = names(&mut Class::ALL.iter().map(|value| value.name()), "class");
    let source = names(&mut Source::ALL.iter().map(|value| value.name()), "source");
    let kind = names(&mut KINDS.into_iter(), "kind");
    let confidence = ["measured", "estimated", "imported", "adjusted"];
    let confidence = names(&mut confidence.into_iter(), "confidence");
    format!(
        "CREATE VIEW events_readable AS SELECT
            strftime('%Y-%m-%dT%H:%M:%fZ', e.at_ms / 1000.0, 'unixepoch') AS at,
            lower(hex(e.request)) AS request_id, e.period, t.name AS team, {operation}, {class}, {source},
            printf('%d.%06d', e.credits / 1000000, abs(e.credits) % 1000000) AS credits,
            printf('%d.%06d', e.estimate / 1000000, abs(e.estimate) % 1000000) AS estimate,
            {kind}, {confidence}, (e.flags & 1) != 0 AS shadow, (e.flags & 2) != 0 AS continued,
            e.named_kind, e.named, e.agent_type, e.key, e.tags, e.session,
            e.units, e.input_tokens, e.output_tokens, e.status, e.duration_ms, e.note
        FROM event e LEFT JOIN team t ON t.id = e.team;"
    )
}
