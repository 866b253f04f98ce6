//! What teams, agents and keys have alike: name, class, tags, fuses.

use super::checked::Tags;
use super::reader::Reader;
use super::source::{At, Source};
use crate::budget::credits::MicroCredits;
use crate::budget::operation::Class;

/// The most characters of a name.
const NAME_MAX: usize = 64;
/// The most bytes of what a request calls something, and of a tag's value.
const ID_MAX: usize = 256;

/// A name that is also a metric label, a header value and a path segment.
pub(super) fn name<'s>(table: &Reader<'s, '_>, help: &str) -> Option<At<&'s str>> {
    let name = table.required_text("name", help)?;
    if !is_label(name.value) {
        let message = format!("{:?} cannot be a name", name.value);
        table.source().fault(&name.place, message, LABEL_RULE);
    }
    Some(name)
}

const LABEL_RULE: &str = "1 to 64 of A-Z a-z 0-9 space - _ . with a letter or digit at either end, as in \"data-platform\"";

pub(super) fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let mut chars = text.chars();
    text.len() <= NAME_MAX
        && text.chars().all(inner)
        && is_edge(chars.next())
        && (text.len() == 1 || is_edge(chars.next_back()))
}

/// A text that requests or reports carry: not empty, bounded, on one line.
pub(super) fn bounded<'s>(source: &Source<'_>, key: &str, text: At<&'s str>) -> &'s str {
    let fits = (1..=ID_MAX).contains(&text.value.len());
    if !fits || text.value.chars().any(char::is_control) || text.value.trim() != text.value {
        let help = format!("1 to {ID_MAX} bytes on one line, without space around them");
        let message = format!("{key} cannot be {:?}", shortened(text.value));
        source.fault(&text.place, message, help);
    }
    text.value
}

fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}

pub(super) fn class(table: &Reader<'_, '_>) -> Option<Class> {
    let classes: Vec<_> = Class::ALL
        .iter()
        .map(|class| (class.name(), *class))
        .collect();
    table.word("class", &classes)
}

/// `tags = { project = "atlas" }`.
pub(super) fn tags(table: &Reader<'_, '_>) -> Tags {
    let Some(tags) = table.table("tags") else {
        return Tags::new();
    };
    let entries = tags.entries().filter_map(|(key, value)| {
        let value = tags.text_at(value, key.value)?;
        let value = bounded(table.source(), key.value, value);
        Some((tag_key(table.source(), &key), value.to_owned()))
    });
    entries.collect()
}

/// The name of a tag, in `tags` or `client_tags`: it is also a query parameter.
pub(super) fn tag_key(source: &Source<'_>, key: &At<&str>) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if key.value.is_empty() || key.value.len() > NAME_MAX || !key.value.chars().all(fits) {
        let message = format!("{:?} cannot be a tag", shortened(key.value));
        let help = "1 to 64 of A-Z a-z 0-9 - _ .";
        source.fault(&key.place, message, help);
    }
    key.value.to_owned()
}

/// What one request and one hour may cost.
#[derive(Default)]
pub(super) struct Fuses {
    pub(super) max_per_request: Option<MicroCredits>,
    pub(super) max_per_hour: Option<MicroCredits>,
}

pub(super) fn fuses(table: &Reader<'_, '_>) -> Fuses {
    let fuse = |key: &'static str| {
        let credits = table.credits(key)?;
        if credits.value.is_zero() {
            let message = format!("{key} = 0 refuses every call that costs anything");
            table.source().warn(&credits.place, message, "");
        }
        Some(credits)
    };
    let (request, hour) = (fuse("max_per_request"), fuse("max_per_hour"));
    if let (Some(request), Some(hour)) = (&request, &hour)
        && request.value > hour.value
    {
        let message = "max_per_request has no effect: max_per_hour is less";
        table.source().warn(&request.place, message, "");
    }
    Fuses {
        max_per_request: request.map(|at| at.value),
        max_per_hour: hour.map(|at| at.value),
    }
}
