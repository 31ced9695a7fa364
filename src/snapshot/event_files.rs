//! Files of `purchases/`: the purchase lines of each customer, and an index that says who has events of a
//! key, and when.
//!
//! ```text
//! purchases/part-00000.parquet    purchase lines, sorted by customer, newest first
//! purchases/events-00000.parquet  one row per event, sorted by key, customer and time
//! ```
//!
//! A key such as `product:22423` is in the index file that the key's CRC-32 selects, so that a lookup reads
//! one file. In the index, customers are numbered in the order of their ids, as `customers` has them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::{
    basic::{Compression, Encoding},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};

use super::{
    FileKind, Manifest,
    writer::{ID, PRODUCT_ID, plain},
};

/// Number of purchase lines at which a block ends with its customer.
pub const PURCHASES_BLOCK_ROWS: usize = 4_096;
/// Number of purchase lines at which a part ends with its customer.
pub const PURCHASES_PART_ROWS: usize = 1 << 20;
/// Number of events in a block of the index.
pub const EVENTS_BLOCK_ROWS: usize = 16_384;
/// Name of the column with the key of an event.
pub const KEY: &str = "key";
/// Name of the column with the number of a customer.
pub const CUSTOMER: &str = "customer";
/// Name of the column with a time.
pub const AT: &str = "at";

fn time(name: &str) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)
}

/// Returns the schema of purchase lines. `quantity` is the type of quantities, and `amount` that of amounts.
#[must_use]
pub fn purchases_schema(quantity: DataType, amount: DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(ID, DataType::Utf8, false),
        time(AT),
        Field::new("order_id", DataType::Utf8, false),
        Field::new(PRODUCT_ID, DataType::Utf8, false),
        Field::new("product", DataType::Utf8, true),
        Field::new("quantity", quantity, false),
        Field::new("amount", amount, false),
    ]))
}

/// Returns the schema of the index.
#[must_use]
pub fn events_schema() -> SchemaRef {
    let customer = Field::new(CUSTOMER, DataType::UInt32, false);
    Arc::new(Schema::new(vec![Field::new(KEY, DataType::Utf8, false), customer, time(AT)]))
}

/// Returns the writer properties of purchase lines. A block has few different values in most columns.
#[must_use]
pub fn purchases_properties() -> WriterProperties {
    let columns = [ID, AT, "order_id", PRODUCT_ID, "product"].map(ColumnPath::from);
    let with = columns.into_iter().fold(plain(Compression::LZ4_RAW), |properties, column| {
        properties.set_column_dictionary_enabled(column, true)
    });
    with.build()
}

/// Returns the writer properties of the index.
#[must_use]
pub fn events_properties() -> WriterProperties {
    let key = || ColumnPath::from(KEY);
    plain(Compression::LZ4_RAW)
        .set_column_dictionary_enabled(key(), true)
        .set_column_statistics_enabled(key(), EnabledStatistics::Chunk)
        .set_column_encoding(ColumnPath::from(CUSTOMER), Encoding::DELTA_BINARY_PACKED)
        .set_column_encoding(ColumnPath::from(AT), Encoding::DELTA_BINARY_PACKED)
        .build()
}

/// Returns the path of index file `number`.
#[must_use]
pub fn events_path(number: usize) -> String {
    format!("purchases/events-{number:05}.parquet")
}

/// Returns the number of the index file, among `files`, that holds `key`.
#[must_use]
pub fn file_of_key(key: &str, files: usize) -> usize {
    let files = u32::try_from(files).unwrap_or(u32::MAX).max(1);
    usize::try_from(crc32fast::hash(key.as_bytes()) % files).unwrap_or(0)
}

impl Manifest {
    /// Returns the index file that holds `key`, as a position in `files`; `None` without an index.
    #[must_use]
    pub fn events_of(&self, key: &str) -> Option<usize> {
        let files = self.files.iter().filter(|file| file.kind == FileKind::Events).count();
        let path = events_path(file_of_key(key, files));
        self.files.iter().position(|file| file.kind == FileKind::Events && file.path == path)
    }
}
