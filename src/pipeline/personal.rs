//! Which columns of a build are personal: those that the heads of views declare, those that the configuration does, and those that
//! views take over from the customers' raw data under the same name. What is declared must be there: a name that is misspelt
//! would leave its column open.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Schema;

use super::{
    ViewError,
    raw::{RawError, Table, TableSpec},
    staging::derive::ExtraColumn,
};
use crate::{
    config::{ColumnRef, Config},
    feature::{feature_name, near},
    views::ViewDefinition,
};

/// What the configuration says, and whom it concerns.
#[derive(Debug)]
pub(super) struct Personal<'a> {
    /// Columns of the customers' raw data, as features.
    raw: BTreeSet<String>,
    /// Columns of views.
    declared: &'a [ColumnRef],
    /// The views that read the customers' raw data, by themselves or by way of others.
    readers: BTreeSet<String>,
}

impl<'a> Personal<'a> {
    /// Of a build of `views`, each of which `reads` tables and views.
    ///
    /// # Errors
    /// Of a view that there is not.
    pub(super) fn new(
        config: &'a Config,
        views: &[ViewDefinition],
        reads: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<Self, ViewError> {
        let declared = &config.views.personal;
        let served = || views.iter().filter(|view| !view.step).map(|view| view.name.as_str());
        if let Some(unknown) = declared.iter().find(|column| !served().any(|view| view == column.view)) {
            return Err(ViewError::UnknownPersonal {
                name: unknown.to_string(),
                near: near::hint(&unknown.view, served()),
            });
        }
        let mut readers = BTreeSet::from([Table::Customers.name().to_owned()]);
        loop {
            let more =
                reads.iter().filter(|(_, read)| !readers.is_disjoint(read)).map(|(view, _)| view.clone());
            let more: Vec<String> = more.filter(|view| !readers.contains(view)).collect();
            if more.is_empty() {
                break;
            }
            readers.extend(more);
        }
        let raw = config.raw.customers.personal.iter().map(|column| feature_name(column)).collect();
        Ok(Self { raw, declared, readers })
    }

    /// The columns `extras` of the customers' raw data, which has others by its `spec`: all that is declared personal or typed is among them. Without
    /// files of customers there is nothing to check.
    ///
    /// # Errors
    /// Of a column that no file has.
    pub(super) fn checked(
        &self,
        extras: Vec<ExtraColumn>,
        spec: Option<&TableSpec>,
        has_files: bool,
    ) -> Result<Vec<ExtraColumn>, RawError> {
        let named = spec.into_iter().flat_map(|spec| &spec.columns).map(|column| column.name.as_str());
        let known: Vec<&str> = extras.iter().map(|column| column.name.as_str()).chain(named).collect();
        let typed = spec.into_iter().flat_map(|spec| spec.types.keys());
        let mut wanted =
            self.raw.iter().map(|name| ("personal", name)).chain(typed.map(|name| ("types", name)));
        match wanted.find(|(_, name)| !known.contains(&name.as_str())) {
            Some((setting, name)) if has_files => {
                let hint = near::hint(name, known.iter().copied());
                let why = format!("`{setting}` names `{name}`, and no file has such a column{hint}");
                Err(RawError::Setting { table: Table::Customers.name(), why })
            }
            _ => Ok(extras),
        }
    }

    /// Notes in `view`, whose columns are those of `schema`, which of them are personal.
    ///
    /// # Errors
    /// Of a column that is declared personal and not there.
    pub(super) fn note(&self, view: &mut ViewDefinition, schema: &Schema) -> Result<(), ViewError> {
        if view.step {
            return Ok(());
        }
        for column in self.declared.iter().filter(|column| column.view == view.name) {
            view.columns.entry(column.column.clone()).or_default().personal = true;
        }
        let known = || schema.fields().iter().map(|field| field.name().as_str());
        let declared = view.columns.iter().filter(|(_, note)| note.personal).map(|(name, _)| name);
        for name in declared {
            if !known().any(|column| column == name) {
                let (name, near) = (format!("{}.{name}", view.name), near::hint(name, known()));
                return Err(ViewError::UnknownPersonal { name, near });
            }
        }
        if self.readers.contains(&view.name) {
            for name in known().filter(|name| self.raw.contains(*name)) {
                view.columns.entry(name.to_owned()).or_default().personal = true;
            }
        }
        Ok(())
    }
}
