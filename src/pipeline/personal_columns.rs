//! Personal columns of a build: declared in the head of a view, declared in the configuration, or copied by a
//! view from a personal column of the `customers` files under the same name. A declared column must exist,
//! since a misspelled name would leave the column unprotected.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::Schema;

use super::{
    days_since,
    error::ViewError,
    raw::{RawError, Table, TableSpec},
    staging::derive::ExtraColumn,
};
use crate::{
    config::{ColumnRef, Config, shown_to_all},
    feature::{feature_name, near},
    views::ViewDefinition,
};

/// Personal columns in the configuration, and the views that they concern.
#[derive(Debug)]
pub(super) struct PersonalColumns<'a> {
    /// Feature names of the personal columns of the `customers` files.
    raw: BTreeSet<String>,
    /// Personal columns of views.
    declared: &'a [ColumnRef],
    /// Views that read the table `customers`, directly or through other views.
    readers: BTreeSet<String>,
    /// Columns that the view `profile` declares as personal.
    profile: BTreeSet<String>,
}

/// View of the attributes of customers.
const PROFILE: &str = "profile";

impl<'a> PersonalColumns<'a> {
    /// Checks the configured personal columns. `models` are the views that models make. `reads` holds the
    /// tables and views that each view reads.
    ///
    /// # Errors
    /// Fails for an unknown view, an unknown column of a model, and a column that answers show all the same.
    pub(super) fn new(
        config: &'a Config,
        views: &[ViewDefinition],
        models: &[ViewDefinition],
        reads: &BTreeMap<String, BTreeSet<String>>,
    ) -> Result<Self, ViewError> {
        let declared = &config.views.personal;
        let served = || views.iter().filter(|view| !view.step).chain(models);
        for column in declared {
            let Some(view) = served().find(|view| view.name == column.view) else {
                let near = near::hint(&column.view, served().map(|view| view.name.as_str()));
                return Err(ViewError::UnknownPersonal { name: column.to_string(), near });
            };
            check_hidden(&view.name, &column.column)?;
            let is_model = models.iter().any(|model| model.name == view.name);
            if is_model && !view.columns.contains_key(&column.column) {
                let near = near::hint(&column.column, view.columns.keys().map(String::as_str));
                return Err(ViewError::UnknownPersonal { name: column.to_string(), near });
            }
        }
        let mut readers = BTreeSet::from([Table::Customers.name().to_owned()]);
        loop {
            let more: Vec<String> = reads
                .iter()
                .filter(|(view, read)| !readers.is_disjoint(read) && !readers.contains(*view))
                .map(|(view, _)| view.clone())
                .collect();
            if more.is_empty() {
                break;
            }
            readers.extend(more);
        }
        let raw = config.raw.customers.personal.iter().map(|column| feature_name(column)).collect();
        let profile = views.iter().filter(|view| view.name == PROFILE).flat_map(|view| &view.columns);
        let profile = profile.filter(|(_, note)| note.personal).map(|(name, _)| name.clone()).collect();
        Ok(Self { raw, declared, readers, profile })
    }

    /// Checks whether the customer attribute `name` is personal.
    pub(super) fn is_attribute(&self, name: &str) -> bool {
        self.raw.contains(name)
            || self.profile.contains(name)
            || self.declared.iter().any(|column| column.view == PROFILE && column.column == name)
    }

    /// Returns `extras`, the attributes in the `customers` files, after checking that all columns declared in
    /// `personal` and `types` are attributes or columns of `spec`. Without `customers` files, nothing is
    /// checked.
    ///
    /// # Errors
    /// Fails for a column that no file has.
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

    /// Marks the personal columns of `view`, whose rows have the given schema.
    ///
    /// # Errors
    /// Fails for a column that is declared personal and does not exist, or that answers show all the same.
    pub(super) fn mark(&self, view: &mut ViewDefinition, schema: &Schema) -> Result<(), ViewError> {
        if view.step {
            return Ok(());
        }
        for column in self.declared.iter().filter(|column| column.view == view.name) {
            view.columns.entry(column.column.clone()).or_default().personal = true;
        }
        let columns = || schema.fields().iter().map(|field| field.name().as_str());
        let known = || columns().filter(|name| days_since::feature_of(name).is_none());
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
        let mut personal = view.columns.iter().filter(|(_, note)| note.personal);
        personal.try_for_each(|(column, _)| check_hidden(&view.name, column))
    }

    /// Marks the personal columns of the view of a model, which are known to exist.
    pub(super) fn mark_model(&self, view: &mut ViewDefinition) {
        for column in self.declared.iter().filter(|column| column.view == view.name) {
            view.columns.entry(column.column.clone()).or_default().personal = true;
        }
    }
}

/// Checks that answers do not show `column` of `view` to every caller.
fn check_hidden(view: &str, column: &str) -> Result<(), ViewError> {
    match shown_to_all(view, column) {
        None => Ok(()),
        Some(why) => Err(ViewError::Personal { name: format!("{view}.{column}"), why }),
    }
}
