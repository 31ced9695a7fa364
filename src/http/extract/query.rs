//! The query of a request.

use std::error::Error;

use axum::{
    extract::{FromRequestParts, rejection::QueryRejection},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::http::Problem;

/// The parameters of a query.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(query) => Ok(Self(query.0)),
            Err(error) => Err(Problem::bad_parameter(explained(&error))),
        }
    }
}

/// Explains `error` in the words of the API: serde speaks of fields.
fn explained(error: &QueryRejection) -> String {
    // The innermost error has no names of Rust's types and functions.
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    // The name of an unknown parameter is before the message and in it.
    text[text.find("unknown field").unwrap_or(0)..]
        .replace("unknown field", "unknown parameter")
        .replace("duplicate field", "repeated parameter")
        .replace("missing field", "missing parameter")
}

/// Reads the parameter `limit`: a number from 1 to `most`.
pub(crate) fn limit(text: Option<&str>, default: usize, most: usize) -> Result<usize, Problem> {
    match text.map(str::parse) {
        None => Ok(default),
        Some(Ok(limit)) if (1..=most).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::bad_parameter(format!("`limit` must be a number from 1 to {most}"))),
    }
}

/// Reads the parameter `name`, which is `true` or `false`, the default.
pub(crate) fn flag(name: &str, text: Option<&str>) -> Result<bool, Problem> {
    match text {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Problem::bad_parameter(format!("`{name}` must be true or false"))),
    }
}

/// Returns the names in a list such as `rfm, churn`.
pub(crate) fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty())
}
