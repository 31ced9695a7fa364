//! `[raw]`: location and format of the raw files.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};

use super::units::duration;

/// The `[raw]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// IANA time zone of times without a zone. Weekdays and hours of features are in this zone, too.
    ///
    /// Default: `"UTC"`.
    pub zone: String,
    /// Share of bad lines of a table above which a build fails.
    ///
    /// Default: `0.01`. Unit: share of lines, 0 to 1.
    pub max_bad_share: f64,
    /// Earliest accepted time, RFC 3339 or a date. A line with an earlier time is a bad line.
    ///
    /// Default: `"1900-01-01"`.
    pub oldest: Option<String>,
    /// Latest accepted time, RFC 3339 or a date. A line with a later time is a bad line.
    ///
    /// Default: one day after the start of the build. Example: `"2030-01-01"`.
    pub newest: Option<String>,
    /// Words that mean a missing id, in addition to `NULL`, `None`, `NaN`, `N/A`, `\N`, `undefined` and the
    /// like.
    ///
    /// Default: `[]`. Example: `["GUEST"]`.
    pub nulls: Vec<String>,
    /// Largest accepted absolute quantity. A line with a larger quantity is a bad line.
    ///
    /// Default: `10000000`. Unit: items, 1 to 100,000,000.
    pub max_quantity: i64,
    /// Share of the lines of `transactions` of one customer above which a build prints a warning.
    ///
    /// Default: `0.05`. Unit: share of lines, 0 to 1.
    pub max_customer_share: f64,
    /// `[raw.currency]`: how amounts in several currencies become amounts in one.
    pub currency: CurrencyConfig,
    /// `[raw.transactions]`: the files with order lines, which are required.
    pub transactions: TableConfig,
    /// `[raw.customers]`: the files with customer attributes, which are optional.
    pub customers: TableConfig,
    /// `[raw.interactions]`: the files with views, carts and other events, which are optional.
    pub interactions: TableConfig,
}

/// The sections `[raw.transactions]`, `[raw.customers]` and `[raw.interactions]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableConfig {
    /// Folders (with a trailing `/`), files or patterns of the table, one or a list. A value is a path in the
    /// lake, a `file://` URL or an absolute path, and may have `*`, `**`, `?` and `[a-z]`. Without a value,
    /// the files are in the folder `raw/<table>/` of the lake.
    ///
    /// Default: `[]`. Example: `["exports/**/orders-*.csv"]`.
    #[serde(deserialize_with = "one_or_many")]
    pub files: Vec<String>,
    /// Patterns of files to leave out. A pattern without `/` is compared with the name of the file.
    ///
    /// Default: `[]`. Example: `["*.bak", "**/drafts/**"]`.
    #[serde(deserialize_with = "one_or_many")]
    pub ignore: Vec<String>,
    /// Column names: Larder's name to the name in the files, or to a list of names of which each file has
    /// one. Other columns are looked up by Larder's name.
    ///
    /// Default: `{}`. Example: `{ customer_id = ["CustomerID", "Customer ID"], ordered_at = "InvoiceDate" }`.
    #[serde(deserialize_with = "names")]
    pub columns: BTreeMap<String, Vec<String>>,
    /// Values for columns that a file does not have, and for empty fields.
    ///
    /// Default: `{}`. Example: `{ quantity = 1, country = "DE" }`.
    #[serde(deserialize_with = "values")]
    pub defaults: BTreeMap<String, String>,
    /// Formats of times in `strftime` notation, one or a list. They are tried in order, before ISO 8601 and
    /// epoch seconds or milliseconds. `epoch_us` and `epoch_ns` stand for epoch microseconds and nanoseconds,
    /// `excel` for the serial numbers of spreadsheets. Parquet timestamps need no format.
    ///
    /// Default: `[]`. Example: `["%d/%m/%Y %H:%M"]`.
    #[serde(deserialize_with = "one_or_many")]
    pub time_format: Vec<String>,
    /// Delimiter of CSV fields.
    ///
    /// Default: the one of `,`, `;`, tab and `|` with which the header has the required columns. Example:
    /// `";"`.
    pub delimiter: Option<char>,
    /// Whether `"` quotes CSV fields. With `false` a `"` is an ordinary character.
    ///
    /// Default: `true`.
    pub quote: Option<bool>,
    /// Encoding of text files, by its name in the WHATWG encoding standard. A byte order mark overrides the
    /// setting.
    ///
    /// Default: UTF-8. Example: `"windows-1252"`.
    pub encoding: Option<String>,
    /// Number of lines before the header of CSV files, or of rows before that of workbooks.
    ///
    /// Default: `0`.
    pub skip: Option<usize>,
    /// Sheets of workbooks to read. Without a value, the first sheet and all others with the same header are
    /// read.
    ///
    /// Default: `[]`. Example: `["2024"]`.
    #[serde(deserialize_with = "one_or_many")]
    pub sheets: Vec<String>,
    /// Decimal mark of numbers in CSV and of quoted numbers in JSON: `.` or `,`. Numbers such as `1.000`,
    /// which may have a thousands separator, are accepted only if this setting is present.
    ///
    /// Default: none, which means `.`. Example: `","`.
    pub decimal: Option<char>,
    /// Thousands separator of such numbers, for example of `1.234,50`.
    ///
    /// Default: none. Example: `"."`.
    pub thousands: Option<char>,
    /// Number of digits by which prices and amounts are shifted: 2 if they are in cents (`transactions`
    /// only).
    ///
    /// Default: `0`. Unit: decimal digits, 0 to 4.
    pub scale: Option<u32>,
    /// With `"order"`, lines take over empty fields from the first line of their order. All columns but
    /// product, quantity, price and amount are taken over; the lines of an order follow each other
    /// (`transactions` only).
    ///
    /// Default: none. Example: `"order"`.
    pub fill: Option<Fill>,
    /// Settings for some files, in the place of those of the table. Each entry has `files` (patterns) and any
    /// of `columns`, `defaults`, `time_format`, `delimiter`, `quote`, `encoding`, `skip`, `sheets`,
    /// `decimal`, `thousands` and `scale`. The first entry with a pattern that matches counts.
    ///
    /// Default: `[]`. Example: `[{ files = "**/2019-*.csv", delimiter = ";", decimal = "," }]`.
    pub dialects: Vec<DialectConfig>,
    /// Types of additional columns (`customers` only). Types are `text`, `integer`, `decimal`, `boolean`,
    /// `date` and `timestamp`; columns without an entry are `text`.
    ///
    /// Default: `{}`. Example: `{ birth_year = "integer" }`.
    pub types: BTreeMap<String, String>,
    /// Columns with personal data (`customers` only). They are personal under the same name in other views
    /// that read the table, too.
    ///
    /// Default: `[]`. Example: `["name", "email"]`.
    pub personal: Vec<String>,
    /// Columns that make an order id unique, such as store or till (`transactions` only).
    ///
    /// Default: `[]`. Example: `["store"]`.
    pub order_scope: Vec<String>,
    /// Longest time between the first and the last line of one order (`transactions` only). Lines of one
    /// order id that are further apart form several orders.
    ///
    /// Default: `"30d"`.
    #[serde(deserialize_with = "some_duration")]
    pub order_span: Option<Duration>,
    /// Whether lines of price 0 are purchases (`transactions` only).
    ///
    /// Default: `false`.
    pub free_orders: bool,
    /// Whether quantities may have up to four decimal digits, such as weights and lengths (`transactions`
    /// only). `quantity` and `items` are decimals in SQL then.
    ///
    /// Default: `false`.
    pub decimal_quantities: bool,
}

/// Which fields are taken over from the line before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// The fields of an order.
    Order,
}

/// Settings for some files of a table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DialectConfig {
    /// Patterns of the files.
    #[serde(deserialize_with = "one_or_many")]
    pub files: Vec<String>,
    /// Column names.
    #[serde(deserialize_with = "names")]
    pub columns: BTreeMap<String, Vec<String>>,
    /// Values for missing columns and empty fields.
    #[serde(deserialize_with = "values")]
    pub defaults: BTreeMap<String, String>,
    /// Formats of times.
    #[serde(deserialize_with = "one_or_many")]
    pub time_format: Vec<String>,
    /// Delimiter of CSV fields.
    pub delimiter: Option<char>,
    /// Whether `"` quotes CSV fields.
    pub quote: Option<bool>,
    /// Encoding of text files.
    pub encoding: Option<String>,
    /// Number of lines before the header.
    pub skip: Option<usize>,
    /// Sheets of workbooks.
    #[serde(deserialize_with = "one_or_many")]
    pub sheets: Vec<String>,
    /// Decimal mark.
    pub decimal: Option<char>,
    /// Thousands separator.
    pub thousands: Option<char>,
    /// Number of digits by which prices and amounts are shifted.
    pub scale: Option<u32>,
}

impl TableConfig {
    /// Returns the settings for the files of `dialect`: those of the table, unless `dialect` has its own.
    #[must_use]
    pub fn with(&self, dialect: &DialectConfig) -> Self {
        let mut config = Self { dialects: Vec::new(), ..self.clone() };
        config.columns.extend(dialect.columns.clone());
        config.defaults.extend(dialect.defaults.clone());
        if !dialect.time_format.is_empty() {
            config.time_format.clone_from(&dialect.time_format);
        }
        if !dialect.sheets.is_empty() {
            config.sheets.clone_from(&dialect.sheets);
        }
        config.delimiter = dialect.delimiter.or(config.delimiter);
        config.quote = dialect.quote.or(config.quote);
        config.encoding = dialect.encoding.clone().or(config.encoding);
        config.skip = dialect.skip.or(config.skip);
        config.decimal = dialect.decimal.or(config.decimal);
        config.thousands = dialect.thousands.or(config.thousands);
        config.scale = dialect.scale.or(config.scale);
        config
    }
}

/// `[raw.currency]`: how amounts in several currencies become amounts in one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CurrencyConfig {
    /// Currency of all features, as the column `currency` names it.
    ///
    /// Default: none: all lines must have the same currency. Example: `"EUR"`.
    pub base: Option<String>,
    /// Value of one unit of each other currency in units of `base`.
    ///
    /// Default: `{}`. Example: `{ USD = 0.92, GBP = 1.17 }`.
    #[serde(deserialize_with = "values")]
    pub rates: BTreeMap<String, String>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self {
            zone: "UTC".to_owned(),
            max_bad_share: 0.01,
            oldest: None,
            newest: None,
            nulls: Vec::new(),
            max_quantity: 10_000_000,
            max_customer_share: 0.05,
            currency: CurrencyConfig::default(),
            transactions: TableConfig::default(),
            customers: TableConfig::default(),
            interactions: TableConfig::default(),
        }
    }
}

/// One text or a list of texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(texts: OneOrMany) -> Self {
        match texts {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }
    }
}

/// Deserializes one text or a list of texts.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    OneOrMany::deserialize(deserializer).map(Vec::from)
}

/// Deserializes a table of texts or lists of texts.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let table = BTreeMap::<String, OneOrMany>::deserialize(deserializer)?;
    Ok(table.into_iter().map(|(name, texts)| (name, texts.into())).collect())
}

/// Deserializes a table of texts, numbers and booleans, as texts.
fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let table = BTreeMap::<String, toml::Value>::deserialize(deserializer)?;
    let text = |(name, value): (String, toml::Value)| match value {
        toml::Value::String(text) => Ok((name, text)),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
            Ok((name, value.to_string()))
        }
        _ => Err(D::Error::custom(format!("`{name}` must be a text, a number or a boolean"))),
    };
    table.into_iter().map(text).collect()
}

/// Deserializes a duration of an optional setting.
fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}
