//! The ledger as it was last written, read beside whoever has its lock, or where nobody has.
//!
//! For commands that judge without a gateway. Whoever builds on [`Records`] works with either: the ledger, which
//! writes down what it is told, or this view of it, which writes nothing.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;

use super::event::SessionRow;
use super::hour_alerts::{self, HourSums};
use super::live::LivePeriod;
use super::overrides::{self, Override};
use super::periods::{self, AllocationChange, PeriodFacts};
use super::{Ledger, LedgerError, files, recovery, rows, schema};
use crate::budget::books::PeriodBooks;
use crate::budget::period::{Period, PeriodName};

/// What a snapshot is built on: numbers of teams, books of periods, facts of allocations, sums of an hour.
pub trait Records {
    /// Every team there was, by number.
    fn teams(&self) -> Arc<Vec<String>>;

    /// A period's books.
    ///
    /// # Errors
    /// When they cannot be read, or the period's facts not written down.
    fn period(&self, period: &Period, facts: &PeriodFacts) -> Result<Arc<LivePeriod>, LedgerError>;

    /// Teams nobody has heard of, and what each may spend from now on.
    ///
    /// # Errors
    /// When it cannot be written down.
    fn record_allocations(
        &self,
        period: PeriodName,
        change: AllocationChange,
    ) -> Result<(), LedgerError>;

    /// What was settled in an hour, counted from the epoch, and which fuses had blown.
    ///
    /// # Errors
    /// When it cannot be read.
    fn hour(&self, hour: i64) -> Result<HourSums, LedgerError>;
}

impl Records for Ledger {
    fn teams(&self) -> Arc<Vec<String>> {
        self.teams()
    }

    fn period(&self, period: &Period, facts: &PeriodFacts) -> Result<Arc<LivePeriod>, LedgerError> {
        self.period(period, facts)
    }

    fn record_allocations(
        &self,
        period: PeriodName,
        change: AllocationChange,
    ) -> Result<(), LedgerError> {
        self.record_allocations(period, change)
    }

    fn hour(&self, hour: i64) -> Result<HourSums, LedgerError> {
        self.hour(hour)
    }
}

/// The view. Where there is no ledger yet it is empty.
#[derive(Debug)]
pub struct Unlocked {
    main: Option<Connection>,
    teams: Arc<Vec<String>>,
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
                teams: Arc::default(),
            });
        }
        let main = schema::open_to_read(path)?;
        let mut select = main.prepare("SELECT name FROM team ORDER BY id")?;
        let teams = select.query_map([], |row| row.get(0))?;
        let teams = teams.collect::<rusqlite::Result<Vec<String>>>()?;
        drop(select);
        Ok(Self {
            main: Some(main),
            teams: Arc::new(teams),
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
    fn teams(&self) -> Arc<Vec<String>> {
        Arc::clone(&self.teams)
    }

    fn period(&self, period: &Period, _: &PeriodFacts) -> Result<Arc<LivePeriod>, LedgerError> {
        let Some(main) = &self.main else {
            let books = PeriodBooks::new(*period, Arc::default());
            return Ok(Arc::new(LivePeriod::new(books, Vec::new(), Vec::new())));
        };
        let year = Arc::new(periods::year_sums(main, period.year)?);
        let teams = self.teams.len();
        Ok(Arc::new(periods::restore(main, period, teams, year)?))
    }

    fn record_allocations(&self, _: PeriodName, _: AllocationChange) -> Result<(), LedgerError> {
        Ok(())
    }

    fn hour(&self, hour: i64) -> Result<HourSums, LedgerError> {
        let Some(main) = &self.main else {
            return Ok(HourSums::default());
        };
        Ok(hour_alerts::sums(main, hour)?)
    }
}
