//! The list of customers by value at risk, filtered: its blocks are decoded once and stay in memory within the byte budget, so a
//! filter passes over columns of numbers.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, RecordBatch, StringArray},
    datatypes::Decimal128Type,
};

use super::{Members, SnapshotReader};
use crate::{
    feature::Tier,
    snapshot::{CHURN_LIST, FileKind, Forgotten, SnapshotError},
};

/// Which customers are wanted; all, unless something is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChurnFilter {
    /// Of this level of risk.
    pub risk: Option<String>,
    /// Of this segment of `rfm`.
    pub segment: Option<String>,
    /// With this probability at least, in ten-thousandths.
    pub min_probability: Option<i128>,
    /// With this value at risk at least, in ten-thousandths.
    pub min_value: Option<i128>,
}

impl ChurnFilter {
    /// The least number of ten-thousandths that is not below `number`.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a number that is too large is as large as can be")]
    pub fn at_least(number: f64) -> i128 {
        // A hair less, so that 0.3, which binary cannot hold, does not become 0.3001.
        (number * 10_000.0 - 1e-6).ceil() as i128
    }

    /// Whether no more than a level is asked for: such lists are kept ready.
    #[must_use]
    pub fn is_by_risk_alone(&self) -> bool {
        self.segment.is_none() && self.min_probability.is_none() && self.min_value.is_none()
    }
}

/// The columns of a block of the list.
struct Columns<'a> {
    ids: &'a StringArray,
    values: &'a [i128],
    probabilities: &'a [i128],
    risks: &'a StringArray,
    segments: &'a StringArray,
}

impl<'a> Columns<'a> {
    fn of(block: &'a RecordBatch) -> Option<Self> {
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

    fn fits(&self, row: usize, filter: &ChurnFilter) -> bool {
        let is = |texts: &StringArray, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| texts.is_valid(row) && texts.value(row) == wanted)
        };
        filter.min_probability.is_none_or(|least| self.probabilities[row] >= least)
            && is(self.risks, &filter.risk)
            && is(self.segments, &filter.segment)
    }
}

impl SnapshotReader {
    /// The customers that `filter` wants and that are not `forgotten`, by value at risk: those of the ranks from `offset` (counted
    /// from 0) on, at most `limit`.
    ///
    /// # Errors
    /// As [`SnapshotReader::row`].
    pub async fn churn(
        &self,
        filter: &ChurnFilter,
        forgotten: &Forgotten,
        offset: u64,
        limit: usize,
    ) -> Result<Members, Arc<SnapshotError>> {
        let mut found = Members { customers: Vec::new(), total: 0, next: None, tier: Tier::Snapshot };
        let mut rank = 0;
        let files = &self.manifest.files;
        let of_list = |file: &super::FileEntry| {
            file.kind == FileKind::Ranking && file.segment.as_deref() == Some(CHURN_LIST)
        };
        let Some(file) = files.iter().position(of_list) else { return Ok(found) };
        let footer = self.footer(file).await?;
        for at in 0..footer.blocks() {
            let block = self.columns(file, &footer, at).await?;
            let columns =
                Columns::of(&block).ok_or_else(|| self.damaged(file, "a column of the list is missing"))?;
            for row in 0..block.num_rows() {
                // From here on everybody has less.
                if filter.min_value.is_some_and(|least| columns.values[row] < least) {
                    return Ok(found);
                }
                if !columns.fits(row, filter) {
                    continue;
                }
                let id = columns.ids.value(row);
                if !forgotten.contains(id) {
                    found.total += 1;
                    if rank >= offset && found.customers.len() < limit {
                        found.customers.push((rank, self.id(file, id)?));
                    } else if rank >= offset {
                        found.next.get_or_insert(rank);
                    }
                }
                rank += 1;
            }
        }
        Ok(found)
    }
}
