//! A feature in two snapshots, which number their customers and texts differently.

use super::column::{ColumnKind, ColumnValues, FeatureColumn};

/// A feature in an earlier and in a later snapshot.
#[derive(Debug)]
pub struct ColumnPair<'a> {
    before: &'a FeatureColumn,
    after: &'a FeatureColumn,
    /// For each text of the earlier snapshot its index in the later one.
    texts: Vec<Option<usize>>,
}

impl<'a> ColumnPair<'a> {
    /// Creates the pair, and finds the texts of the earlier snapshot in the later one.
    #[must_use]
    pub fn new(before: &'a FeatureColumn, after: &'a FeatureColumn) -> Self {
        let texts = match (&before.kind, &after.kind) {
            (ColumnKind::Text(was), ColumnKind::Text(is)) => {
                was.iter().map(|text| is.search(text).ok()).collect()
            }
            _ => Vec::new(),
        };
        Self { before, after, texts }
    }

    /// Checks whether the value of a customer differs. The customer has the numbers `was` and `is`; `None`
    /// for a snapshot without the customer, where the value is null.
    #[must_use]
    pub fn differs(&self, was: Option<usize>, is: Option<usize>) -> bool {
        let was = was.filter(|customer| !self.before.nulls.contains(*customer));
        let is = is.filter(|customer| !self.after.nulls.contains(*customer));
        let (Some(was), Some(is)) = (was, is) else { return was.is_some() || is.is_some() };
        match (&self.before.kind, &self.after.kind) {
            (ColumnKind::Text(_), ColumnKind::Text(_)) => {
                let code = usize::try_from(self.before.integer(was)).unwrap_or(usize::MAX);
                let same = self.texts.get(code).copied().flatten();
                same != usize::try_from(self.after.integer(is)).ok()
            }
            (ColumnKind::Float, ColumnKind::Float) => match (&self.before.values, &self.after.values) {
                #[expect(clippy::float_cmp, reason = "a value has not changed if it is the same number")]
                (ColumnValues::Float(before), ColumnValues::Float(after)) => before[was] != after[is],
                _ => true,
            },
            (before, after) if before == after => self.before.integer(was) != self.after.integer(is),
            // The type of the feature has changed.
            _ => self.before.json(was) != self.after.json(is),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn values_are_compared_across_numberings_and_types() {
        let texts = |texts: &[Option<&str>]| FeatureColumn::of_values(&StringArray::from(texts.to_vec()));
        let (before, after) = (texts(&[Some("b"), Some("c"), None]), texts(&[Some("a"), Some("b"), None]));
        let pair = ColumnPair::new(&before, &after);
        let differs = |was, is| pair.differs(was, is);
        assert!(!differs(Some(0), Some(1)) && differs(Some(1), Some(1)) && differs(Some(0), Some(2)));
        assert!(!differs(Some(2), Some(2)) && !differs(Some(2), None) && !differs(None, None));
        assert!(differs(None, Some(0)) && differs(Some(1), None));

        let integers = FeatureColumn::of_values(&Int64Array::from(vec![1, 2]));
        let decimals = Decimal128Array::from(vec![100, 250]).with_precision_and_scale(10, 2).expect("fits");
        let decimals = FeatureColumn::of_values(&decimals);
        let pair = ColumnPair::new(&integers, &decimals);
        assert!(!pair.differs(Some(0), Some(0)) && pair.differs(Some(1), Some(1)));
        let floats = FeatureColumn::of_values(&Float64Array::from(vec![0.5, 1.5]));
        let pair = ColumnPair::new(&floats, &floats);
        assert!(!pair.differs(Some(0), Some(0)) && pair.differs(Some(0), Some(1)));
    }
}
