//! Reads of the purchase lines of a customer, newest first.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, Decimal128Type, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};

use super::SnapshotReader;
use crate::{
    feature::CustomerId,
    snapshot::{SnapshotError, event_files::AT},
};

/// Number of decimal digits of quantities and amounts.
const SCALE: DataType = DataType::Decimal128(38, 4);

/// A purchase line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurchaseLine {
    /// Time of the line.
    pub at: DateTime<Utc>,
    /// Order.
    pub order_id: String,
    /// Product.
    pub product_id: String,
    /// Name of the product on this line, if the raw data has one.
    pub product: Option<String>,
    /// Quantity in ten-thousandths.
    pub quantity: i128,
    /// Amount in ten-thousandths.
    pub amount: i128,
}

/// A page of a customer's purchase lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurchasePage {
    /// Lines, newest first.
    pub lines: Vec<PurchaseLine>,
    /// Number of lines of the customer.
    pub total: usize,
}

impl SnapshotReader {
    /// Checks whether the snapshot has purchase lines.
    #[must_use]
    pub fn has_purchases(&self) -> bool {
        !self.purchases.is_empty()
    }

    /// Returns at most `limit` purchase lines of a customer, from the line `offset` (counted from 0) on.
    /// There are none of an unknown customer.
    ///
    /// # Errors
    /// Same errors as [`SnapshotReader::row`].
    pub async fn purchases(
        &self,
        id: &CustomerId,
        offset: usize,
        limit: usize,
    ) -> Result<PurchasePage, Arc<SnapshotError>> {
        let mut page = PurchasePage::default();
        let Some(file) = self.part_of(&self.purchases, id.as_str()) else { return Ok(page) };
        let footer = self.footer(file).await?;
        for at in footer.blocks_of_id(id.as_str()) {
            let block = self.columns(file, &footer, at).await?;
            let lines = lines_of(&block, id.as_str())
                .ok_or_else(|| self.damaged(file, "a column of a block of purchases is missing"))?;
            let skipped = offset.saturating_sub(page.total).min(lines.num_rows());
            let taken = (lines.num_rows() - skipped).min(limit - page.lines.len());
            page.total += lines.num_rows();
            let decoded = decode(&lines.slice(skipped, taken));
            page.lines.extend(decoded.ok_or_else(|| self.damaged(file, "a purchase line is malformed"))?);
        }
        Ok(page)
    }
}

/// Returns the rows of `block` that belong to the customer `id`.
fn lines_of(block: &RecordBatch, id: &str) -> Option<RecordBatch> {
    let ids = block.columns().first()?.as_string_opt::<i32>()?;
    let start = partition_point(ids, |known| known < id);
    let end = partition_point(ids, |known| known <= id);
    Some(block.slice(start, end - start))
}

/// Returns the number of first texts for which `is_before` holds; `texts` are sorted.
fn partition_point(texts: &StringArray, is_before: impl Fn(&str) -> bool) -> usize {
    let (mut low, mut high) = (0, texts.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        if is_before(texts.value(middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

fn decode(lines: &RecordBatch) -> Option<Vec<PurchaseLine>> {
    let text = |name| lines.column_by_name(name)?.as_string_opt::<i32>();
    let number = |name| -> Option<ArrayRef> { cast(lines.column_by_name(name)?, &SCALE).ok() };
    let (orders, products, names) = (text("order_id")?, text("product_id")?, text("product")?);
    let (quantities, amounts) = (number("quantity")?, number("amount")?);
    let quantities = quantities.as_primitive_opt::<Decimal128Type>()?;
    let amounts = amounts.as_primitive_opt::<Decimal128Type>()?;
    let times = lines.column_by_name(AT)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    let line = |row: usize| {
        Some(PurchaseLine {
            at: DateTime::from_timestamp_micros(times.value(row))?,
            order_id: orders.value(row).to_owned(),
            product_id: products.value(row).to_owned(),
            product: if names.is_valid(row) { Some(names.value(row).to_owned()) } else { None },
            quantity: quantities.value(row),
            amount: amounts.value(row),
        })
    };
    (0..lines.num_rows()).map(line).collect()
}
