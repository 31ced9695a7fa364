//! Lists that can be exported, and how their members are read in the order of ranks.

use std::sync::Arc;

use crate::{
    feature::CustomerId,
    serving::{Ranked, Served, reads::churn_list},
    snapshot::{SnapshotError, reader::ChurnFilter},
};

/// List to export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportList {
    /// Members of a segment.
    Segment(String),
    /// Customers by value at risk.
    Churn(ChurnFilter),
    /// Members of an audience.
    Audience(Ranked),
}

impl ExportList {
    /// Reads about `limit` customers from rank `first` on. Returns the customers with their ranks, and the
    /// first rank of the next page. Ranks count from 0.
    pub(super) async fn page(
        &self,
        served: &Served,
        first: u64,
        limit: usize,
    ) -> Result<(Vec<(u64, CustomerId)>, Option<u64>), Arc<SnapshotError>> {
        let list = match self {
            Self::Churn(filter) if !filter.is_by_risk_alone() => {
                let members = served.reader.churn(filter, &served.forgotten, first, limit).await?;
                return Ok((members.customers, members.next));
            }
            Self::Churn(filter) => churn_list(filter.risk.as_deref()),
            Self::Segment(name) => name.clone(),
            // The ranks of an audience are computed before the export starts.
            Self::Audience(_) => return Ok((Vec::new(), None)),
        };
        let members = served.reader.members(&list, first, limit).await?;
        let next = (members.len() == limit).then_some(first + limit as u64);
        let members = (first..).zip(members).filter(|(_, id)| !served.forgets(id.as_str()));
        Ok((members.collect(), next))
    }
}
