//! Comparison of an audience with all customers: the features that distinguish the members most.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Served;
use crate::{
    audience::{
        Bitmap, FeatureName,
        comparison::{ComparedSizes, ComparedValues, FeatureComparison},
    },
    snapshot::SnapshotError,
};

/// Greatest number of features that are compared.
const MAX_COMPARED: usize = 200;
/// Greatest number of features that are returned.
const MAX_RETURNED: usize = 20;
/// Time after which no further feature is read.
const TIME: Duration = Duration::from_secs(5);

/// Request for a comparison.
#[derive(Debug, Clone)]
pub struct ComparisonRequest {
    /// Features to compare, none of which is a list.
    pub features: Vec<FeatureName>,
    /// Least count of members, and of other customers, that may be told.
    pub least: usize,
}

/// Comparison of an audience with all customers.
#[derive(Debug, Clone, PartialEq)]
pub struct AudienceComparison {
    /// Features that distinguish the members most, strongest first.
    pub features: Vec<ComparedFeature>,
    /// Number of features that were not compared, because there are too many or they took too long.
    pub left_out: usize,
    /// Numbers of members and of customers.
    pub sizes: ComparedSizes,
}

/// Feature of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparedFeature {
    /// The feature.
    pub name: FeatureName,
    /// Comparison of the values.
    pub comparison: FeatureComparison,
    /// Median of the members and of all customers as JSON, for numbers and times.
    pub medians: Option<[String; 2]>,
}

impl Served {
    /// Compares `members` with all customers who are not erased.
    pub(super) async fn compare(
        &self,
        members: Arc<Bitmap>,
        request: &ComparisonRequest,
    ) -> Result<AudienceComparison, Arc<SnapshotError>> {
        let mut all = Bitmap::full(self.sets.customers());
        if let Some(erased) = self.erased_customers().await? {
            all.remove_all(&erased.customers);
        }
        let sizes = ComparedSizes { members: members.count(), all: all.count() };
        let (all, since, least) = (Arc::new(all), Instant::now(), request.least);
        let (mut found, mut compared) = (Vec::new(), 0);
        for name in request.features.iter().take(MAX_COMPARED) {
            if since.elapsed() > TIME {
                break;
            }
            let column = self.sets.column(name).await?;
            let (members, everyone) = (Arc::clone(&members), Arc::clone(&all));
            let compare = move |_: &_| Ok(FeatureComparison::of(&column, &members, &everyone));
            let comparison = self.sets.cache.compute(compare).await?;
            if let Some(comparison) = comparison.and_then(|comparison| comparison.withhold(sizes, least)) {
                found.push(ComparedFeature { name: name.clone(), comparison, medians: None });
            }
            compared += 1;
        }
        found.sort_by(|a, b| b.comparison.strength.total_cmp(&a.comparison.strength));
        found.truncate(MAX_RETURNED);
        for feature in &mut found {
            if !matches!(feature.comparison.values, ComparedValues::Mean(_)) || since.elapsed() > TIME {
                continue;
            }
            let column = self.sets.column(&feature.name).await?;
            let (members, everyone) = (Arc::clone(&members), Arc::clone(&all));
            let median = move |_: &_| Ok((column.median(&members), column.median(&everyone)));
            let (median, median_all) = self.sets.cache.compute(median).await?;
            feature.medians = median.zip(median_all).map(|(median, all)| [median, all]);
        }
        Ok(AudienceComparison { features: found, left_out: request.features.len() - compared, sizes })
    }
}
