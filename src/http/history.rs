//! `GET /v1/segments/{name}/history`: a segment from snapshot to snapshot.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{App, Problem, access::Access, conditional, query::Query, segments, span};
use crate::{
    feature::SegmentKind,
    serving::{Moved, ReadError, Serving, Timeline},
    snapshot::rfc3339,
};

/// Comparisons that one request waits for at a time.
const COMPARISONS: usize = 2;

/// Which snapshots are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SpanQuery {
    /// Only snapshots with this `as_of` or a later one: a time (RFC 3339) or a date.
    #[param(example = "2011-06-01")]
    from: Option<String>,
    /// Only snapshots with this `as_of` or an earlier one; a date counts whole.
    #[param(example = "2011-12-09")]
    to: Option<String>,
    /// How many snapshots, the newest of the span; 1 to 100, 30 unless given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, example = 30)]
    limit: Option<String>,
}

/// A segment from snapshot to snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SegmentHistory {
    /// The segment's name.
    #[schema(example = "champions")]
    segment: String,
    /// Its kind, as the newest snapshot that has it says.
    kind: SegmentKind,
    /// The current snapshot.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// The retained snapshots of the span, oldest first, one for each `as_of`.
    history: Vec<SegmentThen>,
}

/// A segment in one snapshot; what a snapshot without it cannot tell is null, not 0.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SegmentThen {
    /// The snapshot.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// All customers of the snapshot.
    #[schema(example = 4372)]
    customers: u64,
    /// How many customers were in the segment.
    #[schema(example = 604)]
    size: Option<u64>,
    /// Their share of all customers, 0 to 1.
    #[schema(example = 0.138)]
    share: Option<f64>,
    /// Their `rfm.monetary`, summed.
    #[schema(value_type = Option<f64>, example = 4_188_912.83)]
    revenue: Option<Box<RawValue>>,
    /// Members that were none in the retained snapshot before; null where there is none, or where it does not have the segment.
    #[schema(example = 31)]
    added: Option<u64>,
    /// Members of the snapshot before that were none any more.
    #[schema(example = 12)]
    dropped: Option<u64>,
}

/// A segment over time
///
/// Of several builds of one `as_of` the latest counts, except that the current snapshot stands for its own. The first time that
/// two snapshots are compared their customers are read; then the result is kept.
#[utoipa::path(
    get, path = "/v1/segments/{name}/history", tag = "over time", operation_id = "get_segment_history",
    params(("name" = String, Path, description = "The segment's name", example = "champions"), SpanQuery),
    responses(
        (status = 200, description = "Its size, share and revenue by snapshot, and who came and went", body = SegmentHistory),
        (status = 304, description = "The caller has it already, by If-None-Match"),
        (status = 400, description = "A bad time or limit", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No retained snapshot has such a segment", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The lake cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn segment(
    State(app): State<Arc<App>>,
    access: Access,
    name: Result<Path<String>, PathRejection>,
    Query(query): Query<SpanQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|_| segments::unknown("?", []))?;
    let served = app.serving.current()?;
    let timeline = app.serving.timeline(&served).await?;
    let places = span::places(&timeline, query.from.as_deref(), query.to.as_deref(), query.limit.as_deref())?;
    let newest = timeline.all().iter().rev().find_map(|manifest| manifest.segment(&name));
    let known = || timeline.all().iter().flat_map(|manifest| &manifest.segments);
    let kind = newest.ok_or_else(|| segments::unknown(&name, known()))?.kind;
    let tag = conditional::tag_over_time(&served, &access, &timeline);
    if let Some(response) = conditional::has(&headers, &tag) {
        return Ok(response);
    }
    let entries = places.map(|place| then(&app.serving, &timeline, place, &name)).collect::<Vec<_>>();
    let history = stream::iter(entries).buffered(COMPARISONS).try_collect().await?;
    let (snapshot, as_of) = (served.manifest.id.to_string(), served.as_of.clone());
    let history = SegmentHistory { segment: name, kind, snapshot, as_of, history };
    Ok(([(header::ETAG, tag)], Json(history)).into_response())
}

async fn then(
    serving: &Serving,
    timeline: &Timeline,
    place: usize,
    name: &str,
) -> Result<SegmentThen, ReadError> {
    let manifest = &timeline.all()[place];
    let moved = match place.checked_sub(1) {
        None => None,
        Some(before) => match serving.moved(&timeline.all()[before], manifest, name).await {
            // The one before was removed meanwhile.
            Err(ReadError::UnknownSnapshot(_)) => None,
            moved => moved?,
        },
    };
    let stats = manifest.segment(name);
    let Moved { added, dropped } = moved.unwrap_or_default();
    Ok(SegmentThen {
        snapshot: manifest.id.to_string(),
        as_of: rfc3339::format(manifest.as_of),
        customers: manifest.customers,
        size: stats.map(|stats| stats.size),
        share: stats.map(|stats| stats.share),
        revenue: stats.and_then(|stats| RawValue::from_string(stats.revenue.clone()).ok()),
        added: moved.map(|_| added),
        dropped: moved.map(|_| dropped),
    })
}
