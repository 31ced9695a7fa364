//! Plain-text tables on standard output.

use std::{
    io::{self, Write},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::terminal;

/// Whether the command goes on if its output cannot be written.
static GOES_ON: AtomicBool = AtomicBool::new(false);
/// The first failed write of a command that went on.
static UNWRITTEN: OnceLock<io::Error> = OnceLock::new();

/// Lets the command go on if its output cannot be written. A build must be published, and an erasure
/// finished, even if the reader of the report is gone.
pub(super) fn go_on_unwritten() {
    GOES_ON.store(true, Ordering::Relaxed);
}

/// Returns the first error of standard output that the command went on after.
pub(super) fn unwritten() -> Option<&'static io::Error> {
    UNWRITTEN.get()
}

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
    let mut text = line_of(header.iter().copied(), &columns) + "\n";
    for row in &rows {
        text.push_str(&line_of(row.iter().map(String::as_str), &columns));
        text.push('\n');
    }
    write(&text)
}

/// Prints a line.
pub(super) fn line(text: &str) -> io::Result<()> {
    write(&format!("{}\n", terminal::plain(text)))
}

/// Writes escaped text to standard output.
fn write(text: &str) -> io::Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if GOES_ON.load(Ordering::Relaxed) => {
            let _ = UNWRITTEN.set(error);
            Ok(())
        }
        written => written,
    }
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
