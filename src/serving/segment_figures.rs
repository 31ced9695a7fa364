//! Figures of segments without erased customers.
//!
//! The manifest has the figures of the build. In the current snapshot, figures with erased customers are
//! counted anew, in the same way as those of an audience. In older snapshots the erased customers are
//! subtracted, which needs their rows alone.

use std::{collections::HashMap, sync::Arc};

use super::{ReadError, Served, Serving};
use crate::{
    audience::{Bitmap, Leaf, figures::Figures},
    feature::{money, ten_thousandths},
    snapshot::{Manifest, SnapshotError, reader::ErasedTotals},
    workers::Cancellation,
};

/// Figures of a segment in one snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct SegmentFigures {
    /// Number of members.
    pub size: u64,
    /// Share of all customers, 0 to 1.
    pub share: f64,
    /// Sum of the members' `rfm.monetary` as decimal text; `None` if it cannot be computed.
    pub revenue: Option<String>,
}

impl Served {
    /// Returns the figures of all segments by name, or `None` if those of the manifest hold because the
    /// snapshot holds no erased customer. They are counted on the first call.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the snapshot cannot be read.
    pub async fn segment_figures(&self) -> Result<Option<&HashMap<String, Figures>>, ReadError> {
        if self.gaps().await?.customers() == 0 {
            return Ok(None);
        }
        let figures = self.figures.get_or_try_init(|| self.count_segments()).await?;
        Ok(Some(figures))
    }

    async fn count_segments(&self) -> Result<HashMap<String, Figures>, Arc<SnapshotError>> {
        let _admitted = self.sets.cache.admit().await;
        let erased = self.erased_customers().await?;
        let rfm = Arc::new(self.rfm_columns().await?);
        let mut figures = HashMap::with_capacity(self.manifest.segments.len());
        for segment in &self.manifest.segments {
            let leaf = Leaf::Segment(segment.name.clone());
            let set = self.sets.leaf(&leaf, erased.as_ref()).await?;
            let customers = self.sets.customers();
            let (rfm, erased) =
                (Arc::clone(&rfm), erased.as_ref().map(|erased| Arc::clone(&erased.customers)));
            let count = move |_: &Cancellation| {
                let mut members = set.customers.clone();
                if let Some(erased) = &erased {
                    members.remove_all(erased);
                }
                Ok(rfm.figures(&members, customers - erased.as_deref().map_or(0, Bitmap::count)))
            };
            figures.insert(segment.name.clone(), self.sets.cache.compute(count).await?);
        }
        Ok(figures)
    }

    /// Returns the figures of the erased customers of the snapshot. They are read on the first call.
    pub(super) async fn erased_totals(&self) -> Result<&ErasedTotals, Arc<SnapshotError>> {
        self.erased_totals.get_or_try_init(|| self.reader.erased_totals(&self.forgotten)).await
    }
}

impl Serving {
    /// Returns the figures of `segment` in the snapshot of `manifest`, without erased customers; `None` if
    /// the snapshot does not have the segment.
    ///
    /// # Errors
    /// The errors of [`Serving::customers_then`].
    pub async fn segment_then(
        &self,
        manifest: &Arc<Manifest>,
        segment: &str,
    ) -> Result<Option<SegmentFigures>, ReadError> {
        let Some(stats) = manifest.segment(segment) else { return Ok(None) };
        let (size, revenue) = (stats.size, Some(stats.revenue.clone()));
        let as_built = SegmentFigures { size, share: stats.share, revenue };
        if self.erasures().is_empty() {
            return Ok(Some(as_built));
        }
        let served = self.opened(manifest).await?;
        let read = async {
            let totals = served.erased_totals().await?;
            let members = served.reader.erased_members(segment, totals, &served.forgotten).await?;
            Ok((totals.customers(), members))
        };
        let (erased, members) = match read.await {
            Ok(read) => read,
            Err(error) => return Err(self.gone([&manifest.id], error).await),
        };
        if erased == 0 {
            return Ok(Some(as_built));
        }
        let size = size.saturating_sub(members.customers);
        let revenue = ten_thousandths(&stats.revenue).zip(members.monetary);
        Ok(Some(SegmentFigures {
            size,
            share: share(size, manifest.customers.saturating_sub(erased)),
            revenue: revenue.map(|(built, erased)| money(built - erased)),
        }))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
