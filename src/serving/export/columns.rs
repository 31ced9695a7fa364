//! Which columns an export has: the id, the rank, and features, some of them hashed or withheld.

use super::personal::Treatment;
use crate::{
    feature::FeatureView,
    snapshot::{Manifest, writer::ID},
};

/// The name of the column of ranks.
pub const RANK: &str = "rank";

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    Rank,
    /// The feature at a place of the view at a place.
    Feature(usize, usize),
}

/// The columns of an export, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    pub(super) views: Vec<FeatureView>,
    pub(super) columns: Vec<Column>,
    pii: bool,
}

/// A column that the snapshot does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no column `{name}`; there are {ID}, {RANK}, whole views ({views}) and features as view.feature"
)]
pub struct UnknownColumn {
    name: String,
    views: String,
}

/// The columns of one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OfView {
    /// The view's place.
    pub(super) view: usize,
    /// The places of its features, in the order wanted, and what becomes of each.
    pub(super) features: Vec<(usize, Treatment)>,
}

impl Columns {
    /// The id, the rank, and every feature of the snapshot of `manifest`; personal ones as they are where `pii` says so.
    #[must_use]
    pub fn all(manifest: &Manifest, pii: bool) -> Self {
        let mut all = Self { views: manifest.views.clone(), columns: vec![Column::Id, Column::Rank], pii };
        (0..all.views.len()).for_each(|view| all.add_view(view));
        all
    }

    /// The columns `names`: `customer_id`, `rank`, features as `view.feature`, and whole views.
    ///
    /// # Errors
    /// Names the first that the snapshot does not have.
    pub fn named<'a>(
        manifest: &Manifest,
        names: impl IntoIterator<Item = &'a str>,
        pii: bool,
    ) -> Result<Self, UnknownColumn> {
        let mut columns = Self { views: manifest.views.clone(), columns: Vec::new(), pii };
        for name in names {
            let unknown = || UnknownColumn {
                name: name.chars().filter(|c| !c.is_control()).take(130).collect(),
                views: manifest.views.iter().map(|view| view.name.as_str()).collect::<Vec<_>>().join(", "),
            };
            match (name, name.split_once('.')) {
                (ID, _) => columns.add(Column::Id),
                (RANK, _) => columns.add(Column::Rank),
                (view, None) => columns.add_view(manifest.view(view).ok_or_else(unknown)?),
                (_, Some((view, feature))) => {
                    let view = manifest.view(view).ok_or_else(unknown)?;
                    let known = manifest.views[view].features.iter().position(|known| known.name == feature);
                    columns.add(Column::Feature(view, known.ok_or_else(unknown)?));
                }
            }
        }
        Ok(columns)
    }

    fn add_view(&mut self, view: usize) {
        (0..self.views[view].features.len()).for_each(|place| self.add(Column::Feature(view, place)));
    }

    fn add(&mut self, column: Column) {
        if !self.columns.contains(&column) {
            self.columns.push(column);
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The names of the columns, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let name = |column: &Column| match column {
            Column::Id => ID.to_owned(),
            Column::Rank => RANK.to_owned(),
            Column::Feature(view, place) => {
                let view = &self.views[*view];
                format!("{}.{}", view.name, view.features[*place].name)
            }
        };
        self.columns.iter().map(name).collect()
    }

    /// The personal features among them, as `view.feature`, each with what becomes of its values.
    #[must_use]
    pub fn personal(&self) -> Vec<(String, Treatment)> {
        let names = self.columns.iter().zip(self.names());
        let personal = names.filter_map(|(column, name)| match column {
            Column::Feature(view, place) if self.views[*view].features[*place].personal => {
                Some((name, self.treatment(*view, *place)))
            }
            _ => None,
        });
        personal.collect()
    }

    pub(super) fn has(&self, column: Column) -> bool {
        self.columns.contains(&column)
    }

    pub(super) fn treatment(&self, view: usize, place: usize) -> Treatment {
        Treatment::of(&self.views[view].features[place], self.pii)
    }

    /// The features by view, in the order in which views are first named.
    pub(super) fn by_view(&self) -> Vec<OfView> {
        let mut by_view: Vec<OfView> = Vec::new();
        for column in &self.columns {
            let Column::Feature(view, place) = *column else { continue };
            let feature = (place, self.treatment(view, place));
            match by_view.iter_mut().find(|known| known.view == view) {
                Some(known) => known.features.push(feature),
                None => by_view.push(OfView { view, features: vec![feature] }),
            }
        }
        by_view
    }
}
