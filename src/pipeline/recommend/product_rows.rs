//! The products of a snapshot with their similar products: `products/*.parquet`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use serde_json::json;

use super::{purchase_log::PurchaseLog, recommender::Recommender};
use crate::{
    lake::Lake,
    snapshot::{
        FileEntry, FileKind, SnapshotError, SnapshotId,
        writer::{PART_ROWS, PartWriter, products_properties, products_schema},
    },
};

/// The products, sorted by id, with names, categories and similar products as JSON.
#[derive(Debug)]
pub(super) struct ProductRows(RecordBatch);

impl ProductRows {
    pub(super) fn new(log: &PurchaseLog, recommender: &Recommender) -> Self {
        let products = &log.products;
        let similar = (0..).zip(products).map(|(number, _)| {
            let list = recommender.similar(number).iter().map(|(other, significance)| {
                let product = &products[*other as usize];
                let score = (significance * 100.0).round() / 100.0;
                json!({"product_id": product.id, "name": product.name, "score": score})
            });
            list.collect::<serde_json::Value>().to_string()
        });
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(products.iter().map(|product| &product.id))),
            Arc::new(products.iter().map(|product| product.name.as_deref()).collect::<StringArray>()),
            Arc::new(products.iter().map(|product| product.category.as_deref()).collect::<StringArray>()),
            Arc::new(StringArray::from_iter_values(similar)),
        ];
        // Does not fail: all columns have one value per product.
        let schema = products_schema();
        Self(
            RecordBatch::try_new(Arc::clone(&schema), columns)
                .unwrap_or_else(|_| RecordBatch::new_empty(schema)),
        )
    }

    /// Writes `products/*.parquet` of the snapshot `id`, with parts and blocks as in `rows`.
    ///
    /// # Errors
    /// Fails if the lake rejects a write.
    pub(super) async fn write(&self, lake: &Lake, id: &SnapshotId) -> Result<Vec<FileEntry>, SnapshotError> {
        let mut files = Vec::new();
        for start in (0..self.0.num_rows()).step_by(PART_ROWS) {
            let rows = self.0.slice(start, PART_ROWS.min(self.0.num_rows() - start));
            let path = format!("products/part-{:05}.parquet", files.len());
            let mut part =
                PartWriter::new(lake, id, path, FileKind::Products, rows.schema(), products_properties())?;
            part.write_in_blocks(&rows).await?;
            files.push(part.finish().await?);
        }
        Ok(files)
    }
}
