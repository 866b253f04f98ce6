//! Reads a TOML table key by key, noting every fault with its place instead of stopping at the first.
//!
//! Whatever nobody asked for is an unknown key. A fault anywhere refuses all files, so that readers may go on
//! with a default where a value was wrong: nobody will see it.

use std::cell::RefCell;
use std::fmt::Display;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{At, Place, Source};
use super::suggest::did_you_mean;
use super::units;
use crate::budget::credits::MicroCredits;
use crate::budget::percent::Percent;

/// One table, while it is read.
pub(super) struct Reader<'s, 't> {
    source: &'s Source<'t>,
    table: &'s DeTable<'t>,
    place: Place,
    name: String,
    asked: RefCell<Vec<&'static str>>,
}

impl<'s, 't> Reader<'s, 't> {
    pub(super) fn new(
        source: &'s Source<'t>,
        table: &'s DeTable<'t>,
        place: Place,
        name: impl Into<String>,
    ) -> Self {
        Self {
            source,
            table,
            place,
            name: name.into(),
            asked: RefCell::default(),
        }
    }

    /// The file the table is in.
    pub(super) fn source(&self) -> &'s Source<'t> {
        self.source
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    fn get(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    /// Whether a key is written, wherever it is read later.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Notes a fault unless the key is written.
    pub(super) fn require(&self, key: &'static str, help: impl Display) {
        if !self.has(key) {
            self.missing(key, help);
        }
    }

    pub(super) fn missing(&self, key: impl Display, help: impl Display) {
        let message = format!("{} has no {key}", self.name);
        self.source.fault(&self.place, message, help);
    }

    /// The place of a key's value, or of the table.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let value = self.table.get(key);
        value.map_or_else(|| self.place.clone(), Spanned::span)
    }

    /// A value of one type; `want` is what the fault asks for.
    fn typed<T>(
        &self,
        key: &'static str,
        want: &str,
        pick: impl FnOnce(&'s DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        self.pick(self.get(key)?, key, want, pick)
    }

    fn pick<T>(
        &self,
        spanned: &'s Spanned<DeValue<'t>>,
        key: &str,
        want: &str,
        pick: impl FnOnce(&'s DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        let (written, place) = (spanned.get_ref(), spanned.span());
        let value = pick(written);
        if value.is_none() {
            let found = written.type_str();
            let article = if found.starts_with(['a', 'i']) {
                "an"
            } else {
                "a"
            };
            let message = format!("{key} is {article} {found}, not {want}");
            self.source.fault(&place, message, "");
        }
        Some(At {
            value: value?,
            place,
        })
    }

    /// What could not be understood is a fault at its place.
    fn understood<T, E: Display>(
        &self,
        key: &str,
        place: Place,
        read: Result<T, E>,
    ) -> Option<At<T>> {
        match read {
            Ok(value) => Some(At { value, place }),
            Err(error) => {
                self.source.fault(&place, format!("{key}: {error}"), "");
                None
            }
        }
    }

    pub(super) fn text(&self, key: &'static str) -> Option<At<&'s str>> {
        self.typed(key, "a string in quotes", DeValue::as_str)
    }

    /// A text that is read, and its type checked, elsewhere.
    pub(super) fn peek_text(&self, key: &str) -> Option<At<&'s str>> {
        let value = self.table.get(key)?;
        let place = value.span();
        value.get_ref().as_str().map(|value| At { value, place })
    }

    pub(super) fn required_text(
        &self,
        key: &'static str,
        help: impl Display,
    ) -> Option<At<&'s str>> {
        self.require(key, help);
        self.text(key)
    }

    /// A text that must be understood by `read`. The fault does not repeat the text: it may be a secret.
    pub(super) fn parsed<T, E: Display>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        let At { value, place } = self.text(key)?;
        self.understood(key, place, read(value))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let written = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == written.value);
        if found.is_none() {
            let help = did_you_mean(written.value, words.iter().map(|(word, _)| *word));
            let message = format!("{key} = {:?} is unknown", written.value);
            self.source.fault(&written.place, message, help);
        }
        found.map(|(_, value)| *value)
    }

    pub(super) fn percent(&self, key: &'static str) -> Option<At<Percent>> {
        self.parsed(key, Percent::parse)
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        let boolean = self.typed(key, "true or false", DeValue::as_bool)?;
        Some(boolean.value)
    }

    /// A whole number within bounds.
    pub(super) fn integer(
        &self,
        key: &'static str,
        within: std::ops::RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let written = self.typed(key, "a whole number", DeValue::as_integer)?;
        let number = u64::from_str_radix(written.value.as_str(), written.value.radix());
        let number = number.ok().filter(|number| within.contains(number));
        let wrong = || format!("not between {} and {}", within.start(), within.end());
        self.understood(key, written.place, number.ok_or_else(wrong))
    }

    /// Bytes: a whole number, or a text such as `16KiB`.
    pub(super) fn size(&self, key: &'static str) -> Option<At<u64>> {
        let want = "a size like \"16KiB\"";
        let written = self.typed(key, want, number_or_text)?;
        self.understood(key, written.place, units::bytes(&written.value))
    }

    /// Credits: a whole number, or a decimal in quotes. A TOML float would not be exact.
    pub(super) fn credits(&self, key: &'static str) -> Option<At<MicroCredits>> {
        self.credits_at(self.get(key)?, key)
    }

    /// Credits under a key that is itself data.
    pub(super) fn credits_at(
        &self,
        value: &'s Spanned<DeValue<'t>>,
        key: &str,
    ) -> Option<At<MicroCredits>> {
        if let DeValue::Float(float) = value.get_ref() {
            let help = format!("write it in quotes: {key} = \"{}\"", float.as_str());
            let message = format!("{key} is a float, which is not exact");
            self.source.fault(&value.span(), message, help);
            return None;
        }
        let want = "credits like 1500 or \"0.25\"";
        let written = self.pick(value, key, want, number_or_text)?;
        let credits = MicroCredits::parse(&written.value).map_err(|error| error.to_string());
        let credits = credits.and_then(|credits| match credits >= MicroCredits::ZERO {
            true => Ok(credits),
            false => Err("below zero".to_owned()),
        });
        self.understood(key, written.place, credits)
    }

    /// A date or instant, in quotes or as TOML's own.
    pub(super) fn dated<T, E: Display>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        let want = "a date like \"2026-02-01\"";
        let written = self.typed(key, want, |value| match value {
            DeValue::Datetime(date) => Some(date.to_string()),
            other => other.as_str().map(str::to_owned),
        })?;
        self.understood(key, written.place, read(&written.value))
    }

    /// A list of strings.
    pub(super) fn texts(&self, key: &'static str) -> Vec<At<&'s str>> {
        let want = "a list of strings";
        let Some(list) = self.typed(key, want, DeValue::as_array) else {
            return Vec::new();
        };
        let items = list.value.iter();
        items
            .filter_map(|item| self.pick(item, key, want, DeValue::as_str))
            .collect()
    }

    /// `[key]` or `key = { ... }`.
    pub(super) fn table(&self, key: &'static str) -> Option<Self> {
        let table = self.typed(key, "a table", DeValue::as_table)?;
        let name = match self.name.as_str() {
            "the file" => format!("[{key}]"),
            _ => key.to_owned(),
        };
        Some(Self::new(self.source, table.value, table.place, name))
    }

    /// `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Self> {
        let want = format!("a list of tables: write [[{key}]]");
        let Some(list) = self.typed(key, &want, DeValue::as_array) else {
            return Vec::new();
        };
        let items = list.value.iter();
        let items = items.filter_map(|item| self.pick(item, key, &want, DeValue::as_table));
        items
            .map(|item| Self::new(self.source, item.value, item.place, format!("[[{key}]]")))
            .collect()
    }

    /// Every key whatever it is called, as data: tags, models, operations.
    pub(super) fn entries(
        &self,
    ) -> impl Iterator<Item = (At<&'s str>, &'s Spanned<DeValue<'t>>)> + use<'s, 't> {
        self.table.iter().map(|(key, value)| {
            let key = At {
                value: key.get_ref().as_ref(),
                place: key.span(),
            };
            (key, value)
        })
    }

    /// A string under a key that is itself data.
    pub(super) fn text_at(
        &self,
        value: &'s Spanned<DeValue<'t>>,
        key: &str,
    ) -> Option<At<&'s str>> {
        self.pick(value, key, "a string in quotes", DeValue::as_str)
    }

    /// Whatever nobody asked for is a fault.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.entries() {
            if !asked.contains(&key.value) {
                let help = did_you_mean(key.value, asked.iter().copied());
                let message = format!("unknown key {:?} in {}", key.value, self.name);
                self.source.fault(&key.place, message, help);
            }
        }
    }
}

/// An integer as its decimal digits, or a text.
fn number_or_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            Some(number.map_or_else(|_| integer.to_string(), |number| number.to_string()))
        }
        other => other.as_str().map(str::to_owned),
    }
}
