//! Rows, customer by customer, as an answer feature by feature. No value is decoded: each is found once in its row, and its text
//! copied once to its place.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;

use super::{
    JOIN_KEY,
    columns::{Columns, FeastType},
};
use crate::{
    feature::elements,
    http::select,
    serving::{Answer, ReadError, Served},
};

/// The time of values that have none.
const NEVER: &str = "1970-01-01T00:00:00Z";

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// It is there.
    Present,
    /// The customer is in the view, and has no such value, or the caller may not see it.
    Null,
    /// The customer is not in the view.
    NotFound,
    /// It is older than the configuration allows, and withheld.
    TooOld,
    /// No tier could tell.
    Unavailable,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::Null => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::TooOld => "OUTSIDE_MAX_AGE",
            // Feast's own word for a status that is not set.
            Self::Unavailable => "INVALID",
        }
    }
}

/// The answers of a request, by customer.
pub(super) struct Found<'a> {
    pub(super) served: &'a Served,
    pub(super) answers: &'a [Result<Answer, ReadError>],
    /// The ids as the client wrote them.
    pub(super) given: &'a [&'a RawValue],
    pub(super) now: DateTime<Utc>,
}

/// The whole answer.
pub(super) fn write(columns: &Columns, found: &Found<'_>) -> Vec<u8> {
    let customers = found.given.len();
    let cells = transpose(columns, found.answers);
    let ages: Vec<Duration> = found.answers.iter().map(|answer| age(found, answer)).collect();
    let mut out = Vec::with_capacity(256 + (columns.all.len() + 1) * (96 + customers * 48));
    out.extend_from_slice(b"{\"metadata\":{\"feature_names\":[");
    select::text(JOIN_KEY, &mut out);
    for column in &columns.all {
        out.push(b',');
        select::text(&column.name, &mut out);
    }
    out.extend_from_slice(b"]},\"results\":[{\"values\":[");
    list(found.given, &mut out, |id, out| out.extend_from_slice(id.get().as_bytes()));
    let mut before = vec![Status::Present; customers];
    let mut tail = Vec::new();
    write_tail(&before, |_| NEVER, &mut tail);
    out.extend_from_slice(&tail);
    tail.clear();
    let mut statuses = Vec::with_capacity(customers);
    for (number, column) in columns.all.iter().enumerate() {
        let cells = &cells[number * customers..(number + 1) * customers];
        let max_age = columns.views[column.view].max_age;
        statuses.clear();
        statuses.extend(cells.iter().zip(found.answers).zip(&ages).map(|((cell, answer), age)| match cell {
            _ if answer.is_err() => Status::Unavailable,
            None => Status::NotFound,
            Some(_) if max_age.is_some_and(|max_age| *age > max_age) => Status::TooOld,
            Some(b"null") => Status::Null,
            Some(_) if column.masked => Status::Null,
            Some(b"[]") if matches!(column.feast_type, FeastType::Array(_)) => Status::Null,
            Some(_) => Status::Present,
        }));
        out.extend_from_slice(b",{\"values\":[");
        let values = cells.iter().zip(&statuses);
        list(values, &mut out, |(cell, status), out| match cell {
            Some(text) if *status == Status::Present => write_value(text, &column.feast_type, out),
            _ => out.extend_from_slice(b"null"),
        });
        // Features beside each other mostly have the same statuses, and so the same times.
        if tail.is_empty() || statuses != before {
            tail.clear();
            let time = |at: usize| match statuses[at] {
                Status::NotFound | Status::Unavailable => NEVER,
                Status::Present | Status::Null | Status::TooOld => as_of(found, &found.answers[at]),
            };
            write_tail(&statuses, time, &mut tail);
            before.clone_from(&statuses);
        }
        out.extend_from_slice(&tail);
    }
    out.extend_from_slice(b"]}");
    out
}

/// A value in the form that Feast's type for it can hold.
fn write_value(text: &[u8], feast_type: &FeastType, out: &mut Vec<u8>) {
    match feast_type {
        FeastType::JsonText => select::text(&String::from_utf8_lossy(text), out),
        FeastType::Array("String") if memchr::memmem::find(text, b"null").is_some() => {
            out.push(b'[');
            let texts = elements(text).map(|text| if text == b"null" { b"\"\"".as_slice() } else { text });
            list(texts, out, |text, out| out.extend_from_slice(text));
            out.push(b']');
        }
        _ => out.extend_from_slice(text),
    }
}

/// The text of each value, feature by feature; nothing where the customer is not in the view, or is not known.
fn transpose<'a>(columns: &Columns, answers: &'a [Result<Answer, ReadError>]) -> Vec<Option<&'a [u8]>> {
    let customers = answers.len();
    let mut cells = vec![None; columns.all.len() * customers];
    for (customer, answer) in answers.iter().enumerate() {
        let Ok(Answer { row: Some(row), .. }) = answer else { continue };
        for view in &columns.views {
            let Some(Some(array)) = row.views.get(view.at) else { continue };
            let mut wanted = view.places.iter().peekable();
            for (place, text) in elements(array).enumerate() {
                if let Some((_, column)) = wanted.next_if(|(next, _)| *next == place) {
                    cells[column * customers + customer] = Some(text);
                }
                if wanted.peek().is_none() {
                    break;
                }
            }
        }
    }
    cells
}

/// How long ago the instant is that an answer describes.
fn age(found: &Found<'_>, answer: &Result<Answer, ReadError>) -> Duration {
    let labelled = answer.as_ref().ok().and_then(|answer| answer.label.as_ref());
    let labelled = labelled.and_then(|label| label.as_of.parse().ok());
    (found.now - labelled.unwrap_or(found.served.manifest.as_of)).to_std().unwrap_or_default()
}

/// The instant that an answer describes.
fn as_of<'a>(found: &Found<'a>, answer: &'a Result<Answer, ReadError>) -> &'a str {
    let labelled = answer.as_ref().ok().and_then(|answer| answer.label.as_ref());
    labelled.map_or(found.served.as_of.as_str(), |label| &label.as_of)
}

/// Appends `],"statuses":["PRESENT"],"event_timestamps":["…"]}`.
fn write_tail<'a>(statuses: &[Status], time: impl Fn(usize) -> &'a str, out: &mut Vec<u8>) {
    let quoted = |text: &str, out: &mut Vec<u8>| {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    };
    out.extend_from_slice(b"],\"statuses\":[");
    list(statuses, out, |status, out| quoted(status.as_str(), out));
    out.extend_from_slice(b"],\"event_timestamps\":[");
    list(0..statuses.len(), out, |at, out| quoted(time(at), out));
    out.extend_from_slice(b"]}");
}

/// Appends `items` with commas between them.
fn list<T>(items: impl IntoIterator<Item = T>, out: &mut Vec<u8>, write: impl Fn(T, &mut Vec<u8>)) {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
    }
}
