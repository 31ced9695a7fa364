//! `GET /v1/views`: the views of the current snapshot.

use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    feature::FeatureView,
    http::{
        Problem,
        extract::SnapshotRead,
        reply::{self, Freshness},
    },
};

/// The views of the current snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ViewList {
    #[serde(flatten)]
    freshness: Freshness,
    /// The views and their features.
    views: Vec<FeatureView>,
}

/// List views and their features
#[utoipa::path(
    get, path = "/v1/views", tag = "catalog", operation_id = "list_views",
    responses(
        (status = 200, description = "The views of the current snapshot", body = ViewList),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
    )
)]
pub(crate) async fn list_views(read: SnapshotRead) -> Result<Response, Problem> {
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let views = read.served.manifest.views.clone();
    reply::json(&read, &ViewList { freshness: Freshness::from(&*read.served), views })
}
