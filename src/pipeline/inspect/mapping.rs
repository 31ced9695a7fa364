//! The likely use of the columns of a file, with reasons and doubts.

use std::collections::BTreeMap;

use super::{
    dictionary::ColumnRole,
    profile::{ColumnProfile, ValueType},
    times,
};
use crate::{feature::feature_name, pipeline::raw::Table};

/// A column of Larder, and the column of the file that it is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MappedColumn {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) reason: String,
}

/// The likely settings for a file, apart from those of its text.
#[derive(Debug)]
pub(super) struct TableMapping {
    pub(super) table: Table,
    /// Why the file is of the table.
    pub(super) reason: String,
    pub(super) columns: Vec<MappedColumn>,
    pub(super) defaults: BTreeMap<String, String>,
    pub(super) time_format: Vec<String>,
    pub(super) scale: Option<u32>,
    pub(super) fills_orders: bool,
    pub(super) has_decimal_quantities: bool,
    /// Types of attributes of customers.
    pub(super) types: BTreeMap<String, &'static str>,
    pub(super) personal: Vec<String>,
    /// Currencies, if there are several.
    pub(super) currencies: Vec<String>,
    pub(super) doubts: Vec<String>,
    /// Columns without which the file cannot be read.
    pub(super) missing: Vec<&'static str>,
}

impl TableMapping {
    /// Adds the column for `role`.
    pub(super) fn add(&mut self, role: ColumnRole, column: Option<&ColumnProfile>) {
        if let Some(column) = column {
            let is_usual = role.names().any(|name| name == column.plain);
            let reason = if column.name == role.column() {
                "its name".to_owned()
            } else if is_usual {
                "a usual name".to_owned()
            } else {
                "the words of its name, or the export's system".to_owned()
            };
            self.set(role.column(), &column.name, reason);
        }
    }

    /// Notes the doubt about a mail address as the customer id.
    pub(super) fn note_mail_id(&mut self, id: &ColumnProfile) {
        if id.value_type == ValueType::Mail {
            self.doubts.push(format!(
                "the customer id `{}` is a mail address, which every answer, log and key in Tair would \
                 hold; prefer a pseudonymous id",
                id.name
            ));
            if id.values.iter().any(|mail| mail.contains(char::is_uppercase)) {
                self.doubts.push(format!(
                    "`{}` has capital letters: ids are compared exactly, so `A@x.org` and `a@x.org` are two \
                     customers; export the addresses in lower case if they are one",
                    id.name
                ));
            }
        }
    }

    pub(super) fn set(&mut self, name: &str, source: &str, reason: String) {
        self.columns.push(MappedColumn { name: name.to_owned(), source: source.to_owned(), reason });
    }

    /// Returns whether the column `name` of Larder is mapped.
    pub(super) fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    /// Notes the time formats of the columns that are read as times.
    pub(super) fn note_times(&mut self, columns: &[ColumnProfile]) {
        let is_read = |column: &&ColumnProfile| {
            self.columns.iter().any(|mapped| {
                mapped.source == column.name
                    && matches!(mapped.name.as_str(), "ordered_at" | "at" | "created_at" | "updated_at")
            }) || self.types.contains_key(&feature_name(&column.name))
        };
        let (mut formats, mut doubts): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for column in columns.iter().filter(is_read) {
            let Some(guess) = column.time() else { continue };
            for format in &guess.formats {
                if guess.is_ambiguous {
                    doubts.push(format!(
                        "day or month first? no value of `{}` tells; `{format}` is taken. If it is wrong, \
                         set `time_format = \"{}\"`",
                        column.name,
                        times::swapped(format)
                    ));
                }
                if !formats.contains(format) {
                    formats.push(format.clone());
                }
            }
            if guess.unread > 0 {
                doubts.push(format!(
                    "{} values of `{}` are not times of these formats",
                    guess.unread, column.name
                ));
            }
        }
        if formats
            .iter()
            .any(|format| formats.contains(&times::swapped(format)) && times::swapped(format) != *format)
        {
            doubts.push(
                "some columns have the day first and others the month; the first format that fits counts"
                    .to_owned(),
            );
        }
        self.time_format = formats;
        self.doubts.extend(doubts);
    }
}
