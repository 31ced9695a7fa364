//! Tables for people, on standard output.

use std::io::{self, Write};

use super::terminal;

/// Prints `rows` under `header`; columns whose cells are numbers are right-aligned. A closed pipe ends the printing quietly.
pub(super) fn print(header: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let shown = |row: &Vec<String>| row.iter().map(|cell| terminal::plain_line(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|at| {
            rows.iter()
                .filter_map(|row| row.get(at))
                .map(|cell| cell.chars().count())
                .chain([header[at].len()])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let number = |cell: &String| {
        let amount = cell
            .trim_end_matches(" B")
            .trim_end_matches(" KiB")
            .trim_end_matches(" MiB")
            .trim_end_matches(" GiB");
        amount.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b',' | b'-'))
    };
    let right: Vec<bool> = (0..header.len())
        .map(|at| !rows.is_empty() && rows.iter().filter_map(|row| row.get(at)).all(number))
        .collect();
    let line = |cells: &mut dyn Iterator<Item = String>| -> String {
        let padded: Vec<String> = cells
            .zip(&widths)
            .zip(&right)
            .map(
                |((cell, width), right)| {
                    if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
                },
            )
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut out = io::stdout().lock();
    writeln!(out, "{}", line(&mut header.iter().map(|cell| (*cell).to_owned())))?;
    for row in &rows {
        writeln!(out, "{}", line(&mut row.iter().cloned()))?;
    }
    Ok(())
}

/// Prints a line.
pub(super) fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", terminal::plain(text))
}

/// `541909` as `541,909`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes for people.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn bytes(number: u64) -> String {
    match number {
        0..1_024 => format!("{number} B"),
        1_024..1_048_576 => format!("{:.1} KiB", number as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", number as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", number as f64 / 1_073_741_824.0),
    }
}
