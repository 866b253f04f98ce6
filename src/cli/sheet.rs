//! A JSON document as lines for people: sections, names and values, in the order they are written, digit for digit.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::format::{Format, csv};

/// Lines of a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sheet {
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq, Eq)]
struct Row {
    section: String,
    what: String,
    value: String,
}

impl Sheet {
    /// The lines of a JSON object; `None` for anything else.
    pub(super) fn read(json: &str) -> Option<Self> {
        let Tree::Object(members) = Tree::read(json)? else {
            return None;
        };
        let (mut sheet, mut sections) = (Self::default(), Vec::new());
        for (name, value) in members {
            match value {
                Tree::Leaf(leaf) => sheet.push("", name, leaf),
                tree => sections.push((name, tree)),
            }
        }
        for (name, tree) in sections {
            sheet.inside(&name, "", tree);
        }
        Some(sheet)
    }

    /// A value at the top.
    pub(super) fn value(&self, what: &str) -> Option<&str> {
        let mut rows = self.rows.iter();
        let row = rows.find(|row| row.section.is_empty() && row.what == what)?;
        Some(&row.value)
    }

    /// The document as asked for.
    pub(super) fn print(&self, json: &str, format: Format) -> String {
        match format {
            Format::Json => format!("{}\n", json.trim_end()),
            Format::Table => self.table(),
            Format::Csv => self.csv(),
        }
    }

    fn push(&mut self, section: &str, what: String, value: String) {
        let section = section.to_owned();
        self.rows.push(Row {
            section,
            what,
            value,
        });
    }

    fn inside(&mut self, section: &str, prefix: &str, tree: Tree) {
        let named = |name: &str| match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix} {name}"),
        };
        match tree {
            Tree::Leaf(leaf) => self.push(section, prefix.to_owned(), leaf),
            Tree::Object(members) => match said(&members) {
                Some((what, value)) => self.push(section, what, value),
                None => {
                    for (name, value) in members {
                        self.inside(section, &named(&name), value);
                    }
                }
            },
            Tree::Array(all) => {
                for (at, one) in (1_usize..).zip(all) {
                    let own = match &one {
                        Tree::Object(members) if said(members).is_none() => {
                            named(&format!("#{at}"))
                        }
                        _ => prefix.to_owned(),
                    };
                    self.inside(section, &own, one);
                }
            }
        }
    }

    fn table(&self) -> String {
        let width = self.rows.iter().map(|row| row.what.len()).max();
        let width = width.unwrap_or(0);
        let (mut text, mut section) = (String::new(), "");
        for row in &self.rows {
            if row.section != section {
                section = &row.section;
                text.push_str(&format!("\n{section}\n"));
            }
            let indent = if row.section.is_empty() { "" } else { "  " };
            let width = width.saturating_add(2).saturating_sub(indent.len());
            let line = format!("{indent}{:width$}  {}", row.what, row.value);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn csv(&self) -> String {
        let rows = self.rows.iter();
        let cells = rows.map(|row| [&row.section, &row.what, &row.value].map(String::clone));
        csv(["section", "what", "value"], cells)
    }
}

/// What a member says of itself, where it has words for it.
fn said(members: &[(String, Tree)]) -> Option<(String, String)> {
    let leaf = |name: &str| {
        let member = members.iter().find(|(known, _)| known == name)?;
        match &member.1 {
            Tree::Leaf(leaf) => Some(leaf.clone()),
            Tree::Object(_) | Tree::Array(_) => None,
        }
    };
    Some((leaf("what")?, leaf("value")?))
}

/// JSON with its order and its digits.
#[derive(Debug)]
enum Tree {
    Object(Vec<(String, Self)>),
    Array(Vec<Self>),
    Leaf(String),
}

impl Tree {
    fn read(json: &str) -> Option<Self> {
        match json.trim_start().as_bytes().first()? {
            b'{' => {
                let members: Members = serde_json::from_str(json).ok()?;
                let read =
                    |(name, raw): (String, Box<RawValue>)| Some((name, Self::read(raw.get())?));
                Some(Self::Object(
                    members.0.into_iter().map(read).collect::<Option<_>>()?,
                ))
            }
            b'[' => {
                let all: Vec<Box<RawValue>> = serde_json::from_str(json).ok()?;
                let all = all.iter().map(|raw| Self::read(raw.get()));
                Some(Self::Array(all.collect::<Option<_>>()?))
            }
            b'"' => Some(Self::Leaf(serde_json::from_str(json).ok()?)),
            b'n' => Some(Self::Leaf("-".to_owned())), // null
            _ => Some(Self::Leaf(json.trim().to_owned())),
        }
    }
}

/// An object's members in their order.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Ordered)
    }
}

struct Ordered;

impl<'de> Visitor<'de> for Ordered {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members, M::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"verdict":"refuse","call":{"upstream":"api","why":"a \"path\""},"source":null,
        "price":{"estimate":9000000000000.000001,"lines":[{"what":"units","value":"3, read"}]},
        "corrections":[{"at":"noon","credits":0.5}],"not_judged":["room"]}"#;

    #[test]
    fn order_and_digits_stay() {
        let sheet = Sheet::read(DOCUMENT).unwrap();
        let check = |format, want: &str| assert_eq!(sheet.print(DOCUMENT, format), want);
        check(
            Format::Csv,
            "section,what,value\n,verdict,refuse\n,source,-\ncall,upstream,api\ncall,why,\"a \"\"path\"\"\"\n\
             price,estimate,9000000000000.000001\nprice,units,\"3, read\"\ncorrections,#1 at,noon\n\
             corrections,#1 credits,0.5\nnot_judged,,room\n",
        );
        check(Format::Json, &format!("{DOCUMENT}\n"));
        let table = sheet.print(DOCUMENT, Format::Table);
        assert!(table.starts_with("verdict       refuse\n"), "{table}");
        assert!(
            table.contains("\nprice\n  estimate    9000000000000.000001\n"),
            "{table}"
        );
        assert_eq!(sheet.value("verdict"), Some("refuse"));
        assert_eq!(Sheet::read("[1]"), None);
        assert_eq!(Sheet::read("<html>"), None);
    }
}
