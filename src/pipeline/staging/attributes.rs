//! Attributes of customers on the way through the staging: which ones the files have, and how a line stages
//! them.
//!
//! A staged attribute is the number of its name, the length of its text, and the text. Numbers are written
//! in ASCII characters, so that all attributes of a line together are a text. Each file numbers the names in
//! the order in which its lines have them; a build numbers the names of all files.

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, StringArray, StringBuilder};
use serde::{Deserialize, Serialize};

use crate::pipeline::raw::{RawType, TableSpec, check::ExtraField, value::trimmed};

/// Bits of a number in each of its characters.
const BITS: u32 = 6;
/// Bit of a character that tells that the number continues.
const CONTINUES: u8 = 1 << BITS;

/// Numbers of names, with the name at each place of the last line. Lines of a file usually have the same
/// columns in the same order.
#[derive(Debug, Default, Clone)]
struct ByPlace {
    numbers: HashMap<String, usize>,
    places: Vec<(String, usize)>,
}

impl ByPlace {
    /// Returns the number of the attribute `name`, which is at index `place` of its line. Calls `assign` for
    /// a new name.
    fn number(&mut self, place: usize, name: &str, assign: impl FnOnce() -> usize) -> usize {
        if let Some((known, number)) = self.places.get(place)
            && known == name
        {
            return *number;
        }
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None => *self.numbers.entry(name.to_owned()).or_insert_with(assign),
        };
        if self.places.len() <= place {
            self.places.resize(place + 1, (String::new(), 0));
        }
        self.places[place] = (name.to_owned(), number);
        number
    }
}

/// Encoder of the attributes of the lines of one file.
#[derive(Debug, Default)]
pub(super) struct AttributeEncoder {
    names: Vec<String>,
    numbers: ByPlace,
    encoded: String,
}

impl AttributeEncoder {
    /// Returns the attributes of a line as they are staged, without those that have no text.
    pub(super) fn encode(&mut self, extras: &[ExtraField<'_>]) -> &str {
        self.encoded.clear();
        for (place, extra) in extras.iter().enumerate() {
            let text = trimmed(&extra.text);
            if !text.is_empty() {
                let next = self.names.len();
                let number = self.numbers.number(place, extra.name, || next);
                if number == next {
                    self.names.push(extra.name.to_owned());
                }
                push_attribute(number, text, &mut self.encoded);
            }
        }
        &self.encoded
    }

    /// Returns the names in the order of their numbers.
    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}

/// Numbers of the names of attributes in all files.
#[derive(Debug, Default)]
pub(super) struct AttributeNames {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
}

impl AttributeNames {
    /// Adds the names of a file, and returns the number of each.
    pub(super) fn add(&mut self, names: &[String]) -> Vec<usize> {
        let number = |name: &String| {
            let next = self.names.len();
            let number = *self.numbers.entry(name.clone()).or_insert(next);
            if number == next {
                self.names.push(name.clone());
            }
            number
        };
        names.iter().map(number).collect()
    }

    /// Returns the names in the order of their numbers.
    pub(super) fn into_names(self) -> Vec<String> {
        self.names
    }
}

/// Returns the staged attributes `texts` of the lines of a file with the numbers that `numbers` gives the
/// names of the file.
pub(super) fn renumbered(texts: &StringArray, numbers: &[usize]) -> StringArray {
    let mut encoded = String::new();
    let mut all = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
    for row in 0..texts.len() {
        encoded.clear();
        for (name, text) in StagedAttributes(texts.value(row)) {
            push_attribute(numbers.get(name).copied().unwrap_or(name), text, &mut encoded);
        }
        all.append_value(&encoded);
    }
    all.finish()
}

/// Attributes of a staged line: the number of the name, and the text.
#[derive(Debug)]
pub(super) struct StagedAttributes<'a>(pub(super) &'a str);

impl<'a> Iterator for StagedAttributes<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let name = take_number(&mut self.0)?;
        let length = take_number(&mut self.0)?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((name, text))
    }
}

/// Appends an attribute: the number of its name, the length of the text, and the text.
fn push_attribute(number: usize, text: &str, out: &mut String) {
    push_number(number, out);
    push_number(text.len(), out);
    out.push_str(text);
}

/// Appends `number`, the lowest bits first.
fn push_number(mut number: usize, out: &mut String) {
    loop {
        #[expect(clippy::cast_possible_truncation, reason = "the lowest bits")]
        let bits = number as u8 & (CONTINUES - 1);
        number >>= BITS;
        if number == 0 {
            return out.push(char::from(bits));
        }
        out.push(char::from(bits | CONTINUES));
    }
}

/// Takes a number from the front of `text`; `None` at the end.
fn take_number(text: &mut &str) -> Option<usize> {
    let mut number = 0;
    for (at, byte) in text.bytes().enumerate() {
        number |= usize::from(byte & (CONTINUES - 1)) << (BITS * u32::try_from(at).ok()?);
        if byte & CONTINUES == 0 {
            *text = &text[at + 1..];
            return Some(number);
        }
    }
    None
}

/// Attributes in the order of their first line, with the types of the values.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct SeenAttributes {
    seen: Vec<(String, BTreeSet<RawType>)>,
    #[serde(skip)]
    numbers: ByPlace,
}

impl SeenAttributes {
    /// Returns the names and types.
    pub(crate) fn list(&self) -> &[(String, BTreeSet<RawType>)] {
        &self.seen
    }

    /// Returns the types of the attribute `name`, which is at index `place` of its line.
    fn types(&mut self, place: usize, name: &str) -> &mut BTreeSet<RawType> {
        let next = self.seen.len();
        let at = self.numbers.number(place, name, || next);
        if at == next {
            self.seen.push((name.to_owned(), BTreeSet::new()));
        }
        &mut self.seen[at].1
    }

    /// Notes the names and types of the attributes of a line.
    pub(super) fn note(&mut self, extras: &[ExtraField<'_>]) {
        for (place, extra) in extras.iter().enumerate() {
            let types = self.types(place, extra.name);
            let text = extra.text.trim();
            if !text.is_empty() {
                types.insert(if TableSpec::fits(extra.kind, text) { extra.kind } else { RawType::Text });
            }
        }
    }

    /// Adds the attributes of another file.
    pub(super) fn add(&mut self, other: Self) {
        for (place, (name, types)) in other.seen.into_iter().enumerate() {
            self.types(place, &name).extend(types);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn field<'a>(name: &'a str, text: &'a str) -> ExtraField<'a> {
        ExtraField { name, text: Cow::Borrowed(text), kind: RawType::Text, declared: None }
    }

    #[test]
    fn staged_attributes_are_read_as_written() {
        let long = "ü\u{0}\n".repeat(5_000);
        let columns: Vec<String> = (0..200).map(|at| format!("column {at}")).collect();
        let lines: [Vec<ExtraField<'_>>; 3] = [
            columns.iter().map(|name| field(name, name)).collect(),
            columns.iter().rev().step_by(3).map(|name| field(name, " x ")).collect(),
            vec![field("new", &long), field("column 7", " "), field("column 199", "1")],
        ];
        let mut encoders = [AttributeEncoder::default(), AttributeEncoder::default()];
        let encoded: Vec<String> =
            lines.iter().enumerate().map(|(at, line)| encoders[at % 2].encode(line).to_owned()).collect();
        let mut all = AttributeNames::default();
        let numbers = encoders.map(|encoder| all.add(&encoder.into_names()));
        let names = all.into_names();
        for (at, line) in lines.iter().enumerate() {
            let staged = renumbered(&StringArray::from(vec![encoded[at].as_str()]), &numbers[at % 2]);
            let found: Vec<(&str, &str)> =
                StagedAttributes(staged.value(0)).map(|(name, text)| (names[name].as_str(), text)).collect();
            let expected = line.iter().map(|field| (field.name, trimmed(&field.text)));
            assert_eq!(found, expected.filter(|(_, text)| !text.is_empty()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn attributes_are_seen_in_the_order_of_their_first_line() {
        let (mut one, mut other) = (SeenAttributes::default(), SeenAttributes::default());
        one.note(&[field("a", "1"), field("b", "")]);
        one.note(&[field("b", "x"), field("c", "")]);
        other.note(&[field("c", "y"), field("a", ""), field("d", "z")]);
        one.add(other);
        let seen: Vec<(&str, usize)> =
            one.list().iter().map(|(name, types)| (name.as_str(), types.len())).collect();
        assert_eq!(seen, [("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
    }
}
