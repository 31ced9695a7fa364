//! The style of numbers: decimal mark and thousands separator, told by all numbers of a file.

use crate::pipeline::raw::value::{NumberRule, plain_mark};

/// The style of the numbers of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NumberStyle {
    pub(super) decimal: Option<char>,
    pub(super) thousands: Option<char>,
    pub(super) doubt: Option<String>,
}

/// Evidence for the marks in numbers.
#[derive(Debug, Default)]
struct Marks {
    comma_decimal: usize,
    point_decimal: usize,
    comma_thousands: usize,
    point_thousands: usize,
    /// Numbers such as `1.000`, and such as `1,000`.
    point_unclear: usize,
    comma_unclear: usize,
    /// Other separators of thousands: blanks and apostrophes.
    other: Option<char>,
}

impl NumberStyle {
    /// Returns the rule by which numbers of this style are read.
    pub(super) fn rule(&self) -> NumberRule {
        let byte = |mark: char| u8::try_from(mark).ok();
        let thousands = self.thousands.and_then(byte);
        NumberRule { decimal: self.decimal.and_then(byte).or(thousands.map(|_| b'.')), thousands }
    }

    /// Returns the style of the numbers in `columns`.
    pub(super) fn of<'a>(columns: impl Iterator<Item = Vec<&'a str>>) -> Self {
        let mut marks = Marks::default();
        for values in columns {
            let numbers = values.iter().filter(|value| is_figure(value)).count();
            let others = values.iter().filter(|value| is_placeholder(value)).count();
            if numbers * 2 > values.len() && numbers * 10 >= (values.len() - others) * 9 {
                for value in &values {
                    marks.note(value);
                }
            }
        }
        marks.style()
    }
}

/// Returns whether `text` is a dash, which stands for no value in columns of numbers.
pub(super) fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty() && text.chars().all(|c| matches!(c, '-' | '–' | '—' | '−'))
}

/// Returns `text` without the abbreviation of a currency before or behind it.
fn without_currency(text: &str) -> &str {
    let before = text.trim_start_matches(char::is_alphabetic);
    let behind = text.trim_end_matches(char::is_alphabetic);
    let (name, number) = if before.len() < text.len() {
        (&text[..text.len() - before.len()], before)
    } else {
        (&text[behind.len()..], behind)
    };
    // The build knows the abbreviations: with one of them, 1 is an amount.
    let is_currency = !name.is_empty()
        && name.chars().count() <= 3
        && NumberRule::TYPED.money(&format!("{name} 1")).is_ok();
    if is_currency { number.trim() } else { text }
}

/// Returns whether `text` seems to be a number in some style.
pub(super) fn is_figure(text: &str) -> bool {
    let text = without_currency(text.trim());
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let is_mark = |c: char| matches!(plain_mark(c), '.' | ',' | '-' | '−' | '+' | '\'' | ' ' | '(' | ')');
    let is_sign = |c: char| matches!(c, '$' | '€' | '£' | '¥' | '￥' | '₹');
    let marks = text.matches([',', '.']).count();
    digits > 0
        && text.chars().all(|c| c.is_ascii_digit() || is_mark(c) || is_sign(c))
        && !text.trim_start_matches(['-', '−', '(']).contains("-0")
        && text.matches(['-', '−']).count() <= 1
        && marks <= digits
}

impl Marks {
    fn note(&mut self, text: &str) {
        let number: String = text.chars().filter(|c| c.is_ascii_digit() || matches!(c, '.' | ',')).collect();
        let inner = text.trim().trim_matches(|c: char| !c.is_ascii_digit());
        if let Some(mark) = inner.chars().map(plain_mark).find(|mark| matches!(mark, ' ' | '\'')) {
            self.other.get_or_insert(mark);
        }
        let (points, commas) = (number.matches('.').count(), number.matches(',').count());
        let last = number.rfind(['.', ',']);
        let behind = last.map_or(0, |at| number.len() - at - 1);
        let ahead = last.unwrap_or(0);
        match (points, commas) {
            (0, 0) => {}
            (1.., 1..) => {
                if number.rfind('.') > number.rfind(',') {
                    self.point_decimal += 1;
                    self.comma_thousands += 1;
                } else {
                    self.comma_decimal += 1;
                    self.point_thousands += 1;
                }
            }
            (2.., 0) => self.point_thousands += 1,
            (0, 2..) => self.comma_thousands += 1,
            // 0.125 has a decimal mark, 1.125 may have either.
            (1, 0) if behind == 3 && (1..=3).contains(&ahead) && !number.starts_with('0') => {
                self.point_unclear += 1;
            }
            (0, 1) if behind == 3 && (1..=3).contains(&ahead) && !number.starts_with('0') => {
                self.comma_unclear += 1;
            }
            (1, 0) => self.point_decimal += 1,
            (0, _) => self.comma_decimal += 1,
        }
    }

    fn style(&self) -> NumberStyle {
        let is_comma = self.comma_decimal + self.point_thousands > self.point_decimal + self.comma_thousands;
        let (against, unclear) = if is_comma {
            (self.point_decimal + self.comma_thousands, self.point_unclear)
        } else {
            (self.comma_decimal + self.point_thousands, self.comma_unclear)
        };
        let is_known =
            self.comma_decimal + self.point_thousands + self.point_decimal + self.comma_thousands > 0;
        let mut style = NumberStyle { thousands: self.other, ..NumberStyle::default() };
        if is_comma {
            style.decimal = Some(',');
            if self.point_thousands + self.point_unclear > 0 {
                style.thousands = Some('.');
            }
        } else if is_known {
            if self.comma_thousands + self.comma_unclear > 0 {
                style.thousands = Some(',');
            }
            if self.point_unclear > 0 || style.thousands.is_some() {
                style.decimal = Some('.');
            }
        } else if self.point_unclear + self.comma_unclear > 0 {
            let (decimal, other) =
                if self.comma_unclear > self.point_unclear { (',', '.') } else { ('.', ',') };
            style.decimal = Some(decimal);
            style.doubt = Some(format!(
                "numbers such as 9{decimal}999 may have a decimal mark or a thousands separator; they are \
                 taken for decimals. If they are thousands, set `decimal = \"{other}\"` and \
                 `thousands = \"{decimal}\"`"
            ));
        }
        if against > 0 {
            style.doubt = Some(format!(
                "{against} numbers have another decimal mark than the others, and {unclear} may have; they \
                 may become bad lines"
            ));
        }
        style
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_told_by_all_numbers() {
        let style = |values: &[&str]| {
            let style = NumberStyle::of([values.to_vec()].into_iter());
            (style.decimal, style.thousands, style.doubt.is_some())
        };
        assert_eq!(style(&["2.55", "3", "-1.5"]), (None, None, false));
        assert_eq!(style(&["2,55", "1.234,50"]), (Some(','), Some('.'), false));
        assert_eq!(style(&["2,55", "1,5 €"]), (Some(','), None, false));
        assert_eq!(style(&["$1,234.50", "2.5"]), (Some('.'), Some(','), false));
        assert_eq!(style(&["1.250", "2.5"]), (Some('.'), None, false));
        assert_eq!(style(&["1.000", "2.000"]), (Some('.'), None, true));
        assert_eq!(style(&["1,000", "2,000"]), (Some(','), None, true));
        assert_eq!(style(&["1 234,5", "2,5"]), (Some(','), Some(' '), false));
        assert_eq!(style(&["1\u{202f}234,5", "2,5"]), (Some(','), Some(' '), false));
        assert_eq!(style(&["1’234.5", "2.5"]), (Some('.'), Some('\''), false));
        assert_eq!(style(&["−1,5", "2,5"]), (Some(','), None, false));
        assert_eq!(style(&["2,55", "2.55", "2.5"]), (None, None, true));
        assert_eq!(style(&["a", "b", "1,5"]), (None, None, false));
        assert_eq!(style(&["EUR 1.234,50", "9,90 EUR"]), (Some(','), Some('.'), false));
        assert_eq!(style(&["CHF 1'234.50", "CHF 9.90"]), (Some('.'), Some('\''), false));
        assert_eq!(style(&["2,55", "-", "1,50", "–", "3,25"]), (Some(','), None, false));
        assert!(is_figure("EUR 12") && !is_figure("EUR") && !is_figure("REF 12.5") && !is_figure("12 mm"));
        assert!(is_placeholder(" - ") && !is_placeholder("") && !is_placeholder("-1"));
        assert!(
            !is_figure("2024-01-05") && !is_figure("12/1") && is_figure("(12.00)") && is_figure("12,00 €")
        );
    }
}
