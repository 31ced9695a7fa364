//! The views and features that a caller asks for.

use std::sync::Arc;

use super::query::names;
use crate::{
    config::Scope,
    feature::{FeatureView, SEGMENTS_VIEW, near, product_names_key},
    http::{
        access::Access,
        problem::{Problem, excerpt},
    },
    serving::{ProductNames, Served},
};

/// Views by their places in the manifest, each whole or with some of its features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selection {
    /// `None` selects the default views: all but the view `segments`.
    pub(crate) views: Option<Vec<SelectedView>>,
    /// Whether the names of each customer's segments are written beside the views.
    pub(crate) segments: bool,
    /// Whether personal values are written as `null`.
    pub(crate) masked: bool,
    /// Names of products that are written beside their ids.
    pub(crate) names: NamesBesideIds,
}

/// The names of products in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum NamesBesideIds {
    /// Not asked for.
    #[default]
    Absent,
    /// Asked for, and read.
    Read(Arc<ProductNames>),
    /// Asked for, but they cannot be read at the moment: all names are null.
    Unreadable,
}

/// A view, and the places of the selected features; `None` selects all features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelectedView {
    pub(crate) view: usize,
    pub(crate) features: Option<Vec<usize>>,
}

impl Selection {
    /// Selects the default views.
    pub(crate) fn all(access: &Access) -> Self {
        Self { views: None, ..Self::of(Vec::new(), access) }
    }

    /// Selects no view.
    pub(crate) fn none() -> Self {
        Self { views: Some(Vec::new()), segments: false, masked: true, names: NamesBesideIds::Absent }
    }

    /// Selects `views`.
    fn of(views: Vec<SelectedView>, access: &Access) -> Self {
        Self { views: Some(views), masked: !access.has(Scope::Pii), ..Self::none() }
    }

    /// Whether no view is selected.
    pub(crate) fn is_empty(&self) -> bool {
        self.views.as_ref().is_some_and(Vec::is_empty)
    }

    /// Returns the selected personal features, as `view.feature`.
    pub(crate) fn personal<'a>(&self, served: &'a Served) -> Vec<&'a str> {
        let mut personal = self.personal_of_views(served);
        if self.segments {
            let names = served.segments_personal().iter().map(String::as_str);
            personal.extend(names.filter(|name| !personal.contains(name)).collect::<Vec<_>>());
        }
        personal
    }

    fn personal_of_views<'a>(&self, served: &'a Served) -> Vec<&'a str> {
        if self.views.is_none() {
            return served.default_personal().iter().map(String::as_str).collect();
        }
        let keys = served.keys.iter().enumerate();
        let places = keys.flat_map(|(view, keys)| keys.personal().iter().map(move |place| (view, *place)));
        let named = places.zip(served.personal.iter());
        named
            .filter(|((view, place), _)| self.selects(*view, *place))
            .map(|(_, name)| name.as_str())
            .collect()
    }

    /// Adds the names of each customer's segments, which a snapshot of an earlier version does not have.
    pub(crate) fn with_segments(self, served: &Served) -> Result<Self, Problem> {
        if served.has_segments() {
            return Ok(Self { segments: true, ..self });
        }
        Err(unknown_view(&served.manifest.views, SEGMENTS_VIEW))
    }

    /// Adds the names of products if they are `wanted` and a selected feature has ids of products.
    pub(crate) async fn with_names(self, served: &Served, wanted: bool) -> Self {
        if !wanted || !self.has_product_ids(served) {
            return self;
        }
        // The reader counts and logs its errors. An answer without names is better than none.
        let names = match served.product_names().await {
            Ok(names) => NamesBesideIds::Read(names),
            Err(_) => NamesBesideIds::Unreadable,
        };
        Self { names, ..self }
    }

    fn has_product_ids(&self, served: &Served) -> bool {
        let views = served.manifest.views.iter().enumerate();
        let mut features = views.flat_map(|(at, view)| {
            view.features.iter().enumerate().map(move |(place, feature)| (at, place, view, feature))
        });
        features.any(|(at, place, view, feature)| {
            product_names_key(&view.name, &feature.name).is_some() && self.selects(at, place)
        })
    }

    /// Checks whether all that is asked for can be read at the moment.
    pub(crate) fn is_readable(&self) -> bool {
        self.names != NamesBesideIds::Unreadable
    }

    /// Checks whether the feature at `place` of the view at `view` is selected.
    fn selects(&self, view: usize, place: usize) -> bool {
        let Some(views) = &self.views else { return true };
        let mut views = views.iter().filter(|selected| selected.view == view);
        views.any(|selected| selected.features.as_ref().is_none_or(|places| places.contains(&place)))
    }

    /// Returns the selected personal features that the caller must not see, as `view.feature`.
    pub(crate) fn masked_features<'a>(&self, served: &'a Served) -> Vec<&'a str> {
        if self.masked { self.personal(served) } else { Vec::new() }
    }

    /// Selects the views in a list such as `rfm,churn`.
    pub(crate) fn views(served: &Served, access: &Access, list: &str) -> Result<Self, Problem> {
        Self::named(served, access, names(list), [])
    }

    /// Selects whole `views`, and single `features` such as `rfm.segment`.
    pub(crate) fn named<'a>(
        served: &Served,
        access: &Access,
        views: impl IntoIterator<Item = &'a str>,
        features: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Problem> {
        let known = &served.manifest.views;
        let mut selected: Vec<SelectedView> = Vec::new();
        for name in views {
            let view = served.manifest.view(name).ok_or_else(|| unknown_view(known, name))?;
            selected.retain(|other| other.view != view);
            selected.push(SelectedView { view, features: None });
        }
        for name in features {
            let (view_name, feature) = name.split_once('.').ok_or_else(|| {
                Problem::unknown_feature(format!("`{}` is not a feature; write view.feature", excerpt(name)))
            })?;
            let view = served.manifest.view(view_name).ok_or_else(|| unknown_view(known, view_name))?;
            let place = known[view].features.iter().position(|known| known.name == feature);
            let place = place.ok_or_else(|| unknown_feature(&known[view], feature))?;
            match selected.iter_mut().find(|other| other.view == view) {
                Some(SelectedView { features: Some(places), .. }) => places.push(place),
                Some(_) => {}
                None => selected.push(SelectedView { view, features: Some(vec![place]) }),
            }
        }
        for places in selected.iter_mut().filter_map(|selected| selected.features.as_mut()) {
            places.sort_unstable();
            places.dedup();
        }
        let mut in_order = selected.iter().enumerate();
        let is_all = selected.len() == served.default_views()
            && in_order.all(|(place, selected)| place == selected.view && selected.features.is_none());
        Ok(if is_all { Self::all(access) } else { Self::of(selected, access) })
    }
}

pub(crate) fn unknown_view(views: &[FeatureView], name: &str) -> Problem {
    let known: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
    Problem::unknown_view(format!("there is no view `{}`; there are {}", excerpt(name), known.join(", ")))
}

fn unknown_feature(view: &FeatureView, name: &str) -> Problem {
    let hint = near::hint(name, view.features.iter().map(|known| known.name.as_str()));
    Problem::unknown_feature(format!("there is no feature `{}` in view {}{hint}", excerpt(name), view.name))
}
