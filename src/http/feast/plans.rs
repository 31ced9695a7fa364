//! What was found for the questions of late: clients ask for the same features again and again, and finding them among the views costs more
//! than one customer's values.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{
    columns::Columns,
    refusal::Refusal,
    request::{Asked, Wanted},
};
use crate::{config::FeastConfig, snapshot::Manifest};

/// The most questions that are kept.
const MOST: usize = 16;
/// A longer question is not kept.
const LONGEST: usize = 16 << 10;

/// Questions with their columns.
#[derive(Debug, Default)]
pub(super) struct Plans(ArcSwap<Vec<Plan>>);

/// A question and its columns.
#[derive(Debug, Clone)]
struct Plan {
    /// Of which snapshot.
    manifest: Arc<Manifest>,
    service: Option<Box<str>>,
    features: Option<Box<str>>,
    full_names: bool,
    masked: bool,
    columns: Arc<Columns>,
}

impl Plans {
    /// The columns that are `asked` for, of the snapshot of `manifest`.
    pub(super) fn columns(
        &self,
        manifest: &Arc<Manifest>,
        asked: &Asked<'_>,
        (full_names, masked): (bool, bool),
        config: &FeastConfig,
    ) -> Result<Arc<Columns>, Refusal> {
        let known = self.0.load();
        let found = known.iter().find(|plan| {
            (plan.full_names, plan.masked) == (full_names, masked)
                && Arc::ptr_eq(&plan.manifest, manifest)
                && *asked == Asked { service: plan.service.as_deref(), features: plan.features.as_deref() }
        });
        if let Some(plan) = found {
            return Ok(Arc::clone(&plan.columns));
        }
        let wanted = Wanted::of(asked)?;
        let columns = Arc::new(Columns::find(&wanted, full_names, &manifest.views, config, masked)?);
        if asked.service.map_or(0, str::len) + asked.features.map_or(0, str::len) <= LONGEST {
            let (service, features) = (asked.service.map(Box::from), asked.features.map(Box::from));
            let (manifest, columns) = (Arc::clone(manifest), Arc::clone(&columns));
            let plan = Plan { manifest, service, features, full_names, masked, columns };
            // Those of other snapshots go, and of the rest the oldest.
            let others = known.iter().filter(|other| Arc::ptr_eq(&other.manifest, &plan.manifest));
            let plans = std::iter::once(plan.clone()).chain(others.cloned()).take(MOST).collect();
            self.0.store(Arc::new(plans));
        }
        Ok(columns)
    }
}
