//! Lists that can be exported, and how their members are read in the order of ranks.

use std::sync::Arc;

use crate::{
    feature::CustomerId,
    serving::{Direction, Ranked, Served, reads::churn_list},
    snapshot::{SnapshotError, SnapshotId, reader::ChurnFilter},
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
    /// Customers who entered or left a segment.
    Changes(ChangedMembers),
}

/// Changed members of a segment, up to the exported snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedMembers {
    /// Name of the segment, which both snapshots must have.
    pub segment: String,
    /// Earlier snapshot.
    pub from: SnapshotId,
    /// Direction of the changes.
    pub direction: Direction,
}

impl ExportList {
    /// Reads about `limit` customers from position `first` on, best first and without erased customers.
    /// Returns the customers and the position of the next page. The first position is 0.
    pub(super) async fn page(
        &self,
        served: &Served,
        first: u64,
        limit: usize,
    ) -> Result<(Vec<CustomerId>, Option<u64>), Arc<SnapshotError>> {
        let list = match self {
            Self::Churn(filter) if !filter.is_by_risk_alone() => {
                let members = served.reader.churn(filter, &served.forgotten, first, limit).await?;
                let customers = members.customers.into_iter().map(|(_, id)| id);
                return Ok((customers.collect(), members.next));
            }
            Self::Churn(filter) => churn_list(filter.risk.as_deref()),
            Self::Segment(name) => name.clone(),
            // These ranks are computed before the export starts.
            Self::Audience(_) | Self::Changes(_) => return Ok((Vec::new(), None)),
        };
        let members = served.reader.members(&list, first, limit).await?;
        let next = (members.len() == limit).then_some(first + limit as u64);
        Ok((members.into_iter().filter(|id| !served.forgets(id.as_str())).collect(), next))
    }
}
