//! `[raw]`: where raw data lies and how it is to be read.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer};

use super::duration;

/// `[raw]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// The IANA time zone of times without one, and of weekdays and hours; default `UTC`.
    pub zone: String,
    /// The share of bad lines of a table above which a build fails; default 0.01.
    pub max_bad_share: f64,
    /// The earliest time that an event may have, RFC 3339 or a date; an earlier one makes a bad line;
    /// default `1900-01-01`.
    pub oldest: Option<String>,
    /// The latest time that an event may have; a later one makes a bad line; default: a day after the start
    /// of the build.
    pub newest: Option<String>,
    /// Words that stand for no id, beside `NULL`, `None`, `NaN`, `N/A`, `\\N`, `undefined` and
    /// the like.
    pub nulls: Vec<String>,
    /// The greatest quantity of a line, either way; a greater one makes a bad line; default 10,000,000, at
    /// most 100,000,000.
    pub max_quantity: i64,
    /// The share of the lines of `transactions` above which one customer is warned of; default 0.05.
    pub max_customer_share: f64,
    /// `[raw.transactions]`, required data.
    pub transactions: TableConfig,
    /// `[raw.customers]`, optional data.
    pub customers: TableConfig,
    /// `[raw.interactions]`, optional data.
    pub interactions: TableConfig,
}

/// `[raw.transactions]`, `[raw.customers]`, `[raw.interactions]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableConfig {
    /// A folder (ends with `/`) or a file: a path in the lake, a `file://` URL or an absolute path; default
    /// `raw/<table>/`.
    pub files: Option<String>,
    /// Larder's column name → the column's name in the files; a column not named here is looked for by its
    /// own name.
    pub columns: BTreeMap<String, String>,
    /// `strftime` formats, one or a list, tried in their order before ISO 8601 and epoch seconds or
    /// milliseconds, e.g. `%d/%m/%Y %H:%M`. Typed timestamps of Parquet are taken as they are.
    #[serde(deserialize_with = "one_or_many")]
    pub time_format: Vec<String>,
    /// The delimiter of CSV fields; default `,`.
    pub delimiter: Option<char>,
    /// Whether `"` quotes the fields of CSV; default true. With false a `"` is a character like any other.
    pub quote: Option<bool>,
    /// The decimal mark of numbers in CSV and of numbers in quotes in JSON, `.` or `,`; default `.`. Once
    /// set, `1.000` is a number.
    pub decimal: Option<char>,
    /// The mark between the thousands of such numbers, `1,234.50`; default: nothing.
    pub thousands: Option<char>,
    /// Types of extra columns (customers): `text` (the default), `integer`, `decimal`, `boolean`, `date`,
    /// `timestamp`.
    pub types: BTreeMap<String, String>,
    /// Columns that hold personal data (customers); also in other views that read the table, where they
    /// have the same name.
    pub personal: Vec<String>,
    /// Columns that make an order id unique together with it, such as store or till (transactions).
    pub order_scope: Vec<String>,
    /// The longest time from the first to the last line of one order (transactions); lines of one id
    /// further apart are several orders; default `30d`.
    #[serde(deserialize_with = "some_duration")]
    pub order_span: Option<Duration>,
    /// Whether lines of price 0 are purchases (transactions); default false.
    pub free_orders: bool,
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
            transactions: TableConfig::default(),
            customers: TableConfig::default(),
            interactions: TableConfig::default(),
        }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::One(text) => vec![text],
        Either::Many(texts) => texts,
    })
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}
