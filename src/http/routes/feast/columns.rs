//! The columns of an answer: features of the snapshot's views, under the names that the client asks for.

use std::{collections::HashSet, time::Duration};

use super::{
    refusal::Refusal,
    request::{Name, Wanted},
};
use crate::{
    config::FeastConfig,
    feast::{FeastType, JOIN_KEY, resolve},
    feature::FeatureView,
    http::reply::features::{write_joined, write_json},
};

/// The columns of an answer, in its order.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) all: Vec<FeastColumn>,
    pub(super) views: Vec<FeastView>,
    /// The start of the answer, up to the ids.
    pub(super) head: Vec<u8>,
    /// The personal features, as `view.feature`.
    pub(super) personal: Vec<String>,
}

/// A column of an answer.
#[derive(Debug)]
pub(super) struct FeastColumn {
    /// Name in the answer.
    pub(super) name: String,
    /// Place of its view in [`Columns::views`].
    pub(super) view: usize,
    /// Whether the caller must not see the values.
    pub(super) masked: bool,
    /// Feast's type of the values.
    pub(super) feast_type: FeastType,
}

/// A view with selected features.
#[derive(Debug)]
pub(super) struct FeastView {
    /// Place in the manifest.
    pub(super) at: usize,
    /// The age above which values are withheld.
    pub(super) max_age: Option<Duration>,
    /// Places in the view's row, ascending, each with its column.
    pub(super) places: Vec<(usize, usize)>,
}

impl Columns {
    /// Finds the `wanted` features among `views`.
    pub(super) fn find(
        wanted: &Wanted<'_>,
        form: NameForm,
        views: &[FeatureView],
        config: &FeastConfig,
    ) -> Result<Self, Refusal> {
        let mut columns = Self { all: Vec::new(), views: Vec::new(), head: Vec::new(), personal: Vec::new() };
        let places = match wanted {
            Wanted::Features(names) => {
                let names = names.iter().filter_map(Name::parts);
                names.map(|(view, feature)| find(views, view, feature)).collect::<Result<_, _>>()?
            }
            Wanted::Service(name) => {
                let features = config.services.get(name).ok_or_else(|| Refusal::service(name))?;
                resolve(features, views).map_err(|why| {
                    Refusal::unfit_service(format!("Feature service {name} does not fit: {why}"))
                })?
            }
        };
        for (at, place) in places {
            columns.add(at, &views[at], place, form, config);
        }
        let mut names = HashSet::with_capacity(columns.all.len() + 1);
        names.insert(JOIN_KEY);
        if let Some(twice) = columns.all.iter().find(|column| !names.insert(&column.name)) {
            return Err(Refusal::collision(&twice.name, form.full_names));
        }
        for view in &mut columns.views {
            view.places.sort_unstable();
        }
        columns.head.extend_from_slice(b"{\"metadata\":{\"feature_names\":[");
        let names = columns.all.iter().map(|column| column.name.as_str());
        write_joined(std::iter::once(JOIN_KEY).chain(names), &mut columns.head, write_json);
        columns.head.extend_from_slice(b"]},\"results\":[{\"values\":[");
        Ok(columns)
    }

    /// Adds the feature at `place` of `view`, which is at `at` in the manifest.
    fn add(&mut self, at: usize, view: &FeatureView, place: usize, form: NameForm, config: &FeastConfig) {
        let feature = &view.features[place];
        let number = self.views.iter().position(|known| known.at == at).unwrap_or_else(|| {
            let max_age = config.max_age.get(&view.name).copied();
            self.views.push(FeastView { at, max_age, places: Vec::new() });
            self.views.len() - 1
        });
        self.views[number].places.push((place, self.all.len()));
        let name =
            if form.full_names { format!("{}__{}", view.name, feature.name) } else { feature.name.clone() };
        if feature.personal {
            self.personal.push(format!("{}.{}", view.name, feature.name));
        }
        let masked = feature.personal && form.masked;
        let feast_type = FeastType::of(&feature.data_type);
        self.all.push(FeastColumn { name, view: number, masked, feast_type });
    }
}

/// The form of names and the masking of values in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NameForm {
    /// Whether names are `view__feature`.
    pub(super) full_names: bool,
    /// Whether the caller must not see personal values.
    pub(super) masked: bool,
}

fn find(views: &[FeatureView], view: &str, feature: &str) -> Result<(usize, usize), Refusal> {
    let at = views.iter().position(|known| known.name == view).ok_or_else(|| Refusal::view(view))?;
    let place = views[at].features.iter().position(|known| known.name == feature);
    Ok((at, place.ok_or_else(|| Refusal::feature(view, feature))?))
}
