//! The variable part of a path: a customer, a segment, a product, a snapshot or a model.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use crate::{
    feature::CustomerId,
    http::problem::{self, Problem},
    snapshot::SnapshotId,
};

/// The parameter of a path such as `/v1/customers/{id}`.
#[derive(Debug)]
pub(crate) struct PathParam<T>(pub(crate) T);

/// A type that a percent-decoded path segment can be read as.
pub(crate) trait FromPath: Sized {
    /// Reads the segment.
    fn read(text: String) -> Result<Self, Problem>;

    /// Returns the problem of a segment whose bytes are not UTF-8.
    fn not_utf8() -> Problem;
}

impl<T: FromPath, S: Send + Sync> FromRequestParts<S> for PathParam<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => T::read(text).map(Self),
            Err(_) => Err(T::not_utf8()),
        }
    }
}

impl FromPath for CustomerId {
    fn read(text: String) -> Result<Self, Problem> {
        Self::parse(&text).map_err(|error| Problem::bad_id(error.to_string()))
    }

    fn not_utf8() -> Problem {
        Problem::bad_id("a customer id must be UTF-8")
    }
}

impl FromPath for SnapshotId {
    fn read(text: String) -> Result<Self, Problem> {
        text.parse()
            .map_err(|error: crate::snapshot::SnapshotError| Problem::snapshot_not_found(error.to_string()))
    }

    fn not_utf8() -> Problem {
        Problem::snapshot_not_found("a snapshot id must be UTF-8")
    }
}

/// The name of a segment, which may not exist.
#[derive(Debug)]
pub(crate) struct SegmentName(pub(crate) String);

impl FromPath for SegmentName {
    fn read(text: String) -> Result<Self, Problem> {
        Ok(Self(text))
    }

    fn not_utf8() -> Problem {
        problem::unknown_segment("?", [])
    }
}

/// The id of a product, which may not exist.
#[derive(Debug)]
pub(crate) struct ProductId(pub(crate) String);

impl FromPath for ProductId {
    fn read(text: String) -> Result<Self, Problem> {
        Ok(Self(text))
    }

    fn not_utf8() -> Problem {
        Problem::product_not_found("a product id must be UTF-8")
    }
}

/// The name of a model, which may not exist.
#[derive(Debug)]
pub(crate) struct ModelName(pub(crate) String);

impl FromPath for ModelName {
    fn read(text: String) -> Result<Self, Problem> {
        Ok(Self(text))
    }

    fn not_utf8() -> Problem {
        problem::unknown_model()
    }
}
