//! Running totals of what each account's events, rollups and row on disk say, compared with every batch.
//!
//! The three are added up on different ways: rows as they are inserted, rollups by their keys, accounts as SQLite
//! answers after the write. A difference is a fault of ours or of the disk, and is never corrected in silence.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::batch::{AccountKey, Batch, account_of};
use super::event::TeamId;

/// One account since this process began, in micro-credits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountTotals {
    /// Events taken in, with a row of their own or folded.
    pub events: i64,
    /// Of them, those that workers handed over: what their counters say too.
    pub from_workers: i64,
    /// The rollups they were added to.
    pub rollups: i64,
    /// Settled, as the account's row says; since ever.
    pub on_disk: i64,
    /// The row before this process wrote it.
    before: i64,
    /// Corrections booked; while this changes, counters and ledger are not compared.
    pub corrections: u64,
}

impl AccountTotals {
    /// An account whose row says so before anything is written.
    pub(super) const fn restored(settled_micros: i64) -> Self {
        Self {
            events: 0,
            from_workers: 0,
            rollups: 0,
            on_disk: settled_micros,
            before: settled_micros,
            corrections: 0,
        }
    }

    /// By how much events, rollups and account are apart; must be 0.
    pub fn difference(&self) -> u64 {
        let accounts = self.on_disk.saturating_sub(self.before);
        self.events
            .abs_diff(self.rollups)
            .max(self.events.abs_diff(accounts))
    }
}

/// All accounts written by this process.
#[derive(Clone, Debug)]
pub struct Totals {
    /// By period, team and source.
    pub accounts: BTreeMap<AccountKey, AccountTotals>,
    /// Everything handed over before this is in.
    pub taken_at: Instant,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::new(),
            taken_at: Instant::now(),
        }
    }
}

/// Who handed a batch over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Workers,
    Correction,
}

impl Totals {
    /// An account whose counters were restored from its row.
    pub(super) fn restored(&mut self, key: AccountKey, settled_micros: i64) {
        self.accounts
            .entry(key)
            .or_insert_with(|| AccountTotals::restored(settled_micros));
    }

    /// Adds a batch that is on disk. `on_disk` is what the accounts' rows say now.
    pub(super) fn add(&mut self, batch: &Batch, on_disk: &[(AccountKey, i64)], from: From) {
        for (key, settled) in on_disk {
            let written = batch.settled.get(key).copied().unwrap_or(0);
            let before = settled.saturating_sub(written);
            let totals = self.entry(*key, before);
            totals.on_disk = *settled;
            if from == From::Correction {
                totals.corrections = totals.corrections.saturating_add(1);
            }
        }
        batch.rollups.iter().for_each(|(key, sums)| {
            let totals = self.entry((key.period, key.team, key.source), 0);
            totals.rollups = totals.rollups.saturating_add(sums.credits_micros);
        });
        let rows = batch
            .events
            .iter()
            .map(|event| (account_of(event), event.credits.micros()));
        let folded = batch.folded.iter().map(|(key, sum)| (*key, sum.micros));
        for (key, micros) in rows.chain(folded) {
            let totals = self.entry(key, 0);
            totals.events = totals.events.saturating_add(micros);
            if from == From::Workers {
                totals.from_workers = totals.from_workers.saturating_add(micros);
            }
        }
    }

    fn entry(&mut self, key: AccountKey, before: i64) -> &mut AccountTotals {
        self.accounts
            .entry(key)
            .or_insert_with(|| AccountTotals::restored(before))
    }

    /// What a team's workers handed over, in all periods and from all sources.
    pub fn from_workers(&self, team: TeamId) -> i64 {
        let of_team = self.accounts.iter().filter(|((_, id, _), _)| *id == team);
        of_team.map(|(_, totals)| totals.from_workers).sum()
    }

    /// The largest difference within a team's accounts.
    pub fn difference(&self, team: TeamId) -> u64 {
        let of_team = self.accounts.iter().filter(|((_, id, _), _)| *id == team);
        of_team
            .map(|(_, totals)| totals.difference())
            .max()
            .unwrap_or(0)
    }
}
