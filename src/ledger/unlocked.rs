//! The ledger as it was last written, read beside whoever has its lock, or where nobody has.
//!
//! For commands that judge without a gateway. Whoever builds on [`Records`] works with either: the ledger, which
//! writes down what it is told, or this view of it, which writes nothing.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

use super::event::{SessionRow, TeamId};
use super::live::LivePeriod;
use super::overrides::{self, Override};
use super::periods::{self, AllocationFact, PeriodFacts};
use super::{Ledger, LedgerError, export, files, recovery, rows};
use crate::budget::books::PeriodBooks;
use crate::budget::period::{Period, PeriodName};

/// What a snapshot is built on: numbers of teams, books of periods, facts of allocations.
pub trait Records {
    /// The number of a team; a new one gets the next.
    ///
    /// # Errors
    /// When it cannot be read or written down.
    fn team(&self, name: &str) -> Result<TeamId, LedgerError>;

    /// A period's books.
    ///
    /// # Errors
    /// When they cannot be read, or the period's facts not written down.
    fn period(&self, period: &Period, facts: &PeriodFacts) -> Result<Arc<LivePeriod>, LedgerError>;

    /// What teams may spend from now on.
    ///
    /// # Errors
    /// When it cannot be written down.
    fn record_allocations(
        &self,
        period: PeriodName,
        facts: &[AllocationFact],
        at: Timestamp,
        config_hash: &str,
    ) -> Result<(), LedgerError>;
}

impl Records for Ledger {
    fn team(&self, name: &str) -> Result<TeamId, LedgerError> {
        self.team(name)
    }

    fn period(&self, period: &Period, facts: &PeriodFacts) -> Result<Arc<LivePeriod>, LedgerError> {
        self.period(period, facts)
    }

    fn record_allocations(
        &self,
        period: PeriodName,
        facts: &[AllocationFact],
        at: Timestamp,
        config_hash: &str,
    ) -> Result<(), LedgerError> {
        self.record_allocations(period, facts, at, config_hash)
    }
}

/// The view. Where there is no ledger yet it is empty.
#[derive(Debug)]
pub struct Unlocked {
    main: Option<Connection>,
    teams: RefCell<Vec<String>>,
}

impl Unlocked {
    /// Opens what is there.
    ///
    /// # Errors
    /// When it is there and cannot be read, or is of another version.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        if !path.exists() {
            return Ok(Self {
                main: None,
                teams: RefCell::default(),
            });
        }
        let main = export::open(path)?;
        let mut select = main.prepare("SELECT name FROM team ORDER BY id")?;
        let teams = select.query_map([], |row| row.get(0))?;
        let teams = teams.collect::<rusqlite::Result<Vec<String>>>()?;
        drop(select);
        Ok(Self {
            main: Some(main),
            teams: teams.into(),
        })
    }

    /// When it was last written; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_write(&self) -> Result<Option<Timestamp>, LedgerError> {
        let Some(main) = &self.main else {
            return Ok(None);
        };
        Ok(files::meta(main, "last_write_ms")?.map(rows::timestamp))
    }

    /// The period that began last.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn current_period(&self) -> Result<Option<Period>, LedgerError> {
        let Some(main) = &self.main else {
            return Ok(None);
        };
        Ok(periods::newest(main)?)
    }

    /// Agent sessions of the last day.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn sessions(&self, now: Timestamp) -> Result<Vec<SessionRow>, LedgerError> {
        let Some(main) = &self.main else {
            return Ok(Vec::new());
        };
        Ok(recovery::sessions(main, now)?)
    }

    /// Overrides whose end is not written down.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open_overrides(&self) -> Result<Vec<Override>, LedgerError> {
        let Some(main) = &self.main else {
            return Ok(Vec::new());
        };
        overrides::open(main)
    }
}

impl Records for Unlocked {
    fn team(&self, name: &str) -> Result<TeamId, LedgerError> {
        let mut teams = self.teams.borrow_mut();
        let known = teams.iter().position(|known| known == name);
        let at = known.unwrap_or_else(|| {
            teams.push(name.to_owned());
            teams.len().saturating_sub(1)
        });
        Ok(TeamId(u32::try_from(at).unwrap_or(u32::MAX)))
    }

    fn period(&self, period: &Period, _: &PeriodFacts) -> Result<Arc<LivePeriod>, LedgerError> {
        let Some(main) = &self.main else {
            let books = PeriodBooks::new(*period, Arc::default());
            return Ok(Arc::new(LivePeriod::new(books, Vec::new(), Vec::new())));
        };
        let year = Arc::new(periods::year_sums(main, period.year)?);
        let teams = self.teams.borrow().len();
        Ok(Arc::new(periods::restore(main, period, teams, year)?))
    }

    fn record_allocations(
        &self,
        _: PeriodName,
        _: &[AllocationFact],
        _: Timestamp,
        _: &str,
    ) -> Result<(), LedgerError> {
        Ok(())
    }
}
