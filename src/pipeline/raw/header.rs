//! Columns of a raw file: the position of each column of the table, the columns kept as attributes, and the
//! errors for missing columns.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::{
    error::RawError,
    object::{JsonObject, JsonText},
    spec::TableSpec,
    table::{ColumnSpec, RawType, Table},
    value::NumberRule,
};
use crate::feature::feature_name;

/// Column names of a CSV header or a Parquet schema.
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
        self.keeps_extras() || self.columns.iter().any(|column| column.source == name)
    }

    /// Returns whether the file's column `name` is a known or configured column.
    pub(super) fn names(&self, name: &str) -> bool {
        self.columns.iter().chain(&self.renamed).any(|column| column.source == name)
    }

    /// Returns the names of the attributes that the file's column `name` is kept as.
    pub(super) fn kept_as<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_file = move |column: &&ColumnSpec| column.source == name;
        let named = self.columns.iter().filter(of_file);
        let kept = named.clone().filter(|column| column.kept).chain(self.renamed.iter().filter(of_file));
        let itself = named.chain(self.renamed.iter().filter(of_file)).next().is_none() && !name.is_empty();
        kept.map(|column| column.name.as_str()).chain(itself.then_some(name))
    }
}

impl Header<'_> {
    /// Finds the columns of the table.
    ///
    /// # Errors
    /// Fails for a missing column, a duplicate column, and two columns that would have the same feature name.
    pub(super) fn columns(&self) -> Result<ColumnPlaces, RawError> {
        let places = self.spec.columns.iter().map(|column| self.place(column)).collect::<Result<_, _>>()?;
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

    fn place(&self, column: &ColumnSpec) -> Result<Option<usize>, RawError> {
        let place = self.names.iter().position(|name| *name == column.source);
        if place.is_some() {
            self.check_single(&column.source)?;
        } else if column.required {
            return Err(self.missing_column(column));
        }
        Ok(place)
    }

    fn check_single(&self, name: &str) -> Result<(), RawError> {
        let twice = !name.is_empty() && self.names.iter().filter(|other| *other == name).count() > 1;
        let column = name.to_owned();
        if twice { Err(RawError::DuplicateColumn { file: self.file.to_owned(), column }) } else { Ok(()) }
    }

    fn missing_column(&self, column: &ColumnSpec) -> RawError {
        let delimiter = char::from(self.spec.delimiter);
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
        self.names.contains(&self.spec.columns[0].source)
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
        source_name: column.source.clone(),
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
        let own = spec.columns.iter().filter(|column| column.source == source && !column.kept);
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

/// Keys of the objects of a JSON lines file.
pub(super) struct ObjectKeys<'a> {
    spec: &'a TableSpec,
    seen: BTreeSet<String>,
    objects: u64,
}

/// Maximum number of keys that a message lists.
const SHOWN: usize = 30;
/// Maximum number of keys that are remembered. A file with more keys uses them as data.
const REMEMBERED: usize = 10_000;

impl<'a> ObjectKeys<'a> {
    pub(super) fn new(spec: &'a TableSpec) -> Self {
        Self { spec, seen: BTreeSet::new(), objects: 0 }
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

    /// Checks that each required column is a key of some object, and that no two keys have the same feature
    /// name.
    ///
    /// # Errors
    /// Fails for the first column that violates this.
    pub(super) fn check(&self, file: &str) -> Result<(), RawError> {
        if self.objects == 0 {
            return Ok(());
        }
        let mut wanted = self.spec.columns.iter().chain(&self.spec.renamed).filter(|column| column.required);
        if let Some(column) = wanted.find(|column| !self.seen.contains(&column.source)) {
            let shown: Vec<&str> = self.seen.iter().take(SHOWN).map(String::as_str).collect();
            let nested =
                if column.source.contains('.') { "; paths into nested objects are not read" } else { "" };
            let found = format!("no object has such a key; the keys are {}{nested}", shown.join(", "));
            return Err(missing_column(file, self.spec, column, found));
        }
        if self.spec.keeps_extras() {
            check_names(file, self.spec, self.seen.iter().map(String::as_str))
        } else {
            Ok(())
        }
    }
}
