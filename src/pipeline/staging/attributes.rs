//! Attributes of customers on the way through the spill files: which ones the files have, and how a line
//! spills them.
//!
//! A spilled attribute is the number of its name, the length of its text, and the text. Numbers are written
//! in ASCII characters, so that all attributes of a line together are a text. The threads number the names as
//! they find them, so nothing may depend on the order of the numbers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use crate::pipeline::raw::{RawType, TableSpec, check::ExtraField, value::trimmed};

/// Bits of a number in each of its characters.
const BITS: u32 = 6;
/// Bit of a character that tells that the number continues.
const CONTINUES: u8 = 1 << BITS;

/// Numbers of the names of attributes, which all reading threads share.
#[derive(Debug, Default)]
pub(crate) struct AttributeNames(Mutex<HashMap<String, usize>>);

impl AttributeNames {
    /// Returns the number of `name`, the next free one for a new name.
    fn number(&self, name: &str) -> usize {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = numbers.len();
        *numbers.entry(name.to_owned()).or_insert(next)
    }

    /// Returns the names in the order of their numbers.
    pub(crate) fn in_order(&self) -> Vec<String> {
        let numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<(usize, &String)> = numbers.iter().map(|(name, number)| (*number, name)).collect();
        names.sort_unstable();
        names.into_iter().map(|(_, name)| name.clone()).collect()
    }
}

/// Numbers of names, with the name at each place of the last line. Lines of a file usually have the same
/// columns in the same order.
#[derive(Debug, Default)]
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

/// Encoder of the attributes of lines, for one reading thread.
#[derive(Debug)]
pub(super) struct AttributeEncoder {
    names: Arc<AttributeNames>,
    numbers: ByPlace,
    encoded: String,
}

impl AttributeEncoder {
    pub(super) fn new(names: Arc<AttributeNames>) -> Self {
        Self { names, numbers: ByPlace::default(), encoded: String::new() }
    }

    /// Returns the attributes of a line as they are spilled, without those that have no text.
    pub(super) fn encode(&mut self, extras: &[ExtraField<'_>]) -> &str {
        self.encoded.clear();
        for (place, extra) in extras.iter().enumerate() {
            let text = trimmed(&extra.text);
            if !text.is_empty() {
                let number = self.numbers.number(place, extra.name, || self.names.number(extra.name));
                push_number(number, &mut self.encoded);
                push_number(text.len(), &mut self.encoded);
                self.encoded.push_str(text);
            }
        }
        &self.encoded
    }
}

/// Attributes of a line in a spill file: the number of the name, and the text.
#[derive(Debug)]
pub(super) struct SpilledAttributes<'a>(pub(super) &'a str);

impl<'a> Iterator for SpilledAttributes<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let name = take_number(&mut self.0)?;
        let length = take_number(&mut self.0)?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((name, text))
    }
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
#[derive(Debug, Default)]
pub(crate) struct SeenAttributes {
    seen: Vec<(String, BTreeSet<RawType>)>,
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
    fn spilled_attributes_are_read_as_written() {
        let names = Arc::new(AttributeNames::default());
        let mut encoders = [0, 1].map(|_| AttributeEncoder::new(Arc::clone(&names)));
        let long = "ü\u{0}\n".repeat(5_000);
        let columns: Vec<String> = (0..200).map(|at| format!("column {at}")).collect();
        let lines: [Vec<ExtraField<'_>>; 3] = [
            columns.iter().map(|name| field(name, name)).collect(),
            columns.iter().rev().step_by(3).map(|name| field(name, " x ")).collect(),
            vec![field("new", &long), field("column 7", " "), field("column 199", "1")],
        ];
        for (at, line) in lines.iter().enumerate() {
            let encoded = encoders[at % 2].encode(line).to_owned();
            let names = names.in_order();
            let found: Vec<(&str, &str)> =
                SpilledAttributes(&encoded).map(|(name, text)| (names[name].as_str(), text)).collect();
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
