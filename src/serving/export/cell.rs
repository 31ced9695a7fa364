//! Cells of CSV exports: quotes (RFC 4180), and protection from evaluation as formulas.
//!
//! A spreadsheet evaluates a cell that begins like a formula, and the texts of customers come from anybody.
//! The same file may be opened with `;` or a tab as the delimiter, as spreadsheets do in many countries. Such
//! a reader begins cells in the middle of a text, so every part of a text that such a reader could take for a
//! cell is protected. The protection is a leading `'`, which spreadsheets show as text.

use std::str::FromStr;

/// Form of a CSV file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CsvForm {
    /// Whether the file begins with a byte order mark, by which Excel recognizes UTF-8.
    pub bom: bool,
    /// Treatment of texts that look like formulas.
    pub formulas: Formulas,
}

/// Treatment of texts that a spreadsheet would evaluate as formulas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Formulas {
    /// Such texts get a leading `'`.
    #[default]
    Guard,
    /// All texts are written unchanged, for programs.
    Keep,
}

impl FromStr for Formulas {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "guard" => Ok(Self::Guard),
            "keep" => Ok(Self::Keep),
            _ => Err("guard or keep"),
        }
    }
}

/// Least number of digits in a text that is taken for a phone number.
const LEAST_DIGITS: usize = 5;

/// Appends a text as a CSV cell.
pub(super) fn text_cell(text: &str, formulas: Formulas, out: &mut Vec<u8>) {
    if text.is_empty() {
        // An empty cell without quotes stands for null.
        return out.extend_from_slice(b"\"\"");
    }
    if formulas == Formulas::Keep || is_number(text) || is_phone_number(text) {
        quoted(text, out);
    } else if text.contains(is_separator) {
        quoted(&with_guarded_parts(text), out);
    } else if is_formula(text, false) {
        quoted(&format!("'{text}"), out);
    } else {
        quoted(text, out);
    }
}

/// Appends a text unchanged as a CSV cell, in quotes if a reader with any delimiter needs quotes.
pub(super) fn quoted(text: &str, out: &mut Vec<u8>) {
    if !text.contains(|c| matches!(c, ',' | '"') || is_separator(c)) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

/// Checks whether a reader with another delimiter may end a cell at `c`. Commas in a text are protected by
/// quotes, and delimit nothing for such a reader.
fn is_separator(c: char) -> bool {
    matches!(c, ';' | '\t' | '\r' | '\n')
}

/// Puts `'` before every part of `text` that a reader with another delimiter could take for a formula.
fn with_guarded_parts(text: &str) -> String {
    let mut guarded = String::with_capacity(text.len() + 4);
    for (at, part) in text.split_inclusive(is_separator).enumerate() {
        // Quotes are doubled in the file. A reader that begins a cell here takes the first two for an empty
        // quoted text, and what follows them for the text.
        let skips_quotes = at > 0;
        if is_formula(part, skips_quotes) || (at == 0 && part.starts_with(['\t', '\r', '\n'])) {
            guarded.push('\'');
        }
        guarded.push_str(part);
    }
    guarded
}

/// Checks whether `text` begins like a formula, after characters that nobody sees.
fn is_formula(text: &str, skips_quotes: bool) -> bool {
    let is_skipped = |c: char| c.is_whitespace() || is_invisible(c) || (skips_quotes && c == '"');
    text.trim_start_matches(is_skipped).starts_with(is_formula_sign)
}

/// Checks whether a formula begins with `c`, in its usual, full-width or small form.
fn is_formula_sign(c: char) -> bool {
    matches!(
        c,
        '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠' | '\u{fe66}' | '\u{fe62}' | '\u{fe63}' | '\u{fe6b}'
    )
}

/// Checks whether `c` is a control character, or has no width: a byte order mark, a joiner, a direction mark.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Checks whether `text` is a number, such as `-5.25` or `+1e5`.
fn is_number(text: &str) -> bool {
    let signs = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    signs && text.parse::<f64>().is_ok()
}

/// Checks whether `text` has the form of a phone number, such as `+49 (0)151 12345`.
fn is_phone_number(text: &str) -> bool {
    let number = text.strip_prefix('+').unwrap_or(text);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    number.starts_with(|c: char| c.is_ascii_digit() || c == '(')
        && digits >= LEAST_DIGITS
        && number.chars().all(|c| {
            c.is_ascii_digit() || matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '(' | ')' | '/' | '.' | '-')
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell(text: &str, formulas: Formulas) -> String {
        let mut out = Vec::new();
        text_cell(text, formulas, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn cells_are_quoted_and_formulas_guarded() {
        for (text, expected) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\r\nlines", "\"two\r\nlines\""),
            ("a;b", "\"a;b\""),
            ("a\tb", "\"a\tb\""),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+cmd", "'+cmd"),
            ("-2+3", "'-2+3"),
            ("\tx", "\"'\tx\""),
            ("\rx", "\"'\rx\""),
            ("\nx", "\"'\nx\""),
            (" =1+1", "' =1+1"),
            ("-inf", "'-inf"),
            ("-", "'-"),
            // Cells of a reader with another delimiter.
            (";=1+1", "\";'=1+1\""),
            ("x\t=1+1", "\"x\t'=1+1\""),
            ("x;=HYPERLINK(\"http://x\")", "\"x;'=HYPERLINK(\"\"http://x\"\")\""),
            ("x\n=1+1", "\"x\n'=1+1\""),
            ("x\r=1+1", "\"x\r'=1+1\""),
            ("x;\"=1+1", "\"x;'\"\"=1+1\""),
            ("x;\"\" =1+1", "\"x;'\"\"\"\" =1+1\""),
            ("x; @A1;b;-2+3", "\"x;' @A1;b;'-2+3\""),
            ("x,=1+1", "\"x,=1+1\""),
            ("-5;b", "\"'-5;b\""),
            ("a;-5", "\"a;'-5\""),
            ("+49 151 12345; +49 30 12345", "\"'+49 151 12345;' +49 30 12345\""),
            // Characters without a width, and other forms of the signs.
            ("\u{200b}=1+1", "'\u{200b}=1+1"),
            ("\u{feff}=1+1", "'\u{feff}=1+1"),
            ("\u{feff}\u{2060} @A1", "'\u{feff}\u{2060} @A1"),
            ("x;\u{200b}=1+1", "\"x;'\u{200b}=1+1\""),
            ("\u{0}=1+1", "'\u{0}=1+1"),
            ("\u{200b}plain", "\u{200b}plain"),
            ("＝1+1", "'＝1+1"),
            ("＠SUM(1)", "'＠SUM(1)"),
            ("＋1", "'＋1"),
            ("－1", "'－1"),
            ("\u{fe66}1", "'\u{fe66}1"),
            // Numbers and phone numbers.
            ("-5.25", "-5.25"),
            ("+4915112345", "+4915112345"),
            ("-1e5", "-1e5"),
            ("+49 (0)151 12345", "+49 (0)151 12345"),
            ("+49 (0)151/123-45.6", "+49 (0)151/123-45.6"),
            ("+49\u{a0}151\u{a0}12345", "+49\u{a0}151\u{a0}12345"),
            ("+(49) 151 12345", "+(49) 151 12345"),
            ("+49 151", "+49 151"),
            ("+49 151 ext. 5", "'+49 151 ext. 5"),
            ("+1+12345", "'+1+12345"),
            ("+1 2", "'+1 2"),
            ("+-12345", "'+-12345"),
            ("-49 151 12345", "'-49 151 12345"),
            ("+49 151*12345", "'+49 151*12345"),
        ] {
            assert_eq!(cell(text, Formulas::Guard), expected, "{text:?}");
        }
        for (text, expected) in [
            ("=1+1", "=1+1"),
            ("x;=1+1", "\"x;=1+1\""),
            ("=A,1", "\"=A,1\""),
            ("\tx", "\"\tx\""),
            ("", "\"\""),
        ] {
            assert_eq!(cell(text, Formulas::Keep), expected, "{text:?}");
        }
    }

    /// Splits a file into cells as a spreadsheet does: quotes count at the beginning of a cell only, and what
    /// follows the closing quote belongs to the cell.
    fn cells(file: &str, delimiter: char) -> Vec<String> {
        let (mut cells, mut cell) = (Vec::new(), String::new());
        let (mut is_begin, mut is_quoted) = (true, false);
        let mut chars = file.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if is_begin => is_quoted = true,
                '"' if is_quoted && chars.peek() == Some(&'"') => cell.extend(chars.next()),
                '"' if is_quoted => is_quoted = false,
                _ if !is_quoted && (c == delimiter || matches!(c, '\r' | '\n')) => {
                    cells.push(std::mem::take(&mut cell));
                    is_begin = true;
                    continue;
                }
                _ => cell.push(c),
            }
            is_begin = false;
        }
        cells.push(cell);
        cells
    }

    fn file(rows: &[Vec<String>]) -> String {
        let line = |row: &Vec<String>| {
            row.iter().map(|text| cell(text, Formulas::Guard)).collect::<Vec<_>>().join(",") + "\r\n"
        };
        "a,b,c\r\n".to_owned() + &rows.iter().map(line).collect::<String>()
    }

    /// Checks whether a spreadsheet would evaluate the cell `seen` of a file. A reader with another delimiter
    /// sees the first cell of a line together with what follows it.
    fn is_evaluated(seen: &str) -> bool {
        let first = seen.trim_start().split(',').next().unwrap_or_default();
        is_formula(seen, false) && !is_number(first) && !is_phone_number(first)
    }

    fn text() -> impl Strategy<Value = String> {
        let pieces = [
            "=",
            "+",
            "-",
            "@",
            "＝",
            ";",
            ",",
            "\t",
            "\r",
            "\n",
            "\"",
            "\"\"",
            "'",
            " ",
            "\u{200b}",
            "\u{feff}",
            "a",
            "1",
            "+49 151 12345",
            "-5",
            "1+1",
            "b c",
        ];
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..7).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn no_reader_sees_a_formula(rows in prop::collection::vec(prop::collection::vec(text(), 3), 1..4)) {
            let file = file(&rows);
            for delimiter in [',', ';', '\t'] {
                for seen in cells(&file, delimiter) {
                    prop_assert!(!is_evaluated(&seen), "{seen:?} with {delimiter:?} in {file:?}");
                }
            }
            // A reader of CSV finds every text, but for the characters that protect it.
            let mut reader = csv::Reader::from_reader(file.as_bytes());
            let read: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
            prop_assert_eq!(read.len(), rows.len());
            for (found, text) in read.iter().flatten().zip(rows.iter().flatten()) {
                prop_assert_eq!(found.replace('\'', ""), text.replace('\'', ""));
            }
        }
    }

    #[test]
    fn readers_see_unguarded_formulas() {
        // The reader of the test finds what the guard prevents.
        let seen = |file: &str, delimiter| cells(file, delimiter).iter().any(|cell| is_evaluated(cell));
        assert!(seen("c1,=1+1\r\n", ','));
        assert!(seen("c1,\"x;=1+1\"\r\n", ';'));
        assert!(seen("c1,\"x;\"\"=1+1\"\r\n", ';'));
        assert!(seen("c1,\"x\n=1+1\"\r\n", ';'));
        assert!(seen("c1,x\t=1+1\r\n", '\t'));
        assert!(!seen("c1,\"x;'=1+1\"\r\n", ';'));
        assert!(!seen("-5.25,x\r\n", ';'));
    }
}
