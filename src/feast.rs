//! Larder's views in the terms of Feast: types, and the feature services of the configuration.

use crate::{
    config::{FeastConfig, FeatureRef},
    feature::FeatureView,
};

/// Join key of the only entity.
pub const JOIN_KEY: &str = "customer_id";

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
