//! `[raw]`: location and format of the raw files.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer};

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
    /// Folder (with a trailing `/`) or file of the table. The value is a path in the lake, a `file://` URL
    /// or an absolute path.
    ///
    /// Default: the folder `raw/<table>/` of the lake. Example: `"exports/orders/"`.
    pub files: Option<String>,
    /// Column names: Larder's name to the name in the files. Other columns are looked up by Larder's name.
    ///
    /// Default: `{}`. Example: `{ customer_id = "CustomerID", ordered_at = "InvoiceDate" }`.
    pub columns: BTreeMap<String, String>,
    /// Formats of times in `strftime` notation, one or a list. They are tried in order, before ISO 8601 and
    /// epoch seconds or milliseconds. Parquet timestamps need no format.
    ///
    /// Default: `[]`. Example: `["%d/%m/%Y %H:%M"]`.
    #[serde(deserialize_with = "one_or_many")]
    pub time_format: Vec<String>,
    /// Delimiter of CSV fields.
    ///
    /// Default: `","`.
    pub delimiter: Option<char>,
    /// Whether `"` quotes CSV fields. With `false` a `"` is an ordinary character.
    ///
    /// Default: `true`.
    pub quote: Option<bool>,
    /// Decimal mark of numbers in CSV and of quoted numbers in JSON: `.` or `,`. Numbers such as `1.000`,
    /// which may have a thousands separator, are accepted only if this setting is present.
    ///
    /// Default: none, which means `.`. Example: `","`.
    pub decimal: Option<char>,
    /// Thousands separator of such numbers, for example of `1.234,50`.
    ///
    /// Default: none. Example: `"."`.
    pub thousands: Option<char>,
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

/// Deserializes one text or a list of texts.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    })
}

/// Deserializes a duration of an optional setting.
fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}
