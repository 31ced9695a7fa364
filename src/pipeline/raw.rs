//! Raw tables: which columns they have, how a line is checked, and what may be wrong with a file.
//!
//! Every line of every format arrives as text fields in the order of the table's columns, and leaves as a
//! typed record or with the reason why it is bad (`check`). Knows nothing of the staging or of SQL.

use crate::config::{RawConfig, TableConfig};

pub(crate) mod check;
mod error;
pub(crate) mod files;
mod header;
pub(crate) mod object;
pub(crate) mod read;
pub mod records;
mod spec;
mod stray;
pub(crate) mod time;
pub(crate) mod value;

pub use error::RawError;
pub use spec::TableSpec;

/// The raw tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// What was bought and brought back; required.
    Transactions,
    /// What is known about customers.
    Customers,
    /// What customers looked at.
    Interactions,
}

impl Table {
    /// All tables, in the order in which they are read.
    pub const ALL: [Self; 3] = [Self::Transactions, Self::Customers, Self::Interactions];

    /// The table's name in configuration, lake and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::Customers => "customers",
            Self::Interactions => "interactions",
        }
    }

    /// The table of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// Columns that every file must have.
    fn required(self) -> &'static [&'static str] {
        match self {
            Self::Transactions => {
                &["customer_id", "order_id", "product_id", "quantity", "unit_price", "ordered_at"]
            }
            Self::Customers => &["customer_id"],
            Self::Interactions => &["customer_id", "event", "at"],
        }
    }

    /// Columns that a file may have.
    fn optional(self) -> &'static [&'static str] {
        match self {
            Self::Transactions => &["product_name", "category", "country"],
            Self::Customers => &["created_at", "updated_at"],
            Self::Interactions => &["product_id"],
        }
    }
}

/// The type of a column as the checks know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RawType {
    Text,
    Integer,
    /// A decimal of so many digits behind the point, as Parquet types it.
    Decimal(u8),
    Number,
    Boolean,
    Date,
    Timestamp,
}

impl RawType {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "integer" => Self::Integer,
            "decimal" => Self::Number,
            "boolean" => Self::Boolean,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            _ => return None,
        })
    }

    /// What a message says was expected.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "a whole number",
            Self::Number | Self::Decimal(_) => "a number of at most 14 digits before and 4 behind the point",
            Self::Boolean => "true or false",
            Self::Date => "a date such as 2010-12-01",
            Self::Timestamp => "a time such as 2010-12-01T08:26:00Z",
        }
    }
}

/// A column that lines are read for.
#[derive(Debug, Clone)]
pub(crate) struct ColumnSpec {
    /// Larder's name for it.
    pub(crate) name: String,
    /// Its name in the files.
    pub(crate) source: String,
    /// Whether a file without it is an error.
    pub(crate) required: bool,
    pub(crate) kind: RawType,
    /// Whether it is an attribute too (customers).
    pub(crate) kept: bool,
}

/// The most columns of a table that Larder reads by name.
pub(crate) const MAX_COLUMNS: usize = 32;

/// Returns the settings of `table`.
pub(crate) fn table_config(table: Table, raw: &RawConfig) -> &TableConfig {
    match table {
        Table::Transactions => &raw.transactions,
        Table::Customers => &raw.customers,
        Table::Interactions => &raw.interactions,
    }
}
