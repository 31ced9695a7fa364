//! `GET /v1/overlap`: numbers of customers that segments have in common.

use std::collections::BTreeSet;

use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    http::{
        Problem,
        extract::{FromPath, Query, SnapshotRead, names},
        problem::{excerpt, unknown_segment},
        reply::{
            self, Freshness, MinCount,
            audit::{self, PersonalData},
        },
    },
    serving::Overlap,
    snapshot::SnapshotId,
};

/// The greatest number of segments in a request.
const MAX_SEGMENTS: usize = 10;

/// Segments, and a snapshot.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OverlapQuery {
    /// Two to ten segments of any kind, separated by commas.
    #[param(example = "champions,churn_high,churn_medium")]
    segments: String,
    /// Id of the snapshot; by default the current snapshot.
    #[param(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: Option<String>,
}

/// Overlaps of segments.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Overlaps {
    #[serde(flatten)]
    freshness: Freshness,
    /// Every pair, in the order of the request.
    pairs: Vec<SegmentPair>,
    /// The setting `min_count`, if it applies to the caller: numbers from 1 to below it, and shares of them,
    /// are null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    min_count: Option<u64>,
}

/// Two segments and their common customers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SegmentPair {
    /// The first segment.
    #[schema(example = "champions")]
    a: String,
    /// The second segment.
    #[schema(example = "churn_high")]
    b: String,
    /// Number of members of the first segment; null where it is withheld.
    #[schema(example = 604)]
    size_a: Option<u64>,
    /// Number of members of the second segment.
    #[schema(example = 1310)]
    size_b: Option<u64>,
    /// Number of customers in both segments.
    #[schema(example = 12)]
    customers: Option<u64>,
    /// Common customers as a share of the first segment, 0 to 1; null where the segment is empty or a number
    /// is withheld.
    #[schema(example = 0.0199)]
    share_of_a: Option<f64>,
    /// Common customers as a share of the second segment.
    #[schema(example = 0.0092)]
    share_of_b: Option<f64>,
    /// Common customers as a share of the customers in either segment; null where both are empty.
    #[schema(example = 0.0063)]
    jaccard: Option<f64>,
}

/// Get overlaps of segments
#[utoipa::path(
    get, path = "/v1/overlap", tag = "over time", operation_id = "get_overlap",
    params(OverlapQuery),
    responses(
        (status = 200, description = "Every pair of the segments", body = Overlaps),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "Too few or too many segments, or a segment twice"),
        (status = 404, description = "No such segment or snapshot"),
    )
)]
pub(crate) async fn get_overlap(
    mut read: SnapshotRead,
    Query(query): Query<OverlapQuery>,
) -> Result<Response, Problem> {
    let names: Vec<&str> = names(&query.segments).collect();
    if !(2..=MAX_SEGMENTS).contains(&names.len()) {
        let why = format!("`segments` must name 2 to {MAX_SEGMENTS} segments, separated by commas");
        return Err(Problem::bad_parameter(why));
    }
    if let Some((_, twice)) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
        return Err(Problem::bad_parameter(format!("`segments` names `{}` twice", excerpt(twice))));
    }
    if let Some(text) = &query.snapshot {
        read.served = read.app.serving.snapshot(&SnapshotId::read(Some(text))?).await?;
    }
    let known = &read.served.manifest.segments;
    let mut asked_by = BTreeSet::new();
    for name in &names {
        let manifest = &read.served.manifest;
        let segment = manifest.segment(name).ok_or_else(|| unknown_segment(name, known))?;
        asked_by.extend(read.access.check_segment(manifest, segment)?);
    }
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let overlaps = read.app.serving.overlaps(&read.served, &names).await?;
    let places = (0..names.len()).flat_map(|a| (a + 1..names.len()).map(move |b| (a, b)));
    let least = MinCount::of(&read.app, &read.access);
    let pairs = places
        .zip(overlaps)
        .map(|((a, b), overlap)| SegmentPair::new([names[a], names[b]], overlap, least))
        .collect();
    let (freshness, min_count) = (Freshness::from(&*read.served), least.shown());
    let overlaps = Overlaps { freshness, pairs, min_count };
    let mut response = reply::json(&read, &overlaps)?;
    audit::note_asked(&mut response, &read.access, PersonalData::asked(asked_by));
    Ok(response)
}

impl SegmentPair {
    /// Describes a pair, without numbers that `least` withholds.
    fn new([a, b]: [&str; 2], overlap: Overlap, least: MinCount) -> Self {
        let shown = |count: u64| if least.withholds(count) { None } else { Some(count) };
        let (size_a, size_b, customers) = (shown(overlap.a), shown(overlap.b), shown(overlap.both));
        Self {
            a: a.to_owned(),
            b: b.to_owned(),
            size_a,
            size_b,
            customers,
            share_of_a: customers.zip(size_a).and_then(|(both, a)| share(both, a)),
            share_of_b: customers.zip(size_b).and_then(|(both, b)| share(both, b)),
            jaccard: match (size_a, size_b, customers) {
                (Some(a), Some(b), Some(both)) => share(both, a + b - both),
                _ => None,
            },
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share(part: u64, whole: u64) -> Option<f64> {
    if whole > 0 { Some(part as f64 / whole as f64) } else { None }
}
