//! Texts of an expression that no customer has, and similar texts that customers have.
//!
//! The dictionary of a column also holds texts that only erased customers have. Such texts count as texts
//! that no customer has, and are never suggested.

use std::collections::BTreeSet;

use super::{
    bitmap::Bitmap,
    column::{ColumnKind, ColumnValues, FeatureColumn, integers, wide},
    expression::Operand,
    literal::Literal,
};
use crate::feature::near;

/// Greatest number of texts of a column that are searched for similar ones.
const MAX_SEARCHED: usize = 1_000;

/// Operands that no customer has: index of the operand, and similar texts that customers have.
pub type AbsentValues = Vec<(usize, Vec<String>)>;

/// Texts that only erased customers have, by their index in the dictionary of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedTexts(BTreeSet<usize>);

impl FeatureColumn {
    /// Returns the texts that only customers in `erased` have.
    #[must_use]
    pub fn erased_texts(&self, erased: &Bitmap) -> ErasedTexts {
        let ColumnKind::Text(dictionary) = &self.kind else { return ErasedTexts::default() };
        let mut is_erased = vec![false; dictionary.len()];
        let mut codes = BTreeSet::new();
        integers!(&self.values, values => {
            let code = |customer: usize| usize::try_from(wide(values[customer])).unwrap_or(usize::MAX);
            for customer in erased.iter() {
                if !self.nulls.contains(customer) && let Some(flag) = is_erased.get_mut(code(customer)) {
                    *flag = true;
                    codes.insert(code(customer));
                }
            }
            if codes.is_empty() {
                return ErasedTexts(codes);
            }
            for (customer, value) in values.iter().enumerate() {
                let code = usize::try_from(wide(*value)).unwrap_or(usize::MAX);
                let is_kept = is_erased.get(code) == Some(&true)
                    && !erased.contains(customer)
                    && !self.nulls.contains(customer);
                if is_kept {
                    is_erased[code] = false;
                    codes.remove(&code);
                }
            }
        }, {});
        ErasedTexts(codes)
    }

    /// Returns the indexes of the texts in `values` that no customer has.
    #[must_use]
    pub fn absent(&self, values: &[Operand], erased: &ErasedTexts) -> Vec<usize> {
        let ColumnKind::Text(dictionary) = &self.kind else { return Vec::new() };
        let is_absent = |(at, value): (usize, &Operand)| {
            let Literal::Text(text) = &value.literal else { return None };
            let is_known = dictionary.search(text).is_ok_and(|code| !erased.0.contains(&code));
            if is_known { None } else { Some(at) }
        };
        values.iter().enumerate().filter_map(is_absent).collect()
    }

    /// Returns similar texts that customers have for the texts in `values` at the indexes `absent`. A large
    /// dictionary is not searched.
    #[must_use]
    pub fn suggestions(&self, values: &[Operand], absent: &[usize], erased: &ErasedTexts) -> AbsentValues {
        let ColumnKind::Text(dictionary) = &self.kind else { return Vec::new() };
        let is_searched = dictionary.len() - erased.0.len() <= MAX_SEARCHED;
        let similar = |at: usize| {
            let Some(Operand { literal: Literal::Text(text), .. }) = values.get(at) else {
                return Vec::new();
            };
            if !is_searched {
                return Vec::new();
            }
            let codes = (0..dictionary.len()).filter(|code| !erased.0.contains(code));
            let known = codes.map(|code| dictionary.get(code));
            near::most_similar(text, known).into_iter().map(str::to_owned).collect()
        };
        absent.iter().map(|at| (*at, similar(*at))).collect()
    }
}
