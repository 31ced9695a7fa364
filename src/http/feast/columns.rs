//! Which columns an answer has: features found in the snapshot's views, with the names that a client wants.

use std::{collections::HashSet, time::Duration};

use super::{
    JOIN_KEY,
    refusal::Refusal,
    request::{Name, Wanted},
};
use crate::{
    config::{FeastConfig, FeatureRef},
    feature::FeatureView,
    http::select,
};

/// The columns of an answer, in its order.
#[derive(Debug)]
pub(super) struct Columns {
    /// What each is called, and how it is written.
    pub(super) all: Vec<Column>,
    /// The views that they are of.
    pub(super) views: Vec<Wants>,
    /// What an answer begins with, up to the ids.
    pub(super) head: Vec<u8>,
    /// The personal features among them, as `view.feature`.
    pub(super) personal: Vec<String>,
}

/// A column of an answer.
#[derive(Debug)]
pub(super) struct Column {
    /// The name in the answer.
    pub(super) name: String,
    /// The place of its view in [`Columns::views`].
    pub(super) view: usize,
    /// Whether the caller may not see its values.
    pub(super) masked: bool,
    /// What Feast has for its values.
    pub(super) feast_type: FeastType,
}

/// What is wanted of a view.
#[derive(Debug)]
pub(super) struct Wants {
    /// The view's place in the manifest.
    pub(super) at: usize,
    /// The age from which its values are withheld.
    pub(super) max_age: Option<Duration>,
    /// Places in the view's row, ascending, each with the column that wants it.
    pub(super) places: Vec<(usize, usize)>,
}

impl Columns {
    /// Finds what is `wanted` among `views`.
    pub(super) fn find(
        wanted: &Wanted<'_>,
        full_names: bool,
        views: &[FeatureView],
        config: &FeastConfig,
        masked: bool,
    ) -> Result<Self, Refusal> {
        let mut columns = Self { all: Vec::new(), views: Vec::new(), head: Vec::new(), personal: Vec::new() };
        match wanted {
            Wanted::Features(names) => {
                for (view, feature) in names.iter().filter_map(Name::parts) {
                    let (at, place) = find(views, view, feature)?;
                    columns.add(views, (at, place), full_names, masked, config);
                }
            }
            Wanted::Service(name) => {
                let features = config.services.get(name).ok_or_else(|| Refusal::service(name))?;
                let places = resolve(features, views).map_err(|why| {
                    Refusal::unfit_service(format!("Feature service {name} does not fit: {why}"))
                })?;
                for (at, place) in places {
                    columns.add(views, (at, place), full_names, masked, config);
                }
            }
        }
        let mut names = HashSet::with_capacity(columns.all.len() + 1);
        names.insert(JOIN_KEY);
        if let Some(twice) = columns.all.iter().find(|column| !names.insert(&column.name)) {
            return Err(Refusal::collision(&twice.name, full_names));
        }
        for view in &mut columns.views {
            view.places.sort_unstable();
        }
        columns.head.extend_from_slice(b"{\"metadata\":{\"feature_names\":[");
        select::text(JOIN_KEY, &mut columns.head);
        for column in &columns.all {
            columns.head.push(b',');
            select::text(&column.name, &mut columns.head);
        }
        columns.head.extend_from_slice(b"]},\"results\":[{\"values\":[");
        Ok(columns)
    }

    fn add(
        &mut self,
        views: &[FeatureView],
        (at, place): (usize, usize),
        full_names: bool,
        masked: bool,
        config: &FeastConfig,
    ) {
        let (view, feature) = (&views[at], &views[at].features[place]);
        let number = self.views.iter().position(|wants| wants.at == at).unwrap_or_else(|| {
            let max_age = config.max_age.get(&view.name).copied();
            self.views.push(Wants { at, max_age, places: Vec::new() });
            self.views.len() - 1
        });
        self.views[number].places.push((place, self.all.len()));
        let name = if full_names { format!("{}__{}", view.name, feature.name) } else { feature.name.clone() };
        if feature.personal {
            self.personal.push(format!("{}.{}", view.name, feature.name));
        }
        let masked = feature.personal && masked;
        self.all.push(Column { name, view: number, masked, feast_type: FeastType::of(&feature.data_type) });
    }
}

fn find(views: &[FeatureView], view: &str, feature: &str) -> Result<(usize, usize), Refusal> {
    let at = views.iter().position(|known| known.name == view).ok_or_else(|| Refusal::view(view))?;
    let place = views[at].features.iter().position(|known| known.name == feature);
    Ok((at, place.ok_or_else(|| Refusal::feature(view, feature))?))
}

/// The features of a service of the configuration, as places of view and feature.
///
/// # Errors
/// Names what the views do not have.
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

/// What of `config` does not fit `views`; a name that is misspelt should not pass for a setting.
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

/// The type that Feast has for an Arrow type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeastType {
    /// A type of `feast.types`.
    Plain(&'static str),
    /// `Array` of one. It cannot be empty, which counts as no value, nor hold what is absent: of texts that is an empty one.
    Array(&'static str),
    /// None: structs, and lists of them or of lists. A value is answered as JSON in a text, which every version of Feast can hold.
    JsonText,
}

impl FeastType {
    /// The type for `arrow`, as the manifest spells it. Times are texts, as JSON has them.
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
    fn every_type_that_is_served_has_one_of_feasts() {
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
