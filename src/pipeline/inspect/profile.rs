//! The profile of a column: its type, the share of missing values, and the form of the values.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dictionary,
    figures::{NumberStyle, is_figure, is_placeholder},
    times::{self, TimeGuess},
};
use crate::{feature::is_null_word, pipeline::raw::value::shape};

/// Type of the values of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueType {
    /// No value at all.
    Empty,
    Integer,
    Number,
    Boolean,
    Time(TimeGuess),
    Mail,
    Text,
}

impl ValueType {
    /// Returns the name of the type in the report.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Integer => "integer",
            Self::Number => "decimal",
            Self::Boolean => "boolean",
            Self::Time(guess) if guess.is_date => "date",
            Self::Time(_) => "time",
            Self::Mail => "mail",
            Self::Text => "text",
        }
    }
}

/// A column of a sample.
#[derive(Debug)]
pub(super) struct ColumnProfile {
    pub(super) name: String,
    /// Name without case, blanks and accents.
    pub(super) plain: String,
    /// Values by row; a missing value is empty.
    pub(super) values: Vec<String>,
    pub(super) value_type: ValueType,
    pub(super) nulls: usize,
    pub(super) distinct: usize,
    /// The most frequent forms of values.
    pub(super) forms: Vec<String>,
    /// Whether some value is a number with zeros at its start, as postcodes and article numbers have.
    pub(super) has_leading_zeros: bool,
    /// Numbers by row.
    pub(super) numbers: Vec<Option<f64>>,
}

/// Number of forms that are shown.
const SHOWN_FORMS: usize = 2;

impl ColumnProfile {
    /// Returns the profile of a column whose numbers have the given style.
    fn new(name: String, values: Vec<String>, style: &NumberStyle) -> Self {
        let plain = dictionary::plain_name(&name);
        let present: Vec<&str> =
            values.iter().map(String::as_str).filter(|value| !value.is_empty()).collect();
        let distinct: BTreeSet<&str> = present.iter().copied().collect();
        let mut forms: BTreeMap<String, usize> = BTreeMap::new();
        for value in &present {
            *forms.entry(shape(value)).or_default() += 1;
        }
        let mut forms: Vec<(String, usize)> = forms.into_iter().collect();
        forms.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let rule = style.rule();
        #[expect(clippy::cast_precision_loss, reason = "compared with a tolerance only")]
        let number = |text: &String| {
            if text.is_empty() { None } else { Some(rule.money(text).ok()?.0 as f64 / 10_000.0) }
        };
        let numbers: Vec<Option<f64>> = values.iter().map(number).collect();
        let value_type = value_type(&plain, &present, &numbers);
        Self {
            value_type,
            nulls: values.len() - present.len(),
            distinct: distinct.len(),
            has_leading_zeros: present.iter().any(|value| {
                value.len() > 1 && value.starts_with('0') && value.bytes().all(|byte| byte.is_ascii_digit())
            }),
            forms: forms.into_iter().take(SHOWN_FORMS).map(|(form, _)| form).collect(),
            name,
            plain,
            numbers,
            values,
        }
    }

    /// Returns the number of values.
    pub(super) fn present(&self) -> usize {
        self.values.len() - self.nulls
    }

    /// Returns the share of missing values.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
    pub(super) fn null_share(&self) -> f64 {
        self.nulls as f64 / self.values.len().max(1) as f64
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self.value_type, ValueType::Integer | ValueType::Number)
    }

    pub(super) fn time(&self) -> Option<&TimeGuess> {
        if let ValueType::Time(guess) = &self.value_type { Some(guess) } else { None }
    }
}

/// Returns the type of the values `present`, of a column of the plain name `name`.
fn value_type(name: &str, present: &[&str], numbers: &[Option<f64>]) -> ValueType {
    if present.is_empty() {
        return ValueType::Empty;
    }
    let all = |test: &dyn Fn(&str) -> bool| {
        present.iter().filter(|value| test(value)).count() * 100 >= present.len() * 95
    };
    let is_boolean =
        |value: &str| matches!(value.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no");
    if present.iter().all(|value| is_boolean(value)) {
        return ValueType::Boolean;
    }
    if let Some(guess) = times::guess(present, dictionary::is_time_name(name)) {
        return ValueType::Time(guess);
    }
    // In a small file, a few dashes for missing prices would make the column a text.
    let read = numbers.iter().flatten().count();
    let dashes = present.iter().filter(|value| is_placeholder(value)).count();
    if read * 2 > present.len() && read * 100 >= (present.len() - dashes) * 95 {
        let is_whole = numbers.iter().flatten().all(|number| number.fract() == 0.0);
        return if is_whole { ValueType::Integer } else { ValueType::Number };
    }
    let is_mail = |value: &str| {
        value.split_once('@').is_some_and(|(local, host)| !local.is_empty() && host.contains('.'))
    };
    if all(&is_mail) { ValueType::Mail } else { ValueType::Text }
}

/// Columns of a file and the style of its numbers.
#[derive(Debug)]
pub(super) struct FileProfile {
    pub(super) columns: Vec<ColumnProfile>,
    pub(super) style: NumberStyle,
}

/// Returns the profile of the `rows` with the given column names.
pub(super) fn profile(names: &[String], rows: Vec<Vec<String>>) -> FileProfile {
    let mut values: Vec<Vec<String>> = names.iter().map(|_| Vec::with_capacity(rows.len())).collect();
    for row in rows {
        for (column, value) in values.iter_mut().zip(row) {
            let text = value.trim();
            column.push(if is_null_word(text) { String::new() } else { text.to_owned() });
        }
    }
    let figures = names.iter().zip(&values).filter(|(name, _)| !dictionary::is_identifier(name));
    let style = NumberStyle::of(figures.map(|(name, values)| {
        let present: Vec<&str> =
            values.iter().map(String::as_str).filter(|value| !value.is_empty()).collect();
        let is_time = dictionary::is_time_name(&dictionary::plain_name(name))
            && !present.iter().all(|value| is_figure(value) && !value.contains(['.', ',']));
        if is_time { Vec::new() } else { present }
    }));
    let columns = names.iter().zip(values);
    let columns = columns.map(|(name, values)| ColumnProfile::new(name.clone(), values, &style)).collect();
    FileProfile { columns, style }
}

/// A format whose order of day and month is certain.
struct CertainFormat {
    file: usize,
    /// Plain name of the column.
    column: String,
    date: String,
}

/// Decides about day and month where no value tells, by another column of the same file, or else by the
/// column of the same name of another file.
pub(super) fn settle_dates(files: &mut [FileProfile]) {
    // The second time by the columns that the first time decided.
    settle_by_certain(files);
    settle_by_certain(files);
}

fn settle_by_certain(files: &mut [FileProfile]) {
    let date = |format: &str| format.split([' ', ',', 'T']).next().unwrap_or("").to_owned();
    let mut certain: Vec<CertainFormat> = Vec::new();
    for (file, profile) in files.iter().enumerate() {
        for column in &profile.columns {
            let guess = column.time().filter(|guess| !guess.is_ambiguous);
            let formats = guess.into_iter().flat_map(|guess| &guess.formats);
            certain.extend(formats.map(|format| CertainFormat {
                file,
                column: column.plain.clone(),
                date: date(format),
            }));
        }
    }
    for (file, profile) in files.iter_mut().enumerate() {
        for column in &mut profile.columns {
            let ValueType::Time(guess) = &mut column.value_type else { continue };
            if !guess.is_ambiguous {
                continue;
            }
            for format in &mut guess.formats {
                let (own, other) = (date(format), date(&times::swapped(format)));
                let fits = |known: &&CertainFormat| known.date == own || known.date == other;
                let here = certain.iter().filter(fits).find(|known| known.file == file);
                let there = || certain.iter().filter(fits).find(|known| known.column == column.plain);
                let Some(known) = here.or_else(there) else { continue };
                if known.date == other {
                    *format = times::swapped(format);
                }
                guess.is_ambiguous = false;
            }
        }
    }
}
