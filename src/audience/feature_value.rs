//! Form of the values of features in the OpenAPI document.

use utoipa::ToSchema;

/// A value of a feature: text, a number or a boolean.
#[derive(Debug, Clone, PartialEq, ToSchema)]
#[schema(example = "Germany")]
#[serde(untagged)]
pub enum FeatureValue {
    /// Text; a time is text in RFC 3339.
    Text(String),
    /// A number.
    Number(f64),
    /// A boolean.
    Boolean(bool),
}
