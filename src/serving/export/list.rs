//! What can be exported, and how its members are brought in their order.

use std::sync::Arc;

use crate::{
    feature::CustomerId,
    serving::{Ranked, Served},
    snapshot::{CHURN_LIST, SnapshotError, reader::ChurnFilter},
};

/// What is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// The members of a segment.
    Segment(String),
    /// The customers by value at risk.
    Churn(ChurnFilter),
    /// The members of an audience.
    Audience(Ranked),
}

impl List {
    /// Some of its customers with their ranks, counted from 0: those from rank `first` on, about `limit`; and where to go on.
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
            Self::Churn(filter) => by_risk(filter),
            Self::Segment(name) => name.clone(),
            // Those have their ranks from the beginning.
            Self::Audience(_) => return Ok((Vec::new(), None)),
        };
        let members = served.reader.members(&list, first, limit).await?;
        let next = (members.len() == limit).then_some(first + limit as u64);
        let members = (first..).zip(members).filter(|(_, id)| !served.forgets(id.as_str()));
        Ok((members.collect(), next))
    }
}

fn by_risk(filter: &ChurnFilter) -> String {
    filter.risk.as_ref().map_or_else(|| CHURN_LIST.to_owned(), |risk| format!("{CHURN_LIST}_{risk}"))
}
