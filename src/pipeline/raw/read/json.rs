//! Reader of JSON: lines of one object each, a list of objects, or objects over several lines.

use std::{
    borrow::Cow,
    io::{BufRead, Read},
};

use serde::{
    Deserializer as _,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::{Deserializer, value::RawValue};

use super::reader::{FileReader, not_utf8, unreadable};
use crate::{
    pipeline::raw::{
        check::{ExtraField, FieldKinds, LineError},
        error::RawError,
        header::ObjectKeys,
        json_path::{ListPath, Object, find, follow},
        object::JsonText,
        spec::TableSpec,
        table::{ColumnSpec, MAX_COLUMNS, RawType, Table, transaction_column},
    },
    snapshot::Warning,
};

/// Maximum bytes of a line. A longer line is taken for a file of another kind.
const LONGEST_LINE: u64 = 64 << 20;

/// State of reading one JSON file.
struct JsonState<'a> {
    lists: ListPath,
    /// Depth and path of each source of each column.
    paths: Vec<Vec<(usize, &'a str)>>,
    keys: ObjectKeys<'a>,
}

impl FileReader<'_> {
    /// Reads all objects of a JSON file.
    pub(super) fn read_json(&mut self, mut source: impl BufRead) -> Result<(), RawError> {
        let spec = self.spec;
        let lists = ListPath::new(spec).map_err(|why| RawError::Setting { table: spec.table.name(), why })?;
        let paths = spec
            .columns
            .iter()
            .map(|column| column.sources.iter().map(|source| lists.split(source)).collect());
        let mut state = JsonState { paths: paths.collect(), lists, keys: ObjectKeys::new(spec) };
        let start = source.fill_buf().map_err(|error| unreadable(&self.file, 0, &error))?;
        match JsonForm::of(start) {
            JsonForm::Lines => self.json_lines(source, &mut state)?,
            JsonForm::Documents => self.json_documents(source, &mut state)?,
            JsonForm::List => self.json_list(source, &mut state)?,
        }
        self.physical_lines += self.at;
        state.keys.check(&self.file)?;
        if state.keys.without_quantity > 0 {
            let message = format!(
                "{} lines of {} have no quantity and count as one item each",
                state.keys.without_quantity, self.file
            );
            self.warnings.push(Warning::new("no_quantity", message));
        }
        Ok(())
    }

    fn json_lines(&mut self, mut source: impl BufRead, state: &mut JsonState<'_>) -> Result<(), RawError> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match source.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes) {
                Ok(0) => return Ok(()),
                Ok(length) if length as u64 == LONGEST_LINE && !bytes.ends_with(b"\n") => {
                    let why = format!("the next line is longer than {} MiB", LONGEST_LINE >> 20);
                    return Err(unreadable(&self.file, self.at, &why));
                }
                Ok(_) => {}
                Err(error) => return Err(unreadable(&self.file, self.at, &error)),
            }
            self.at += 1;
            let Ok(text) = std::str::from_utf8(&bytes) else {
                self.bad(not_utf8("the line"), 1)?;
                continue;
            };
            let line = text.trim_start_matches('\u{feff}').trim();
            if !line.is_empty() {
                self.json_value(line, state)?;
            }
        }
    }

    /// Reads objects one after the other, each over any number of lines.
    fn json_documents(&mut self, source: impl Read, state: &mut JsonState<'_>) -> Result<(), RawError> {
        for value in Deserializer::from_reader(source).into_iter::<Box<RawValue>>() {
            let value = value.map_err(|error| unreadable(&self.file, self.at, &error))?;
            self.at += 1;
            self.json_value(value.get(), state)?;
        }
        Ok(())
    }

    /// Reads the elements of a list.
    fn json_list(&mut self, source: impl Read, state: &mut JsonState<'_>) -> Result<(), RawError> {
        let mut failed = Ok(());
        let mut list = Deserializer::from_reader(source);
        let file = self.file.clone().into_owned();
        let mut element = |value: Box<RawValue>| {
            self.at += 1;
            failed = self.json_value(value.get(), state);
            failed.is_ok()
        };
        let read = list.deserialize_seq(Elements(&mut element)).and_then(|()| list.end());
        failed?;
        read.map_err(|error| unreadable(&file, 0, &error))
    }

    /// Passes the lines of the object `text` to the sink.
    fn json_value(&mut self, text: &str, state: &mut JsonState<'_>) -> Result<(), RawError> {
        match serde_json::from_str::<Object<'_>>(text) {
            Ok(object) => self.json_lists(&mut vec![object], state),
            // The error for a value of another type quotes the value, which may be personal.
            Err(error) => {
                let found =
                    if error.is_data() { "found another value".to_owned() } else { error.to_string() };
                self.bad(LineError { cause: "not a JSON object".to_owned(), found }, 1)
            }
        }
    }

    /// Passes one line for each element of the innermost list to the sink. `objects` are the elements of the
    /// lists around, from the outside in.
    fn json_lists<'b>(
        &mut self,
        objects: &mut Vec<Object<'b>>,
        state: &mut JsonState<'_>,
    ) -> Result<(), RawError> {
        let depth = objects.len() - 1;
        state.keys.note(&objects[depth]);
        let Some(keys) = state.lists.0.get(depth).cloned() else { return self.object(objects, state) };
        let list =
            follow(&objects[depth], &keys).map(|value| serde_json::from_str::<Vec<&RawValue>>(value.get()));
        let Some(Ok(elements)) = list else {
            let cause = format!("there is no list `{}`", keys.join("."));
            return self.bad(LineError { cause, found: "found another value or none".to_owned() }, 1);
        };
        for element in elements {
            if let Ok(object) = serde_json::from_str::<Object<'b>>(element.get()) {
                objects.push(object);
                self.json_lists(objects, state)?;
                objects.truncate(depth + 1);
            } else {
                let cause = format!("an element of the list `{}` is not an object", keys.join("."));
                self.bad(LineError { cause, found: "found another value".to_owned() }, 1)?;
            }
        }
        Ok(())
    }

    /// Passes the line of the innermost of `objects` to the sink.
    fn object(&mut self, objects: &[Object<'_>], state: &mut JsonState<'_>) -> Result<(), RawError> {
        let spec = self.spec;
        let repeated = objects.iter().flat_map(|object| &object.repeated);
        if let Some(name) = repeated.map(|name| &*name.0).find(|name| spec.reads(name)) {
            // A key that is not in the configuration may be a personal value.
            let key = if spec.names(name) { format!("the key `{name}`") } else { "a key".to_owned() };
            let found = "found two values".to_owned();
            return self.bad(LineError { cause: format!("{key} occurs twice in one object"), found }, 1);
        }
        let mut texts = [const { Cow::Borrowed("") }; MAX_COLUMNS];
        let (mut kind, mut present) = (FieldKinds::default(), 0_u32);
        for (at, (text, column)) in texts.iter_mut().zip(&spec.columns).enumerate() {
            let value = state.paths[at].iter().find_map(|(depth, path)| find(objects.get(*depth)?, path));
            match value.map(scalar) {
                None => match self.folder_column(column) {
                    Some(folder) => *text = Cow::Borrowed(folder),
                    None => continue,
                },
                Some((found, Some(value))) => {
                    let is_number = matches!(found, RawType::Integer | RawType::Number);
                    kind.typed |= u32::from(is_number && column.kind != RawType::Timestamp) << at;
                    *text = value;
                }
                Some((found, None)) => return self.bad(no_scalar(column, found), 1),
            }
            present |= 1 << at;
        }
        if spec.table == Table::Transactions {
            let has = |at: usize| present >> at & 1 == 1;
            kind.is_total = has(transaction_column::AMOUNT)
                && (spec.prefers_amount || !has(transaction_column::UNIT_PRICE));
            let quantity = transaction_column::QUANTITY;
            if !has(quantity) && spec.columns[quantity].default.is_none() {
                texts[quantity] = Cow::Borrowed("1");
                state.keys.without_quantity += 1;
            }
        }
        state.keys.note_found(present);
        let kept = if spec.keeps_extras() {
            attributes(spec, &objects[objects.len() - 1]).map(|mut kept: Vec<ExtraField<'_>>| {
                for column in &spec.renamed {
                    kept.extend(nested_attribute(spec, column, objects, &state.lists));
                }
                for folder in self.folder_attributes() {
                    kept.push(folder);
                }
                kept
            })
        } else {
            Some(Vec::new())
        };
        let Some(kept) = kept else { return self.bad(not_utf8("the line"), 1) };
        let mut fields = [""; MAX_COLUMNS];
        fields.iter_mut().zip(&texts).for_each(|(field, text)| *field = text);
        self.record(&fields, kind, kept)
    }
}

/// Returns the error for a value of `column` that is not a scalar.
fn no_scalar(column: &ColumnSpec, found: RawType) -> LineError {
    LineError {
        cause: format!("column `{}`: expected {}", column.label(), column.kind.expected()),
        found: if found == RawType::Text {
            "found a string with half of a surrogate pair".to_owned()
        } else {
            "found a list or an object".to_owned()
        },
    }
}

/// Returns the attribute that `column` names by a path.
fn nested_attribute<'a, 'b: 'a>(
    spec: &TableSpec,
    column: &'a ColumnSpec,
    objects: &[Object<'b>],
    lists: &ListPath,
) -> Option<ExtraField<'a>> {
    let innermost = &objects[objects.len() - 1];
    if innermost.members.iter().any(|(key, _)| column.is_named(&key.0)) {
        return None;
    }
    let value = column.sources.iter().find_map(|source| {
        let (depth, path) = lists.split(source);
        find(objects.get(depth)?, path)
    })?;
    let (kind, text) = match scalar(value) {
        (_, None) => (RawType::Text, Cow::Borrowed(value.get())),
        (kind, Some(text)) => (kind, text),
    };
    Some(ExtraField { name: &column.name, text, kind, declared: spec.declared(&column.name) })
}

/// The form of a JSON file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonForm {
    /// One object a line.
    Lines,
    /// Objects over several lines.
    Documents,
    /// One list of objects.
    List,
}

impl JsonForm {
    /// Returns the form of a file that begins with `start`.
    pub(crate) fn of(start: &[u8]) -> Self {
        let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
        match text.first() {
            Some(b'[') => Self::List,
            Some(b'{') => {
                let Some(end) = memchr::memchr(b'\n', text) else { return Self::Lines };
                let first = serde_json::from_slice::<serde::de::IgnoredAny>(&text[..end]);
                if first.is_err_and(|error| error.is_eof()) { Self::Documents } else { Self::Lines }
            }
            _ => Self::Lines,
        }
    }
}

/// Passes the elements of a list to a function, until it returns false.
struct Elements<'a>(&'a mut dyn FnMut(Box<RawValue>) -> bool);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            if !(self.0)(element) {
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Returns the attributes of a customer's `object`, or `None` if a string has half of a surrogate pair.
fn attributes<'a, 'b: 'a>(spec: &'b TableSpec, object: &'a Object<'_>) -> Option<Vec<ExtraField<'a>>> {
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
