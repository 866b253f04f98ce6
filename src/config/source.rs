//! One file while it is read: its tree, and what was found wrong with it, by place.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::Range;

use serde_spanned::Spanned;
use toml::de::DeTable;

use super::faults::{Fault, Faults, Warnings};
use super::reader::Reader;

/// One file, while it is read.
pub(super) struct Source<'t> {
    name: &'t str,
    text: &'t str,
    /// `None` where the file is no TOML.
    root: Option<Spanned<DeTable<'t>>>,
    faults: RefCell<Faults>,
    warnings: RefCell<Warnings>,
}

/// Syntax errors that are said: a file that is something else altogether is wrong on every line.
const SYNTAX_ERRORS_MAX: usize = 20;

/// The parser's words for a key written twice: the first one holds, and a second `[table]` goes on with the first.
const DUPLICATE_KEY: &str = "duplicate key";

/// A place in a file.
pub(super) type Place = Range<usize>;

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<'t> Source<'t> {
    /// Parses the file. Where its syntax is wrong that is all that is said: what a cut-off table lacks would only
    /// distract. A key written twice is understood all the same.
    pub(super) fn new(name: &'t str, text: &'t str) -> Self {
        let mut source = Self {
            name,
            text,
            root: None,
            faults: RefCell::default(),
            warnings: RefCell::default(),
        };
        if text.trim().is_empty() {
            source.fault(&(0..0), "the file is empty", "");
            return source;
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors.iter().take(SYNTAX_ERRORS_MAX) {
            let message = format!("not TOML: {}", error.message().trim());
            source.fault(&error.span().unwrap_or(0..0), message, "");
        }
        let is_understood = errors.iter().all(|error| error.message() == DUPLICATE_KEY);
        source.root = is_understood.then_some(root);
        source
    }

    /// The file as a table; `None` where it is no TOML.
    pub(super) fn root(&self) -> Option<Reader<'_, 't>> {
        let table = self.root.as_ref()?.get_ref();
        Some(Reader::new(self, table, 0..0, "the file"))
    }

    /// The place of a key's value in a top-level table, or the beginning.
    pub(super) fn place_of(&self, table: &str, key: &str) -> Place {
        let root = self.root.as_ref().map(Spanned::get_ref);
        let value = root
            .and_then(|root| root.get(table))
            .and_then(|table| table.get_ref().get(key));
        value.map_or(0..0, Spanned::span)
    }

    /// Notes a fault.
    pub(super) fn fault(&self, place: &Place, message: impl Display, help: impl Display) {
        self.faults
            .borrow_mut()
            .add(self.finding(place, &message, &help));
    }

    /// Notes something legal that looks like a mistake.
    pub(super) fn warn(&self, place: &Place, message: impl Display, help: impl Display) {
        self.warnings
            .borrow_mut()
            .add(self.finding(place, &message, &help));
    }

    fn finding(&self, place: &Place, message: &dyn Display, help: &dyn Display) -> Fault {
        let before = self.text.get(..place.start).unwrap_or(self.text);
        Fault::after(self.name, before, message.to_string(), help.to_string())
    }

    /// Hands over what was noted.
    pub(super) fn into_findings(self) -> (Faults, Warnings) {
        (self.faults.into_inner(), self.warnings.into_inner())
    }
}
