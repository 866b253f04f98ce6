//! A reload: read, checked, compared and built before anything is visible; then one swap shows it.
//!
//! What the ledger cannot write down is not in force, and counts as soon as it can.

use std::sync::Arc;

use super::build::BuildError;
use super::changing::used;
use super::control::{RejectedConfig, Reloaded};
use super::owner::Taker;
use crate::clock;
use crate::config::changes::{Changes, reject_reason};
use crate::config::load::{self, Files};
use crate::config::watch::Content;

/// A configuration without a fault, which is tried again until the ledger takes it.
pub(super) struct Postponed {
    files: Files,
    force: bool,
}

/// Why a configuration is not in force.
pub(super) enum NotTaken {
    /// By its own fault.
    Faults(Vec<String>),
    /// By the ledger's.
    Ledger(String),
}

impl Taker {
    /// Read, check, compare, build, then one swap.
    pub(super) fn take(&mut self, content: Content, force: bool) -> Reloaded {
        self.postponed = None; // there is something newer
        match content {
            Ok(files) => self.take_files(&files, force),
            Err(faults) => self.reject(faults.lines()),
        }
    }

    fn take_files(&mut self, files: &Files, force: bool) -> Reloaded {
        match self.put_in_force(files, force) {
            Ok(reloaded) => reloaded,
            Err(NotTaken::Faults(faults)) => self.reject(faults),
            Err(NotTaken::Ledger(error)) => {
                let files = files.clone();
                self.postponed = Some(Postponed { files, force });
                self.reject(vec![format!(
                    "{error}; it is tried again once the ledger is written"
                )])
            }
        }
    }

    /// What was only the ledger's fault counts as soon as it writes again. One rejection is enough for all tries.
    pub(super) fn try_postponed(&mut self) {
        let Some(postponed) = self.postponed.take() else {
            return;
        };
        match self.put_in_force(&postponed.files, postponed.force) {
            Ok(_said) => {}
            Err(NotTaken::Faults(faults)) => drop(self.reject(faults)),
            Err(NotTaken::Ledger(_)) => self.postponed = Some(postponed),
        }
    }

    fn put_in_force(&mut self, files: &Files, force: bool) -> Result<Reloaded, NotTaken> {
        if files.digest() == self.in_force {
            if self.unsure {
                let before = self.control.shared.snapshot.load_full();
                self.show(Arc::clone(&before.checked))?;
            }
            let was_rejected = self.control.status().last_rejected.is_some();
            tracing::info!(was_rejected, "the files are those in force");
            self.control.publish(|status| status.last_rejected = None);
            return Ok(Reloaded::Unchanged);
        }
        let now = self.clock.latest(clock::now());
        let checked = load::check(files, now);
        let (checked, warnings) = checked.map_err(|faults| NotTaken::Faults(faults.lines()))?;
        // First what the configuration in force makes of the time: a rejected one must not begin a period.
        self.advance(clock::now());
        let before = self.control.shared.snapshot.load_full();
        if let Some(reason) = reject_reason(&before.checked, &checked, force) {
            return Err(NotTaken::Faults(vec![reason]));
        }
        let changes = Changes::between(&before.checked, &checked);
        let waiting = Changes::between(&self.started, &checked).needs_restart;
        let (snapshot, grown) = self.show(Arc::new(checked))?;
        self.in_force = files.digest();
        let mut warnings = warnings.lines();
        let waits = |setting: &String| format!("{setting} takes effect after a restart");
        warnings.extend(waiting.iter().map(waits));
        // At once: whoever sees the new limits shall find the reload counted.
        self.control.publish(|status| {
            status.reloads_accepted = status.reloads_accepted.saturating_add(1);
            status.config_hash = snapshot.config_hash.to_string();
            status.loaded_at = clock::now();
            status.last_rejected = None;
            status.warnings.clone_from(&warnings);
        });
        let changes = changes.lines();
        for change in &changes {
            tracing::info!(change, "configuration changed");
        }
        tracing::info!(hash = &*snapshot.config_hash, "configuration accepted");
        let now = self.clock.latest(clock::now());
        let ledger = &self.control.shared.ledger;
        if let Err(error) = ledger.config_used(used(&snapshot), now) {
            tracing::warn!(%error, "which configuration is in force cannot be written down");
        }
        self.watcher.rearm(&snapshot, &grown, now);
        Ok(Reloaded::Accepted { changes, warnings })
    }

    fn reject(&self, faults: Vec<String>) -> Reloaded {
        for fault in &faults {
            tracing::error!(fault, "configuration rejected; the one in force stays");
        }
        self.control.publish(|status| {
            status.reloads_rejected = status.reloads_rejected.saturating_add(1);
            status.last_rejected = Some(RejectedConfig {
                at: clock::now().to_string(),
                faults: faults.clone(),
            });
        });
        Reloaded::Rejected { faults }
    }
}

impl From<BuildError> for NotTaken {
    fn from(error: BuildError) -> Self {
        let said = error.to_string();
        match error {
            BuildError::Ledger(_) => Self::Ledger(said),
            BuildError::OverAllocated(_) | BuildError::NoCard(_) => Self::Faults(vec![said]),
        }
    }
}
