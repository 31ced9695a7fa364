//! Columns of a raw file: the position of each column of the table, the columns kept as attributes, and the
//! errors for missing columns.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::{
    error::RawError,
    object::{JsonObject, JsonText},
    spec::TableSpec,
    table::{ColumnSpec, RawType, Table, transaction_column},
    value::NumberRule,
};
use crate::feature::feature_name;

/// Column names of a CSV header or a Parquet schema, followed by those that the folders of the file tell.
pub(super) struct Header<'a> {
    pub(super) file: &'a str,
    pub(super) spec: &'a TableSpec,
    pub(super) names: &'a [String],
}

/// Positions of the columns of a table in a file.
pub(super) struct ColumnPlaces {
    /// Position of each column of the spec.
    pub(super) places: Vec<Option<usize>>,
    /// Columns that are kept as attributes.
    pub(super) kept: Vec<KeptColumn>,
}

/// A column that is kept as an attribute of customers.
pub(super) struct KeptColumn {
    pub(super) place: usize,
    pub(super) name: String,
    pub(super) declared: Option<RawType>,
}

impl TableSpec {
    /// Returns whether the values of the file's column `name` are used.
    pub(super) fn reads(&self, name: &str) -> bool {
        self.keeps_extras() || self.columns.iter().any(|column| column.is_named(name))
    }

    /// Returns whether the file's column `name` is a known or configured column.
    pub(super) fn names(&self, name: &str) -> bool {
        self.columns.iter().chain(&self.renamed).any(|column| column.is_named(name))
    }

    /// Returns the names of the attributes that the file's column `name` is kept as.
    pub(super) fn kept_as<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_file = move |column: &&ColumnSpec| column.is_named(name);
        let named = self.columns.iter().filter(of_file);
        let kept = named.clone().filter(|column| column.kept).chain(self.renamed.iter().filter(of_file));
        let itself = named.chain(self.renamed.iter().filter(of_file)).next().is_none() && !name.is_empty();
        kept.map(|column| column.name.as_str()).chain(itself.then_some(name))
    }
}

impl ColumnSpec {
    /// Returns whether the file's column `name` is this column: by its exact name, or in another case.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.sources.iter().any(|source| source == name || is_same_name(source, name))
    }
}

/// Returns whether two names are the same but for the case of letters.
fn is_same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || (!a.is_ascii() && !b.is_ascii() && a.to_lowercase() == b.to_lowercase())
}

impl Header<'_> {
    /// Finds the columns of the table.
    ///
    /// # Errors
    /// Fails for a missing column, a duplicate column, and two columns that would have the same feature name.
    pub(super) fn columns(&self) -> Result<ColumnPlaces, RawError> {
        let mut places: Vec<Option<usize>> =
            self.spec.columns.iter().map(|column| self.place(column)).collect::<Result<_, _>>()?;
        if self.spec.table == Table::Transactions {
            self.choose_price(&mut places)?;
            self.check_quantity(&places)?;
        }
        for column in &self.spec.renamed {
            self.place(column)?;
        }
        let mut kept = Vec::new();
        if self.spec.keeps_extras() {
            for (place, name) in self.names.iter().enumerate() {
                self.check_single(name)?;
                kept.extend(self.spec.kept_as(name).map(|name| KeptColumn {
                    place,
                    name: name.to_owned(),
                    declared: self.spec.declared(name),
                }));
            }
            check_names(self.file, self.spec, self.names.iter().map(String::as_str))?;
        }
        Ok(ColumnPlaces { places, kept })
    }

    /// Returns the position of `column`: of its exact name, or else of its name in another case.
    fn place(&self, column: &ColumnSpec) -> Result<Option<usize>, RawError> {
        let exact = |name: &String| column.sources.contains(name);
        let is_exact = self.names.iter().any(exact);
        let is_named = |name: &String| if is_exact { exact(name) } else { column.is_named(name) };
        let mut found = (0..).zip(self.names).filter(|(_, name)| is_named(name));
        let Some((place, name)) = found.next() else {
            return if column.required { Err(self.missing_column(column)) } else { Ok(None) };
        };
        match found.next() {
            Some((_, other)) if other == name => Err(self.duplicate(name)),
            Some((_, other)) => Err(RawError::AmbiguousColumn {
                file: self.file.to_owned(),
                column: column.name.clone(),
                first: name.clone(),
                second: other.clone(),
                table: self.spec.table.name(),
            }),
            None => Ok(Some(place)),
        }
    }

    /// Keeps the place of either the price of a unit or the amount of a line.
    fn choose_price(&self, places: &mut [Option<usize>]) -> Result<(), RawError> {
        use transaction_column::{AMOUNT, UNIT_PRICE};
        let has_default = |at: usize| self.spec.columns[at].default.is_some();
        match (places[UNIT_PRICE], places[AMOUNT]) {
            (Some(_), Some(_)) if self.spec.prefers_amount => places[UNIT_PRICE] = None,
            (Some(_), Some(_)) => places[AMOUNT] = None,
            (None, None) if !has_default(AMOUNT) && !has_default(UNIT_PRICE) => {
                return Err(self.missing_column(&self.spec.columns[UNIT_PRICE]));
            }
            _ => {}
        }
        Ok(())
    }

    /// Refuses a file without the column `quantity` that has a column with such a name. Each line of any
    /// other file without the column stands for one item.
    fn check_quantity(&self, places: &[Option<usize>]) -> Result<(), RawError> {
        let quantity = &self.spec.columns[transaction_column::QUANTITY];
        let is_absent = places[transaction_column::QUANTITY].is_none() && quantity.default.is_none();
        if is_absent && self.names.iter().any(|name| is_quantity_name(name)) {
            return Err(self.missing_column(quantity));
        }
        Ok(())
    }

    fn duplicate(&self, name: &str) -> RawError {
        RawError::DuplicateColumn { file: self.file.to_owned(), column: name.to_owned() }
    }

    fn check_single(&self, name: &str) -> Result<(), RawError> {
        let twice = !name.is_empty() && self.names.iter().filter(|other| *other == name).count() > 1;
        if twice { Err(self.duplicate(name)) } else { Ok(()) }
    }

    fn missing_column(&self, column: &ColumnSpec) -> RawError {
        let delimiter = self.spec.delimiter.map_or(',', char::from);
        let other = match self.names {
            [only] => {
                [';', '\t', '|', ','].into_iter().find(|mark| *mark != delimiter && only.contains(*mark))
            }
            _ => None,
        };
        let parts: Vec<&str> = match (self.names, other) {
            ([only], Some(mark)) => only.split(mark).map(str::trim).collect(),
            (names, _) => names.iter().map(String::as_str).collect(),
        };
        let shown = if self.looks_like_values(&parts) {
            format!(
                "its first line has {} fields that look like values and are not shown; a header must name \
                 the columns",
                parts.len()
            )
        } else {
            self.columns_shown(&parts)
        };
        let hint = other.map(|mark| {
            format!(
                "; fields seem to be separated by `{}`: set `delimiter = \"{}\"` in [raw.{}]",
                mark.escape_default(),
                mark.escape_default(),
                self.spec.table.name()
            )
        });
        missing_column(self.file, self.spec, column, shown + &hint.unwrap_or_default())
    }

    /// Lists the columns of the file for a message. For customers, lists only texts that are certainly column
    /// names, since the first line may hold personal values.
    fn columns_shown(&self, parts: &[&str]) -> String {
        if self.spec.table != Table::Customers || self.is_header() {
            return format!("its columns are {}", parts.join(", "));
        }
        let usual: Vec<&str> = parts.iter().copied().filter(|part| is_id_name(part)).collect();
        format!("{} of its {} columns may identify customers: {}", usual.len(), parts.len(), usual.join(", "))
    }

    /// Returns whether the first line has the customer id's column name, and so is a header.
    fn is_header(&self) -> bool {
        self.names.iter().any(|name| self.spec.columns[0].is_named(name))
    }

    /// Returns whether the first line seems to be data. Its values may be personal, so no message may show
    /// them.
    fn looks_like_values(&self, parts: &[&str]) -> bool {
        if self.is_header() {
            return false;
        }
        let value = |part: &&str| {
            part.contains('@')
                || NumberRule::TYPED.price(part).is_ok()
                || self.spec.times.instant(part, false).is_ok()
                || part.chars().filter(char::is_ascii_digit).count() > 3
        };
        parts.iter().any(value)
            || (self.spec.table == Table::Customers && !parts.iter().any(|part| is_id_name(part)))
    }
}

/// Returns whether `name` has a word that is common in column names of quantities.
fn is_quantity_name(name: &str) -> bool {
    const WORDS: [&str; 12] = [
        "quantity",
        "qty",
        "quantities",
        "units",
        "pieces",
        "pcs",
        "menge",
        "anzahl",
        "quantité",
        "cantidad",
        "quantidade",
        "数量",
    ];
    feature_name(name).split('_').any(|word| WORDS.contains(&word))
}

/// Returns whether `name` has a word that is common in column names of customer ids.
fn is_id_name(name: &str) -> bool {
    const WORDS: [&str; 9] =
        ["id", "customer", "client", "user", "member", "account", "email", "mail", "客户"];
    const ENDS: [&str; 6] = ["customerid", "clientid", "userid", "memberid", "accountid", "kundennummer"];
    let name = feature_name(name);
    let words: Vec<&str> = name.split('_').filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        [word] => WORDS.contains(word) || ENDS.iter().any(|end| word.ends_with(end)),
        [.., last] if words.len() <= 3 => *last == "id",
        _ => false,
    }
}

fn missing_column(file: &str, spec: &TableSpec, column: &ColumnSpec, found: String) -> RawError {
    RawError::MissingColumn {
        file: file.to_owned(),
        table: spec.table.name(),
        column: column.name.clone(),
        source_name: column.label().to_owned(),
        found,
    }
}

/// Checks that no two of the columns `names` have the same feature name.
fn check_names<'a>(
    file: &str,
    spec: &TableSpec,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), RawError> {
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut sorted: Vec<(String, String)> = Vec::new();
    for source in names {
        let own = spec.columns.iter().filter(|column| column.is_named(source) && !column.kept);
        sorted.extend(own.map(|column| (column.name.clone(), source.to_owned())));
        sorted.extend(spec.kept_as(source).map(|name| (feature_name(name), source.to_owned())));
    }
    sorted.sort();
    for (name, source) in sorted {
        if let Some((_, first)) = seen.last().filter(|(last, _)| *last == name) {
            return Err(RawError::SameName {
                file: file.to_owned(),
                first: first.clone(),
                second: source,
                name,
            });
        }
        seen.push((name, source));
    }
    Ok(())
}

/// Keys of the objects of a JSON file.
pub(super) struct ObjectKeys<'a> {
    spec: &'a TableSpec,
    seen: BTreeSet<String>,
    objects: u64,
    /// Bit per column of the spec: whether any line has a value of the column.
    found: u32,
    /// Number of lines without the key of the quantity.
    pub(super) without_quantity: u64,
}

/// Maximum number of keys that a message lists.
const SHOWN: usize = 30;
/// Maximum number of keys that are remembered. A file with more keys uses them as data.
const REMEMBERED: usize = 10_000;

impl<'a> ObjectKeys<'a> {
    pub(super) fn new(spec: &'a TableSpec) -> Self {
        Self { spec, seen: BTreeSet::new(), objects: 0, found: 0, without_quantity: 0 }
    }

    /// Notes the keys of `object`.
    pub(super) fn note(&mut self, object: &JsonObject<'_, &RawValue>) {
        self.objects += 1;
        for (JsonText(key), _) in &object.members {
            if !self.seen.contains(&**key) && self.seen.len() < REMEMBERED {
                self.seen.insert(key.to_string());
            }
        }
    }

    /// Notes the columns of a line, a bit per column of the spec.
    pub(super) fn note_found(&mut self, found: u32) {
        self.found |= found;
    }

    /// Checks that some line has each required column, and that no two keys have the same feature name.
    ///
    /// # Errors
    /// Fails for the first column that violates this.
    pub(super) fn check(&self, file: &str) -> Result<(), RawError> {
        if self.objects == 0 {
            return Ok(());
        }
        let missing = |column: &ColumnSpec| {
            let shown: Vec<&str> = self.seen.iter().take(SHOWN).map(String::as_str).collect();
            let found = format!("no object has such a key; the keys are {}", shown.join(", "));
            missing_column(file, self.spec, column, found)
        };
        let is_found = |at: usize| self.found >> at & 1 == 1;
        let columns = &self.spec.columns;
        if let Some((_, column)) = (0..).zip(columns).find(|(at, column)| column.required && !is_found(*at)) {
            return Err(missing(column));
        }
        // A path to an attribute may be missing in all objects.
        let has_key = |column: &ColumnSpec| {
            column.sources.iter().any(|source| source.contains('.'))
                || self.seen.iter().any(|key| column.is_named(key))
        };
        if let Some(column) = self.spec.renamed.iter().find(|column| column.required && !has_key(column)) {
            return Err(missing(column));
        }
        if self.spec.table == Table::Transactions {
            use transaction_column::{AMOUNT, QUANTITY, UNIT_PRICE};
            let has = |at: usize| is_found(at) || columns[at].default.is_some();
            if !has(UNIT_PRICE) && !has(AMOUNT) {
                return Err(missing(&columns[UNIT_PRICE]));
            }
            if !has(QUANTITY) && self.seen.iter().any(|key| is_quantity_name(key)) {
                return Err(missing(&columns[QUANTITY]));
            }
        }
        if self.spec.keeps_extras() {
            check_names(file, self.spec, self.seen.iter().map(String::as_str))
        } else {
            Ok(())
        }
    }
}
