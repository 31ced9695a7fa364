//! The audit log: one line for each answer that shows personal features to the holder of a key, or that was
//! asked for by personal features, and one line for each export.
//!
//! A handler notes beside its answer what the answer reveals of which customers. The lifecycle, which knows
//! the request, writes the line under the target `larder::audit`. Values are never written.

use axum::{
    http::{HeaderValue, header},
    response::Response,
};

use crate::{
    config::{ANONYMOUS, Scope},
    feature::CustomerId,
    http::access::Access,
    serving::{CustomerRead, ReadError},
    telemetry,
};

/// The `Cache-Control` of answers with personal data, and of errors.
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The personal data that an answer reveals.
#[derive(Debug, Clone, Default)]
pub(crate) struct PersonalData {
    /// Personal features whose values the answer shows, such as `profile.email`.
    pub(crate) features: Vec<String>,
    /// Personal features that the request filters, orders or groups by, or that define a requested segment.
    pub(crate) asked_by: Vec<String>,
    /// Number of customers in the list of which the answer is a page.
    pub(crate) total: Option<u64>,
    /// The customers that the answer names.
    pub(crate) customers: Vec<CustomerId>,
}

/// An export for the audit log.
#[derive(Debug, Clone)]
pub(crate) struct ExportedList {
    /// Name of the list.
    pub(crate) list: String,
    /// The expression of an audience, unless personal values are quoted in it.
    pub(crate) expression: Option<String>,
    pub(crate) snapshot: String,
    /// Number of exported customers.
    pub(crate) rows: u64,
    /// Personal features with values in clear text.
    pub(crate) features: Vec<String>,
    /// Personal features with hashed values.
    pub(crate) hashed: Vec<String>,
    /// Personal features that the list is filtered or ordered by.
    pub(crate) asked_by: Vec<String>,
}

/// The subject of an audit line.
#[derive(Debug, Clone)]
pub(crate) enum AuditNote {
    Read(PersonalData),
    Export(ExportedList),
}

/// The request behind an audit line.
#[derive(Debug)]
pub(crate) struct AuditedRequest<'a> {
    /// Id of the line, which no caller can choose.
    pub(crate) audit_id: &'a HeaderValue,
    /// Id of the request, which the caller may have chosen.
    pub(crate) request_id: &'a HeaderValue,
    pub(crate) access: &'a Access,
    /// Address of the client.
    pub(crate) client: &'a str,
    pub(crate) route: &'a str,
}

/// Notes beside `response` the personal `features` and the `customers` that it shows to a caller with the
/// scope `pii`.
pub(crate) fn note<T: AsRef<str>, I: IntoIterator<Item = T>>(
    response: &mut Response,
    access: &Access,
    features: impl FnOnce() -> I,
    customers: impl FnOnce() -> Vec<CustomerId>,
) {
    if !access.has(Scope::Pii) {
        return;
    }
    let mut features = features().into_iter().peekable();
    if features.peek().is_none() {
        return;
    }
    // Callers without a key cannot be named in the audit log; their answers are only marked `no-store`.
    if access.key().is_none() {
        response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
        return;
    }
    let customers = customers();
    if !customers.is_empty() {
        let features = features.map(|feature| feature.as_ref().to_owned()).collect();
        let read = PersonalData { features, customers, ..PersonalData::default() };
        response.extensions_mut().insert(AuditNote::Read(read));
    }
}

/// Notes beside `response` the personal features that the caller asked by. The answer depends on personal
/// values also where it names no customer. Has no effect where nothing personal was asked by or is shown.
pub(crate) fn note_asked(response: &mut Response, access: &Access, read: PersonalData) {
    if read.asked_by.is_empty() && (read.features.is_empty() || read.customers.is_empty()) {
        return;
    }
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    if access.key().is_some() {
        response.extensions_mut().insert(AuditNote::Read(read));
    }
}

/// Notes beside `response` the personal `features` whose values it shows of no single customer. Has no effect
/// where there are none.
pub(crate) fn note_values(response: &mut Response, access: &Access, features: Vec<String>) {
    if features.is_empty() {
        return;
    }
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    if access.key().is_some() {
        let read = PersonalData { features, ..PersonalData::default() };
        response.extensions_mut().insert(AuditNote::Read(read));
    }
}

/// Returns the customers that `answers` found.
pub(crate) fn found(answers: &[Result<CustomerRead, ReadError>]) -> Vec<CustomerId> {
    let rows = answers.iter().flatten().filter_map(|answer| answer.row.as_ref());
    rows.map(|row| row.customer_id.clone()).collect()
}

impl PersonalData {
    /// Returns the personal data of an answer with figures that depend on the features `asked_by`.
    pub(crate) fn asked(asked_by: impl IntoIterator<Item = String>) -> Self {
        Self { asked_by: asked_by.into_iter().collect(), ..Self::default() }
    }
}

impl AuditNote {
    /// Writes the audit line of `request`.
    pub(crate) fn log(&self, request: &AuditedRequest<'_>) {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let AuditedRequest { audit_id, request_id, access, client, route } = request;
        let (audit_id, request_id) = (text(audit_id), text(request_id));
        let key = access.key().unwrap_or(ANONYMOUS);
        match self {
            Self::Read(read) => tracing::info!(
                target: telemetry::AUDIT,
                audit_id,
                request_id,
                key,
                client,
                route,
                features = read.features.join(","),
                asked_by = joined(&read.asked_by),
                total = read.total,
                customers = read.customers.len(),
                ids = serde_json::to_string(&read.customers).ok(),
                "personal data read"
            ),
            Self::Export(export) => tracing::info!(
                target: telemetry::AUDIT,
                audit_id,
                request_id,
                key,
                client,
                route,
                list = export.list,
                expression = export.expression,
                features = export.features.join(","),
                hashed = export.hashed.join(","),
                asked_by = joined(&export.asked_by),
                total = export.rows,
                customers = export.rows,
                snapshot = export.snapshot,
                "export"
            ),
        }
    }
}

/// Returns `names` as a list, or `None` where there are none.
fn joined(names: &[String]) -> Option<String> {
    if names.is_empty() { None } else { Some(names.join(",")) }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::telemetry::Metrics;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a log").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn audit_line_has_address_and_both_ids() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone());
        let metrics = Metrics::new().expect("metrics");
        let read = PersonalData::asked(["profile.email".to_owned()]);
        tracing::subscriber::with_default(log.finish(), || {
            AuditNote::Read(read).log(&AuditedRequest {
                audit_id: &HeaderValue::from_static("own"),
                request_id: &HeaderValue::from_static("theirs"),
                access: &Access::anonymous(&[Scope::Features], None, &metrics),
                client: "192.0.2.7",
                route: "/v1/audiences",
            });
        });
        let text = lines.0.lock().expect("a log").clone();
        let line: serde_json::Value = serde_json::from_slice(&text).expect("a line");
        for (field, value) in [
            ("audit_id", "own"),
            ("request_id", "theirs"),
            ("client", "192.0.2.7"),
            ("asked_by", "profile.email"),
        ] {
            assert_eq!(line[field], value, "{line}");
        }
    }
}
