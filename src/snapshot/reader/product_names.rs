//! The names of all products of a snapshot: read once, and kept in the cache of blocks without their other
//! columns, so that a page of customers with names reads no product one by one.

use std::sync::Arc;

use arrow::array::AsArray;
use futures::TryStreamExt;

use super::{BlockKey, CacheEntry, SnapshotReader, wrong_entry};
use crate::{
    feature::PackedTexts,
    snapshot::{SnapshotError, block::EncodedBlock, writer::PRODUCT_ID},
};

/// The ids and names of products, sorted by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProductNames {
    ids: PackedTexts,
    /// Names by the place of the id; empty for a product without a name.
    names: PackedTexts,
}

impl ProductNames {
    /// Returns the name of the product `id`, if it is known.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&str> {
        let name = self.names.get(self.ids.search(id).ok()?);
        if name.is_empty() { None } else { Some(name) }
    }

    /// Returns the memory in use, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.ids.bytes() + self.names.bytes()
    }
}

impl SnapshotReader {
    /// Returns the names of all products. Concurrent calls share one read of the lake.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn product_names(&self) -> Result<Arc<ProductNames>, Arc<SnapshotError>> {
        // No file of the snapshot has this number.
        let key = BlockKey { snapshot: self.number, file: self.files.manifest.files.len(), block: None };
        let load = async { Ok(CacheEntry::ProductNames(Arc::new(self.read_product_names().await?))) };
        match self.entry(key, load).await? {
            CacheEntry::ProductNames(names) => Ok(names),
            _ => Err(wrong_entry()),
        }
    }

    async fn read_product_names(&self) -> Result<ProductNames, SnapshotError> {
        let mut all = ProductNames::default();
        let mut blocks = self.files.scan_blocks(self.products.clone(), names_of);
        while let Some(names) = blocks.try_next().await? {
            for (id, name) in names {
                all.ids.push(&id);
                all.names.push(name.as_deref().unwrap_or_default());
            }
        }
        Ok(all)
    }
}

/// Returns the ids and names of the products of a block.
fn names_of(block: &EncodedBlock) -> Result<Vec<(String, Option<String>)>, SnapshotError> {
    let texts = |at: usize, name: &str| -> Result<Vec<Option<String>>, SnapshotError> {
        let column = block.decode_column(at)?;
        let texts = column.column_by_name(name).and_then(|texts| texts.as_string_opt::<i32>());
        let texts = texts.ok_or_else(|| block.damaged(format!("the column {name} is missing")))?;
        Ok(texts.iter().map(|text| text.map(str::to_owned)).collect())
    };
    let (ids, names) = (texts(0, PRODUCT_ID)?, texts(1, "name")?);
    Ok(ids.into_iter().zip(names).filter_map(|(id, name)| Some((id?, name))).collect())
}
