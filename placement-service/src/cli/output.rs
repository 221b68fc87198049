//! What lists and reports print: a table for people, JSON for programs, or names for other commands. Must not know what
//! is listed.

use super::{Failure, print};
use clap::ValueEnum;
use serde_json::Value;

/// What separates the columns of a table.
const SEPARATOR: &str = "   ";

/// The options of a command that lists something.
#[derive(clap::Args)]
pub(super) struct OutputArgs {
    /// The format of the output.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
    /// Print the table without its first line, the names of the columns.
    #[arg(long)]
    no_headers: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    /// Columns, with their names in the first line.
    #[default]
    Table,
    /// Everything that is known.
    Json,
    /// One name a line, as other commands take it.
    Name,
}

/// What a command lists.
pub(super) struct Listing<'a> {
    pub(super) columns: &'a [&'a str],
    /// A cell for each column; an empty one is shown as `-`.
    pub(super) rows: Vec<Vec<String>>,
    /// The names that other commands take.
    pub(super) names: Vec<String>,
    pub(super) json: Value,
}

impl OutputArgs {
    /// Prints the list in the requested format.
    pub(super) fn print(&self, listing: &Listing<'_>) -> Result<(), Failure> {
        match self.output {
            OutputFormat::Json => print_json(&listing.json),
            OutputFormat::Name => {
                let names = listing.names.iter().map(|name| printable(name));
                print_lines(&names.collect::<Vec<_>>())
            }
            OutputFormat::Table => print_lines(&self.table_lines(listing)),
        }
    }

    /// Whether the output is for people.
    pub(super) fn is_table(&self) -> bool {
        self.output == OutputFormat::Table
    }

    fn table_lines(&self, listing: &Listing<'_>) -> Vec<String> {
        let header = listing.columns.iter().map(|&name| name.to_owned());
        let header: Vec<String> = header.collect();
        let rows = listing.rows.iter().map(|row| {
            let cells = row.iter().map(|cell| match cell.as_str() {
                "" => "-".to_owned(),
                text => printable(text),
            });
            cells.collect::<Vec<String>>()
        });
        let headers = (!self.no_headers).then_some(header);
        let lines: Vec<Vec<String>> = headers.into_iter().chain(rows).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|cells| cells.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..listing.columns.len()).map(width).collect();
        lines.iter().map(|cells| align(cells, &widths)).collect()
    }
}

fn print_json(value: &Value) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Prints nothing at all for no lines.
fn print_lines(lines: &[String]) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    print(&lines.join("\n"))
}

fn align(cells: &[String], widths: &[usize]) -> String {
    let padded = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"));
    let padded: Vec<String> = padded.collect();
    padded.join(SEPARATOR).trim_end().to_owned()
}

/// Names may come from other systems: without control characters they cannot change the terminal.
fn printable(text: &str) -> String {
    let replace = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(replace).collect()
}

/// The text of a field for a cell; empty if it is absent.
pub(super) fn cell(object: &Value, field: &str) -> String {
    match object.get(field) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(no_headers: bool, rows: &[[&str; 2]]) -> Vec<String> {
        let row = |cells: &[&str; 2]| cells.iter().map(|&cell| cell.to_owned()).collect();
        let args = OutputArgs {
            output: OutputFormat::Table,
            no_headers,
        };
        args.table_lines(&Listing {
            columns: &["NAME", "STATE"],
            rows: rows.iter().map(row).collect(),
            names: Vec::new(),
            json: Value::Null,
        })
    }

    #[test]
    fn columns_are_aligned_and_empty_cells_are_visible() {
        assert_eq!(
            lines(false, &[["engine-10", "ready"], ["é", ""]]),
            ["NAME        STATE", "engine-10   ready", "é           -"]
        );
        assert_eq!(lines(true, &[["e", "ready"]]), ["e   ready"]);
        assert_eq!(lines(false, &[]), ["NAME   STATE"]);
        assert!(lines(true, &[]).is_empty());
    }

    #[test]
    fn a_name_cannot_control_the_terminal() {
        assert_eq!(
            lines(true, &[["a\u{1b}[2Jb\n", "x"]]),
            ["a\u{fffd}[2Jb\u{fffd}   x"]
        );
    }
}
