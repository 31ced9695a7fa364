//! Counts and observations of one raw file.

use std::{collections::BTreeMap, hash::Hasher};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use super::{attributes::SeenAttributes, event_span::EventSpan, guests::GuestOrders};
use crate::{
    pipeline::raw::{
        check::{AFTER_NEWEST, LineError, LineFields},
        read::{FileRead, LinePlace},
    },
    snapshot::{BadCause, Warning},
};

/// Number of bad lines of one cause that are kept as examples.
pub(super) const EXAMPLES: usize = 5;
/// Length of the spans of time in which events are counted: 30 days in microseconds.
const SPAN: i64 = 30 * 86_400_000_000;

/// Outcome of reading one file.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct FileOutcome {
    /// Number of records, and of lines that belong to no record.
    pub(super) lines: u64,
    /// Number of lines as counted by `wc -l`.
    pub(super) physical_lines: u64,
    /// Warnings of the reader.
    pub(super) warnings: Vec<Warning>,
    /// Number of guest lines.
    pub(super) no_customer: u64,
    /// Number of lines of erased customers.
    pub(super) forgotten: u64,
    /// Bad lines by cause.
    pub(super) bad: BTreeMap<String, BadCause>,
    pub(super) newest: Option<i64>,
    pub(super) spans: BTreeMap<i64, EventSpan>,
    /// Span of the last event, and its events that are not yet in `spans`.
    #[serde(skip)]
    span: (i64, EventSpan),
    pub(super) has_created_at: bool,
    pub(super) extras: SeenAttributes,
    /// Hash of each guest line, to count equal lines. Other lines are compared where they are sorted.
    #[serde(skip)]
    pub(super) guest_lines: Vec<u64>,
    /// Guest lines by order.
    #[serde(skip)]
    pub(super) guest_orders: GuestOrders,
    /// Currencies, each with the place of its first line.
    pub(super) currencies: BTreeMap<String, String>,
}

impl FileOutcome {
    /// Counts `lines` bad lines, which begin at `line`.
    pub(super) fn bad(&mut self, line: LinePlace<'_>, error: LineError, lines: u64) {
        let cause = self.bad.entry(error.cause).or_default();
        cause.lines += lines;
        if cause.examples.len() < EXAMPLES {
            cause.examples.push(format!("{}, line {}: {}", line.file, line.line, error.found));
        }
    }

    /// Notes a currency, with the place of its first line.
    pub(super) fn note_currency(&mut self, currency: &str, line: LinePlace<'_>) {
        if !currency.is_empty() && !self.currencies.contains_key(currency) {
            self.currencies.insert(currency.to_owned(), format!("{}, line {}", line.file, line.line));
        }
    }

    /// Counts a line of an erased customer. No part of the line is kept, not even its time.
    pub(super) fn forget(&mut self) {
        self.forgotten += 1;
    }

    /// Counts an event.
    pub(super) fn event(&mut self, micros: i64) {
        self.newest = self.newest.max(Some(micros));
        let span = micros.div_euclid(SPAN);
        let event = EventSpan { events: 1, first: micros, last: micros };
        // Files are usually sorted by time.
        if self.span.0 == span {
            self.span.1.add(event);
        } else {
            let (before, events) = std::mem::replace(&mut self.span, (span, event));
            self.spans.entry(before).or_default().add(events);
        }
    }

    /// Counts a guest line.
    pub(super) fn guest(&mut self, fields: LineFields<'_>) {
        self.no_customer += 1;
        let mut hash = XxHash64::default();
        for text in fields.texts {
            hash.write_usize(text.len());
            hash.write(text.as_bytes());
        }
        self.guest_lines.push(hash.finish());
    }

    /// Returns whether a line is bad since its time is after the limit for events.
    pub(super) fn exceeds_newest(&self) -> bool {
        self.bad.keys().any(|cause| cause.ends_with(AFTER_NEWEST))
    }

    /// Adds what the last lines left open, and the figures of the reader.
    pub(super) fn finish(&mut self, read: FileRead) {
        let (span, events) = std::mem::take(&mut self.span);
        if events.events > 0 {
            self.spans.entry(span).or_default().add(events);
        }
        self.guest_orders.flush();
        (self.lines, self.physical_lines, self.warnings) = (read.lines, read.physical_lines, read.warnings);
    }
}
