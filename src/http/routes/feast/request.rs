//! The body of a request, read field by field, so that errors name the place as FastAPI does.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::refusal::{Detail, Refusal};
use crate::{
    feast::JOIN_KEY,
    feature::CustomerId,
    http::extract::{MAX_IDS, customer_id},
};

/// Fields by name; of a repeated field the last counts, as in Python.
type RequestFields<'a> = BTreeMap<String, &'a RawValue>;

/// A request of a client.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The customers; `None` for an id that cannot be a customer's.
    pub(super) ids: Vec<Option<CustomerId>>,
    /// The ids as the client wrote them.
    pub(super) given: Vec<&'a RawValue>,
    /// The features as the client wrote them.
    pub(super) wanted: WantedText<'a>,
    /// Whether names in the answer are `view__feature`.
    pub(super) full_names: bool,
}

/// The fields that name the features, not parsed yet: most clients request the same features again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WantedText<'a> {
    /// `feature_service`
    pub(super) service: Option<&'a str>,
    /// `features`
    pub(super) features: Option<&'a str>,
}

/// The features that a client wants.
#[derive(Debug)]
pub(super) enum Wanted<'a> {
    /// The features of a feature service.
    Service(String),
    /// Features by view and name.
    Features(Vec<Name<'a>>),
}

/// A feature as `view:feature`.
#[derive(Debug, Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Name<'_> {
    /// Returns the view and the feature.
    pub(super) fn parts(&self) -> Option<(&str, &str)> {
        match self.0.split_once(':') {
            Some((view, feature)) if !view.is_empty() && !feature.is_empty() => Some((view, feature)),
            _ => None,
        }
    }
}

impl<'a> Request<'a> {
    /// Reads `body`.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        let fields: RequestFields<'a> =
            serde_json::from_slice(body).map_err(|error| not_an_object(body, &error))?;
        let entities = fields.get("entities").ok_or_else(|| missing(&["entities"]))?;
        let given = ids_given(entities)?;
        let id = |(at, value): (usize, &&RawValue)| {
            id(value.get()).map_err(|why| Detail::new("value_error", &["entities", JOIN_KEY], why).at(at))
        };
        let ids = given.iter().enumerate().map(id).collect::<Result<_, Detail>>()?;
        let full_names = fields.get("full_feature_names").map(|value| value.get());
        let full_names =
            read(full_names, "full_feature_names", "bool_type", "a valid boolean")?.unwrap_or(false);
        let text = |name: &str| fields.get(name).map(|value| value.get());
        let wanted = WantedText { service: text("feature_service"), features: text("features") };
        Ok(Self { ids, given, wanted, full_names })
    }
}

impl<'a> Wanted<'a> {
    /// Parses the fields.
    pub(super) fn parse(text: &WantedText<'a>) -> Result<Self, Refusal> {
        let service: Option<Option<String>> =
            read(text.service, "feature_service", "string_type", "a valid string")?;
        if let Some(service) = service.flatten()
            && !service.is_empty()
        {
            return Ok(Self::Service(service));
        }
        let names: Vec<Name<'a>> =
            read(text.features, "features", "list_type", "a valid list of strings")?.unwrap_or_default();
        if names.is_empty() {
            return Err(Detail::new("missing", &["features"], "Name features, or a feature_service").into());
        }
        if let Some(at) = names.iter().position(|name| name.parts().is_none()) {
            return Err(Detail::new("value_error", &["features"], "A feature is written view:feature")
                .at(at)
                .into());
        }
        Ok(Self::Features(names))
    }
}

/// Returns the values of the join key, which must be the only entity.
fn ids_given(entities: &RawValue) -> Result<Vec<&RawValue>, Refusal> {
    let entities: BTreeMap<String, &RawValue> = serde_json::from_str(entities.get())
        .map_err(|_| Detail::new("dict_type", &["entities"], "Input should be a valid dictionary"))?;
    if let Some(other) = entities.keys().find(|name| *name != JOIN_KEY) {
        return Err(Refusal::entity(other));
    }
    let at = ["entities", JOIN_KEY];
    let values = entities.get(JOIN_KEY).ok_or_else(|| missing(&at))?;
    let values: Vec<&RawValue> = serde_json::from_str(values.get())
        .map_err(|_| Detail::new("list_type", &at, "Input should be a valid list"))?;
    if values.len() > MAX_IDS {
        let msg = format!("List should have at most {MAX_IDS} items, not {}", values.len());
        return Err(Detail::new("too_long", &at, msg).into());
    }
    Ok(values)
}

/// Reads an id as a batch does, and an integer as pandas writes it in a column with gaps, `17850.0`.
///
/// A string, an integer or a boolean that cannot be an id gives `None`: one bad row of a client's table does
/// not cost the other rows their values.
fn id(value: &str) -> Result<Option<CustomerId>, String> {
    let is_zeros = |fraction: &str| !fraction.is_empty() && fraction.bytes().all(|byte| byte == b'0');
    let value = match value.split_once('.') {
        Some((whole, fraction)) if !value.starts_with('"') && is_zeros(fraction) => whole,
        _ => value,
    };
    let is_integer = value.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    match customer_id(value) {
        Ok(id) => Ok(Some(id)),
        Err(_) if is_integer || value.starts_with('"') || matches!(value, "true" | "false") => Ok(None),
        Err(why) => Err(why),
    }
}

/// Reads the field `name`, if present.
fn read<'a, T: Deserialize<'a>>(
    field: Option<&'a str>,
    name: &str,
    kind: &'static str,
    expected: &str,
) -> Result<Option<T>, Detail> {
    let read = field.map(serde_json::from_str).transpose();
    read.map_err(|_| Detail::new(kind, &[name], format!("Input should be {expected}")))
}

fn missing(fields: &[&str]) -> Detail {
    Detail::new("missing", fields, "Field required")
}

fn not_an_object(body: &[u8], error: &serde_json::Error) -> Detail {
    if error.is_data() {
        return Detail::new("model_attributes_type", &[], "Input should be a valid dictionary");
    }
    let lines = body.split_inclusive(|b| *b == b'\n').take(error.line().saturating_sub(1));
    let place = lines.map(<[u8]>::len).sum::<usize>() + error.column();
    Detail::new("json_invalid", &[], format!("JSON decode error: {error}")).at(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_and_string_ids_are_the_same_customer() {
        let read = |value: &str| id(value).expect(value).map(|id| id.to_string());
        for value in ["17850", "\"17850\"", "17850.0", "17850.000", "\" 17850 \""] {
            assert_eq!(read(value).as_deref(), Some("17850"));
        }
        assert_eq!(read("\"17850.5\"").as_deref(), Some("17850.5"));
        assert_eq!(read("\"a.0\"").as_deref(), Some("a.0"));
    }

    #[test]
    fn impossible_ids_are_unknown_customers_and_other_values_are_errors() {
        let (text, digits) = (format!("\"{}\"", "x".repeat(257)), "1".repeat(257));
        for value in ["\"\"", "\" \"", "\"a\\u0000b\"", "\"\\ud800\"", "true", "false", &text, &digits] {
            assert_eq!(id(value), Ok(None), "{value}");
        }
        for value in ["1.5", "1.", "1e3", "null", "[1]", "{\"a\": 1.0}"] {
            assert!(id(value).is_err(), "{value}");
        }
    }
}
