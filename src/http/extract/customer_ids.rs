//! Customer ids in JSON bodies.

use std::borrow::Cow;

use utoipa::ToSchema;

use crate::feature::CustomerId;

/// The greatest number of ids in one request.
pub(crate) const MAX_IDS: usize = 1_000;

/// A customer's id; an integer stands for the id with these digits.
#[derive(Debug, ToSchema)]
#[schema(example = "17850")]
#[serde(untagged)]
#[expect(dead_code, reason = "read from the text of the body; this is the shape for the OpenAPI document")]
pub(crate) enum BatchId {
    /// The id as a string.
    Text(String),
    /// The id as an integer.
    Integer(i64),
}

const NOT_AN_ID: &str = "a customer id is a string or an integer";

/// Reads a JSON value as a customer id: a string, or an integer by its digits.
pub(crate) fn customer_id(value: &str) -> Result<CustomerId, String> {
    let text = match value.as_bytes() {
        // Without escapes the id is the text between the quotes.
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Cow::Borrowed(&value[1..value.len() - 1]),
        [b'"', ..] => Cow::Owned(serde_json::from_str::<String>(value).map_err(|error| error.to_string())?),
        [b'-' | b'0'..=b'9', ..] => {
            let id = CustomerId::parse(value).map_err(|error| error.to_string())?;
            let digits = id.as_str().strip_prefix('-').unwrap_or(id.as_str());
            let is_integer = digits.bytes().all(|byte| byte.is_ascii_digit());
            return if is_integer { Ok(id) } else { Err(NOT_AN_ID.to_owned()) };
        }
        _ => return Err(NOT_AN_ID.to_owned()),
    };
    CustomerId::parse(&text).map_err(|error| error.to_string())
}
