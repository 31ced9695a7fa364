//! Settings for reading one raw table, from `[raw]` and `[raw.<table>]`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{SubsecRound, TimeDelta, Utc};
use chrono_tz::Tz;
use encoding_rs::Encoding;

use super::{
    currency::CurrencyRule,
    error::RawError,
    pattern::Pattern,
    table::{ColumnSpec, MAX_COLUMNS, RawType, Table, table_config},
    time::TimeRule,
    time_format::TimeFormat,
    value::{Nulls, NumberRule, PRICE_SCALE, plain_mark},
};
use crate::{
    config::{Fill, RawConfig, TableConfig},
    feature::{feature_name, is_feature_name, normal_id},
    snapshot::rfc3339,
};

mod texts;

/// Settings for reading one raw table.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent settings")]
pub struct TableSpec {
    /// The table.
    pub table: Table,
    /// Columns that are checked in each line. Configured text columns are last.
    pub(crate) columns: Vec<ColumnSpec>,
    /// Attributes of customers that are renamed in `columns`.
    pub(crate) renamed: Vec<ColumnSpec>,
    /// Settings for some files of the table.
    dialects: Vec<Dialect>,
    /// Delimiter of CSV fields, if it is configured.
    pub(crate) delimiter: Option<u8>,
    pub(crate) quote: bool,
    /// Encoding of text files, if it is configured.
    pub(crate) encoding: Option<&'static Encoding>,
    /// Number of lines before the header.
    pub(crate) skip: usize,
    /// Sheets of workbooks to read; none means all with the header of the first one.
    pub(crate) sheets: Vec<String>,
    pub(crate) numbers: NumberRule,
    /// Number of digits by which prices and amounts are shifted.
    pub(crate) scale: u32,
    pub(crate) currency: CurrencyRule,
    /// Whether lines take over the fields of their order from its first line.
    pub(crate) fills_orders: bool,
    /// Whether `amount` counts in files that have `unit_price`, too.
    pub(crate) prefers_amount: bool,
    /// Whether quantities have decimal digits, and are in ten-thousandths.
    pub(crate) decimal_quantities: bool,
    pub(crate) times: TimeRule,
    pub(crate) nulls: Nulls,
    /// Declared types of customer attributes, by feature name.
    pub(crate) types: BTreeMap<String, RawType>,
    /// Maximum absolute quantity of a line.
    pub(crate) max_quantity: i64,
    /// Indexes into [`TableSpec::texts`] of the columns of `order_scope`, which are part of an order's
    /// identity.
    pub(crate) order_scope: Vec<usize>,
    /// Maximum time from the first to the last line of an order, in microseconds.
    pub(crate) order_span: i64,
    /// Whether lines of price 0 are purchases.
    pub(crate) free_orders: bool,
}

/// Settings for the files with names that match.
#[derive(Debug, Clone)]
struct Dialect {
    files: Vec<Pattern>,
    spec: Arc<TableSpec>,
}

/// Default for the earliest time of an event.
const OLDEST: &str = "1900-01-01";
/// Tolerance for events after the current time, since clocks differ.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::days(1);
/// Upper limit of `max_quantity`. A sum of a billion such quantities does not overflow.
const QUANTITY_LIMIT: i64 = 100_000_000;
const DEFAULT_ORDER_SPAN: i64 = 30 * 86_400_000_000;

impl TableSpec {
    /// Reads and checks the settings for `table`.
    ///
    /// # Errors
    /// Fails for an invalid setting.
    pub fn new(table: Table, raw: &RawConfig) -> Result<Self, RawError> {
        let config = table_config(table, raw);
        let wrong = |why: String| RawError::Setting { table: table.name(), why };
        // All files of a table have the same columns in SQL.
        let names: BTreeSet<&str> = config
            .dialects
            .iter()
            .flat_map(|dialect| dialect.columns.keys())
            .chain(config.columns.keys())
            .map(String::as_str)
            .collect();
        let dialects = config.dialects.iter().map(|dialect| {
            if dialect.files.is_empty() {
                return Err(wrong("an entry of `dialects` has no `files`".to_owned()));
            }
            Ok(Dialect {
                files: dialect
                    .files
                    .iter()
                    .map(|file| Pattern::new(file))
                    .collect::<Result<_, _>>()
                    .map_err(wrong)?,
                spec: Arc::new(Self::of_files(table, raw, &config.with(dialect), &names)?),
            })
        });
        let dialects = dialects.collect::<Result<_, RawError>>()?;
        Ok(Self { dialects, ..Self::of_files(table, raw, config, &names)? })
    }

    /// Reads and checks the settings `config` for files of `table`. `names` are all columns that any files of
    /// the table map.
    fn of_files(
        table: Table,
        raw: &RawConfig,
        config: &TableConfig,
        names: &BTreeSet<&str>,
    ) -> Result<Self, RawError> {
        let wrong = |why: String| RawError::Setting { table: table.name(), why };
        reject_unused_settings(table, config).map_err(wrong)?;
        let (columns, renamed) = columns(table, config, names).map_err(wrong)?;
        let types = types(config).map_err(wrong)?;
        let spec = Self {
            table,
            renamed,
            dialects: Vec::new(),
            delimiter: ascii("delimiter", config.delimiter).map_err(wrong)?,
            quote: config.quote.unwrap_or(true),
            encoding: config.encoding.as_deref().map(encoding).transpose().map_err(wrong)?,
            skip: config.skip.unwrap_or(0),
            sheets: config.sheets.clone(),
            numbers: numbers(config).map_err(wrong)?,
            scale: config.scale.unwrap_or(0),
            currency: CurrencyRule::new(&raw.currency).map_err(wrong)?,
            fills_orders: config.fill == Some(Fill::Order),
            prefers_amount: config.columns.contains_key("amount"),
            decimal_quantities: config.decimal_quantities,
            times: times(config, raw, wrong)?,
            nulls: Nulls(
                raw.nulls
                    .iter()
                    .map(|word| normal_id(word).map_or_else(|_| word.clone(), Cow::into_owned))
                    .collect(),
            ),
            types,
            max_quantity: raw.max_quantity,
            order_scope: Vec::new(),
            order_span: config
                .order_span
                .map_or(DEFAULT_ORDER_SPAN, |span| i64::try_from(span.as_micros()).unwrap_or(i64::MAX)),
            free_orders: config.free_orders,
            columns,
        };
        if !(1..=QUANTITY_LIMIT).contains(&raw.max_quantity) {
            return Err(wrong(format!("`max_quantity` of [raw] must be 1 to {QUANTITY_LIMIT}")));
        }
        if spec.scale > PRICE_SCALE.unsigned_abs().into() {
            return Err(wrong(format!("`scale` must be 0 to {PRICE_SCALE}")));
        }
        let place = |name: &String| spec.texts().iter().position(|column| column.name == *name);
        let order_scope = config.order_scope.iter().filter_map(place).collect();
        Ok(Self { order_scope, ..spec })
    }

    /// Returns the settings for the file `path`.
    pub(crate) fn of_file(&self, path: &str) -> &Self {
        let found = self.dialects.iter().find(|dialect| dialect.files.iter().any(|file| file.matches(path)));
        found.map_or(self, |dialect| &dialect.spec)
    }

    /// Returns the specs of all tables.
    ///
    /// # Errors
    /// Fails for an invalid setting.
    pub fn all(raw: &RawConfig) -> Result<BTreeMap<Table, Self>, RawError> {
        Table::ALL.into_iter().map(|table| Ok((table, Self::new(table, raw)?))).collect()
    }

    /// Returns whether columns without a configured name are kept as attributes.
    pub(crate) fn keeps_extras(&self) -> bool {
        self.table == Table::Customers
    }

    /// Returns the plain text columns: names and categories of `transactions`, and configured columns.
    pub(crate) fn texts(&self) -> &[ColumnSpec] {
        &self.columns[self.table.typed().len()..]
    }

    /// Returns the names of the columns of `order_scope`.
    pub(crate) fn order_scope_names(&self) -> impl Iterator<Item = &str> {
        self.order_scope.iter().map(|at| self.texts()[*at].name.as_str())
    }

    /// Returns the declared type of the customer attribute `name`.
    pub(crate) fn declared(&self, name: &str) -> Option<RawType> {
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let found = if plain { self.types.get(name) } else { self.types.get(&feature_name(name)) };
        match found {
            Some(kind) => Some(*kind),
            // Lines of a customer are compared by the time in this column, so the column is served as a time.
            None if name == UPDATED_AT && self.table == Table::Customers => Some(RawType::Timestamp),
            None => None,
        }
    }
}

/// Column of `customers` that decides which of several lines of a customer is the newest.
pub(crate) const UPDATED_AT: &str = "updated_at";

/// Rejects settings that have no effect on `table`.
fn reject_unused_settings(table: Table, config: &TableConfig) -> Result<(), String> {
    let only = |setting: &str, table: &str| Err(format!("`{setting}` is for {table} only"));
    if table != Table::Customers {
        if !config.types.is_empty() {
            return only("types", "customers");
        }
        if !config.personal.is_empty() {
            return only("personal", "customers");
        }
    }
    if table != Table::Transactions {
        if !config.order_scope.is_empty() {
            return only("order_scope", "transactions");
        }
        if config.order_span.is_some() {
            return only("order_span", "transactions");
        }
        let others = [
            ("free_orders", config.free_orders),
            ("decimal_quantities", config.decimal_quantities),
            ("fill", config.fill.is_some()),
            ("scale", config.scale.is_some()),
        ];
        if let Some((setting, _)) = others.into_iter().find(|(_, is_set)| *is_set) {
            return only(setting, "transactions");
        }
    }
    let ids = config.columns.get("customer_id").into_iter().flatten().map(String::as_str);
    let ids: Vec<String> = ids.chain(["customer_id"]).map(feature_name).collect();
    let is_id = |name: &String| ids.contains(&feature_name(name));
    if let Some(name) = config.personal.iter().find(|name| is_id(name)) {
        return Err(format!(
            "`personal` names {name}, the customer id, which is part of every response and every key in \
             Tair; use pseudonymous ids in the raw data instead"
        ));
    }
    Ok(())
}

/// Returns the columns that are checked in each line, and the renamed attributes. `names` are all columns
/// that any files of the table map.
fn columns(
    table: Table,
    config: &TableConfig,
    names: &BTreeSet<&str>,
) -> Result<(Vec<ColumnSpec>, Vec<ColumnSpec>), String> {
    let mapped = |name: &str| config.columns.get(name);
    if let Some((name, _)) = config.columns.iter().find(|(_, sources)| sources.is_empty()) {
        return Err(format!("`columns` has no name for `{name}`"));
    }
    if mapped("unit_price").is_some() && mapped("amount").is_some() {
        return Err("`columns` maps both `unit_price` and `amount`, the total of a line; map one".to_owned());
    }
    let column = |name: &str, is_required: bool, kept: bool| {
        let default = config.defaults.get(name).cloned();
        ColumnSpec {
            name: name.to_owned(),
            sources: mapped(name).cloned().unwrap_or_else(|| vec![name.to_owned()]),
            required: (is_required || mapped(name).is_some()) && default.is_none(),
            kind: kind_of(name),
            kept,
            default,
        }
    };
    let known = table.typed().iter().chain(table.texts());
    let mut columns: Vec<ColumnSpec> =
        known.map(|name| column(name, table.requires(name), *name == UPDATED_AT)).collect();
    let mut others = Vec::new();
    for name in names {
        if columns.iter().any(|column| column.name == **name) {
            continue;
        }
        if !is_feature_name(name) {
            return Err(format!(
                "`{name}` in `columns` is not a valid column name; use lower-case letters, digits and _"
            ));
        }
        others.push(ColumnSpec { kind: RawType::Text, ..column(name, false, true) });
    }
    let is_known = |name: &String| columns.iter().chain(&others).any(|column| column.name == *name);
    if let Some(name) = config.defaults.keys().find(|name| !is_known(name)) {
        return Err(format!("`defaults` names `{name}`, which is no column; name its source in `columns`"));
    }
    if table == Table::Customers {
        others.retain(|column| mapped(&column.name).is_some() || column.default.is_some());
        return Ok((columns, others));
    }
    columns.extend(others);
    add_order_scope(table, config, &mut columns)?;
    if columns.len() > MAX_COLUMNS {
        return Err(format!("`columns` names more than {MAX_COLUMNS} columns"));
    }
    Ok((columns, Vec::new()))
}

/// Adds the columns of `order_scope` to `columns`, and makes them required.
fn add_order_scope(table: Table, config: &TableConfig, columns: &mut Vec<ColumnSpec>) -> Result<(), String> {
    for name in &config.order_scope {
        if columns.iter().any(|column| column.name == *name && column.kind == RawType::Text) {
            continue;
        }
        if !is_feature_name(name) {
            return Err(format!(
                "`order_scope` names `{name}`; map that column to a lower-case name in `columns`"
            ));
        }
        columns.push(ColumnSpec {
            name: name.clone(),
            sources: vec![name.clone()],
            required: true,
            kind: RawType::Text,
            kept: true,
            default: None,
        });
    }
    for column in columns.iter_mut().filter(|column| config.order_scope.contains(&column.name)) {
        column.required = column.default.is_none();
    }
    if let Some(fixed) = config.order_scope.iter().find(|name| table.typed().contains(&name.as_str())) {
        return Err(format!(
            "`order_scope` names `{fixed}`, which is either already part of an order's identity or cannot be"
        ));
    }
    Ok(())
}

fn types(config: &TableConfig) -> Result<BTreeMap<String, RawType>, String> {
    let mut types = BTreeMap::new();
    for (name, kind) in &config.types {
        let kind = RawType::parse(kind).ok_or_else(|| {
            format!(
                "unknown type `{kind}` in `types`; use text, integer, decimal, boolean, date or timestamp"
            )
        })?;
        if types.insert(feature_name(name), kind).is_some() {
            return Err(format!("`types` names the column `{}` twice", feature_name(name)));
        }
    }
    if let Some(name) = types.keys().find(|name| matches!(name.as_str(), "customer_id" | "created_at")) {
        return Err(format!("`types` names `{name}`, whose type is fixed"));
    }
    Ok(types)
}

fn numbers(config: &TableConfig) -> Result<NumberRule, String> {
    let decimal = ascii("decimal", config.decimal)?;
    let thousands = ascii("thousands", config.thousands.map(plain_mark))?;
    if decimal.is_some_and(|mark| !matches!(mark, b'.' | b',')) {
        return Err("`decimal` must be \".\" or \",\"".to_owned());
    }
    if thousands.is_some_and(|mark| mark.is_ascii_alphanumeric() || matches!(mark, b'-' | b'+')) {
        return Err("`thousands` must be a mark such as \".\", \",\", \"'\" or \" \"".to_owned());
    }
    if thousands.is_some() && thousands == Some(decimal.unwrap_or(b'.')) {
        return Err("`decimal` and `thousands` must differ; the decimal mark is \".\" unless set".to_owned());
    }
    Ok(NumberRule { decimal: decimal.or(thousands.map(|_| b'.')), thousands })
}

fn times(
    config: &TableConfig,
    raw: &RawConfig,
    wrong: impl Fn(String) -> RawError,
) -> Result<TimeRule, RawError> {
    let zone: Tz = raw.zone.parse().map_err(|_| RawError::Zone { zone: raw.zone.clone() })?;
    let limit = |name: &str, text: &str| {
        let time = rfc3339::instant(text);
        time.ok_or_else(|| {
            wrong(format!(
                "`{name}` of [raw] is `{text}`; expected a date or a time such as 2011-09-09T00:00:00Z"
            ))
        })
    };
    let oldest = limit("oldest", raw.oldest.as_deref().unwrap_or(OLDEST))?;
    let newest = raw
        .newest
        .as_deref()
        .map_or_else(|| Ok(Utc::now().trunc_subsecs(0) + CLOCK_TOLERANCE), |text| limit("newest", text))?;
    let formats = config.time_format.iter().map(|text| TimeFormat::new(text)).collect::<Result<_, _>>();
    Ok(TimeRule {
        zone,
        formats: formats.map_err(|why| wrong(format!("`time_format`: {why}")))?,
        oldest: oldest.timestamp_micros(),
        newest: newest.timestamp_micros(),
    })
}

/// Returns the byte of an ASCII character.
fn ascii(name: &str, character: Option<char>) -> Result<Option<u8>, String> {
    let byte = |c: char| u8::try_from(c).ok().filter(u8::is_ascii);
    character.map(|c| byte(c).ok_or_else(|| format!("`{name}` must be one ASCII character"))).transpose()
}

fn encoding(name: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label(name.as_bytes()).ok_or_else(|| {
        format!(
            "`encoding` is `{name}`, which is no encoding of the WHATWG standard such as utf-8, utf-16le, \
             windows-1252, gb18030 or shift_jis"
        )
    })
}

fn kind_of(column: &str) -> RawType {
    match column {
        "quantity" => RawType::Integer,
        "unit_price" | "amount" => RawType::Number,
        "ordered_at" | "at" | "created_at" | UPDATED_AT => RawType::Timestamp,
        _ => RawType::Text,
    }
}
