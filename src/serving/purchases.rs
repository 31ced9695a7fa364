//! Purchase lines of a customer, from the snapshot.

use super::{ReadError, Served};
use crate::{feature::CustomerId, snapshot::reader::PurchasePage};

impl Served {
    /// Checks whether the snapshot has purchase lines.
    #[must_use]
    pub fn has_purchases(&self) -> bool {
        self.reader.has_purchases()
    }

    /// Reads at most `limit` purchase lines of a customer, newest first, from the line `offset` on. Lines
    /// count from 0. An erased customer has none.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] if the snapshot cannot be read.
    pub async fn purchases(
        &self,
        id: &CustomerId,
        offset: usize,
        limit: usize,
    ) -> Result<PurchasePage, ReadError> {
        if self.forgets(id.as_str()) {
            return Ok(PurchasePage::default());
        }
        Ok(self.reader.purchases(id, offset, limit).await?)
    }
}
