//! A cache of the columns of recent requests: clients request the same features again and again, and finding
//! them among the views costs more than one customer's values.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{
    columns::Columns,
    refusal::Refusal,
    request::{Wanted, WantedText},
};
use crate::{config::FeastConfig, snapshot::Manifest};

pub(super) use super::columns::NameForm;

/// The greatest number of requests that are kept.
const MAX_PLANS: usize = 16;
/// The longest text of a request in bytes that is kept.
const MAX_TEXT: usize = 16 << 10;

/// Recent requests with their columns.
#[derive(Debug, Default)]
pub(super) struct Plans(ArcSwap<Vec<Plan>>);

/// A request and its columns.
#[derive(Debug, Clone)]
struct Plan {
    /// The snapshot that has the columns.
    manifest: Arc<Manifest>,
    service: Option<Box<str>>,
    features: Option<Box<str>>,
    form: NameForm,
    columns: Arc<Columns>,
}

impl Plans {
    /// Returns the `wanted` columns of the snapshot of `manifest`.
    pub(super) fn columns(
        &self,
        manifest: &Arc<Manifest>,
        wanted: &WantedText<'_>,
        form: NameForm,
        config: &FeastConfig,
    ) -> Result<Arc<Columns>, Refusal> {
        let known = self.0.load();
        let found = known.iter().find(|plan| {
            plan.form == form
                && Arc::ptr_eq(&plan.manifest, manifest)
                && *wanted
                    == WantedText { service: plan.service.as_deref(), features: plan.features.as_deref() }
        });
        if let Some(plan) = found {
            return Ok(Arc::clone(&plan.columns));
        }
        let columns = Arc::new(Columns::find(&Wanted::parse(wanted)?, form, &manifest.views, config)?);
        if wanted.service.map_or(0, str::len) + wanted.features.map_or(0, str::len) <= MAX_TEXT {
            let (service, features) = (wanted.service.map(Box::from), wanted.features.map(Box::from));
            let (manifest, columns) = (Arc::clone(manifest), Arc::clone(&columns));
            let plan = Plan { manifest, service, features, form, columns };
            // Plans of other snapshots are dropped, and the oldest of this one.
            let others = known.iter().filter(|other| Arc::ptr_eq(&other.manifest, &plan.manifest));
            let plans = std::iter::once(plan.clone()).chain(others.cloned()).take(MAX_PLANS).collect();
            self.0.store(Arc::new(plans));
        }
        Ok(columns)
    }
}
