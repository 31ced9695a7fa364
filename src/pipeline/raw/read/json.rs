//! Reader of JSON lines files.

use std::{
    borrow::Cow,
    io::{BufRead, Read},
};

use serde_json::value::RawValue;

use super::reader::{FileReader, not_utf8, unreadable};
use crate::pipeline::raw::{
    check::{ExtraField, LineError, LineFields},
    error::RawError,
    header::ObjectKeys,
    object::{JsonObject, JsonText},
    spec::TableSpec,
    table::{MAX_COLUMNS, RawType},
};

/// Maximum bytes of a line. A longer line is taken for a file of another kind.
const LONGEST_LINE: u64 = 64 << 20;

impl FileReader<'_> {
    /// Reads all lines of a JSON lines file.
    pub(super) fn read_json(&mut self, mut source: impl BufRead) -> Result<(), RawError> {
        let mut bytes = Vec::new();
        let mut keys = ObjectKeys::new(self.spec);
        loop {
            bytes.clear();
            match source.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes) {
                Ok(0) => break,
                Ok(length) if length as u64 == LONGEST_LINE && !bytes.ends_with(b"\n") => {
                    let why = format!("the next line is longer than {} MiB", LONGEST_LINE >> 20);
                    return Err(unreadable(self.file, self.at, &why));
                }
                Ok(_) => {}
                Err(error) => return Err(unreadable(self.file, self.at, &error)),
            }
            self.at += 1;
            let Ok(text) = std::str::from_utf8(&bytes) else {
                self.bad(not_utf8("the line"), 1)?;
                continue;
            };
            let line = text.trim_start_matches('\u{feff}').trim();
            if line.is_empty() {
                continue;
            }
            match serde_json::from_str::<JsonObject<'_, &RawValue>>(line) {
                Ok(object) => self.object(&object, &mut keys)?,
                Err(_) if self.at == 1 && line.starts_with('[') => {
                    let why = "it is one JSON array; expected a JSON object on each line";
                    return Err(unreadable(self.file, 0, &why));
                }
                // The error for a value of another type quotes the value, which may be personal.
                Err(error) => {
                    let found =
                        if error.is_data() { "found another value".to_owned() } else { error.to_string() };
                    self.bad(LineError { cause: "not a JSON object".to_owned(), found }, 1)?;
                }
            }
        }
        self.physical_lines = self.at;
        keys.check(self.file)
    }

    /// Passes the fields of `object` to the sink.
    fn object(
        &mut self,
        object: &JsonObject<'_, &RawValue>,
        keys: &mut ObjectKeys<'_>,
    ) -> Result<(), RawError> {
        keys.note(object);
        if let Some(name) = object.repeated.iter().map(|name| &*name.0).find(|name| self.spec.reads(name)) {
            // A key that is not in the configuration may be a personal value.
            let key = if self.spec.names(name) { format!("the key `{name}`") } else { "a key".to_owned() };
            let found = "found two values".to_owned();
            return self.bad(LineError { cause: format!("{key} occurs twice in one object"), found }, 1);
        }
        let mut texts: [Cow<'_, str>; MAX_COLUMNS] = [const { Cow::Borrowed("") }; MAX_COLUMNS];
        let mut typed = 0;
        for (at, (text, column)) in texts.iter_mut().zip(&self.spec.columns).enumerate() {
            match object.get(&column.source).map(|value| scalar(value)) {
                None => {}
                Some((kind, Some(found))) => {
                    let is_number = matches!(kind, RawType::Integer | RawType::Number);
                    typed |= u32::from(is_number && column.kind != RawType::Timestamp) << at;
                    *text = found;
                }
                Some((kind, None)) => {
                    let cause = format!("column `{}`: expected {}", column.source, column.kind.expected());
                    let found = if kind == RawType::Text {
                        "found a string with half of a surrogate pair"
                    } else {
                        "found a list or an object"
                    };
                    return self.bad(LineError { cause, found: found.to_owned() }, 1);
                }
            }
        }
        let mut fields = [""; MAX_COLUMNS];
        fields.iter_mut().zip(&texts).for_each(|(field, text)| *field = text);
        let Some(kept) =
            (if self.spec.keeps_extras() { attributes(self.spec, object) } else { Some(Vec::new()) })
        else {
            return self.bad(not_utf8("the line"), 1);
        };
        self.record(LineFields { texts: &fields[..self.spec.columns.len()], typed }, kept)
    }
}

/// Returns the attributes of a customer's `object`, or `None` if a string has half of a surrogate pair.
fn attributes<'a>(spec: &'a TableSpec, object: &'a JsonObject<'_, &RawValue>) -> Option<Vec<ExtraField<'a>>> {
    let mut kept = Vec::with_capacity(object.members.len());
    for (JsonText(key), value) in &object.members {
        for name in spec.kept_as(key) {
            let (kind, text) = match scalar(value) {
                (RawType::Text, None) => return None,
                // Lists and objects are kept as JSON text.
                (_, None) => (RawType::Text, Cow::Borrowed(value.get())),
                (kind, Some(text)) => (kind, text),
            };
            kept.push(ExtraField { name, text, kind, declared: spec.declared(name) });
        }
    }
    Some(kept)
}

/// Returns the type and the text of a JSON value. The text of null is empty. Lists and objects, and strings
/// that are not Unicode, have no text; the type of a list or an object is not [`RawType::Text`].
fn scalar(value: &RawValue) -> (RawType, Option<Cow<'_, str>>) {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'"') => (RawType::Text, serde_json::from_str::<JsonText<'_>>(text).ok().map(|text| text.0)),
        Some(b'n') => (RawType::Text, Some(Cow::Borrowed(""))),
        Some(b't' | b'f') => (RawType::Boolean, Some(Cow::Borrowed(text))),
        Some(b'[' | b'{') => (RawType::Number, None),
        _ if text.contains(['.', 'e', 'E']) => (RawType::Number, Some(Cow::Borrowed(text))),
        _ => (RawType::Integer, Some(Cow::Borrowed(text))),
    }
}
