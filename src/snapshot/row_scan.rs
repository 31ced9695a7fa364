//! Scan of the `rows` of a snapshot, from the first customer to the last, in batches.

use arrow::array::{Array, RecordBatch, StringArray};
use futures::stream::BoxStream;

use super::{FileKind, SnapshotError, block::EncodedBlock, files::SnapshotFiles};

/// Rows of adjacent customers: ids, and a text per view.
#[derive(Debug, Clone)]
pub struct RowBatch {
    ids: StringArray,
    views: Vec<StringArray>,
}

impl RowBatch {
    /// Decodes a block whose checksum was compared.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`].
    pub fn decode(block: &EncodedBlock) -> Result<Self, SnapshotError> {
        let batch = block.decode()?;
        let mut texts = texts(&batch);
        let first = texts.next().flatten();
        match (first, texts.collect()) {
            (Some(ids), Some(views)) => Ok(Self { ids, views }),
            _ => Err(block.damaged("a column does not hold text")),
        }
    }

    /// Returns the number of customers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Checks whether there are no customers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the id of the customer at `row`.
    #[must_use]
    pub fn id(&self, row: usize) -> &str {
        self.ids.value(row)
    }

    /// Returns the text of a view of the customer at `row`, or `None` if the view has no row for the
    /// customer.
    #[must_use]
    pub fn text(&self, row: usize, view: usize) -> Option<&str> {
        let texts = &self.views[view];
        texts.is_valid(row).then(|| texts.value(row))
    }

    /// Returns the number of customers whose id is at most `id`. They come first.
    #[must_use]
    pub fn count_up_to(&self, id: &str) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.id(middle) <= id { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// Iterates over the columns of `batch`; `None` for one that holds no text.
pub(super) fn texts(batch: &RecordBatch) -> impl Iterator<Item = Option<StringArray>> {
    batch.columns().iter().map(|column| column.as_any().downcast_ref::<StringArray>().cloned())
}

impl SnapshotFiles {
    /// Streams the rows of all customers, sorted by id. A failed range read or a damaged block ends the
    /// stream.
    #[must_use]
    pub fn rows(&self) -> BoxStream<'static, Result<RowBatch, SnapshotError>> {
        self.scan_blocks(self.manifest.parts(FileKind::Rows), RowBatch::decode)
    }
}
