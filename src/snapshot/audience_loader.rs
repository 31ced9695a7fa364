//! Loads from a snapshot's files the data that audiences are counted with: ids, feature columns, members of
//! segments.
//!
//! Customers are numbered from 0 in the order of their ids, as `customers` has them. Each load reads all
//! customers; the caller decides what to keep, and for how long.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{TimestampMicrosecondType, UInt32Type},
};
use futures::TryStreamExt;

use super::{
    SnapshotError,
    block::EncodedBlock,
    column_scan::{column, text_column},
    event_files::{AT, CUSTOMER},
    files::SnapshotFiles,
    run_blocking,
    writer::ID,
};
use crate::{
    audience::{
        Bitmap, ColumnBuilder, EventKey, EventList, FeatureColumn, FeatureName,
        statistics::{FeatureStatistics, TextCounter},
    },
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
        let column = self.load(std::slice::from_ref(name), ColumnBuilder::new).await?.pop();
        column.ok_or(SnapshotError::Internal { why: "a column was not loaded" })
    }

    /// Loads several features of all customers in one pass, in the order of `names`. Of lists, only nulls are
    /// loaded.
    ///
    /// # Errors
    /// Same errors as [`AudienceLoader::ids`].
    pub async fn features_without_lists(
        &self,
        names: &[FeatureName],
    ) -> Result<Vec<FeatureColumn>, SnapshotError> {
        self.load(names, ColumnBuilder::without_lists).await
    }

    async fn load(
        &self,
        names: &[FeatureName],
        builder: fn(usize) -> ColumnBuilder,
    ) -> Result<Vec<FeatureColumn>, SnapshotError> {
        let mut builders: Vec<ColumnBuilder> = names.iter().map(|_| builder(self.customers())).collect();
        let push = |at: usize, values: &dyn Array, view: &ArrayRef| {
            builders[at].push(values, |row| view.is_null(row))
        };
        self.scan(names, push).await?;
        let mut columns = Vec::with_capacity(builders.len());
        for builder in builders {
            let column = run_blocking("build a column", || builder.finish()).await?;
            self.check_count(column.nulls.len())?;
            columns.push(column);
        }
        Ok(columns)
    }

    /// Computes the statistics of several features that are texts, in one pass and in the order of `names`.
    ///
    /// # Errors
    /// Same errors as [`AudienceLoader::ids`].
    pub async fn text_statistics(
        &self,
        names: &[FeatureName],
    ) -> Result<Vec<FeatureStatistics>, SnapshotError> {
        let mut counters: Vec<TextCounter> = names.iter().map(|_| TextCounter::new()).collect();
        let push = |at: usize, values: &dyn Array, view: &ArrayRef| {
            counters[at].push(values, |row| view.is_null(row))
        };
        self.scan(names, push).await?;
        Ok(counters.into_iter().map(TextCounter::finish).collect())
    }

    /// Reads the features `names` of all customers, and passes the values of each batch to `push`: the index
    /// of the feature, its values, and the view, which is null for absent customers.
    async fn scan(
        &self,
        names: &[FeatureName],
        mut push: impl FnMut(usize, &dyn Array, &ArrayRef) -> Result<(), String>,
    ) -> Result<(), SnapshotError> {
        let paths: Vec<String> = names.iter().map(ToString::to_string).collect();
        let wanted: Vec<&str> = paths.iter().map(String::as_str).collect();
        let mut batches = self.files.columns(&wanted);
        while let Some(batch) = batches.try_next().await? {
            for (at, (name, path)) in names.iter().zip(&paths).enumerate() {
                let missing = || self.damaged(&format!("the column {path} is missing"));
                let view: &ArrayRef = batch.column_by_name(&name.view).ok_or_else(missing)?;
                let values = column(&batch, path).ok_or_else(missing)?;
                let pushed = push(at, values.as_ref(), view);
                pushed.map_err(|why| self.damaged(&format!("column {path}: {why}")))?;
            }
        }
        Ok(())
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

    /// Loads the events of `key`. There are none in a snapshot without events.
    ///
    /// # Errors
    /// Same errors as [`AudienceLoader::ids`].
    pub async fn events(&self, key: &EventKey) -> Result<EventList, SnapshotError> {
        let mut events = EventList::default();
        let key = key.to_string();
        let Some(file) = self.files.manifest.events_of(&key) else { return Ok(events) };
        let footer = Arc::new(self.files.footer(file).await?);
        let blocks = footer.blocks_of_id(&key);
        let customers = self.files.manifest.customers;
        let decode = move |block: &EncodedBlock| events_of(block, &key, customers);
        let mut found = self.files.scan_some(file, footer, blocks, decode);
        while let Some((customers, times)) = found.try_next().await? {
            events.extend(&customers, &times);
        }
        let customers = self.customers();
        run_blocking("prepare a list of events", move || events.finish(customers)).await
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

/// Returns the customers and times of the events of `key` in a block of the index. All customer numbers must
/// be below `customers`.
fn events_of(block: &EncodedBlock, key: &str, customers: u64) -> Result<(Vec<u32>, Vec<i64>), SnapshotError> {
    let batch = block.decode()?;
    let missing = || block.damaged("a column of the index of events is missing");
    let keys = batch.columns().first().and_then(|keys| keys.as_string_opt::<i32>()).ok_or_else(missing)?;
    let numbers = batch.column_by_name(CUSTOMER).and_then(|column| column.as_primitive_opt::<UInt32Type>());
    let times = batch.column_by_name(AT);
    let times = times.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let (numbers, times) = (numbers.ok_or_else(missing)?.values(), times.ok_or_else(missing)?.values());
    let rows: Vec<usize> = (0..batch.num_rows()).filter(|row| keys.value(*row) == key).collect();
    if let Some(row) = rows.iter().find(|row| u64::from(numbers[**row]) >= customers) {
        return Err(block.damaged(format!("customer {} is not one of {customers}", numbers[*row])));
    }
    Ok(rows.into_iter().map(|row| (numbers[row], times[row])).unzip())
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
