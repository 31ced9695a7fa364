//! Columns of an export: the id, the rank, and features. Personal features may be hashed or withheld.

use super::personal::{PersonalValues, Treatment};
use crate::{
    feature::{FeatureView, SEGMENTS_VIEW},
    snapshot::{Manifest, writer::ID},
};

/// Name of the rank column.
pub const RANK: &str = "rank";

/// Name of the column with the direction of a change.
pub(super) const CHANGE: &str = "change";
/// Name of the column with the snapshot that does not have the customer.
pub(super) const ABSENT_IN: &str = "absent_in";

/// Kind of the rows of an export, which decides about the columns besides features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportRows {
    /// Members of a list, with a rank.
    Members,
    /// Customers who entered or left a segment, with a rank and the change.
    Changes,
}

/// Column of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExportColumn {
    Id,
    Rank,
    /// Direction of a change: `entered` or `left`.
    Change,
    /// Snapshot that does not have the customer: `from` or `to`.
    AbsentIn,
    /// Index of a view, and index of a feature of the view.
    Feature(usize, usize),
}

/// Columns of an export, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportColumns {
    pub(super) views: Vec<FeatureView>,
    pub(super) columns: Vec<ExportColumn>,
    /// Form of personal values.
    values: PersonalValues,
}

/// Error for the name of a column that the snapshot does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no column `{name}`; there are {columns}, whole views ({views}) and features as view.feature"
)]
pub struct UnknownColumn {
    name: String,
    /// Columns besides features.
    columns: &'static str,
    views: String,
}

/// Exported features of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ViewColumns {
    /// Index of the view.
    pub(super) view: usize,
    /// Indexes of the features in the order of the export, each with the treatment of its values.
    pub(super) features: Vec<(usize, Treatment)>,
}

impl ExportColumns {
    /// Selects the id, the rank, the change if `rows` are changes, and every feature of the snapshot
    /// but those of the view `segments`. Personal values are written in the form `values`.
    #[must_use]
    pub fn all(manifest: &Manifest, values: PersonalValues, rows: ExportRows) -> Self {
        let mut columns = vec![ExportColumn::Id, ExportColumn::Rank];
        if rows == ExportRows::Changes {
            columns.extend([ExportColumn::Change, ExportColumn::AbsentIn]);
        }
        let mut all = Self { views: manifest.views.clone(), columns, values };
        let is_default = |view: &usize| all.views[*view].name != SEGMENTS_VIEW;
        let views: Vec<usize> = (0..all.views.len()).filter(is_default).collect();
        for view in views {
            all.add_view(view);
        }
        all
    }

    /// Selects columns by name: `customer_id`, `rank`, for changes `change` and `absent_in`, features as
    /// `view.feature`, and whole views. Repeated columns are dropped. Personal values are written in the form
    /// `values`.
    ///
    /// # Errors
    /// [`UnknownColumn`] with the first name that the snapshot does not have.
    pub fn named<'a>(
        manifest: &Manifest,
        names: impl IntoIterator<Item = &'a str>,
        values: PersonalValues,
        rows: ExportRows,
    ) -> Result<Self, UnknownColumn> {
        let known = match rows {
            ExportRows::Members => "customer_id, rank",
            ExportRows::Changes => "customer_id, rank, change, absent_in",
        };
        let mut columns = Self { views: manifest.views.clone(), columns: Vec::new(), values };
        for name in names {
            let unknown = || UnknownColumn {
                name: name.chars().filter(|c| !c.is_control()).take(130).collect(),
                columns: known,
                views: manifest.views.iter().map(|view| view.name.as_str()).collect::<Vec<_>>().join(", "),
            };
            match (name, name.split_once('.')) {
                (ID, _) => columns.add(ExportColumn::Id),
                (RANK, _) => columns.add(ExportColumn::Rank),
                (CHANGE, _) if rows == ExportRows::Changes => columns.add(ExportColumn::Change),
                (ABSENT_IN, _) if rows == ExportRows::Changes => columns.add(ExportColumn::AbsentIn),
                (view, None) => columns.add_view(manifest.view(view).ok_or_else(unknown)?),
                (_, Some((view, feature))) => {
                    let view = manifest.view(view).ok_or_else(unknown)?;
                    let mut features = manifest.views[view].features.iter();
                    let index = features.position(|known| known.name == feature);
                    columns.add(ExportColumn::Feature(view, index.ok_or_else(unknown)?));
                }
            }
        }
        Ok(columns)
    }

    fn add_view(&mut self, view: usize) {
        (0..self.views[view].features.len())
            .for_each(|feature| self.add(ExportColumn::Feature(view, feature)));
    }

    fn add(&mut self, column: ExportColumn) {
        if !self.columns.contains(&column) {
            self.columns.push(column);
        }
    }

    /// Checks whether no column is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Returns the names of the columns, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let name = |column: &ExportColumn| match column {
            ExportColumn::Id => ID.to_owned(),
            ExportColumn::Rank => RANK.to_owned(),
            ExportColumn::Change => CHANGE.to_owned(),
            ExportColumn::AbsentIn => ABSENT_IN.to_owned(),
            ExportColumn::Feature(view, feature) => self.feature_name(*view, *feature),
        };
        self.columns.iter().map(name).collect()
    }

    fn feature_name(&self, view: usize, feature: usize) -> String {
        let view = &self.views[view];
        format!("{}.{}", view.name, view.features[feature].name)
    }

    /// Returns the names of the features, as `view.feature`.
    pub(super) fn feature_names(&self) -> Vec<String> {
        let features = self.columns.iter().filter_map(|column| match column {
            ExportColumn::Feature(view, feature) => Some(self.feature_name(*view, *feature)),
            _ => None,
        });
        features.collect()
    }

    /// Returns the selected personal features, as `view.feature`, each with the treatment of its values.
    #[must_use]
    pub fn personal(&self) -> Vec<(String, Treatment)> {
        let personal = self.columns.iter().filter_map(|column| match *column {
            ExportColumn::Feature(view, feature) if self.views[view].features[feature].personal => {
                Some((self.feature_name(view, feature), self.treatment(view, feature)))
            }
            _ => None,
        });
        personal.collect()
    }

    pub(super) fn has(&self, column: ExportColumn) -> bool {
        self.columns.contains(&column)
    }

    pub(super) fn treatment(&self, view: usize, feature: usize) -> Treatment {
        Treatment::of(&self.views[view].features[feature], self.values)
    }

    /// Groups the features by view, in the order in which the views first occur.
    pub(super) fn by_view(&self) -> Vec<ViewColumns> {
        let mut by_view: Vec<ViewColumns> = Vec::new();
        for column in &self.columns {
            let ExportColumn::Feature(view, feature) = *column else { continue };
            let treated = (feature, self.treatment(view, feature));
            match by_view.iter_mut().find(|known| known.view == view) {
                Some(known) => known.features.push(treated),
                None => by_view.push(ViewColumns { view, features: vec![treated] }),
            }
        }
        by_view
    }
}
