//! Log lines in the Elastic Common Schema (ECS 8), one JSON object per line.

use std::fmt;

use serde_json::{Map, Value, json};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// Version of the schema.
pub(super) const VERSION: &str = "8.11.0";

/// Format of log lines in the schema. Fields that the schema does not know are in `labels`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EcsFormat;

impl<S, N> FormatEvent<S, N> for EcsFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = json!({
            "@timestamp": time,
            "log.level": metadata.level().as_str().to_lowercase(),
            "message": fields.message,
            "ecs.version": VERSION,
            "service.name": "larder",
            "log.logger": metadata.target(),
        });
        for (name, value) in fields.known {
            line[name] = value;
        }
        if !fields.labels.is_empty() {
            line["labels"] = fields.labels.into();
        }
        writeln!(out, "{line}")
    }
}

/// Names of fields in the schema, by the names that Larder logs.
const NAMES: [(&str, &str); 3] =
    [("client", "client.address"), ("error", "error.message"), ("request_id", "http.request.id")];

/// Fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    known: Vec<(&'static str, Value)>,
    labels: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else if let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == field.name()) {
            self.known.push((name, value));
        } else {
            self.labels.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}
