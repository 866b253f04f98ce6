//! What the rest of the process asks of the ledger thread, and how it is done. Never the request path.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TryRecvError};

use jiff::Timestamp;
use rusqlite::Connection;

use super::LedgerError;
use super::alerts::{self, AlertRow};
use super::carried;
use super::event::TeamId;
use super::hour_alerts::{self, HourAlertRow};
use super::live::LivePeriod;
use super::overrides::{self, Ended, Made};
use super::periods::{self, AllocationChange, PeriodFacts};
use super::trace::{self, ConfigUsed};
use super::writer::{End, Writer, remember_shown};
use crate::budget::operation::Source;
use crate::budget::period::{Period, PeriodName};

pub(super) type Reply<T> = SyncSender<Result<T, LedgerError>>;

/// A question, and where the answer goes.
pub(super) enum Command {
    Team(String, Reply<TeamId>),
    Period(Period, PeriodFacts, Reply<Arc<LivePeriod>>),
    Allocations(PeriodName, AllocationChange, Reply<()>),
    RaiseAlert(AlertRow, Reply<bool>),
    RaiseHourAlert(HourAlertRow, Reply<bool>),
    Rearm(TeamId, PeriodName, Vec<u32>, Timestamp, Reply<()>),
    MakeOverride(Box<Made>, Reply<i64>),
    EndOverride(Box<Ended>, Reply<()>),
    ConfigUsed(ConfigUsed, Timestamp, Reply<()>),
    Stop(Reply<()>),
    /// Ends at once, writing nothing: what `kill -9` leaves.
    #[cfg(test)]
    Abort,
    /// A fault of ours.
    #[cfg(test)]
    Panic,
}

impl Writer {
    /// Does what was asked; why the thread ends, if it was told to.
    pub(super) fn commands(&mut self) -> Option<End> {
        loop {
            match self.commands.try_recv() {
                Ok(command) => {
                    if let Some(end) = self.obey(command) {
                        return Some(end);
                    }
                }
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => return Some(End::Gone),
            }
        }
    }

    /// Says no to what was asked while the disk fails; why the thread ends, if it was told to.
    pub(super) fn refuse_commands(&mut self) -> Option<End> {
        loop {
            // A reply nobody waits for any more is dropped.
            let _gone = match self.commands.try_recv() {
                Ok(Command::Stop(reply)) => return Some(End::Stopped(reply)),
                Ok(Command::Team(_, reply)) => reply.send(Err(LedgerError::Failing)).is_err(),
                Ok(Command::Period(_, _, reply)) => reply.send(Err(LedgerError::Failing)).is_err(),
                Ok(Command::RaiseAlert(_, reply) | Command::RaiseHourAlert(_, reply)) => {
                    reply.send(Err(LedgerError::Failing)).is_err()
                }
                Ok(Command::MakeOverride(_, reply)) => {
                    reply.send(Err(LedgerError::Failing)).is_err()
                }
                Ok(
                    Command::Allocations(_, _, reply)
                    | Command::Rearm(_, _, _, _, reply)
                    | Command::EndOverride(_, reply)
                    | Command::ConfigUsed(_, _, reply),
                ) => reply.send(Err(LedgerError::Failing)).is_err(),
                #[cfg(test)]
                Ok(Command::Abort | Command::Panic) => return Some(End::Gone),
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => return Some(End::Gone),
            };
        }
    }

    fn obey(&mut self, command: Command) -> Option<End> {
        let _busy = self.shared.busy();
        // A reply nobody waits for any more is dropped.
        let _gone = match command {
            Command::Team(name, reply) => reply
                .send(self.team(&name).map_err(LedgerError::from))
                .is_err(),
            Command::Period(period, facts, reply) => reply
                .send(self.period(&period, &facts).map_err(LedgerError::from))
                .is_err(),
            Command::Allocations(period, change, reply) => {
                reply.send(self.allocations(period, &change)).is_err()
            }
            Command::RaiseAlert(alert, reply) => reply
                .send(alerts::raise(&self.files.main, &alert).map_err(LedgerError::from))
                .is_err(),
            Command::RaiseHourAlert(alert, reply) => reply
                .send(hour_alerts::raise(&self.files.main, &alert).map_err(LedgerError::from))
                .is_err(),
            Command::Rearm(team, period, percents, at, reply) => {
                let done = alerts::rearm(&self.files.main, team, period, &percents, at);
                reply.send(done.map_err(LedgerError::from)).is_err()
            }
            Command::MakeOverride(made, reply) => {
                let done = match made.is_wanted() {
                    true => overrides::make(&mut self.files.main, &made).map_err(LedgerError::from),
                    false => Err(LedgerError::NoAnswer),
                };
                reply.send(done).is_err()
            }
            Command::EndOverride(ended, reply) => {
                let done = overrides::end(&mut self.files.main, &ended);
                reply.send(done.map_err(LedgerError::from)).is_err()
            }
            Command::ConfigUsed(used, now, reply) => {
                let done = trace::config_used(&self.files.main, &used, now);
                reply.send(done.map_err(LedgerError::from)).is_err()
            }
            Command::Stop(reply) => return Some(End::Stopped(reply)),
            #[cfg(test)]
            Command::Abort => return Some(End::Gone),
            #[cfg(test)]
            Command::Panic => panic!("as the test wants it"),
        };
        None
    }

    fn team(&mut self, name: &str) -> rusqlite::Result<TeamId> {
        let teams = self.shared.teams.load_full();
        let known = teams.iter().position(|known| known == name);
        if let Some(id) = known {
            return Ok(TeamId(u32::try_from(id).unwrap_or(u32::MAX)));
        }
        let mut grown = Vec::clone(&teams);
        let id = add_team(&self.files.main, &mut grown, name)?;
        self.shared.teams.store(Arc::new(grown));
        Ok(id)
    }

    /// New teams, and what changed of the allocations: all of it or nothing.
    fn allocations(
        &mut self,
        period: PeriodName,
        change: &AllocationChange,
    ) -> Result<(), LedgerError> {
        let mut teams = Vec::clone(&self.shared.teams.load());
        let transaction = self.files.main.transaction()?;
        for (id, name) in &change.new_teams {
            // Whoever asked before and gave up may have been heard meanwhile: then the number is another team's.
            if add_team(&transaction, &mut teams, name)? != *id {
                return Err(LedgerError::NoAnswer);
            }
        }
        periods::record_allocations(&transaction, period, change)?;
        transaction.commit()?;
        if !change.new_teams.is_empty() {
            self.shared.teams.store(Arc::new(teams));
        }
        Ok(())
    }

    fn period(
        &mut self,
        period: &Period,
        facts: &PeriodFacts,
    ) -> rusqlite::Result<Arc<LivePeriod>> {
        let live = self.shared.live.load_full();
        if let Some(known) = live
            .iter()
            .find(|live| live.books.period.name == period.name)
        {
            return Ok(Arc::clone(known));
        }
        let transaction = self.files.main.transaction()?;
        if periods::record(&transaction, period, facts)? {
            carried::write(&transaction, period, facts.carry_over, &live)?;
        }
        transaction.commit()?;
        let year = match self.years.iter().find(|(year, _)| *year == period.year) {
            Some((_, books)) => Arc::clone(books),
            None => {
                let books = Arc::new(periods::year_sums(&self.files.main, period.year)?);
                self.years.push((period.year, Arc::clone(&books)));
                books
            }
        };
        let teams = self.shared.teams.load_full().len();
        let restored = Arc::new(periods::restore(&self.files.main, period, teams, year)?);
        remember_shown(&mut self.shown, period.name, periods::shown_now(&restored));
        self.restore_totals(&restored);
        let mut grown = Vec::clone(&live);
        grown.push(Arc::clone(&restored));
        self.shared.live.store(Arc::new(grown));
        Ok(restored)
    }

    /// Restored counters are compared with the ledger from what they are now.
    fn restore_totals(&mut self, live: &LivePeriod) {
        for (id, team) in (0_u32..).zip(live.teams().iter()) {
            for source in Source::ALL {
                let key = (live.books.period.name, TeamId(id), *source);
                let settled = team.account(*source).figures().settled;
                self.totals.restored(key, settled.micros());
            }
        }
    }
}

/// Writes a team down under the next number.
fn add_team(
    connection: &Connection,
    teams: &mut Vec<String>,
    name: &str,
) -> rusqlite::Result<TeamId> {
    let id = u32::try_from(teams.len()).unwrap_or(u32::MAX);
    connection.execute(
        "INSERT INTO team (id, name) VALUES (?, ?)",
        rusqlite::params![id, name],
    )?;
    teams.push(name.to_owned());
    Ok(TeamId(id))
}
