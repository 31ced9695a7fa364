//! The answer of Feast's API: rows, customer by customer, are transposed to vectors, feature by feature.
//! Values are not decoded: each is found once in its row, and its text is copied once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::columns::Columns;
use crate::{
    feast::FeastType,
    feature::elements,
    http::reply::features::write_joined,
    serving::{CustomerRead, ReadError, Served},
};

/// The timestamp of values without one.
const NEVER: &str = "1970-01-01T00:00:00Z";

/// The status of a value: present; null, or masked for this caller; not found, for a customer who is not in
/// the view or an id that cannot be a customer's; withheld as too old; or not readable from any tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(example = "PRESENT", rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum FieldStatus {
    /// The value is present.
    Present,
    /// The customer is in the view without the value, or the caller must not see the value.
    NullValue,
    /// The customer is not in the view, or does not exist.
    NotFound,
    /// The value is older than `max_age`, and withheld.
    OutsideMaxAge,
    /// No tier could answer. Feast's word for an unset status.
    Invalid,
}

impl FieldStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::NullValue => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::OutsideMaxAge => "OUTSIDE_MAX_AGE",
            Self::Invalid => "INVALID",
        }
    }
}

/// The customers of a request, with their rows.
pub(super) struct FeastAnswers<'a> {
    pub(super) served: &'a Served,
    pub(super) answers: &'a [Result<CustomerRead, ReadError>],
    /// The ids as the client wrote them.
    pub(super) given: &'a [&'a RawValue],
    pub(super) now: DateTime<Utc>,
}

/// Writes the whole answer.
pub(super) fn write(columns: &Columns, found: &FeastAnswers<'_>) -> Vec<u8> {
    let customers = found.given.len();
    let cells = transpose(columns, found.answers);
    let ages: Vec<Duration> = found.answers.iter().map(|answer| age(found, answer)).collect();
    let rows = found.answers.iter().flatten().filter_map(|answer| answer.row.as_ref());
    let texts: usize = rows.map(|row| row.views.bytes()).sum();
    let mut out = Vec::with_capacity(
        columns.head.len() + (columns.all.len() + 1) * (96 + customers * 40) + texts * 5 / 4,
    );
    out.extend_from_slice(&columns.head);
    write_joined(found.given, &mut out, |id, out| out.extend_from_slice(id.get().as_bytes()));
    let mut before = vec![FieldStatus::Present; customers];
    let mut tail = Vec::with_capacity(96 + customers * 40);
    write_tail(&before, |_| NEVER, &mut tail);
    out.extend_from_slice(&tail);
    tail.clear();
    let absent = memchr::memmem::Finder::new(b"null");
    let mut statuses = Vec::with_capacity(customers);
    for (number, column) in columns.all.iter().enumerate() {
        let max_age = columns.views[column.view].max_age;
        let status = |at: usize, cell: Option<&[u8]>| match cell {
            _ if found.answers[at].is_err() => FieldStatus::Invalid,
            None => FieldStatus::NotFound,
            Some(_) if max_age.is_some_and(|max_age| ages[at] > max_age) => FieldStatus::OutsideMaxAge,
            // Only `null` begins with an n.
            Some([b'n', ..]) => FieldStatus::NullValue,
            Some(_) if column.masked => FieldStatus::NullValue,
            Some([b'[', b']']) if matches!(column.feast_type, FeastType::Array(_)) => FieldStatus::NullValue,
            Some(_) => FieldStatus::Present,
        };
        statuses.clear();
        out.extend_from_slice(b",{\"values\":[");
        let cells = &cells[number * customers..(number + 1) * customers];
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let status = status(at, *cell);
            match (cell, status, &column.feast_type) {
                (Some(text), FieldStatus::Present, FeastType::JsonText) => write_text(text, &mut out),
                (Some(text), FieldStatus::Present, FeastType::Array("String"))
                    if absent.find(text).is_some() =>
                {
                    write_texts(text, &mut out);
                }
                (Some(text), FieldStatus::Present, _) => out.extend_from_slice(text),
                _ => out.extend_from_slice(b"null"),
            }
            statuses.push(status);
        }
        // Neighboring features mostly have the same statuses and times.
        if tail.is_empty() || statuses != before {
            tail.clear();
            let time = |at: usize| match statuses[at] {
                FieldStatus::NotFound | FieldStatus::Invalid => NEVER,
                FieldStatus::Present | FieldStatus::NullValue | FieldStatus::OutsideMaxAge => {
                    as_of(found, &found.answers[at])
                }
            };
            write_tail(&statuses, time, &mut tail);
            before.clone_from(&statuses);
        }
        out.extend_from_slice(&tail);
    }
    out.extend_from_slice(b"]}");
    out
}

/// Appends JSON as a JSON string: of its characters only quotes and backslashes need escaping.
fn write_text(json: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut from = 0;
    for at in memchr::memchr2_iter(b'"', b'\\', json) {
        out.extend_from_slice(&json[from..at]);
        out.push(b'\\');
        from = at;
    }
    out.extend_from_slice(&json[from..]);
    out.push(b'"');
}

/// Appends an array of strings, with `""` for null, which Feast's type cannot hold.
fn write_texts(array: &[u8], out: &mut Vec<u8>) {
    out.push(b'[');
    let texts = elements(array).map(|text| if text == b"null" { b"\"\"".as_slice() } else { text });
    write_joined(texts, out, |text, out| out.extend_from_slice(text));
    out.push(b']');
}

/// Returns the text of each value, feature by feature; `None` for customers who are not in the view or do not
/// exist.
fn transpose<'a>(columns: &Columns, answers: &'a [Result<CustomerRead, ReadError>]) -> Vec<Option<&'a [u8]>> {
    let customers = answers.len();
    let mut cells = vec![None; columns.all.len() * customers];
    for (customer, answer) in answers.iter().enumerate() {
        let Ok(CustomerRead { row: Some(row), .. }) = answer else { continue };
        for view in &columns.views {
            let Some(array) = row.views.get(view.at) else { continue };
            let mut wanted = view.places.iter();
            let mut next = wanted.next();
            for (place, text) in elements(array).enumerate() {
                let Some((at, column)) = next else { break };
                if *at == place {
                    cells[column * customers + customer] = Some(text);
                    next = wanted.next();
                }
            }
        }
    }
    cells
}

/// Returns the age of an answer, from its `as_of` until now.
fn age(found: &FeastAnswers<'_>, answer: &Result<CustomerRead, ReadError>) -> Duration {
    let labeled = answer.as_ref().ok().and_then(|answer| answer.label.as_ref());
    let labeled = labeled.and_then(|label| label.as_of.parse().ok());
    (found.now - labeled.unwrap_or(found.served.manifest.as_of)).to_std().unwrap_or_default()
}

/// Returns the `as_of` of an answer.
fn as_of<'a>(found: &FeastAnswers<'a>, answer: &'a Result<CustomerRead, ReadError>) -> &'a str {
    let labeled = answer.as_ref().ok().and_then(|answer| answer.label.as_ref());
    labeled.map_or(found.served.as_of.as_str(), |label| &label.as_of)
}

/// Appends `],"statuses":["PRESENT"],"event_timestamps":["…"]}`.
fn write_tail<'a>(statuses: &[FieldStatus], time: impl Fn(usize) -> &'a str, out: &mut Vec<u8>) {
    let quoted = |text: &str, out: &mut Vec<u8>| {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    };
    out.extend_from_slice(b"],\"statuses\":[");
    write_joined(statuses, out, |status, out| quoted(status.as_str(), out));
    out.extend_from_slice(b"],\"event_timestamps\":[");
    write_joined(0..statuses.len(), out, |at, out| quoted(time(at), out));
    out.extend_from_slice(b"]}");
}
