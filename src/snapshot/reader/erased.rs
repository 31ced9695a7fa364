//! Figures of the erased customers of a snapshot, which are subtracted from those of the build.
//!
//! They are read from the rows of the erased customers alone, so they cost a lookup for each erased customer.

use std::{collections::HashMap, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};

use super::SnapshotReader;
use crate::{
    feature::{CustomerId, Row, SegmentKind, elements, ten_thousandths},
    snapshot::{Forgotten, SnapshotError},
};

/// Number of customers that are looked up at a time.
const LOOKUPS: usize = 16;

/// Number of erased customers, and sum of their `rfm.monetary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErasedFigures {
    /// Number of customers.
    pub customers: u64,
    /// Sum of `rfm.monetary` in ten-thousandths; `None` if a value cannot be read.
    pub monetary: Option<i128>,
}

impl Default for ErasedFigures {
    fn default() -> Self {
        Self { customers: 0, monetary: Some(0) }
    }
}

impl ErasedFigures {
    fn add(&mut self, monetary: Option<i128>) {
        self.customers += 1;
        self.monetary = self.monetary.zip(monetary).map(|(sum, monetary)| sum + monetary);
    }
}

/// Figures of all erased customers of a snapshot, and of those in each segment of kind `rfm` or `churn`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedTotals {
    all: ErasedFigures,
    segments: HashMap<String, ErasedFigures>,
}

impl ErasedTotals {
    /// Returns the number of erased customers in the snapshot.
    #[must_use]
    pub fn customers(&self) -> u64 {
        self.all.customers
    }
}

impl SnapshotReader {
    /// Returns the figures of the customers of `forgotten` that the snapshot holds.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn erased_totals(&self, forgotten: &Forgotten) -> Result<ErasedTotals, Arc<SnapshotError>> {
        let lookups: Vec<_> = forgotten.ids().map(|id| self.row(id)).collect();
        let mut rows = stream::iter(lookups).buffered(LOOKUPS);
        let mut totals = ErasedTotals::default();
        while let Some(row) = rows.try_next().await? {
            let Some(row) = row else { continue };
            let monetary = self.monetary(&row);
            totals.all.add(monetary);
            let text = |view, feature| self.value(&row, view, feature).and_then(parse_text);
            let risk = text("churn", "risk").map(|risk| format!("churn_{risk}"));
            for segment in text("rfm", "segment").into_iter().chain(risk) {
                totals.segments.entry(segment).or_default().add(monetary);
            }
        }
        Ok(totals)
    }

    /// Returns the figures of the erased members of the segment `name`. `totals` are those of `forgotten`.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn erased_members(
        &self,
        name: &str,
        totals: &ErasedTotals,
        forgotten: &Forgotten,
    ) -> Result<ErasedFigures, Arc<SnapshotError>> {
        let kind = self.manifest().segment(name).map(|segment| segment.kind);
        if totals.customers() == 0 || kind != Some(SegmentKind::Audience) {
            return Ok(totals.segments.get(name).copied().unwrap_or_default());
        }
        let mut figures = ErasedFigures::default();
        let members = self.members(name, 0, usize::MAX).await?;
        let erased: Vec<&CustomerId> = members.iter().filter(|id| forgotten.contains(id.as_str())).collect();
        for id in erased {
            let monetary = self.row(id).await?.and_then(|row| self.monetary(&row));
            figures.add(monetary);
        }
        Ok(figures)
    }

    /// Returns `rfm.monetary` of a row in ten-thousandths; 0 for null. Returns `None` if it is no such
    /// number.
    fn monetary(&self, row: &Row) -> Option<i128> {
        match self.value(row, "rfm", "monetary") {
            None | Some(b"null") => Some(0),
            Some(value) => ten_thousandths(std::str::from_utf8(value).ok()?),
        }
    }

    /// Returns the JSON text of a feature of a row; `None` if the row does not have it.
    fn value<'a>(&self, row: &'a Row, view: &str, feature: &str) -> Option<&'a [u8]> {
        let at = self.manifest().view(view)?;
        let mut features = self.manifest().views[at].features.iter();
        let place = features.position(|known| known.name == feature)?;
        elements(row.views.get(at)?).nth(place)
    }
}

/// Reads a JSON text; `None` for null.
fn parse_text(json: &[u8]) -> Option<String> {
    serde_json::from_slice::<Option<String>>(json).ok().flatten()
}
