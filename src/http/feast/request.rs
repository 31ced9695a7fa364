//! The body of a request, read field by field, so that what is wrong is named with its place as FastAPI names it.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    JOIN_KEY, MAX_IDS,
    refusal::{Detail, Refusal},
};
use crate::{feature::CustomerId, http::batch};

/// Fields by name; of one that is there twice the last counts, as in Python.
type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The customers; nothing where an id cannot be one, so that it is nobody's.
    pub(super) ids: Vec<Option<CustomerId>>,
    /// Their ids as the client wrote them.
    pub(super) given: Vec<&'a RawValue>,
    /// Which features, as the client wrote it: a service, else names.
    pub(super) asked: Asked<'a>,
    /// Whether the answer's names are `view__feature`.
    pub(super) full_names: bool,
}

/// The fields that tell which features a client wants, not read yet: most clients ask for the same again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked<'a> {
    /// `feature_service`
    pub(super) service: Option<&'a str>,
    /// `features`
    pub(super) features: Option<&'a str>,
}

/// Which features a client wants.
#[derive(Debug)]
pub(super) enum Wanted<'a> {
    /// Those of a feature service.
    Service(String),
    /// Each by its view and name.
    Features(Vec<Name<'a>>),
}

/// `view:feature`, as it stands in the body.
#[derive(Debug, Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl Name<'_> {
    /// The view and the feature.
    pub(super) fn parts(&self) -> Option<(&str, &str)> {
        self.0.split_once(':').filter(|(view, feature)| !view.is_empty() && !feature.is_empty())
    }
}

impl<'a> Request<'a> {
    /// Reads `body`.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        let fields: Fields<'a> = serde_json::from_slice(body).map_err(|error| not_an_object(body, &error))?;
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
        let asked = Asked { service: text("feature_service"), features: text("features") };
        Ok(Self { ids, given, asked, full_names })
    }
}

impl<'a> Wanted<'a> {
    /// Reads what is asked for.
    pub(super) fn of(asked: &Asked<'a>) -> Result<Self, Refusal> {
        let service: Option<Option<String>> =
            read(asked.service, "feature_service", "string_type", "a valid string")?;
        if let Some(service) = service.flatten().filter(|service| !service.is_empty()) {
            return Ok(Self::Service(service));
        }
        let names: Vec<Name<'a>> =
            read(asked.features, "features", "list_type", "a valid list of strings")?.unwrap_or_default();
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

/// The values of the join key, which must be the only one.
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

/// As in a batch; and a whole number as pandas writes it once a column had a gap, `17850.0`. A text, an integer or a
/// truth value that cannot be an id is nobody's: one bad row of a client's table does not cost the others their values.
fn id(value: &str) -> Result<Option<CustomerId>, String> {
    let zeros = |zeros: &str| !zeros.is_empty() && zeros.bytes().all(|b| b == b'0');
    let whole = value.split_once('.').filter(|(_, rest)| !value.starts_with('"') && zeros(rest));
    let value = whole.map_or(value, |(whole, _)| whole);
    let integer = value.bytes().all(|b| b == b'-' || b.is_ascii_digit());
    let nobodys = integer || value.starts_with('"') || matches!(value, "true" | "false");
    match batch::id(value) {
        Ok(id) => Ok(Some(id)),
        Err(_) if nobodys => Ok(None),
        Err(why) => Err(why),
    }
}

/// The field `name`, where it is there.
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
    fn numbers_and_texts_are_the_same_customer() {
        let read = |value: &str| id(value).expect(value).map(|id| id.to_string());
        for value in ["17850", "\"17850\"", "17850.0", "17850.000", "\" 17850 \""] {
            assert_eq!(read(value).as_deref(), Some("17850"));
        }
        assert_eq!(read("\"17850.5\"").as_deref(), Some("17850.5"));
        assert_eq!(read("\"a.0\"").as_deref(), Some("a.0"));
    }

    #[test]
    fn what_cannot_be_an_id_is_nobodys_and_what_is_no_id_at_all_an_error() {
        let (text, digits) = (format!("\"{}\"", "x".repeat(257)), "1".repeat(257));
        for value in ["\"\"", "\" \"", "\"a\\u0000b\"", "\"\\ud800\"", "true", "false", &text, &digits] {
            assert_eq!(id(value), Ok(None), "{value}");
        }
        for value in ["1.5", "1.", "1e3", "null", "[1]", "{\"a\": 1.0}"] {
            assert!(id(value).is_err(), "{value}");
        }
    }
}
