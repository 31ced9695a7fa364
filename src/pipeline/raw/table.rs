//! Raw tables, their columns and the types of their values.

use serde::{Deserialize, Serialize};

use crate::config::{RawConfig, TableConfig};

/// A raw table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

    /// Returns the columns with a meaning of their own, in the order of [`TableSpec::columns`]: ids, numbers
    /// and times.
    ///
    /// [`TableSpec::columns`]: super::TableSpec
    pub(super) fn typed(self) -> &'static [&'static str] {
        match self {
            Self::Transactions => &[
                "customer_id",
                "order_id",
                "product_id",
                "quantity",
                "unit_price",
                "ordered_at",
                "amount",
                "currency",
            ],
            Self::Customers => &["customer_id", "created_at", "updated_at"],
            Self::Interactions => &["customer_id", "event", "at", "product_id"],
        }
    }

    /// Returns the text columns that a file may have.
    pub(super) fn texts(self) -> &'static [&'static str] {
        match self {
            Self::Transactions => &["product_name", "category", "country"],
            Self::Customers | Self::Interactions => &[],
        }
    }

    /// Returns whether every file must have the column `name`. A file must also have either `unit_price` or
    /// `amount`.
    pub(super) fn requires(self, name: &str) -> bool {
        match self {
            Self::Transactions => matches!(name, "customer_id" | "order_id" | "product_id" | "ordered_at"),
            Self::Customers => name == "customer_id",
            Self::Interactions => matches!(name, "customer_id" | "event" | "at"),
        }
    }
}

/// Type of a column of raw data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
            Self::Boolean => "true or false, yes or no, 1 or 0",
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
    /// Names of the column in the files, of which each file has one.
    pub(crate) sources: Vec<String>,
    /// Whether a file without the column is an error.
    pub(crate) required: bool,
    pub(crate) kind: RawType,
    /// Whether the column is also an attribute of customers.
    pub(crate) kept: bool,
    /// Value of empty fields, and of all lines of a file without the column.
    pub(crate) default: Option<String>,
}

impl ColumnSpec {
    /// Returns the name of the column in messages about its values.
    pub(crate) fn label(&self) -> &str {
        self.sources.first().unwrap_or(&self.name)
    }
}

/// Positions of the columns of `transactions` in [`TableSpec::columns`](super::TableSpec).
pub(crate) mod transaction_column {
    pub(crate) const ORDER: usize = 1;
    pub(crate) const PRODUCT: usize = 2;
    pub(crate) const QUANTITY: usize = 3;
    pub(crate) const UNIT_PRICE: usize = 4;
    pub(crate) const ORDERED_AT: usize = 5;
    pub(crate) const AMOUNT: usize = 6;
    pub(crate) const CURRENCY: usize = 7;
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
