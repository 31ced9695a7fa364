//! Checks of raw lines: convert text fields to typed values, or to an error that says why the line is bad.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate};

use super::{
    spec::TableSpec,
    table::{RawType, Table},
    time::NotTime,
    value::{self, NotNumber, NumberRule, plain_mark, trimmed},
};
use crate::{
    feature::{InvalidId, MAX_ID_BYTES, is_null_word, money},
    snapshot::rfc3339,
};

/// One line of a raw file.
#[derive(Debug)]
pub(crate) enum RawLine<'a> {
    /// Fields in the order of the spec's columns, and the attributes of customers.
    Record { fields: LineFields<'a>, extras: Vec<ExtraField<'a>> },
    /// Part of the file that is not a line of the table, and the number of lines in that part.
    Bad { error: LineError, lines: u64 },
}

/// Fields of a line, in the order of the spec's columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineFields<'a> {
    pub(crate) texts: &'a [&'a str],
    pub(crate) kind: FieldKinds,
}

/// Kinds of the fields of a line, by the file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FieldKinds {
    /// Bit per column: whether the file types the values, so that configured formats and decimal marks do not
    /// apply.
    pub(crate) typed: u32,
    /// Whether the line has the total `amount` instead of the price of a unit.
    pub(crate) is_total: bool,
}

impl LineFields<'_> {
    #[inline]
    pub(super) fn is_typed(self, at: usize) -> bool {
        self.kind.typed >> at & 1 == 1
    }
}

/// An attribute of a customer: a field of a column without a meaning for Larder.
#[derive(Debug)]
pub(crate) struct ExtraField<'a> {
    /// Name of the column in the file, or its name in `columns`.
    pub(crate) name: &'a str,
    pub(crate) text: Cow<'a, str>,
    /// Type in the file. Becomes the declared type when the value is checked.
    pub(crate) kind: RawType,
    /// Type declared in `types`.
    pub(crate) declared: Option<RawType>,
}

/// End of the cause of lines whose time is after the limit for events, which moves with the clock.
pub(crate) const AFTER_NEWEST: &str = ", the limit of [raw] newest";

/// Reason why a line is bad: the cause, by which lines are counted, and a description of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LineError {
    pub(crate) cause: String,
    pub(crate) found: String,
}

/// A valid line of `customers`.
#[derive(Debug)]
pub(crate) struct CustomerLine<'a> {
    pub(crate) customer_id: Option<Cow<'a, str>>,
    pub(crate) created_at: Option<i64>,
    pub(crate) updated_at: Option<i64>,
}

/// A valid line of `interactions`.
#[derive(Debug)]
pub(crate) struct InteractionLine<'a> {
    pub(crate) customer_id: Option<Cow<'a, str>>,
    pub(crate) event: &'a str,
    pub(crate) product_id: Option<Cow<'a, str>>,
    pub(crate) at: i64,
}

impl TableSpec {
    /// Checks the fields of a line of `customers`, and converts typed attributes to the form in which they
    /// are staged.
    pub(crate) fn check_customer<'a>(
        &self,
        fields: LineFields<'a>,
        extras: &mut [ExtraField<'_>],
    ) -> Result<CustomerLine<'a>, Box<LineError>> {
        for extra in extras.iter_mut() {
            self.check_attribute(extra)?;
        }
        Ok(CustomerLine {
            customer_id: self.customer_id(fields)?,
            created_at: self.optional_event(fields, 1)?,
            updated_at: self.optional_event(fields, 2)?,
        })
    }

    /// Checks the fields of a line of `interactions`.
    pub(crate) fn check_interaction<'a>(
        &self,
        fields: LineFields<'a>,
    ) -> Result<InteractionLine<'a>, Box<LineError>> {
        let event = trimmed(fields.texts[1]);
        if event.is_empty() {
            return Err(Box::new(self.missing_value(1)));
        }
        Ok(InteractionLine {
            customer_id: self.customer_id(fields)?,
            event,
            at: self.event(fields, 2)?,
            product_id: self.id(fields, 3)?,
        })
    }

    /// Returns the number format of the column `at`.
    #[inline]
    pub(super) fn numbers(&self, fields: LineFields<'_>, at: usize) -> NumberRule {
        if fields.is_typed(at) { NumberRule::TYPED } else { self.numbers }
    }

    #[inline]
    pub(super) fn customer_id<'a>(
        &self,
        fields: LineFields<'a>,
    ) -> Result<Option<Cow<'a, str>>, Box<LineError>> {
        if fields.is_typed(0) {
            self.check_exact(fields, 0)?;
        }
        self.nulls.customer_id(fields.texts[0]).map_err(|error| match error {
            InvalidId::TooLong(bytes) => Box::new(LineError {
                cause: format!(
                    "column `{}`: an id of more than {MAX_ID_BYTES} bytes",
                    self.columns[0].label()
                ),
                found: format!("found {bytes} bytes"),
            }),
            error => Box::new(self.line_error(0, &error.to_string(), fields.texts[0])),
        })
    }

    #[inline]
    pub(super) fn id<'a>(
        &self,
        fields: LineFields<'a>,
        at: usize,
    ) -> Result<Option<Cow<'a, str>>, Box<LineError>> {
        if fields.is_typed(at) {
            self.check_exact(fields, at)?;
        }
        self.nulls
            .id(fields.texts[at])
            .map_err(|error| Box::new(self.line_error(at, &error.to_string(), fields.texts[at])))
    }

    /// Rejects an id in scientific notation, such as `1e16`, in a column that the file types as a number. In
    /// a text column, `1e16` may be hexadecimal.
    fn check_exact(&self, fields: LineFields<'_>, at: usize) -> Result<(), Box<LineError>> {
        if fields.texts[at].contains(['e', 'E']) && fields.texts[at].parse::<f64>().is_ok() {
            return Err(Box::new(self.line_error(at, &InvalidId::Ambiguous.to_string(), fields.texts[at])));
        }
        Ok(())
    }

    /// Returns an id that must not be empty.
    #[inline]
    pub(super) fn required_id<'a>(
        &self,
        fields: LineFields<'a>,
        at: usize,
    ) -> Result<Cow<'a, str>, Box<LineError>> {
        self.id(fields, at)?.ok_or_else(|| Box::new(self.missing_value(at)))
    }

    pub(super) fn event(&self, fields: LineFields<'_>, at: usize) -> Result<i64, Box<LineError>> {
        let text = fields.texts[at];
        self.times.event(text, fields.is_typed(at)).map_err(|why| {
            let (expected, found) = self.describe_time_error(why, RawType::Timestamp, text);
            Box::new(LineError { cause: format!("column `{}`: {expected}", self.columns[at].label()), found })
        })
    }

    fn optional_event(&self, fields: LineFields<'_>, at: usize) -> Result<Option<i64>, Box<LineError>> {
        if is_null_word(trimmed(fields.texts[at])) {
            return Ok(None);
        }
        self.event(fields, at).map(Some)
    }

    /// Checks a typed attribute of a customer, and converts its value to the form in which it is staged.
    fn check_attribute(&self, extra: &mut ExtraField<'_>) -> Result<(), Box<LineError>> {
        let typed = extra.declared.is_none();
        let kind = extra.declared.unwrap_or(extra.kind);
        if kind == RawType::Text || (typed && !matches!(kind, RawType::Timestamp)) {
            return Ok(());
        }
        let text = trimmed(&extra.text);
        let staged = if is_null_word(text) { String::new() } else { self.staged_text(kind, text, extra)? };
        extra.text = Cow::Owned(staged);
        extra.kind = kind;
        Ok(())
    }

    /// Returns `text` in the form in which values of `kind` are staged.
    fn staged_text(
        &self,
        kind: RawType,
        text: &str,
        extra: &ExtraField<'_>,
    ) -> Result<String, Box<LineError>> {
        // Configured formats do not apply to values that the file types.
        let typed = match kind {
            RawType::Date | RawType::Timestamp => matches!(extra.kind, RawType::Date | RawType::Timestamp),
            _ => extra.kind != RawType::Text,
        };
        let numbers = if typed { NumberRule::TYPED } else { self.numbers };
        let error = |(expected, found): (String, String)| {
            Box::new(LineError { cause: format!("column `{}`: {expected}", extra.name), found })
        };
        let number = |why| error(self.describe_number_error(kind, why, text));
        let time = |why| error(self.describe_time_error(why, kind, text));
        match kind {
            RawType::Integer => numbers.signed_integer(text).map(|number| number.to_string()).map_err(number),
            RawType::Number => numbers.money(text).map(|(value, _)| money(value.into())).map_err(number),
            RawType::Date => self.times.date(text, typed).map(date_text).map_err(time),
            RawType::Timestamp => self.times.instant(text, typed).map(time_text).map_err(time),
            RawType::Boolean => match boolean(text) {
                Some(value) => Ok(value.to_string()),
                None => Err(error((format!("expected {}", kind.expected()), found(text)))),
            },
            RawType::Decimal(_) | RawType::Text => Ok(text.to_owned()),
        }
    }

    fn missing_value(&self, at: usize) -> LineError {
        self.line_error(at, "expected a value", "")
    }

    fn line_error(&self, at: usize, expected: &str, text: &str) -> LineError {
        LineError { cause: format!("column `{}`: {expected}", self.columns[at].label()), found: found(text) }
    }

    pub(super) fn number_error(&self, fields: LineFields<'_>, at: usize, why: NotNumber) -> LineError {
        let column = &self.columns[at];
        let (expected, found) = self.describe_number_error(column.kind, why, fields.texts[at]);
        LineError { cause: format!("column `{}`: {expected}", column.label()), found }
    }

    /// Returns the expected number and a description of the value.
    fn describe_number_error(&self, kind: RawType, why: NotNumber, text: &str) -> (String, String) {
        let table = self.table.name();
        match why {
            NotNumber::Form => {
                let marks = if text.contains(',') && self.numbers.decimal.is_none() {
                    format!("; set `decimal` and `thousands` in [raw.{table}] to define the comma")
                } else if let Some(mark) = group_mark(trimmed(text))
                    && self.numbers.thousands.is_none()
                {
                    format!("; set `thousands = \"{mark}\"` in [raw.{table}]")
                } else if kind == RawType::Integer
                    && self.table == Table::Transactions
                    && self.numbers.price(text).is_ok()
                {
                    "; set `decimal_quantities = true` in [raw.transactions] for weights and lengths"
                        .to_owned()
                } else {
                    String::new()
                };
                (format!("expected {}", kind.expected()), format!("{}{marks}", found(text)))
            }
            NotNumber::Thousands => (
                format!(
                    "a number such as 1.000 may mean one or a thousand; set `decimal = \".\"`, or `decimal = \
                     \",\"` and `thousands = \".\"`, in [raw.{table}]"
                ),
                found(text),
            ),
            NotNumber::TooGreat => (
                format!("a quantity greater than {}, the limit of [raw] max_quantity", self.max_quantity),
                found(text),
            ),
        }
    }

    /// Returns the expected time and a description of the value.
    fn describe_time_error(&self, why: NotTime, kind: RawType, text: &str) -> (String, String) {
        let formats: Vec<String> =
            self.times.formats.iter().map(|format| format!("`{}`", format.text)).collect();
        let formats = match formats.as_slice() {
            [] => String::new(),
            formats => format!(", or a time in time_format {}", formats.join(", ")),
        };
        match why {
            NotTime::Form => (format!("expected {}{formats}", kind.expected()), found(text)),
            NotTime::Digits(format) => (
                format!(
                    "digits without separators may be a date or an epoch; set `time_format = \"{format}\"` \
                     in [raw.{}]",
                    self.table.name()
                ),
                found(text),
            ),
            NotTime::Range { year, limit } => {
                let shown = DateTime::from_timestamp_micros(limit).map(rfc3339::format).unwrap_or_default();
                let cause = if limit == self.times.oldest {
                    format!("a time before {shown}, the limit of [raw] oldest")
                } else {
                    format!("a time after {shown}{AFTER_NEWEST}")
                };
                (cause, format!("found the year {year}"))
            }
        }
    }

    /// Returns whether `text` is a valid value of `kind`, the type in the file.
    pub(crate) fn fits(kind: RawType, text: &str) -> bool {
        match kind {
            RawType::Text | RawType::Decimal(_) | RawType::Date | RawType::Timestamp => true,
            RawType::Integer => NumberRule::TYPED.integer(text).is_ok(),
            RawType::Number => text.parse::<f64>().is_ok(),
            RawType::Boolean => matches!(text, "true" | "false"),
        }
    }
}

/// Parses `true`, `yes`, `1` and the like, in any case.
fn boolean(text: &str) -> Option<bool> {
    let is_any = |words: [&str; 5]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is_any(["true", "yes", "1", "t", "y"]) {
        Some(true)
    } else if is_any(["false", "no", "0", "f", "n"]) {
        Some(false)
    } else {
        None
    }
}

/// Returns the blank or apostrophe between the digits of `text`.
fn group_mark(text: &str) -> Option<char> {
    let is_digit = |c: char| c.is_ascii_digit();
    let inner = text.trim_matches(|c| !is_digit(c));
    let is_number = inner.chars().all(|c| is_digit(c) || matches!(plain_mark(c), '.' | ',' | ' ' | '\''));
    inner.chars().map(plain_mark).find(|mark| matches!(mark, ' ' | '\'')).filter(|_| is_number)
}

/// Describes `text` without showing its value.
pub(super) fn found(text: &str) -> String {
    if text.trim().is_empty() {
        "found an empty value".to_owned()
    } else {
        format!("found a value like `{}`", value::shape(text))
    }
}

fn date_text(days: i32) -> String {
    NaiveDate::from_epoch_days(days).map(|date| date.to_string()).unwrap_or_default()
}

fn time_text(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).map(rfc3339::format).unwrap_or_default()
}
