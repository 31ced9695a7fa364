//! The list of customers by value at risk, filtered. Decoded blocks stay in the cache, so a filter is a pass
//! over columns of numbers.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, RecordBatch, StringArray},
    datatypes::Decimal128Type,
};

use super::{MemberPage, SnapshotReader};
use crate::{
    feature::Tier,
    snapshot::{CHURN_LIST, Forgotten, SnapshotError},
};

/// Conditions on customers of the churn list, all of which must hold. The default accepts all customers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChurnFilter {
    /// Level of risk.
    pub risk: Option<String>,
    /// Segment of the view `rfm`.
    pub segment: Option<String>,
    /// Minimum probability, in ten-thousandths.
    pub min_probability: Option<i128>,
    /// Minimum value at risk, in ten-thousandths.
    pub min_value: Option<i128>,
}

impl ChurnFilter {
    /// Converts a minimum to ten-thousandths, rounded up.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a number that is too large saturates")]
    pub fn at_least(number: f64) -> i128 {
        // A tolerance, so that 0.3, which has no exact binary form, does not become 0.3001.
        (number * 10_000.0 - 1e-6).ceil() as i128
    }

    /// Checks whether the level of risk is the only condition. Such lists have a ranking of their own.
    #[must_use]
    pub fn is_by_risk_alone(&self) -> bool {
        self.segment.is_none() && self.min_probability.is_none() && self.min_value.is_none()
    }
}

/// Columns of a block of the churn list.
struct ChurnColumns<'a> {
    ids: &'a StringArray,
    values: &'a [i128],
    probabilities: &'a [i128],
    risks: &'a StringArray,
    segments: &'a StringArray,
}

impl<'a> ChurnColumns<'a> {
    fn new(block: &'a RecordBatch) -> Option<Self> {
        let text = |name: &str| block.column_by_name(name)?.as_string_opt::<i32>();
        let number = |name: &str| {
            Some(&block.column_by_name(name)?.as_primitive_opt::<Decimal128Type>()?.values()[..])
        };
        Some(Self {
            ids: text("customer_id")?,
            values: number("value_at_risk")?,
            probabilities: number("probability")?,
            risks: text("risk")?,
            segments: text("segment")?,
        })
    }

    fn matches(&self, row: usize, filter: &ChurnFilter) -> bool {
        let is = |texts: &StringArray, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| texts.is_valid(row) && texts.value(row) == wanted)
        };
        filter.min_probability.is_none_or(|least| self.probabilities[row] >= least)
            && is(self.risks, &filter.risk)
            && is(self.segments, &filter.segment)
    }
}

impl SnapshotReader {
    /// Returns at most `limit` customers of the churn list that match `filter` and are not erased, by value
    /// at risk. Places count these customers from 0; the page begins at place `offset`.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn churn(
        &self,
        filter: &ChurnFilter,
        forgotten: &Forgotten,
        offset: u64,
        limit: usize,
    ) -> Result<MemberPage, Arc<SnapshotError>> {
        let mut page = MemberPage { customers: Vec::new(), total: 0, next: None, tier: Tier::Snapshot };
        let Some(file) = self.files.manifest.ranking(CHURN_LIST) else { return Ok(page) };
        let footer = self.footer(file).await?;
        for at in 0..footer.blocks() {
            let block = self.columns(file, &footer, at).await?;
            let columns = ChurnColumns::new(&block)
                .ok_or_else(|| self.damaged(file, "a column of the churn list is missing"))?;
            for row in 0..block.num_rows() {
                // The list is sorted by value at risk, so no later customer matches.
                if filter.min_value.is_some_and(|least| columns.values[row] < least) {
                    return Ok(page);
                }
                if !columns.matches(row, filter) {
                    continue;
                }
                let id = columns.ids.value(row);
                if forgotten.contains(id) {
                    continue;
                }
                let place = page.total;
                page.total += 1;
                if place >= offset && page.customers.len() < limit {
                    page.customers.push((place, self.customer_id(file, id)?));
                } else if place >= offset {
                    page.next.get_or_insert(place);
                }
            }
        }
        Ok(page)
    }
}
