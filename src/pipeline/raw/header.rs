//! The columns of a file: where each column of a table stands in it, which others are kept, and what is
//! said of those that are missing.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::{
    ColumnSpec, RawError, RawType, Table, TableSpec,
    object::{JsonObject, JsonText},
    value::NumberRule,
};
use crate::feature::feature_name;

/// The names that the header of a CSV file or the schema of a Parquet file gives to its columns.
pub(super) struct Header<'a> {
    pub(super) file: &'a str,
    pub(super) spec: &'a TableSpec,
    pub(super) names: &'a [String],
}

/// Where the columns of a table stand in a file.
pub(super) struct ColumnPlaces {
    /// The place of each of the spec's columns.
    pub(super) places: Vec<Option<usize>>,
    /// The columns that are kept as attributes.
    pub(super) kept: Vec<KeptColumn>,
}

/// A column that is kept as an attribute of customers.
pub(super) struct KeptColumn {
    pub(super) place: usize,
    pub(super) name: String,
    pub(super) declared: Option<RawType>,
}

impl TableSpec {
    /// Whether the values of the file's column `name` are used.
    pub(super) fn reads(&self, name: &str) -> bool {
        self.keeps_extras() || self.columns.iter().any(|column| column.source == name)
    }

    /// Whether the configuration, or Larder itself, knows the file's column `name`.
    pub(super) fn names(&self, name: &str) -> bool {
        self.columns.iter().chain(&self.renamed).any(|column| column.source == name)
    }

    /// Returns the names under which the file's column `name` is kept as an attribute.
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
    /// Names a column that is missing, that stands twice, or that would have the name of another.
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
            return Err(self.missing(column));
        }
        Ok(place)
    }

    fn check_single(&self, name: &str) -> Result<(), RawError> {
        let twice = !name.is_empty() && self.names.iter().filter(|other| *other == name).count() > 1;
        let column = name.to_owned();
        if twice { Err(RawError::DuplicateColumn { file: self.file.to_owned(), column }) } else { Ok(()) }
    }

    fn missing(&self, column: &ColumnSpec) -> RawError {
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
                "its first line has {} fields that look like values and are not shown; a header must name the columns",
                parts.len()
            )
        } else {
            self.columns_shown(&parts)
        };
        let hint = other.map(|mark| {
            format!(
                "; its fields seem to be separated by `{}`: set `delimiter = \"{}\"` in [raw.{}]",
                mark.escape_default(),
                mark.escape_default(),
                self.spec.table.name()
            )
        });
        missing(self.file, self.spec, column, shown + &hint.unwrap_or_default())
    }

    /// Names the columns of the file; of customers' only those that are surely names and no values.
    fn columns_shown(&self, parts: &[&str]) -> String {
        if self.spec.table != Table::Customers || self.is_header() {
            return format!("its columns are {}", parts.join(", "));
        }
        let usual: Vec<&str> = parts.iter().copied().filter(|part| is_usual(part)).collect();
        format!("{} of its {} columns may identify customers: {}", usual.len(), parts.len(), usual.join(", "))
    }

    /// Whether the first line has the column of the customer's id, and so is a header.
    fn is_header(&self) -> bool {
        self.names.contains(&self.spec.columns[0].source)
    }

    /// Whether the first line seems to be a line of data, whose values, perhaps personal, no message may
    /// show.
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
            || (self.spec.table == Table::Customers && !parts.iter().any(|part| is_usual(part)))
    }
}

/// Whether `name` has a word that is usual in the names of columns that identify customers.
fn is_usual(name: &str) -> bool {
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

fn missing(file: &str, spec: &TableSpec, column: &ColumnSpec, found: String) -> RawError {
    RawError::MissingColumn {
        file: file.to_owned(),
        table: spec.table.name(),
        column: column.name.clone(),
        source_name: column.source.clone(),
        found,
    }
}

/// Checks that no two of the columns `names` of a file would be one feature.
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

/// The keys that the objects of a file of JSON lines have.
pub(super) struct ObjectKeys<'a> {
    spec: &'a TableSpec,
    seen: BTreeSet<String>,
    objects: u64,
}

/// ObjectKeys that a message names.
const SHOWN: usize = 30;
/// ObjectKeys that are remembered: a file of more has no columns.
const REMEMBERED: usize = 10_000;

impl<'a> ObjectKeys<'a> {
    pub(super) fn new(spec: &'a TableSpec) -> Self {
        Self { spec, seen: BTreeSet::new(), objects: 0 }
    }

    /// Notes the keys of `object`.
    pub(super) fn see(&mut self, object: &JsonObject<'_, &RawValue>) {
        self.objects += 1;
        for (JsonText(key), _) in &object.members {
            if !self.seen.contains(&**key) && self.seen.len() < REMEMBERED {
                self.seen.insert(key.to_string());
            }
        }
    }

    /// Checks that some object has each column that there must be, and that no two keys would be one feature.
    ///
    /// # Errors
    /// Names the column.
    pub(super) fn check(&self, file: &str) -> Result<(), RawError> {
        if self.objects == 0 {
            return Ok(());
        }
        let mut wanted = self.spec.columns.iter().chain(&self.spec.renamed).filter(|column| column.required);
        if let Some(column) = wanted.find(|column| !self.seen.contains(&column.source)) {
            let shown: Vec<&str> = self.seen.iter().take(SHOWN).map(String::as_str).collect();
            let nested =
                if column.source.contains('.') { "; paths into nested objects are not read" } else { "" };
            let found = format!("no object has such a key; their keys are {}{nested}", shown.join(", "));
            return Err(missing(file, self.spec, column, found));
        }
        if self.spec.keeps_extras() {
            check_names(file, self.spec, self.seen.iter().map(String::as_str))
        } else {
            Ok(())
        }
    }
}
