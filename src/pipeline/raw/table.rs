//! Raw tables, their columns and the types of their values.

use crate::config::{RawConfig, TableConfig};

/// A raw table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Lines of purchases and returns. Required.
    Transactions,
    /// Attributes of customers.
    Customers,
    /// Events such as views of products.
    Interactions,
}

impl Table {
    /// All tables, in the order of reading.
    pub const ALL: [Self; 3] = [Self::Transactions, Self::Customers, Self::Interactions];

    /// Returns the name of the table in the configuration, the lake and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::Customers => "customers",
            Self::Interactions => "interactions",
        }
    }

    /// Returns the table of the given name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// Returns the columns that every file must have.
    pub(super) fn required(self) -> &'static [&'static str] {
        match self {
            Self::Transactions => {
                &["customer_id", "order_id", "product_id", "quantity", "unit_price", "ordered_at"]
            }
            Self::Customers => &["customer_id"],
            Self::Interactions => &["customer_id", "event", "at"],
        }
    }

    /// Returns the columns that a file may have.
    pub(super) fn optional(self) -> &'static [&'static str] {
        match self {
            Self::Transactions => &["product_name", "category", "country"],
            Self::Customers => &["created_at", "updated_at"],
            Self::Interactions => &["product_id"],
        }
    }
}

/// Type of a column of raw data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RawType {
    Text,
    Integer,
    /// Decimal of Parquet, with the given number of decimal digits.
    Decimal(u8),
    Number,
    Boolean,
    Date,
    Timestamp,
}

impl RawType {
    /// Returns the type of the given name in `types`.
    pub(super) fn parse(name: &str) -> Option<Self> {
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

    /// Returns the description of the expected value for messages.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "a whole number",
            Self::Number | Self::Decimal(_) => {
                "a number of at most 14 digits before and 4 after the decimal point"
            }
            Self::Boolean => "true or false",
            Self::Date => "a date such as 2010-12-01",
            Self::Timestamp => "a time such as 2010-12-01T08:26:00Z",
        }
    }
}

/// A column that is read from the lines of a table.
#[derive(Debug, Clone)]
pub(crate) struct ColumnSpec {
    /// Name of the column in Larder.
    pub(crate) name: String,
    /// Name of the column in the files.
    pub(crate) source: String,
    /// Whether a file without the column is an error.
    pub(crate) required: bool,
    pub(crate) kind: RawType,
    /// Whether the column is also an attribute of customers.
    pub(crate) kept: bool,
}

/// Maximum number of columns of a table that are read by name.
pub(crate) const MAX_COLUMNS: usize = 32;

/// Returns the settings of `table`.
pub(crate) fn table_config(table: Table, raw: &RawConfig) -> &TableConfig {
    match table {
        Table::Transactions => &raw.transactions,
        Table::Customers => &raw.customers,
        Table::Interactions => &raw.interactions,
    }
}
