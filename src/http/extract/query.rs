//! The query of a request.

use axum::{extract::FromRequestParts, http::request::Parts};
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
            Err(error) => Err(Problem::bad_parameter(error.body_text())),
        }
    }
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
