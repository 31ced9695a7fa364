//! `GET /v1/overlap`: how many customers segments have in common.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{App, Problem, access::Access, conditional, query::Query, segments};
use crate::snapshot::SnapshotId;

/// The most segments of a question.
const MOST: usize = 10;

/// Which segments, in which snapshot.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OverlapQuery {
    /// Two to ten segments of any kind, separated by commas.
    #[param(example = "champions,churn_high,churn_medium")]
    segments: String,
    /// The snapshot's id; the current one unless given.
    #[param(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: Option<String>,
}

/// How segments overlap.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Overlaps {
    /// The snapshot.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// Every pair, in the order asked.
    pairs: Vec<SegmentPair>,
}

/// Two segments and what they have in common.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SegmentPair {
    /// The first segment.
    #[schema(example = "champions")]
    a: String,
    /// The second.
    #[schema(example = "churn_high")]
    b: String,
    /// The members of the first.
    #[schema(example = 604)]
    size_a: u64,
    /// Those of the second.
    #[schema(example = 1310)]
    size_b: u64,
    /// The customers who are in both.
    #[schema(example = 12)]
    customers: u64,
    /// Their share of the first, 0 to 1; null where it is empty.
    #[schema(example = 0.0199)]
    share_of_a: Option<f64>,
    /// Their share of the second.
    #[schema(example = 0.0092)]
    share_of_b: Option<f64>,
    /// Their share of the customers who are in either; null where nobody is.
    #[schema(example = 0.0063)]
    jaccard: Option<f64>,
}

/// How many customers segments have in common
#[utoipa::path(
    get, path = "/v1/overlap", tag = "over time", operation_id = "get_overlap",
    params(OverlapQuery),
    responses(
        (status = 200, description = "Every pair of the segments", body = Overlaps),
        (status = 304, description = "The caller has it already, by If-None-Match"),
        (status = 400, description = "Too few segments or too many, or one twice", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such segment or snapshot", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The lake cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn overlap(
    State(app): State<Arc<App>>,
    access: Access,
    Query(query): Query<OverlapQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let names: Vec<&str> = query.segments.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if !(2..=MOST).contains(&names.len()) {
        return Err(Problem::bad_parameter(format!(
            "`segments` must name 2 to {MOST} segments, separated by commas"
        )));
    }
    if let Some((_, twice)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        let shown: String = twice.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(Problem::bad_parameter(format!("`segments` names `{shown}` twice")));
    }
    let served = match &query.snapshot {
        None => app.serving.current()?,
        Some(text) => {
            let id =
                text.parse::<SnapshotId>().map_err(|error| Problem::snapshot_not_found(error.to_string()))?;
            app.serving.snapshot(&id).await?
        }
    };
    if let Some(name) = names.iter().find(|name| served.manifest.segment(name).is_none()) {
        return Err(segments::unknown(name, &served.manifest.segments));
    }
    if let Some(response) = conditional::not_modified(&headers, &served, &access) {
        return Ok(response);
    }
    let overlaps = app.serving.overlaps(&served, &names).await?;
    let pairs = (0..names.len()).flat_map(|a| (a + 1..names.len()).map(move |b| (a, b)));
    let pairs = pairs.zip(overlaps).map(|((a, b), overlap)| SegmentPair {
        a: names[a].to_owned(),
        b: names[b].to_owned(),
        size_a: overlap.a,
        size_b: overlap.b,
        customers: overlap.both,
        share_of_a: share(overlap.both, overlap.a),
        share_of_b: share(overlap.both, overlap.b),
        jaccard: share(overlap.both, overlap.a + overlap.b - overlap.both),
    });
    let (snapshot, as_of) = (served.manifest.id.to_string(), served.as_of.clone());
    let overlaps = Overlaps { snapshot, as_of, pairs: pairs.collect() };
    Ok(([(header::ETAG, conditional::tag(&served, &access))], Json(overlaps)).into_response())
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
