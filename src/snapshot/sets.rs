//! From a snapshot's files to what audiences are counted with: ids, columns, members of segments.
//!
//! Customers are numbered from 0 in the order of their ids, as `customers` has them. Each of these is read once and whole; what is
//! kept, and for how long, is for the caller to decide.

use std::{sync::Arc, time::Duration};

use arrow::array::{Array, ArrayRef, AsArray};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::{FileEntry, FileKind, Manifest, SnapshotError, blocks::Footer, columns, writer::ID};
use crate::{
    audience::{Bitmap, ColumnBuilder, Dictionary, FeatureColumn, FeatureName},
    lake::Lake,
};

/// Blocks of a ranking that are read ahead.
const AHEAD: usize = 4;

/// Where a snapshot is read from.
#[derive(Debug, Clone)]
pub struct Sets {
    lake: Lake,
    manifest: Arc<Manifest>,
    deadline: Duration,
}

impl Sets {
    /// Those of the snapshot of `manifest`. No single read may take longer than `deadline`.
    #[must_use]
    pub fn new(lake: Lake, manifest: Arc<Manifest>, deadline: Duration) -> Self {
        Self { lake, manifest, deadline }
    }

    /// How many customers there are.
    #[must_use]
    pub fn customers(&self) -> usize {
        usize::try_from(self.manifest.customers).unwrap_or(usize::MAX)
    }

    /// All ids, in order.
    ///
    /// # Errors
    /// Of the lake, or of a damaged file.
    pub async fn ids(&self) -> Result<Dictionary, SnapshotError> {
        let mut ids = Dictionary::default();
        let mut batches = columns::exactly(&self.lake, &self.manifest, &[ID], self.deadline);
        while let Some(batch) = batches.try_next().await? {
            let texts = columns::texts(&batch, ID).ok_or_else(|| self.damaged("it has no ids"))?;
            texts.iter().flatten().for_each(|id| ids.push(id));
        }
        self.check(ids.len())?;
        Ok(ids)
    }

    /// A feature of all customers.
    ///
    /// # Errors
    /// Of the lake, or of a damaged file.
    pub async fn feature(&self, name: &FeatureName) -> Result<FeatureColumn, SnapshotError> {
        let mut builder = ColumnBuilder::new(self.customers());
        let path = name.to_string();
        let mut batches = columns::exactly(&self.lake, &self.manifest, &[&path], self.deadline);
        while let Some(batch) = batches.try_next().await? {
            let missing = || self.damaged(&format!("it has no column {path}"));
            let view: &ArrayRef = batch.column_by_name(&name.view).ok_or_else(missing)?;
            let values = columns::column(&batch, &path).ok_or_else(missing)?;
            // Once for all parts, and in the order of customers.
            let pushed = builder.push(values.as_ref(), |row| view.is_null(row));
            pushed.map_err(|why| self.damaged(&format!("column {path}: {why}")))?;
        }
        let column = tokio::task::spawn_blocking(|| builder.finish());
        let column = column.await.map_err(|error| self.damaged(&error.to_string()))?;
        self.check(column.nulls.len())?;
        Ok(column)
    }

    /// The members of a segment, given all ids.
    ///
    /// # Errors
    /// Of the lake, or of a damaged file. A segment without a ranking is empty.
    pub async fn segment(&self, name: &str, ids: &Arc<Dictionary>) -> Result<Bitmap, SnapshotError> {
        let mut members = Bitmap::empty(self.customers());
        let of_segment =
            |file: &&FileEntry| file.kind == FileKind::Ranking && file.segment.as_deref() == Some(name);
        let Some(file) = self.manifest.files.iter().find(of_segment) else { return Ok(members) };
        let object = self.manifest.id.path(&file.path);
        let footer = Arc::new(self.in_time(&object, Footer::read(&self.lake, &object, file)).await?);
        let read = |at: usize| {
            let (object, block) = (&object, footer.block(at));
            async move {
                let range = block.offset..block.offset + block.length;
                let read = async { Ok(self.lake.get_range(object, range).await?) };
                Ok::<_, SnapshotError>((at, self.in_time(object, read).await?))
            }
        };
        let reads: Vec<_> = (0..footer.blocks()).map(read).collect();
        let mut reads = stream::iter(reads).buffered(AHEAD);
        while let Some((at, bytes)) = reads.try_next().await? {
            let (footer, ids) = (Arc::clone(&footer), Arc::clone(ids));
            let found = tokio::task::spawn_blocking(move || numbers(&footer, at, bytes, &ids)).await;
            let found = found.unwrap_or_else(|error| Err(error.to_string()));
            let found = found.map_err(|why| SnapshotError::Damaged { object: object.to_string(), why })?;
            for customer in found {
                members.insert(customer);
            }
        }
        Ok(members)
    }

    async fn in_time<T>(
        &self,
        object: &Path,
        read: impl Future<Output = Result<T, SnapshotError>>,
    ) -> Result<T, SnapshotError> {
        tokio::time::timeout(self.deadline, read).await.unwrap_or_else(|_| {
            Err(SnapshotError::Timeout { object: object.to_string(), millis: self.deadline.as_millis() })
        })
    }

    fn check(&self, found: usize) -> Result<(), SnapshotError> {
        let customers = self.customers();
        if found == customers {
            return Ok(());
        }
        Err(self.damaged(&format!("it has {found} customers, and the manifest says {customers}")))
    }

    fn damaged(&self, why: &str) -> SnapshotError {
        SnapshotError::Damaged { object: self.manifest.id.path("customers").to_string(), why: why.to_owned() }
    }
}

/// The numbers of the customers of block `at` of a ranking.
fn numbers(footer: &Footer, at: usize, bytes: Bytes, ids: &Dictionary) -> Result<Vec<usize>, String> {
    let block = footer.decode_block(at, bytes)?;
    let members = block.columns().first().and_then(|column| column.as_string_opt::<i32>());
    let members = members.ok_or("a column that should hold text does not")?;
    let number = |id: &str| {
        let (number, known) = ids.search(id);
        if known { Ok(number) } else { Err(format!("it lists `{id}`, whom the snapshot does not know")) }
    };
    members.iter().flatten().map(number).collect()
}
