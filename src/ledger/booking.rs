//! The ledger thread books corrections: on disk, then in the counters of the running gateway.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::OpenError;
use super::batch::{Batch, account_of};
use super::correct;
use super::event::Event;
use super::files::Commit;
use super::totals;
use super::writer::Writer;
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Source;
use crate::clock;

/// How often wishes are looked for.
const LOOK: Duration = Duration::from_millis(500);

impl Writer {
    /// Books every wish that is there, a few times a second.
    pub(super) fn corrections(&mut self) -> Result<(), OpenError> {
        let now = Instant::now();
        if self
            .corrected_at
            .is_some_and(|at| now.duration_since(at) < LOOK)
        {
            return Ok(());
        }
        self.corrected_at = Some(now);
        loop {
            let _busy = self.shared.busy();
            let Some(wish) = correct::open(&self.files.main)? else {
                return Ok(());
            };
            // A day that cannot be read is no disk that cannot be written: the wish ends, not the writing.
            match wish.corrected(self.files.folder()) {
                Ok(stored) => {
                    let (event, note) = wish.event(&self.files.main, stored, clock::now())?;
                    wish.say(self.book(wish.id, event, &note)?);
                }
                Err(why) => {
                    tracing::error!(event = %wish.event, why, "an event cannot be corrected: nothing was changed");
                    self.files.close_correction(wish.id, Some(&why))?;
                }
            }
        }
    }

    fn book(&mut self, id: i64, event: Event, note: &str) -> Result<MicroCredits, OpenError> {
        let (key, change) = (account_of(&event), event.credits);
        if change.is_zero() {
            self.files.close_correction(id, None)?;
            return Ok(change);
        }
        let mut batch = Batch::default();
        batch.add(event, self.files.keeps_rows());
        let commit = Commit {
            batch: &batch,
            raises: &[],
            releases: &[],
            shown: &[],
            at: self.believed_now(),
            note: Some(note),
            correction: Some((id, change)),
        };
        let live = self.shared.live.load_full();
        let period = live.iter().find(|live| live.books.period.name == key.0);
        let account = period.map(|period| (period, period.team(key.1)));
        // What is taken away was granted and is not spent: it must not become spendable before the grant is lower.
        let lower = change.micros().min(0).saturating_abs();
        if let Some((_, team)) = &account {
            team.account(key.2)
                .lower_grant(MicroCredits::from_micros(lower));
        }
        let teams = self.shared.teams.load_full();
        let written = self.files.write(&commit, &teams);
        let on_disk = match (written, &account) {
            (Ok(on_disk), _) => on_disk,
            (Err(error), Some((_, team))) => {
                let account = team.account(key.2);
                let before = account.figures().granted.micros().saturating_add(lower);
                account.raise_grant(MicroCredits::from_micros(before));
                return Err(error);
            }
            (Err(error), None) => return Err(error),
        };
        match &account {
            Some((period, team)) => {
                period.books.correct(team, key.2, change);
                let account = team.account(key.2);
                let figures = account.figures();
                let added = change.micros().max(0);
                let granted = figures.granted.micros().saturating_add(added);
                account.raise_grant(MicroCredits::from_micros(granted).max(figures.settled));
                self.shared.raised();
            }
            None => self.correct_year(key.0.code(), key.2, change)?,
        }
        self.grants.corrected(key, change);
        self.totals.add(&batch, &on_disk, totals::From::Correction);
        self.shared.totals.store(Arc::new(self.totals.clone()));
        Ok(change)
    }

    /// A period that is over counts in its contract year still.
    fn correct_year(
        &self,
        period: i64,
        source: Source,
        change: MicroCredits,
    ) -> Result<(), OpenError> {
        let Some(year) = super::periods::year_of(&self.files.main, period)? else {
            return Ok(());
        };
        if let Some((_, books)) = self.years.iter().find(|(known, _)| *known == year) {
            books.correct(source, change);
        }
        Ok(())
    }
}
