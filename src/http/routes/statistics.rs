//! `GET /v1/views/{view}/statistics`: statistics of the features of a view.

use std::collections::BTreeMap;

use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    audience::statistics::FeatureStatistics,
    config::Scope,
    http::{
        Problem,
        extract::{PathParam, SnapshotRead, ViewName, unknown_view},
        reply::{self, Freshness, MinCount, audit},
    },
};

/// Statistics of the features of a view.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatisticsOfView {
    /// Name of the view.
    #[schema(example = "rfm")]
    view: String,
    #[serde(flatten)]
    freshness: Freshness,
    /// Number of customers in the snapshot.
    #[schema(example = 4372)]
    customers: u64,
    /// Personal features that are left out because the caller lacks the scope `pii`; absent where there are
    /// none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, example = json!(["profile.email"]))]
    masked: Vec<String>,
    /// Statistics by feature.
    features: BTreeMap<String, FeatureStatistics>,
    /// The setting `min_count`, if it applies to the caller: numbers below it are withheld, and so are the
    /// least and the greatest values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    min_count: Option<u64>,
}

/// Get statistics of a view
///
/// The build computes the statistics over all customers, exactly.
#[utoipa::path(
    get, path = "/v1/views/{view}/statistics", tag = "snapshot", operation_id = "get_view_statistics",
    params(("view" = String, Path, description = "Name of the view", example = "rfm")),
    responses(
        (status = 200, description = "Nulls, distinct values, quantiles, histograms and top values",
            body = StatisticsOfView),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "No such view"),
        (status = 404, description = "An earlier version built the snapshot, without statistics"),
    )
)]
pub(crate) async fn get_view_statistics(
    read: SnapshotRead,
    PathParam(ViewName(name)): PathParam<ViewName>,
) -> Result<Response, Problem> {
    let manifest = &read.served.manifest;
    let view = manifest.views.iter().find(|view| view.name == name);
    let view = view.ok_or_else(|| unknown_view(&manifest.views, &name))?;
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let known = read.served.statistics(&name).await?;
    let (mut features, customers) = known.ok_or_else(|| {
        let why = format!("snapshot {} has no statistics; an earlier version built it", manifest.id);
        Problem::snapshot_not_found(why)
    })?;
    let personal = view.features.iter().filter(|feature| feature.personal);
    let personal: Vec<String> = personal.map(|feature| feature.name.clone()).collect();
    let pii = read.access.has(Scope::Pii);
    let least = MinCount::of(&read.app, &read.access);
    if !pii {
        features.retain(|feature, _| !personal.contains(feature));
    }
    if let Some(least) = least.shown() {
        for feature in features.values_mut() {
            feature.withhold(customers, least);
        }
    }
    let personal: Vec<String> = personal.iter().map(|feature| format!("{name}.{feature}")).collect();
    let body = StatisticsOfView {
        view: name,
        freshness: Freshness::from(&*read.served),
        customers,
        masked: if pii { Vec::new() } else { personal.clone() },
        features,
        min_count: least.shown(),
    };
    let mut response = reply::json(&read, &body)?;
    if pii {
        audit::note_values(&mut response, &read.access, personal);
    }
    Ok(response)
}
