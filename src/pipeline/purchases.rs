//! Purchases and events of a snapshot: the purchase lines of each customer, and the index that `bought` and
//! `did` in audiences read.
//!
//! ```text
//! staged transactions ──history──▶ purchases/part-*.parquet
//! staged lines ──event_spill──▶ temporary files ──event_index──▶ purchases/events-*.parquet
//! ```
//!
//! Memory does not grow with the number of lines: the lines of each customer are merged from the sorted
//! partitions, and the events of each index file are sorted on their own.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{error::BuildError, parts::SnapshotTarget, raw::TableSpec, staging::StagedFile};
use crate::{feature::PackedTexts, snapshot::FileEntry};

mod event_index;
mod event_spill;
mod history;
mod orders;

use event_spill::EventInput;

/// The staged tables that purchases and events come from, and the settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct PurchaseInput<'a> {
    /// Ids of all customers, sorted.
    pub(super) customers: &'a Arc<PackedTexts>,
    pub(super) tables: &'a BTreeMap<&'static str, Vec<StagedFile>>,
    /// Description of the raw transactions.
    pub(super) spec: Option<&'a TableSpec>,
    pub(super) threads: usize,
    /// Folder for temporary files.
    pub(super) scratch: &'a Path,
}

/// Writes the purchase lines and the index of events.
pub(super) async fn write(
    target: SnapshotTarget<'_>,
    input: PurchaseInput<'_>,
) -> Result<Vec<FileEntry>, BuildError> {
    let table = |name: &str| input.tables.get(name).cloned().unwrap_or_default();
    let (transactions, interactions) = (table("transactions"), table("interactions"));
    let events = EventInput {
        transactions: transactions.clone(),
        interactions,
        customers: Arc::clone(input.customers),
        order_scope: input
            .spec
            .into_iter()
            .flat_map(TableSpec::order_scope_names)
            .map(str::to_owned)
            .collect(),
        order_span: input.spec.map_or(i64::MAX, |spec| spec.order_span),
        threads: input.threads,
        scratch: input.scratch.to_path_buf(),
    };
    let history = tokio::spawn(history::write(target.lake.clone(), target.id.clone(), transactions));
    let spilled = tokio::task::spawn_blocking(move || event_spill::spill(&events)).await?;
    let index = match spilled {
        Ok(spilled) => event_index::write(target, spilled).await,
        Err(error) => Err(error.into()),
    };
    let mut files = history.await??;
    files.extend(index?);
    Ok(files)
}
