//! Plain-text tables on standard output.

use std::io::{self, Write};

use super::terminal;

/// Prints `rows` under `header`. Columns of numbers are right-aligned.
pub(super) fn print(header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let escaped = |row: &Vec<String>| row.iter().map(|cell| terminal::plain_line(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(escaped).collect();
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let columns: Vec<ColumnLayout> = header
        .iter()
        .enumerate()
        .map(|(at, name)| ColumnLayout {
            width: cells(at).map(|cell| cell.chars().count()).fold(name.len(), usize::max),
            is_right_aligned: !rows.is_empty() && cells(at).all(|cell| is_number(cell)),
        })
        .collect();
    let mut out = io::stdout().lock();
    writeln!(out, "{}", line_of(header.iter().copied(), &columns))?;
    for row in &rows {
        writeln!(out, "{}", line_of(row.iter().map(String::as_str), &columns))?;
    }
    Ok(())
}

/// Prints a line.
pub(super) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", terminal::plain(text))
}

/// The layout of a column.
struct ColumnLayout {
    /// Width in characters.
    width: usize,
    is_right_aligned: bool,
}

/// Checks whether a cell is a number, with or without a unit of bytes.
fn is_number(cell: &str) -> bool {
    let units = [" B", " KiB", " MiB", " GiB", " TiB"];
    let number = units.into_iter().find_map(|unit| cell.strip_suffix(unit)).unwrap_or(cell);
    number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b',' | b'-'))
}

/// Pads the cells of a row to the widths of the columns.
fn line_of<'a>(cells: impl Iterator<Item = &'a str>, columns: &[ColumnLayout]) -> String {
    let padded = cells.zip(columns).map(|(cell, ColumnLayout { width, is_right_aligned })| {
        if *is_right_aligned { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_columns_of_numbers_are_right_aligned() {
        for cell in ["541,909", "1.23 MiB", "-0.5", "17 B", ""] {
            assert!(is_number(cell), "{cell}");
        }
        assert!(!is_number("2024-03-10T11:30:00Z") && !is_number("1 of 2"));
        let columns = [
            ColumnLayout { width: 4, is_right_aligned: true },
            ColumnLayout { width: 4, is_right_aligned: false },
        ];
        assert_eq!(line_of(["1", "a"].into_iter(), &columns), "   1  a");
    }
}
