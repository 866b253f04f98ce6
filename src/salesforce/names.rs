//! When two spellings name one thing, and what is kept of names nobody configured.
//!
//! What Salesforce's platform does (common knowledge of its platform, not in the API pages): an id has 15 characters
//! in which case counts, or 18, of which the last three tell the case of the others; developer names begin with a
//! letter and are unique whatever their case. So an id in either length is one, and a developer name in another
//! case can only be the same thing, or nothing.

use super::NamedKind;

/// The most bytes of a name anything can be configured by.
pub const NAME_MAX: usize = 256;
/// What a name nobody configured is counted as where it is not kept.
pub const OTHER: &str = "other";
/// The most bytes kept of a name nobody configured.
const KEPT_MAX: usize = 64;

/// The one spelling of a name, written into `buffer`; `None` where the name is that spelling already.
pub fn one_spelling<'b>(
    kind: NamedKind,
    name: &str,
    buffer: &'b mut [u8; NAME_MAX],
) -> Option<&'b str> {
    if kind == NamedKind::Client {
        return None; // an opaque text
    }
    let name = name.as_bytes();
    let copy = buffer.get_mut(..name.len())?;
    let spelling = if name.first().is_some_and(u8::is_ascii_digit) {
        let (id, case) = name.split_at_checked(15)?;
        let copy = copy.get_mut(..15)?;
        copy.copy_from_slice(id);
        restore_case(copy, case)?;
        copy
    } else if is_in_any_case(kind) && name.iter().any(u8::is_ascii_uppercase) {
        copy.copy_from_slice(name);
        copy.make_ascii_lowercase();
        copy
    } else {
        return None;
    };
    std::str::from_utf8(spelling).ok()
}

/// Whether things of this kind are called by developer names.
const fn is_in_any_case(kind: NamedKind) -> bool {
    match kind {
        NamedKind::Template | NamedKind::Model | NamedKind::Source | NamedKind::Segment => true,
        NamedKind::Agent | NamedKind::Prediction | NamedKind::Client => false,
    }
}

/// Gives an id the case its last three characters tell: a bit for each of five characters, set where it is upper.
/// `None` where they cannot mean that.
fn restore_case(id: &mut [u8], case: &[u8]) -> Option<()> {
    if case.len() != 3 || !id.iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    for (five, told) in id.chunks_exact_mut(5).zip(case) {
        let bits = match told {
            b'A'..=b'Z' => told.wrapping_sub(b'A'),
            b'a'..=b'z' => told.wrapping_sub(b'a'),
            b'0'..=b'5' => told.wrapping_sub(b'0').wrapping_add(26),
            _ => return None,
        };
        for (at, byte) in five.iter_mut().enumerate() {
            let is_upper = bits >> at & 1 == 1;
            match byte.is_ascii_alphabetic() {
                true if is_upper => byte.make_ascii_uppercase(),
                true => byte.make_ascii_lowercase(),
                false if is_upper => return None,
                false => {}
            }
        }
    }
    Some(())
}

/// Whether a name nobody configured may be kept: a client chose it, and it is stored for as long as reports are.
pub fn is_kept(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    (1..=KEPT_MAX).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: NamedKind, name: &str, want: Option<&str>) {
        let mut buffer = [0; NAME_MAX];
        assert_eq!(
            one_spelling(kind, name, &mut buffer),
            want,
            "{kind:?} {name}"
        );
    }

    #[test]
    fn an_id_is_one_in_both_lengths() {
        check(NamedKind::Client, "0XxHn000000AAAAKA4", None); // no record has a client's id
        for kind in [NamedKind::Agent, NamedKind::Template, NamedKind::Prediction] {
            check(kind, "0XxHn000000AAAA", None);
            check(kind, "0XxHn000000AAAAKA4", Some("0XxHn000000AAAA"));
            check(kind, "0xxhn000000aaaaka4", Some("0XxHn000000AAAA"));
            check(kind, "0XxHn000000AAAAKA", None);
            check(kind, "0XxHn000000AAAAKA44", None);
            check(kind, "0XxHn000000AAAAKA6", None);
            check(kind, "0XxHn000000AAAALA4", None); // says that a digit is upper case
            check(kind, "0Xx-n000000AAAAKA4", None);
        }
        check(
            NamedKind::Agent,
            "001d0000001AbcdAAC",
            Some("001d0000001Abcd"),
        );
        check(
            NamedKind::Agent,
            "001d0000001AbcdAAQ",
            Some("001d0000001abcD"),
        );
    }

    #[test]
    fn a_developer_name_is_one_in_any_case() {
        use NamedKind::{Agent, Client, Model, Prediction, Segment, Source, Template};
        for kind in [Template, Model, Source, Segment] {
            check(kind, "Quote_Summary", Some("quote_summary"));
            check(kind, "quote_summary", None);
            check(kind, "Quote_Summary_2024", Some("quote_summary_2024")); // 18 long, and no id
            check(kind, "über", None);
        }
        for kind in [Agent, Prediction, Client] {
            check(kind, "Quote_Summary", None);
        }
        check(Template, &"A".repeat(NAME_MAX), Some(&"a".repeat(NAME_MAX)));
        check(Template, &"A".repeat(NAME_MAX + 1), None);
        check(Template, "", None);
    }

    #[test]
    fn only_a_short_plain_name_is_kept() {
        let check = |name: &str, want| assert_eq!(is_kept(name), want, "{name}");
        check("sfdc_ai__DefaultGPT4Omni", true);
        check("a.b:c-d", true);
        check(&"x".repeat(64), true);
        check(&"x".repeat(65), false);
        check("", false);
        check("a b", false);
        check("a/b", false);
        check("ü", false);
    }
}
