//! Raw tables: which columns they have, how a line is checked, and what may be wrong with a file.
//!
//! Every line of every format arrives here as text fields in the order of the table's columns, and leaves as a typed
//! record or with the reason why it is bad. Knows nothing of the staging or of SQL.

use std::collections::BTreeMap;

use chrono_tz::Tz;

use crate::{
    config::{RawConfig, TableConfig},
    feature::{feature_name, is_name},
    lake::LakeError,
};

pub(crate) mod files;
pub(crate) mod object;
pub(crate) mod read;
mod records;
pub(crate) mod value;

use value::{TimeRule, trimmed};

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
            Self::Transactions => &["customer_id", "order_id", "product_id", "quantity", "unit_price", "ordered_at"],
            Self::Customers => &["customer_id"],
            Self::Interactions => &["customer_id", "event", "at"],
        }
    }

    /// Columns that a file may have.
    fn optional(self) -> &'static [&'static str] {
        match self {
            Self::Transactions => &["product_name", "category", "country"],
            Self::Customers => &["created_at"],
            Self::Interactions => &["product_id"],
        }
    }
}

/// The type of a column as the checks know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    Date,
    Timestamp,
}

impl Kind {
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
            Self::Number => "a number of at most 14 digits before and 4 behind the point",
            Self::Boolean => "true or false",
            Self::Date => "a date such as 2010-12-01",
            Self::Timestamp => "a time such as 2010-12-01T08:26:00Z",
        }
    }
}

/// A column that lines are read for.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// Larder's name for it.
    pub(crate) name: String,
    /// Its name in the files.
    pub(crate) source: String,
    /// Whether a file without it is an error.
    pub(crate) required: bool,
    pub(crate) kind: Kind,
}

/// The most columns of a table that Larder reads by name.
pub(crate) const MAX_COLUMNS: usize = 32;

/// How one table is to be read.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// Which table.
    pub table: Table,
    pub(crate) columns: Vec<Column>,
    pub(crate) delimiter: u8,
    pub(crate) times: TimeRule,
    /// Declared types of extra columns (customers).
    pub(crate) types: BTreeMap<String, Kind>,
}

impl TableSpec {
    /// How `[raw.<table>]` says that `table` is to be read.
    ///
    /// # Errors
    /// Of a setting that cannot be.
    pub fn new(table: Table, raw: &RawConfig) -> Result<Self, RawError> {
        let config = table_config(table, raw);
        let wrong = |why: String| RawError::Setting { table: table.name(), why };
        let zone: Tz = raw.zone.parse().map_err(|_| RawError::Zone { zone: raw.zone.clone() })?;
        let delimiter = config.delimiter.unwrap_or(',');
        let delimiter = u8::try_from(delimiter).ok().filter(u8::is_ascii);
        let delimiter = delimiter.ok_or_else(|| wrong("`delimiter` must be one ASCII character".to_owned()))?;
        let mut columns = Vec::new();
        let known =
            table.required().iter().map(|name| (*name, true)).chain(table.optional().iter().map(|n| (*n, false)));
        for (name, required) in known {
            let mapped = config.columns.get(name);
            let source = mapped.map_or(name, String::as_str).to_owned();
            columns.push(Column {
                name: name.to_owned(),
                source,
                required: required || mapped.is_some(),
                kind: kind_of(name),
            });
        }
        for (name, source) in &config.columns {
            if columns.iter().any(|column| column.name == *name) {
                continue;
            }
            if !is_name(name) {
                return Err(wrong(format!("`{name}` in `columns` is no column name; use a to z, 0 to 9 and _")));
            }
            columns.push(Column { name: name.clone(), source: source.clone(), required: true, kind: Kind::Text });
        }
        if columns.len() > MAX_COLUMNS {
            return Err(wrong(format!("`columns` names more than {MAX_COLUMNS} columns")));
        }
        let mut types = BTreeMap::new();
        for (name, kind) in &config.types {
            let kind = Kind::parse(kind).ok_or_else(|| {
                wrong(format!("`{kind}` in `types` is none of text, integer, decimal, boolean, date, timestamp"))
            })?;
            types.insert(name.clone(), kind);
        }
        if !types.is_empty() && table != Table::Customers {
            return Err(wrong("`types` is for customers only".to_owned()));
        }
        if let Some(format) = &config.time_format
            && chrono::format::StrftimeItems::new(format).any(|item| matches!(item, chrono::format::Item::Error))
        {
            return Err(wrong(format!("`{format}` is no time format")));
        }
        let times = TimeRule { zone, format: config.time_format.clone() };
        Ok(Self { table, columns, delimiter, times, types })
    }

    /// Whether columns that are not named are kept.
    pub(crate) fn keeps_extras(&self) -> bool {
        self.table == Table::Customers
    }

    /// The columns of `transactions` that are plain text: names, categories, and what the configuration adds.
    pub(crate) fn texts(&self) -> &[Column] {
        &self.columns[self.table.required().len()..]
    }
}

/// The settings of `table`.
pub(crate) fn table_config(table: Table, raw: &RawConfig) -> &TableConfig {
    match table {
        Table::Transactions => &raw.transactions,
        Table::Customers => &raw.customers,
        Table::Interactions => &raw.interactions,
    }
}

fn kind_of(column: &str) -> Kind {
    match column {
        "quantity" => Kind::Integer,
        "unit_price" => Kind::Number,
        "ordered_at" | "at" | "created_at" => Kind::Timestamp,
        _ => Kind::Text,
    }
}

/// One line of a file.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    /// The fields in the order of the spec's columns, and the columns beside them that are kept.
    Record { fields: &'a [&'a str], extras: &'a [Extra<'a>] },
    /// Not readable as a line at all, and why.
    Bad(String),
}

/// A column that is kept without being named.
#[derive(Debug)]
pub(crate) struct Extra<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: std::borrow::Cow<'a, str>,
    pub(crate) kind: Kind,
}

/// A line of `transactions` that passed.
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    pub(crate) customer_id: Option<&'a str>,
    pub(crate) order_id: &'a str,
    pub(crate) product_id: &'a str,
    pub(crate) quantity: i64,
    /// In ten-thousandths.
    pub(crate) unit_price: i64,
    /// In microseconds since 1970.
    pub(crate) ordered_at: i64,
}

/// A line of `customers` that passed.
#[derive(Debug)]
pub(crate) struct Customer<'a> {
    pub(crate) customer_id: Option<&'a str>,
    pub(crate) created_at: Option<i64>,
}

/// A line of `interactions` that passed.
#[derive(Debug)]
pub(crate) struct Interaction<'a> {
    pub(crate) customer_id: Option<&'a str>,
    pub(crate) event: &'a str,
    pub(crate) product_id: Option<&'a str>,
    pub(crate) at: i64,
}

impl TableSpec {
    /// Checks the fields of a line of `transactions`.
    pub(crate) fn transaction<'a>(&self, fields: &[&'a str]) -> Result<Transaction<'a>, String> {
        Ok(Transaction {
            customer_id: self.id(fields)?,
            order_id: self.text(fields, 1)?,
            product_id: self.text(fields, 2)?,
            quantity: value::integer(fields[3]).ok_or_else(|| self.unexpected(fields, 3))?,
            unit_price: value::price(fields[4]).ok_or_else(|| self.unexpected(fields, 4))?,
            ordered_at: self.times.parse(fields[5]).ok_or_else(|| self.unexpected(fields, 5))?,
        })
    }

    /// Checks the fields of a line of `customers`.
    pub(crate) fn customer<'a>(&self, fields: &[&'a str], extras: &[Extra<'_>]) -> Result<Customer<'a>, String> {
        let created_at = match fields[1].trim() {
            "" => None,
            text => Some(self.times.parse(text).ok_or_else(|| self.unexpected(fields, 1))?),
        };
        let declared = if self.types.is_empty() { &[] } else { extras };
        for extra in declared.iter().filter(|extra| !extra.text.trim().is_empty()) {
            let Some(kind) = self.types.get(&feature_name(extra.name)) else { continue };
            if !self.fits(*kind, extra.text.trim()) {
                return Err(unexpected(extra.name, kind.expected(), &extra.text));
            }
        }
        Ok(Customer { customer_id: self.id(fields)?, created_at })
    }

    /// Checks the fields of a line of `interactions`.
    pub(crate) fn interaction<'a>(&self, fields: &[&'a str]) -> Result<Interaction<'a>, String> {
        Ok(Interaction {
            customer_id: self.id(fields)?,
            event: self.text(fields, 1)?,
            at: self.times.parse(fields[2]).ok_or_else(|| self.unexpected(fields, 2))?,
            product_id: Some(trimmed(fields[3])).filter(|id| !id.is_empty()),
        })
    }

    fn id<'a>(&self, fields: &[&'a str]) -> Result<Option<&'a str>, String> {
        value::customer_id(fields[0]).map_err(|error| format!("column `{}`: {error}", self.columns[0].source))
    }

    fn text<'a>(&self, fields: &[&'a str], at: usize) -> Result<&'a str, String> {
        match trimmed(fields[at]) {
            "" => Err(unexpected(&self.columns[at].source, "a value", "")),
            text => Ok(text),
        }
    }

    fn unexpected(&self, fields: &[&str], at: usize) -> String {
        let column = &self.columns[at];
        unexpected(&column.source, column.kind.expected(), fields[at])
    }

    /// Whether `text` can be read as `kind`.
    pub(crate) fn fits(&self, kind: Kind, text: &str) -> bool {
        match kind {
            Kind::Text => true,
            Kind::Integer => value::integer(text).is_some(),
            Kind::Number => value::price(text).is_some(),
            Kind::Boolean => matches!(text, "true" | "false"),
            Kind::Date | Kind::Timestamp => self.times.parse(text).is_some(),
        }
    }
}

fn unexpected(column: &str, expected: &str, found: &str) -> String {
    let found =
        if found.trim().is_empty() { "nothing".to_owned() } else { format!("a value like `{}`", value::form(found)) };
    format!("column `{column}`: expected {expected}, found {found}")
}

/// What is wrong with raw data.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// `[raw]` names a zone that does not exist.
    #[error("`{zone}` in [raw] is no IANA time zone such as Europe/London")]
    Zone {
        /// The zone.
        zone: String,
    },
    /// A setting that cannot be.
    #[error("in [raw.{table}]: {why}")]
    Setting {
        /// The table.
        table: &'static str,
        /// What is wrong.
        why: String,
    },
    /// No file of a table that is needed.
    #[error("there are no {table} in {place}; `larder upload {table} FILE…` puts some there")]
    NoFiles {
        /// The table.
        table: &'static str,
        /// Where they were looked for.
        place: String,
    },
    /// A file whose name tells no known format.
    #[error(
        "{file}: cannot tell its format; names end in .csv, .jsonl, .ndjson, .json (these also with .gz) or .parquet"
    )]
    Format {
        /// The file.
        file: String,
    },
    /// A file without a column that it needs.
    #[error(
        "{file}, line 1: there is no column `{source_name}`, expected as {table}.{column}; its columns are {found}; map it in [raw.{table}] columns"
    )]
    MissingColumn {
        /// The file.
        file: String,
        /// The table.
        table: &'static str,
        /// Larder's name.
        column: String,
        /// The name looked for.
        source_name: String,
        /// The columns there are.
        found: String,
    },
    /// A Parquet column of a type that cannot be read as what it should be.
    #[error("{file}, column `{column}`: expected {expected}, found the type {found}")]
    ColumnType {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// What was expected.
        expected: &'static str,
        /// The type in the file.
        found: String,
    },
    /// A file that cannot be read on.
    #[error("{file}, after line {line}: cannot read on: {why}")]
    Unreadable {
        /// The file.
        file: String,
        /// The last line read.
        line: u64,
        /// Why.
        why: String,
    },
    /// Too many bad lines.
    #[error("{bad} of {lines} lines of {table} are bad, more than the share of {limit} that [raw] max_bad_share allows; the first: {}", examples.join("; "))]
    TooManyBad {
        /// The table.
        table: &'static str,
        /// Bad lines.
        bad: u64,
        /// All lines.
        lines: u64,
        /// The share allowed.
        limit: f64,
        /// The first few.
        examples: Vec<String>,
    },
    /// The lake failed.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// A temporary file failed.
    #[error("cannot keep temporary data in {place}")]
    Staging {
        /// The folder.
        place: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
