//! The columns of an answer: features of the snapshot's views, under the names that the client asks for.

use std::{collections::HashSet, time::Duration};

use super::{
    JOIN_KEY,
    refusal::Refusal,
    request::{Name, Wanted},
};
use crate::{
    config::{FeastConfig, FeatureRef},
    feature::FeatureView,
    http::reply::features::write_json,
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
        write_json(JOIN_KEY, &mut columns.head);
        for column in &columns.all {
            columns.head.push(b',');
            write_json(&column.name, &mut columns.head);
        }
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

/// Finds the features of a configured feature service: places of views and of their features.
///
/// # Errors
/// Names a view or feature that does not exist.
pub fn resolve(features: &[FeatureRef], views: &[FeatureView]) -> Result<Vec<(usize, usize)>, String> {
    let mut places = Vec::new();
    for named in features {
        let known = views.iter().enumerate().find(|(_, view)| view.name == named.view);
        let (at, view) = known.ok_or_else(|| format!("there is no view {}", named.view))?;
        match &named.feature {
            None => places.extend((0..view.features.len()).map(|place| (at, place))),
            Some(name) => {
                let place = view.features.iter().position(|feature| feature.name == *name);
                places.push((at, place.ok_or_else(|| format!("there is no feature {named}"))?));
            }
        }
    }
    Ok(places)
}

/// Returns a message for each name in `config` that `views` do not have.
#[must_use]
pub fn misfits(config: &FeastConfig, views: &[FeatureView]) -> Vec<String> {
    let services = config.services.iter();
    let services = services.filter_map(|(name, features)| {
        resolve(features, views).err().map(|why| format!("feature service {name} does not fit: {why}"))
    });
    let known = |name: &String| views.iter().any(|view| view.name == *name);
    let ages = config.max_age.keys().filter(|name| !known(name));
    services.chain(ages.map(|name| format!("max_age does not fit: there is no view {name}"))).collect()
}

/// Feast's type for an Arrow type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeastType {
    /// A type of `feast.types`.
    Plain(&'static str),
    /// `Array` of a type. An empty array counts as no value, and a null string in an array becomes an empty
    /// string.
    Array(&'static str),
    /// No type of Feast's fits: structs, and lists of structs or of lists. A value is JSON in a string, which
    /// every version of Feast can hold.
    JsonText,
}

impl FeastType {
    /// Returns the type for `arrow`, which is given as the manifest spells it. Times are strings, as in JSON.
    #[must_use]
    pub fn of(arrow: &str) -> Self {
        if let Some(item) = arrow.strip_prefix("List(") {
            let item = item.strip_prefix("non-null ").unwrap_or(item);
            return plain(item).map_or(Self::JsonText, Self::Array);
        }
        plain(arrow).map_or(Self::JsonText, Self::Plain)
    }
}

fn plain(arrow: &str) -> Option<&'static str> {
    Some(match arrow.split(['(', ')', ',']).next().unwrap_or_default() {
        "Boolean" => "Bool",
        "Int32" => "Int32",
        "Int64" => "Int64",
        "Float64" | "Decimal128" => "Float64",
        "Utf8" | "Date32" | "Timestamp" => "String",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arrow_type_has_a_feast_type() {
        for (arrow, feast) in [
            ("Int64", FeastType::Plain("Int64")),
            ("Decimal128(38, 4)", FeastType::Plain("Float64")),
            ("Timestamp(µs, \"UTC\")", FeastType::Plain("String")),
            ("List(Int64)", FeastType::Array("Int64")),
            ("List(Decimal128(18, 4))", FeastType::Array("Float64")),
            ("List(non-null Utf8, field: 'element')", FeastType::Array("String")),
            ("List(List(Int64))", FeastType::JsonText),
            ("List(Struct(\"product_id\": Utf8, \"score\": Float64))", FeastType::JsonText),
            ("Struct(\"a\": Int64)", FeastType::JsonText),
        ] {
            assert_eq!(FeastType::of(arrow), feast, "{arrow}");
        }
    }
}
