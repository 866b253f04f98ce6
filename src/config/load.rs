//! From files to a checked configuration. Reading touches the disk; checking is pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use jiff::Timestamp;

use super::checked::{Checked, LedgerSettings, Pool};
use super::faults::{Faults, Warnings};
use super::files::{self, File};
use super::source::Source;
use super::{allocations_file, card_file, gateway_file, units};
use crate::rates;
use crate::rates::card::Card;

/// Which files make up a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    config: PathBuf,
}

/// The contents of all files, as read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    folder: PathBuf,
    gateway: File,
    allocations: File,
    cards: Vec<File>,
}

impl Sources {
    /// The configuration whose gateway file this is.
    pub fn new(config: PathBuf) -> Self {
        Self { config }
    }

    /// The gateway's file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The folder all files lie in.
    pub fn folder(&self) -> &Path {
        match self.config.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// `allocations.toml`.
    pub fn allocations(&self) -> PathBuf {
        self.config.with_file_name("allocations.toml")
    }

    /// `rates/`.
    pub fn rates(&self) -> PathBuf {
        self.config.with_file_name("rates")
    }

    /// Every file there is now.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let cards = files::cards(&self.rates()).unwrap_or_default();
        [self.config.clone(), self.allocations()]
            .into_iter()
            .chain(cards)
            .collect()
    }
}

impl Files {
    /// Reads all files.
    ///
    /// # Errors
    /// Every file that cannot be read.
    pub fn read(sources: &Sources) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let gateway = faults.note(files::read(sources.config()));
        let allocations = faults.note(files::read(&sources.allocations()));
        let cards = faults.note(files::cards(&sources.rates()));
        let cards: Vec<_> = cards
            .unwrap_or_default()
            .iter()
            .filter_map(|path| faults.note(files::read(path)))
            .collect();
        match (gateway, allocations) {
            (Some(gateway), Some(allocations)) if faults.is_empty() => Ok(Self {
                folder: sources.folder().to_owned(),
                gateway,
                allocations,
                cards,
            }),
            _ => Err(faults.sorted()),
        }
    }

    /// `[ledger]`, whatever is wrong elsewhere.
    ///
    /// # Errors
    /// See [`ledger`].
    pub fn ledger(&self) -> Result<LedgerSettings, Faults> {
        ledger_of(&self.gateway, &self.folder)
    }

    /// A hash over all contents, the same wherever the files lie.
    pub fn digest(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        let cards = self.cards.iter();
        for file in [&self.gateway, &self.allocations].into_iter().chain(cards) {
            // Lengths between them: moving bytes from one file to the next is a change.
            context.update(&file.text.len().to_le_bytes());
            context.update(file.text.as_bytes());
        }
        context.finish().as_ref().try_into().unwrap_or([0; 32])
    }
}

/// `[ledger]` alone: whoever looks after the ledger must not wait for the rest to be right.
///
/// # Errors
/// What is wrong with it, with the file's syntax or with the names of its sections: a misspelt one may be this one.
pub fn ledger(sources: &Sources) -> Result<LedgerSettings, Faults> {
    let mut faults = Faults::default();
    match faults.note(files::read(sources.config())) {
        Some(file) => ledger_of(&file, sources.folder()),
        None => Err(faults),
    }
}

fn ledger_of(file: &File, folder: &Path) -> Result<LedgerSettings, Faults> {
    let mut found = Found::default();
    let ledger = found.in_file(file, |source| gateway_file::ledger_alone(source, folder));
    ledger
        .filter(|_| found.faults.is_empty())
        .ok_or_else(|| found.faults.sorted())
}

/// Checks all files against one another. `now` is the moment the contract must have begun by.
///
/// # Errors
/// Every fault of every file.
pub fn check(files: &Files, now: Timestamp) -> Result<(Checked, Warnings), Faults> {
    let mut found = Found::default();
    let cards = cards(files, &mut found);
    let gateway = found.in_file(&files.gateway, |source| {
        gateway_file::read(source, &files.folder)
    });
    let names: Vec<_> = cards.keys().map(String::as_str).collect();
    let allocations = found.in_file(&files.allocations, |source| {
        let allocations = allocations_file::read(source, &names, now)?;
        suspicious(source, &allocations.pool);
        Some(allocations)
    });
    match (gateway, allocations) {
        (Some(gateway), Some(allocations)) if found.faults.is_empty() => {
            let hash = units::hex(files.digest().get(..8).unwrap_or_default());
            let checked = Checked {
                gateway,
                allocations,
                cards,
                hash,
            };
            Ok((checked, found.warnings))
        }
        _ => Err(found.faults.sorted()),
    }
}

/// What all files together gave rise to.
#[derive(Default)]
struct Found {
    faults: Faults,
    warnings: Warnings,
}

impl Found {
    fn in_file<T>(
        &mut self,
        file: &File,
        read: impl FnOnce(&Source<'_>) -> Option<T>,
    ) -> Option<T> {
        let source = Source::new(&file.name, &file.text);
        let value = read(&source);
        let (faults, warnings) = source.into_findings();
        self.faults.extend(faults);
        self.warnings.extend(warnings);
        value
    }
}

/// The built-in cards, and those of `rates/`.
fn cards(files: &Files, found: &mut Found) -> BTreeMap<String, Arc<Card>> {
    let mut cards: BTreeMap<String, Arc<Card>> = BTreeMap::new();
    let shipped = rates::SHIPPED.map(|(name, text)| File {
        name: format!("built-in card {name}"),
        text: text.to_owned(),
    });
    for file in shipped.iter().chain(&files.cards) {
        let card = found.in_file(file, |source| card_file::read(source, &cards));
        cards.extend(card.map(|card| (card.name.clone(), Arc::new(card))));
    }
    cards
}

/// The public price of a credit, in millionths of a dollar.
const PUBLIC_PRICE_MICROS: i128 = 5_000;

/// The guide card models planning figures; Salesforce bills other prices (design.md, section 8).
fn suspicious(source: &Source<'_>, pool: &Pool) {
    let cost = i128::from(pool.annual_cost.micros);
    let credits = i128::from(pool.annual_credits.whole_credits());
    let public = credits.saturating_mul(PUBLIC_PRICE_MICROS);
    let is_near = cost.saturating_mul(3) >= public && cost <= public.saturating_mul(3);
    if pool.rate_card == "guide" && is_near {
        source.warn(
            &source.place_of("pool", "rate_card"),
            "the card \"guide\" is a planning model, and a credit costs about Salesforce's public $0.005 here",
            "Salesforce bills 20 credits a text action there, so this counts too little; see \"flex-2026-08\"",
        );
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
