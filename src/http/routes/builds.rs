//! `GET /v1/builds`: what became of the last builds.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{App, Problem},
    snapshot::BuildRecord,
};

/// The last builds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BuildList {
    /// At most 30 builds, the newest first.
    #[schema(value_type = Vec<BuildRecord>)]
    builds: Arc<Vec<BuildRecord>>,
}

/// List the last builds
///
/// Every run of `larder build` is listed when it ends, also one that failed or was held back by the publish
/// gate. A run that was killed is listed only if it was a scheduled one.
#[utoipa::path(
    get, path = "/v1/builds", tag = "catalog", operation_id = "list_builds",
    responses(
        (status = 200, description = "The newest build first; the list is at most a few seconds old",
            body = BuildList),
    )
)]
pub(crate) async fn list_builds(State(app): State<Arc<App>>) -> Result<Json<BuildList>, Problem> {
    Ok(Json(BuildList { builds: app.serving.builds().await? }))
}
