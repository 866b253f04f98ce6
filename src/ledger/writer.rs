//! The ledger thread: it owns SQLite, and is the only one that waits for the disk.
//!
//! One function per state: [`Writer::writing`] commits what came in, twenty times a second or when a request waits
//! for a grant; [`Writer::disk_failing`] keeps what cannot be written, and tries again until it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::batch::{AccountKey, Batch};
use super::commands::{Command, Reply};
use super::files::{Commit, Files};
use super::grants::{Due, Grants, Raise};
use super::live::LivePeriod;
use super::mark::Mark;
use super::periods;
use super::queue::Item;
use super::retention::Retention;
use super::totals::{self, Totals};
use super::{LedgerError, OpenError, Shared, files};
use crate::budget::books::YearBooks;
use crate::budget::breaker::Breaker;
use crate::budget::period::PeriodName;
use crate::clock;

/// How often what came in is committed.
const INTERVAL: Duration = Duration::from_millis(50);
/// With more events than this to write, grants are written first.
const GRANTS_FIRST: u64 = 500;
/// How often the ledger's mark is written while there is anything to say.
const MARKED_EVERY: Duration = Duration::from_secs(2);
/// How old published totals get while nothing comes in.
const TOLD_AT_LEAST: Duration = Duration::from_millis(250);
/// First and longest pause between tries on a failing disk.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The thread's own state.
pub(super) struct Writer {
    pub(super) files: Files,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: Receiver<Command>,
    pub(super) grants: Grants,
    pub(super) pending: Batch,
    pub(super) years: Vec<(u32, Arc<YearBooks>)>,
    pub(super) shown: Vec<(PeriodName, Vec<(i64, Breaker)>)>,
    pub(super) last_look: Instant,
    pub(super) totals: Totals,
    pub(super) path: PathBuf,
    /// What the accounts said when this process began: its mark says that of periods it never opens.
    pub(super) at_start: Mark,
    pub(super) marked_at: Option<Instant>,
    pub(super) retention: Retention,
    pub(super) corrected_at: Option<Instant>,
}

/// Why the thread ends.
pub(super) enum End {
    Stopped(Reply<()>),
    Gone,
}

impl Writer {
    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let end = loop {
            match self.writing() {
                Ok(end) => break end,
                Err(error) => {
                    if let Some(end) = self.disk_failing(&error) {
                        break end;
                    }
                }
            }
        };
        let End::Stopped(reply) = end else { return };
        // Nobody may wait any more; what was written is written.
        let _gone = reply.send(self.close());
    }

    /// Commits what comes in.
    fn writing(&mut self) -> Result<End, OpenError> {
        loop {
            if let Some(end) = self.commands() {
                return Ok(end);
            }
            self.commit()?;
            self.corrections()?;
            self.retain();
            std::thread::park_timeout(INTERVAL);
        }
    }

    fn retain(&mut self) {
        let (now, _busy) = (self.believed_now(), self.shared.busy());
        if let Err(error) = self.files.retain(&mut self.retention, now) {
            tracing::warn!(%error, "old events cannot be dropped; trying again in a minute");
        }
    }

    /// Keeps what comes in, and tries again until the disk takes it. Nothing counted is dropped: rows beyond a
    /// bound are folded into sums. Questions are refused at once: whoever asks serves others too.
    fn disk_failing(&mut self, first: &OpenError) -> Option<End> {
        tracing::error!(error = %first, "the ledger cannot be written: spending goes on within grants only");
        self.shared.health(false, Some(first.to_string()));
        let mut pause = RETRY.0;
        loop {
            self.shared.raised(); // whoever waits for a grant decides without it
            if let Some(end) = self.refuse_commands() {
                return Some(end);
            }
            std::thread::park_timeout(pause);
            match self.commit() {
                Ok(()) => break,
                Err(error) => self.shared.health(false, Some(error.to_string())),
            }
            pause = pause.saturating_mul(2).min(RETRY.1);
        }
        tracing::info!("the ledger is writing again");
        self.shared.health(true, None);
        None
    }

    /// Takes in what waits, and writes it with the grants that are due. Without anything to write it writes nothing.
    fn commit(&mut self) -> Result<(), OpenError> {
        self.take_in();
        let now = Instant::now();
        let elapsed = now.duration_since(self.last_look);
        self.last_look = now;
        let live = self.shared.live.load_full();
        let Due { raises, releases } = self.grants.due(&live, elapsed);
        let shown = self.changed_shown(&live);
        let has_grants = !raises.is_empty() || !releases.is_empty();
        if self.pending.is_empty() && !has_grants && shown.is_empty() {
            self.idle(now);
            return Ok(());
        }
        let raises = if self.pending.count > GRANTS_FIRST {
            self.grant(raises)?
        } else {
            raises
        };
        let commit = Commit {
            batch: &self.pending,
            raises: &raises,
            releases: &releases,
            shown: &shown,
            at: self.believed_now(),
            note: None,
            correction: None,
        };
        let teams = self.shared.teams.load_full();
        let busy = self.shared.busy();
        let written = self.files.write(&commit, &teams);
        drop(busy);
        self.shared.stats.commits.note(now.elapsed());
        let accounts = written.inspect_err(|_| self.shared.stats.errors.add(1))?;
        self.committed(&accounts, now, raises, shown);
        Ok(())
    }

    /// Nothing came in: whoever compares is told so, a few times a second.
    fn idle(&mut self, now: Instant) {
        if now.duration_since(self.totals.taken_at) >= TOLD_AT_LEAST {
            self.publish_totals(now);
        }
    }

    /// Writes grants by themselves: whoever waits for one must not wait for a long batch of events.
    fn grant(&mut self, raises: Vec<Raise>) -> Result<Vec<Raise>, OpenError> {
        if raises.is_empty() {
            return Ok(raises);
        }
        let (batch, teams) = (Batch::default(), self.shared.teams.load_full());
        let commit = Commit {
            batch: &batch,
            raises: &raises,
            releases: &[],
            shown: &[],
            at: self.believed_now(),
            note: None,
            correction: None,
        };
        let busy = self.shared.busy();
        let written = self.files.write(&commit, &teams);
        drop(busy);
        written.inspect_err(|_| self.shared.stats.errors.add(1))?;
        self.raise(raises);
        Ok(Vec::new())
    }

    /// The time, while the wall clock is believed.
    pub(super) fn believed_now(&self) -> Option<Timestamp> {
        let now = clock::now();
        let doubt = self.shared.clock.doubt(now, clock::since_boot());
        doubt.is_none().then_some(now)
    }

    /// What is written down becomes spendable.
    fn raise(&self, raises: Vec<Raise>) {
        for raise in raises {
            let (_, _, source) = raise.key;
            raise.team.account(source).raise_grant(raise.to);
        }
        self.shared.raised();
    }

    fn committed(
        &mut self,
        accounts: &[(AccountKey, i64)],
        taken_at: Instant,
        raises: Vec<Raise>,
        shown: Vec<(PeriodName, Vec<(i64, Breaker)>)>,
    ) {
        let batch = std::mem::take(&mut self.pending);
        self.totals.add(&batch, accounts, totals::From::Workers);
        self.publish_totals(taken_at);
        self.shared.stats.events.add(batch.count);
        for (period, changed) in shown {
            remember_shown(&mut self.shown, period, changed);
        }
        self.shared.health(true, None);
        self.raise(raises);
        self.grants.released();
        if self
            .marked_at
            .is_none_or(|at| taken_at.duration_since(at) >= MARKED_EVERY)
        {
            self.marked_at = Some(taken_at);
            self.mark();
        }
    }

    /// How far the ledger has come, for a later one that was restored from before.
    fn mark(&self) {
        let (live, teams) = (self.shared.live.load_full(), self.shared.teams.load_full());
        let mark = self.at_start.moved_on(self.files.batch, &live, &teams);
        if let Err(error) = mark.write(&self.path) {
            tracing::warn!(%error, "the ledger's mark cannot be written");
        }
    }

    /// For whoever compares them with the counters.
    fn publish_totals(&mut self, taken_at: Instant) {
        self.totals.taken_at = taken_at;
        self.shared.totals.store(Arc::new(self.totals.clone()));
    }

    fn take_in(&mut self) {
        let keeps_rows = self.files.keeps_rows();
        let (pending, stats) = (&mut self.pending, &self.shared.stats);
        self.shared.queues.drain(|item| match item {
            Item::Event(event) => {
                if !pending.add(event, keeps_rows) && keeps_rows {
                    stats.folded(1);
                }
            }
            Item::Folded(batch) => pending.merge(*batch),
        });
        let waiting = self
            .shared
            .queues
            .len()
            .saturating_add(self.pending.events.len());
        self.shared
            .stats
            .pending
            .set(u64::try_from(waiting).unwrap_or(u64::MAX));
    }

    fn changed_shown(&self, live: &[Arc<LivePeriod>]) -> Vec<(PeriodName, Vec<(i64, Breaker)>)> {
        let changed = live.iter().map(|live| {
            let name = live.books.period.name;
            let known = self.shown.iter().find(|(period, _)| *period == name);
            let is_new = |entry: &(i64, Breaker)| match known {
                Some((_, known)) => {
                    !known.contains(entry)
                        && (entry.1 > Breaker::Closed
                            || known.iter().any(|(team, _)| *team == entry.0))
                }
                None => entry.1 > Breaker::Closed,
            };
            (
                name,
                periods::shown_now(live)
                    .into_iter()
                    .filter(is_new)
                    .collect::<Vec<_>>(),
            )
        });
        changed.filter(|(_, changed)| !changed.is_empty()).collect()
    }

    /// The last batch, then the grants are handed back.
    fn close(mut self) -> Result<(), LedgerError> {
        let mut tries = 0_u32;
        while let Err(error) = self.commit() {
            tries = tries.saturating_add(1);
            if tries > 20 {
                return Err(error.into());
            }
            std::thread::park_timeout(RETRY.0);
        }
        let _busy = self.shared.busy();
        let holder = self.files.holder().to_owned();
        let back = "UPDATE account SET granted = settled WHERE holder = ? AND granted <> settled";
        self.files.main.execute(back, [holder])?;
        if let Some(now) = self.believed_now() {
            let now = super::rows::millis(now);
            files::set_meta(&self.files.main, "last_write_ms", now)?;
        }
        let mark = Mark::read_from(&self.files.main)?;
        if let Err(error) = mark.write(&self.path) {
            tracing::warn!(%error, "the ledger's mark cannot be written");
        }
        Ok(())
    }
}

pub(super) fn remember_shown(
    all: &mut Vec<(PeriodName, Vec<(i64, Breaker)>)>,
    period: PeriodName,
    changed: Vec<(i64, Breaker)>,
) {
    let at = all.iter().position(|(known, _)| *known == period);
    let Some((_, known)) = at.and_then(|at| all.get_mut(at)) else {
        all.push((period, changed));
        return;
    };
    for (team, state) in changed {
        match known.iter_mut().find(|(known, _)| *known == team) {
            Some((_, before)) => *before = state,
            None => known.push((team, state)),
        }
    }
}
