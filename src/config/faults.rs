//! What is wrong with a configuration, and where.

use std::fmt;

use serde::Serialize;

/// One fault, with its place and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// The file, as a person would name it.
    pub file: String,
    /// From 1; 0 where the fault is in the file as a whole.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
}

/// Everything that is wrong, in the order of files and places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

/// What is legal and looks like a mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warnings(Vec<Fault>);

impl Fault {
    /// A fault in a file as a whole.
    pub fn in_file(file: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message: message.into(),
            help: help.into(),
        }
    }

    /// A fault right after this beginning of a file.
    pub fn after(
        file: &str,
        before: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let (above, line) = before.rsplit_once('\n').unwrap_or(("", before));
        let lines_above = if line.len() == before.len() {
            0
        } else {
            above.matches('\n').count().saturating_add(1)
        };
        Self {
            line: lines_above.saturating_add(1),
            column: line.chars().count().saturating_add(1),
            ..Self::in_file(file, message, help)
        }
    }
}

impl Faults {
    /// One more.
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// The value, or one fault more.
    pub fn note<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.add(fault)).ok()
    }

    /// All of another list.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each fault once, in the order of files and places.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort();
        self.0.dedup();
        self
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// One line each.
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl Warnings {
    /// One more.
    pub fn add(&mut self, warning: Fault) {
        self.0.push(warning);
    }

    /// All of another list.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// In the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// One line each.
    pub fn lines(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl Fault {
    fn place(&self) -> String {
        match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}:{}", self.file, self.column),
        }
    }
}

/// On one line, for logs.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.message)?;
        if self.help.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.help)
        }
    }
}

/// A block each, for people: what is wrong, and below it what would be right.
impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.0 {
            writeln!(f, "{}: {}", fault.place(), fault.message)?;
            if !fault.help.is_empty() {
                writeln!(f, "    {}", fault.help)?;
            }
        }
        let count = self.0.len();
        write!(
            f,
            "{count} fault{} in the configuration",
            if count == 1 { "" } else { "s" }
        )
    }
}
