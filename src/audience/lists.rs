//! Lists of a feature, by customer: the codes of their elements in a sorted dictionary.
//!
//! An element is known by its text: numbers without trailing zeros, times in RFC 3339. So all types of
//! elements are searched alike.

use std::collections::HashMap;

use arrow::{
    array::{Array, AsArray},
    datatypes::{DataType, Date32Type, Decimal128Type, Int32Type, Int64Type},
};
use chrono::{DateTime, Utc};

use super::{
    bitmap::Bitmap,
    literal::{Decimal, Literal},
};
use crate::feature::PackedTexts;

/// The lists of all customers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Lists {
    /// Texts of all different elements, sorted.
    elements: PackedTexts,
    codes: Vec<u32>,
    /// Index in `codes` of the end of each customer's list.
    ends: Vec<usize>,
}

impl Lists {
    /// Returns whether lists of `element` can be searched.
    pub(super) fn has_kind(element: &DataType) -> bool {
        matches!(
            element,
            DataType::Utf8
                | DataType::Int32
                | DataType::Int64
                | DataType::Decimal128(_, 0..)
                | DataType::Date32
        )
    }

    /// Returns the customers whose list has `element`.
    pub(super) fn having(&self, element: &Literal, customers: usize) -> Bitmap {
        let mut having = Bitmap::empty(customers);
        let Ok(code) = self.elements.search(&text(element)) else { return having };
        let mut start = 0;
        for (customer, end) in self.ends.iter().enumerate() {
            if self.codes[start..*end].iter().any(|known| *known as usize == code) {
                having.insert(customer);
            }
            start = *end;
        }
        having
    }

    /// Returns the size in memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.elements.bytes() + self.codes.len() * size_of::<u32>() + self.ends.len() * size_of::<usize>()
    }
}

/// A builder of [`Lists`].
#[derive(Debug, Default)]
pub(super) struct ListsBuilder {
    /// Codes of the elements, in the order of first appearance.
    known: HashMap<String, u32>,
    lists: Lists,
}

impl ListsBuilder {
    /// Appends the lists of the next customers; `present` says for each row whether the customer has one.
    pub(super) fn push(&mut self, array: &dyn Array, present: &[bool]) {
        let Some(lists) = array.as_list_opt::<i32>() else { return };
        for (row, here) in present.iter().enumerate() {
            if *here {
                self.push_elements(&lists.value(row));
            }
            self.lists.ends.push(self.lists.codes.len());
        }
    }

    fn push_elements(&mut self, elements: &dyn Array) {
        for at in (0..elements.len()).filter(|at| elements.is_valid(*at)) {
            let Some(text) = element_text(elements, at) else { continue };
            let next = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
            let code = *self.known.entry(text).or_insert(next);
            self.lists.codes.push(code);
        }
    }

    /// Returns the lists.
    pub(super) fn finish(self) -> Lists {
        let Self { known, mut lists } = self;
        let mut texts: Vec<(String, u32)> = known.into_iter().collect();
        texts.sort_unstable();
        let mut places = vec![0; texts.len()];
        for (place, (text, code)) in (0..).zip(&texts) {
            lists.elements.push(text);
            places[*code as usize] = place;
        }
        for code in &mut lists.codes {
            *code = places[*code as usize];
        }
        lists.codes.shrink_to_fit();
        lists
    }
}

fn element_text(elements: &dyn Array, at: usize) -> Option<String> {
    let number = |mantissa: i128, scale: u32| Decimal::new(mantissa, scale).to_string();
    Some(match elements.data_type() {
        DataType::Utf8 => elements.as_string::<i32>().value(at).to_owned(),
        DataType::Int32 => number(elements.as_primitive::<Int32Type>().value(at).into(), 0),
        DataType::Int64 => number(elements.as_primitive::<Int64Type>().value(at).into(), 0),
        DataType::Decimal128(_, scale) => {
            number(elements.as_primitive::<Decimal128Type>().value(at), scale.unsigned_abs().into())
        }
        DataType::Date32 => {
            let seconds = i64::from(elements.as_primitive::<Date32Type>().value(at)) * 86_400;
            text(&Literal::Time(DateTime::<Utc>::from_timestamp(seconds, 0)?))
        }
        _ => return None,
    })
}

/// Returns the text by which an element is known.
fn text(element: &Literal) -> String {
    match element {
        Literal::Text(text) => text.clone(),
        other => other.to_string(),
    }
}
