//! Access log: one line per HTTP request, in the format of the other log lines.
//!
//! The lines are formatted here, field by field, instead of by `tracing`: most log lines are access log
//! lines, so their cost dominates the cost of the log.

use std::{
    cell::{Cell, RefCell},
    io::Write,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::DateTime;
use tracing::Level;

use super::{ecs, line_buffer::LineBuffer, traces::TraceId};
use crate::config::{LogConfig, LogFormat};

/// Log target of the access log, for filters.
const TARGET: &str = "larder::request";

/// The access log; empty until the log is started.
static LOG: OnceLock<AccessLog> = OnceLock::new();

/// Least status of an answer that is logged whatever the share.
const FAILURE: u16 = 400;

/// Destination and settings of the access log.
#[derive(Debug)]
struct AccessLog {
    lines: Arc<LineBuffer>,
    format: LogFormat,
    /// Share of the successful requests that are logged: the bits of a floating-point number.
    share: AtomicU64,
}

/// Line of the access log.
#[derive(Debug, Clone, Copy)]
pub struct AccessLogEntry<'a> {
    /// Id of the request.
    pub request_id: &'a str,
    /// Address of the client.
    pub client: &'a str,
    /// HTTP method.
    pub method: &'a str,
    /// Route template instead of the path, since the path may contain a customer id.
    pub route: &'a str,
    /// HTTP status of the response.
    pub status: u16,
    /// Name of the caller's API key.
    pub key: Option<&'a str>,
    /// Trace of the caller, or else the trace that the request is recorded in.
    pub trace_id: Option<TraceId>,
    /// Duration of the request in microseconds.
    pub micros: u64,
}

/// Starts the access log. Lines are appended to `lines`.
pub(super) fn start(lines: &Arc<LineBuffer>, config: &LogConfig) {
    let share = AtomicU64::new(config.requests.to_bits());
    let log = AccessLog { lines: Arc::clone(lines), format: config.format, share };
    // The log is started once per process; later calls have no effect.
    let _ = LOG.set(log);
}

/// Changes the share of the requests that are logged.
pub(super) fn set_share(share: f64) {
    if let Some(log) = LOG.get() {
        log.share.store(share.to_bits(), Ordering::Relaxed);
    }
}

/// Checks whether the next request of this thread is among the `share` that is logged.
fn is_sampled(share: f64) -> bool {
    thread_local!(static DUE: Cell<f64> = const { Cell::new(0.0) });
    let due = DUE.get() + share;
    DUE.set(due - due.floor());
    due >= 1.0
}

impl AccessLogEntry<'_> {
    /// Writes the line, unless the log is not started or the log filter excludes the access log.
    pub fn log(&self) {
        thread_local!(static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        let Some(AccessLog { lines, format, share }) = LOG.get() else { return };
        let share = f64::from_bits(share.load(Ordering::Relaxed));
        if (self.status < FAILURE && !is_sampled(share)) || !tracing::enabled!(target: TARGET, Level::INFO) {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            match format {
                LogFormat::Text => self.text(now, line),
                LogFormat::Json => self.json(now, line),
                LogFormat::Ecs => self.ecs(now, line),
            }
            let _ = lines.as_ref().write(line);
        });
    }

    fn text(&self, time: impl FnOnce(&mut Vec<u8>), line: &mut Vec<u8>) {
        time(line);
        line.extend_from_slice(b"  INFO request request_id=");
        quoted(self.request_id, line);
        line.extend_from_slice(b" client=");
        line.extend_from_slice(self.client.as_bytes());
        line.extend_from_slice(b" method=");
        quoted(self.method, line);
        line.extend_from_slice(b" route=");
        quoted(self.route, line);
        line.extend_from_slice(b" status=");
        number(self.status.into(), line);
        if let Some(key) = self.key {
            line.extend_from_slice(b" key=");
            quoted(key, line);
        }
        if let Some(trace_id) = self.trace_id {
            let _ = write!(line, " trace_id={trace_id}");
        }
        line.extend_from_slice(b" micros=");
        number(self.micros, line);
        line.push(b'\n');
    }

    fn json(&self, time: impl FnOnce(&mut Vec<u8>), line: &mut Vec<u8>) {
        line.extend_from_slice(b"{\"timestamp\":\"");
        time(line);
        line.extend_from_slice(b"\",\"level\":\"INFO\",\"message\":\"request\"");
        self.members(["request_id", "client", "method", "route", "status", "key", "trace_id"], line);
        line.extend_from_slice(b",\"micros\":");
        number(self.micros, line);
        line.extend_from_slice(b",\"target\":");
        quoted(TARGET, line);
        line.extend_from_slice(b"}\n");
    }

    fn ecs(&self, time: impl FnOnce(&mut Vec<u8>), line: &mut Vec<u8>) {
        line.extend_from_slice(b"{\"@timestamp\":\"");
        time(line);
        line.extend_from_slice(b"\",\"log.level\":\"info\",\"message\":\"request\",\"ecs.version\":");
        quoted(ecs::VERSION, line);
        line.extend_from_slice(b",\"service.name\":\"larder\",\"log.logger\":");
        quoted(TARGET, line);
        let names = [
            "http.request.id",
            "client.address",
            "http.request.method",
            "http.route",
            "http.response.status_code",
            "user.name",
            "trace.id",
        ];
        self.members(names, line);
        // The schema has durations in nanoseconds.
        line.extend_from_slice(b",\"event.duration\":");
        number(self.micros.saturating_mul(1_000), line);
        line.extend_from_slice(b"}\n");
    }

    /// Appends the members of a JSON object that differ between formats by name alone: request id, client,
    /// method, route, status, and the key and the trace if there are any.
    fn members(&self, names: [&str; 7], line: &mut Vec<u8>) {
        let [id, client, method, route, status, key, trace] = names;
        let mut text = |name: &str, value: &str| {
            member(name, line);
            quoted(value, line);
        };
        text(id, self.request_id);
        text(client, self.client);
        text(method, self.method);
        text(route, self.route);
        if let Some(value) = self.key {
            text(key, value);
        }
        if let Some(trace_id) = self.trace_id {
            member(trace, line);
            let _ = write!(line, "\"{trace_id}\"");
        }
        member(status, line);
        number(self.status.into(), line);
    }
}

/// Appends a comma and the name of a member. Names need no escaping.
fn member(name: &str, line: &mut Vec<u8>) {
    line.extend_from_slice(b",\"");
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

fn number(number: u64, line: &mut Vec<u8>) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `text` as a quoted string, with line breaks escaped.
fn quoted(text: &str, line: &mut Vec<u8>) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        line.push(b'"');
        line.extend_from_slice(text.as_bytes());
        line.push(b'"');
    } else {
        // Cannot fail: every string has a JSON form, and writing to memory does not fail.
        let _ = serde_json::to_writer(line, text);
    }
}

/// Appends the current time in UTC. The part down to the second is formatted once per second.
fn now(line: &mut Vec<u8>) {
    thread_local!(static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) });
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() {
            *second = since.as_secs();
            let time = i64::try_from(*second).ok().and_then(|second| DateTime::from_timestamp(second, 0));
            *text = time.unwrap_or_default().format("%Y-%m-%dT%H:%M:%S").to_string();
        }
        line.extend_from_slice(text.as_bytes());
    });
    let _ = write!(line, ".{:06}Z", since.subsec_micros());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_log_lines_match_text_and_json_format() {
        let request = AccessLogEntry {
            request_id: "a\"b\\c",
            client: "192.0.2.7",
            method: "GET",
            route: "/v1/customers/{id}",
            status: 200,
            key: Some("shop\nfloor"),
            trace_id: Some(TraceId::from(0x4bf9)),
            micros: 17,
        };
        let time = |line: &mut Vec<u8>| line.extend_from_slice(b"2026-01-02T03:04:05.000006Z");
        let (mut text, mut json) = (Vec::new(), Vec::new());
        request.text(time, &mut text);
        request.json(time, &mut json);
        let expected = concat!(
            r#"2026-01-02T03:04:05.000006Z  INFO request request_id="a\"b\\c" client=192.0.2.7 "#,
            r#"method="GET" route="/v1/customers/{id}" status=200 key="shop\nfloor" "#,
            r#"trace_id=00000000000000000000000000004bf9 micros=17"#,
            "\n"
        );
        assert_eq!(String::from_utf8_lossy(&text), expected);
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        let expected = serde_json::json!({
            "timestamp": "2026-01-02T03:04:05.000006Z", "level": "INFO", "message": "request",
            "request_id": "a\"b\\c", "client": "192.0.2.7", "method": "GET",
            "route": "/v1/customers/{id}", "status": 200, "key": "shop\nfloor",
            "trace_id": "00000000000000000000000000004bf9", "micros": 17,
            "target": TARGET,
        });
        assert_eq!(json, expected);
        let mut line = Vec::new();
        request.ecs(time, &mut line);
        let line: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
        let expected = serde_json::json!({
            "@timestamp": "2026-01-02T03:04:05.000006Z", "log.level": "info", "message": "request",
            "ecs.version": ecs::VERSION, "service.name": "larder", "log.logger": TARGET,
            "http.request.id": "a\"b\\c", "client.address": "192.0.2.7", "http.request.method": "GET",
            "http.route": "/v1/customers/{id}", "http.response.status_code": 200,
            "user.name": "shop\nfloor", "trace.id": "00000000000000000000000000004bf9",
            "event.duration": 17_000,
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn share_of_requests_is_exact() {
        let count = |share: f64| (0..1_000).filter(|_| is_sampled(share)).count();
        assert_eq!([0.0, 0.125, 0.5, 1.0].map(count), [0, 125, 500, 1_000]);
    }

    #[test]
    fn access_log_time_is_the_current_time() {
        for _ in 0..3 {
            let mut text = Vec::new();
            let before = chrono::Utc::now();
            now(&mut text);
            let text = String::from_utf8(text).expect("text");
            assert_eq!(text.len(), "2026-01-02T03:04:05.000006Z".len(), "{text}");
            let found: DateTime<chrono::Utc> = text.parse().expect("a time");
            let off = found - before;
            assert!(
                off >= chrono::TimeDelta::microseconds(-1) && off < chrono::TimeDelta::seconds(10),
                "{text}"
            );
        }
    }
}
