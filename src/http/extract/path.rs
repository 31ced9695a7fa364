//! The variable part of a path: a customer, a segment, a product, a snapshot or a model.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use crate::{
    feature::CustomerId,
    http::problem::{self, Problem},
    snapshot::{SnapshotError, SnapshotId},
};

/// The parameter of a path such as `/v1/customers/{id}`.
#[derive(Debug)]
pub(crate) struct PathParam<T>(pub(crate) T);

/// A type that a percent-decoded path segment can be read as.
pub(crate) trait FromPath: Sized {
    /// Reads the segment; `None` stands for bytes that are not UTF-8.
    fn read(text: Option<&str>) -> Result<Self, Problem>;
}

impl<T: FromPath, S: Send + Sync> FromRequestParts<S> for PathParam<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        T::read(path.as_ref().ok().map(|Path(text)| text.as_str())).map(Self)
    }
}

impl FromPath for CustomerId {
    fn read(text: Option<&str>) -> Result<Self, Problem> {
        let text = text.ok_or_else(|| Problem::bad_id("a customer id must be UTF-8"))?;
        Self::parse(text).map_err(|error| Problem::bad_id(error.to_string()))
    }
}

impl FromPath for SnapshotId {
    fn read(text: Option<&str>) -> Result<Self, Problem> {
        let text = text.ok_or_else(|| Problem::snapshot_not_found("a snapshot id must be UTF-8"))?;
        text.parse().map_err(|error: SnapshotError| Problem::snapshot_not_found(error.to_string()))
    }
}

/// The name of a segment, which may not exist.
#[derive(Debug)]
pub(crate) struct SegmentName(pub(crate) String);

impl FromPath for SegmentName {
    fn read(text: Option<&str>) -> Result<Self, Problem> {
        let name = text.ok_or_else(|| problem::unknown_segment("?", []))?;
        Ok(Self(name.to_owned()))
    }
}

/// The name of a view, which may not exist.
#[derive(Debug)]
pub(crate) struct ViewName(pub(crate) String);

impl FromPath for ViewName {
    fn read(text: Option<&str>) -> Result<Self, Problem> {
        let name = text.ok_or_else(|| Problem::unknown_view("the name of a view must be UTF-8"))?;
        Ok(Self(name.to_owned()))
    }
}

/// The id of a product, which may not exist.
#[derive(Debug)]
pub(crate) struct ProductId(pub(crate) String);

impl FromPath for ProductId {
    fn read(text: Option<&str>) -> Result<Self, Problem> {
        let id = text.ok_or_else(|| Problem::product_not_found("a product id must be UTF-8"))?;
        Ok(Self(id.to_owned()))
    }
}

/// The name of a model, which may not exist.
#[derive(Debug)]
pub(crate) struct ModelName(pub(crate) String);

impl FromPath for ModelName {
    fn read(text: Option<&str>) -> Result<Self, Problem> {
        let name = text.ok_or_else(problem::unknown_model)?;
        Ok(Self(name.to_owned()))
    }
}
