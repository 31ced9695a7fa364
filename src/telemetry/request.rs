//! The access log: one line for each request, in the form of the other lines of the log. It is written here, field by field, since
//! it is most of what a log costs.

use std::{
    cell::RefCell,
    io::Write,
    sync::{Arc, OnceLock},
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::DateTime;
use tracing::Level;

use super::log::Gathered;
use crate::config::LogFormat;

/// The target of these lines, by which a filter may leave them out.
const TARGET: &str = "larder::request";

static LOG: OnceLock<(Arc<Gathered>, LogFormat)> = OnceLock::new();

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// Its id.
    pub request_id: &'a str,
    /// Its method.
    pub method: &'a str,
    /// The template of its path: ids are personal data.
    pub route: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// The name of the key it came with.
    pub key: Option<&'a str>,
    /// How long it took, in microseconds.
    pub micros: u64,
}

/// Sends the lines to `lines`.
pub(super) fn start(lines: &Arc<Gathered>, format: LogFormat) {
    // A log is set up once.
    let _ = LOG.set((Arc::clone(lines), format));
}

impl Answered<'_> {
    /// Writes the line, unless there is no log, or one without it.
    pub fn log(&self) {
        thread_local!(static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        let Some((lines, format)) = LOG.get() else { return };
        if !tracing::enabled!(target: TARGET, Level::INFO) {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            match format {
                LogFormat::Text => self.text(now, line),
                LogFormat::Json => self.json(now, line),
            }
            let _ = lines.as_ref().write(line);
        });
    }

    fn text(&self, time: impl FnOnce(&mut Vec<u8>), line: &mut Vec<u8>) {
        time(line);
        line.extend_from_slice(b"  INFO request request_id=");
        quoted(self.request_id, line);
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
        line.extend_from_slice(b" micros=");
        number(self.micros, line);
        line.push(b'\n');
    }

    fn json(&self, time: impl FnOnce(&mut Vec<u8>), line: &mut Vec<u8>) {
        line.extend_from_slice(b"{\"timestamp\":\"");
        time(line);
        line.extend_from_slice(b"\",\"level\":\"INFO\",\"message\":\"request\",\"request_id\":");
        quoted(self.request_id, line);
        line.extend_from_slice(b",\"method\":");
        quoted(self.method, line);
        line.extend_from_slice(b",\"route\":");
        quoted(self.route, line);
        line.extend_from_slice(b",\"status\":");
        number(self.status.into(), line);
        if let Some(key) = self.key {
            line.extend_from_slice(b",\"key\":");
            quoted(key, line);
        }
        line.extend_from_slice(b",\"micros\":");
        number(self.micros, line);
        line.extend_from_slice(b",\"target\":");
        quoted(TARGET, line);
        line.extend_from_slice(b"}\n");
    }
}

fn number(number: u64, line: &mut Vec<u8>) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `text` in quotes, on one line.
fn quoted(text: &str, line: &mut Vec<u8>) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        line.push(b'"');
        line.extend_from_slice(text.as_bytes());
        line.push(b'"');
    } else {
        // A text always has a form in JSON.
        let _ = serde_json::to_writer(line, text);
    }
}

/// Appends the time, in UTC. Its seconds are written out once a second.
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
    fn lines_have_the_form_of_the_log() {
        let request = Answered {
            request_id: "a\"b\\c",
            method: "GET",
            route: "/v1/customers/{id}",
            status: 200,
            key: Some("shop\nfloor"),
            micros: 17,
        };
        let time = |line: &mut Vec<u8>| line.extend_from_slice(b"2026-01-02T03:04:05.000006Z");
        let (mut text, mut json) = (Vec::new(), Vec::new());
        request.text(time, &mut text);
        request.json(time, &mut json);
        let expected = concat!(
            r#"2026-01-02T03:04:05.000006Z  INFO request request_id="a\"b\\c" method="GET" route="/v1/customers/{id}" "#,
            r#"status=200 key="shop\nfloor" micros=17"#,
            "\n"
        );
        assert_eq!(String::from_utf8_lossy(&text), expected);
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        let expected = serde_json::json!({
            "timestamp": "2026-01-02T03:04:05.000006Z", "level": "INFO", "message": "request", "request_id": "a\"b\\c",
            "method": "GET", "route": "/v1/customers/{id}", "status": 200, "key": "shop\nfloor", "micros": 17, "target": TARGET,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn times_are_those_of_the_clock() {
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
