//! How commands print data: a table for people, JSON and CSV for programs.

use clap::{Args, ValueEnum};
use serde::Serialize;

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct FormatArgs {
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub(super) format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For spreadsheets.
    Csv,
}

/// One line of JSON. Credits are exact: nothing is read into a float on the way.
pub(super) fn json(told: &impl Serialize) -> String {
    let text = serde_json::to_string(told).expect("keys are texts");
    format!("{text}\n")
}

/// A head and rows of as many cells, as CSV (RFC 4180).
pub(super) fn csv<const N: usize>(
    heads: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let heads = std::iter::once(heads.map(str::to_owned));
    heads.chain(rows).map(csv_line).collect()
}

/// One row with its line end.
pub(super) fn csv_line<const N: usize>(row: [String; N]) -> String {
    let cells = row.map(|cell| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    });
    format!("{}\n", cells.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_where_it_must_be() {
        let rows = [["a".to_owned(), "b, \"c\"\nd".to_owned()]];
        assert_eq!(csv(["x", "y"], rows), "x,y\na,\"b, \"\"c\"\"\nd\"\n");
    }
}
