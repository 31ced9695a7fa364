//! Loads from a snapshot's files the data that audiences are counted with: ids, feature columns, members of
//! segments.
//!
//! Customers are numbered from 0 in the order of their ids, as `customers` has them. Each load reads all
//! customers; the caller decides what to keep, and for how long.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use futures::TryStreamExt;

use super::{
    SnapshotError,
    block::EncodedBlock,
    column_scan::{column, text_column},
    files::SnapshotFiles,
    run_blocking,
    writer::ID,
};
use crate::{
    audience::{Bitmap, ColumnBuilder, FeatureColumn, FeatureName},
    feature::PackedTexts,
};

/// Loads audience data of one snapshot.
#[derive(Debug, Clone)]
pub struct AudienceLoader {
    files: SnapshotFiles,
}

impl AudienceLoader {
    /// Creates a loader for the snapshot of `files`.
    #[must_use]
    pub fn new(files: SnapshotFiles) -> Self {
        Self { files }
    }

    /// Returns the number of customers.
    #[must_use]
    pub fn customers(&self) -> usize {
        usize::try_from(self.files.manifest.customers).unwrap_or(usize::MAX)
    }

    /// Loads all ids, sorted.
    ///
    /// # Errors
    /// [`SnapshotError::Lake`], [`SnapshotError::Timeout`], or [`SnapshotError::Damaged`].
    pub async fn ids(&self) -> Result<PackedTexts, SnapshotError> {
        let mut ids = PackedTexts::default();
        let mut batches = self.files.columns(&[ID]);
        while let Some(batch) = batches.try_next().await? {
            let texts =
                text_column(&batch, ID).ok_or_else(|| self.damaged("the column of ids is missing"))?;
            texts.iter().flatten().for_each(|id| ids.push(id));
        }
        self.check_count(ids.len())?;
        Ok(ids)
    }

    /// Loads a feature of all customers.
    ///
    /// # Errors
    /// Same errors as [`AudienceLoader::ids`].
    pub async fn feature(&self, name: &FeatureName) -> Result<FeatureColumn, SnapshotError> {
        let mut builder = ColumnBuilder::new(self.customers());
        let path = name.to_string();
        let mut batches = self.files.columns(&[&path]);
        while let Some(batch) = batches.try_next().await? {
            let missing = || self.damaged(&format!("the column {path} is missing"));
            let view: &ArrayRef = batch.column_by_name(&name.view).ok_or_else(missing)?;
            let values = column(&batch, &path).ok_or_else(missing)?;
            let pushed = builder.push(values.as_ref(), |row| view.is_null(row));
            pushed.map_err(|why| self.damaged(&format!("column {path}: {why}")))?;
        }
        let column = run_blocking("build a column", || builder.finish()).await?;
        self.check_count(column.nulls.len())?;
        Ok(column)
    }

    /// Loads the members of a segment, given all ids. A segment without a ranking is empty.
    ///
    /// # Errors
    /// Same errors as [`AudienceLoader::ids`].
    pub async fn segment(&self, name: &str, ids: &Arc<PackedTexts>) -> Result<Bitmap, SnapshotError> {
        let mut members = Bitmap::empty(self.customers());
        let Some(file) = self.files.manifest.ranking(name) else { return Ok(members) };
        let ids = Arc::clone(ids);
        let mut blocks = self.files.scan_blocks(vec![file], move |block| positions(block, &ids));
        while let Some(block) = blocks.try_next().await? {
            for customer in block {
                members.insert(customer);
            }
        }
        Ok(members)
    }

    fn check_count(&self, found: usize) -> Result<(), SnapshotError> {
        let expected = self.customers();
        if found == expected {
            return Ok(());
        }
        Err(self.damaged(&format!("there are {found} customers, but {expected} in the manifest")))
    }

    fn damaged(&self, why: &str) -> SnapshotError {
        SnapshotError::damaged(&self.files.manifest.id.path("customers"), why)
    }
}

/// Returns the customer numbers of a block of a ranking.
fn positions(block: &EncodedBlock, ids: &PackedTexts) -> Result<Vec<usize>, SnapshotError> {
    let batch = block.decode_column(0)?;
    let members = batch.columns().first().and_then(|column| column.as_string_opt::<i32>());
    let members = members.ok_or_else(|| block.damaged("the column of ids does not hold text"))?;
    let position = |id: &str| {
        let unknown =
            |_| block.damaged(format!("the ranking lists `{id}`, which is no customer of the snapshot"));
        ids.search(id).map_err(unknown)
    };
    members.iter().flatten().map(position).collect()
}
