//! `GET /v1/segments…`

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    App, Problem,
    access::Access,
    conditional,
    lists::{self, Page},
    query::Query,
    select::Selection,
};
use crate::{
    config::Scope,
    feature::{SegmentKind, Tier, near},
    serving::Served,
    snapshot::{Manifest, SegmentStats, reader::Gaps},
};

/// A segment and its figures.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Segment {
    /// The segment's name.
    #[schema(example = "champions")]
    name: String,
    /// Its kind.
    kind: SegmentKind,
    /// Who is in it; without the scope `pii` not of an audience that asks by personal features.
    #[schema(example = "R 5 and F 4 to 5")]
    definition: String,
    /// How many customers are in it.
    #[schema(example = 604)]
    size: u64,
    /// Their share of all customers, 0 to 1.
    #[schema(example = 0.138)]
    share: f64,
    /// Their `rfm.monetary`, summed.
    #[schema(value_type = f64, example = 4_188_912.83)]
    revenue: Box<RawValue>,
    /// Mean recency score; null where no member has one.
    #[schema(example = 5.0)]
    mean_r_score: Option<f64>,
    /// Mean frequency score.
    #[schema(example = 4.8)]
    mean_f_score: Option<f64>,
    /// Mean monetary score.
    #[schema(example = 4.6)]
    mean_m_score: Option<f64>,
}

impl Segment {
    /// Size and share are less the forgotten customers; sums and means are the build's.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    fn new(stats: &SegmentStats, manifest: &Manifest, gaps: &Gaps, access: &Access) -> Self {
        let definition =
            if access.may(Scope::Pii) { &stats.definition } else { manifest.definition_masked(stats) }
                .to_owned();
        let stats = stats.clone();
        let (size, all) = (
            stats.size.saturating_sub(gaps.of(&stats.name).len() as u64),
            manifest.customers - gaps.customers(),
        );
        Self {
            name: stats.name,
            kind: stats.kind,
            definition,
            share: if gaps.customers() == 0 { stats.share } else { size as f64 / all.max(1) as f64 },
            size,
            revenue: RawValue::from_string(stats.revenue).unwrap_or_else(|_| RawValue::NULL.to_owned()),
            mean_r_score: stats.mean_r_score,
            mean_f_score: stats.mean_f_score,
            mean_m_score: stats.mean_m_score,
        }
    }
}

/// All segments.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Segments {
    /// The snapshot that the figures are from.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that they describe.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// All customers of the snapshot.
    #[schema(example = 4372)]
    customers: u64,
    /// The segments.
    segments: Vec<Segment>,
}

/// One segment.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OneSegment {
    /// The snapshot that the figures are from.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that they describe.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// The segment.
    #[serde(flatten)]
    segment: Segment,
}

/// A page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// How many members, 1 to 1,000; 100 unless given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, example = 100)]
    limit: Option<String>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
    /// Views to bring with each member, separated by commas; none unless given.
    #[param(example = "rfm")]
    views: Option<String>,
}

/// The members of a segment, best first.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct Members {
    /// The segment's name.
    #[schema(example = "champions")]
    segment: String,
    /// The snapshot that the list is from; the same on all pages.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// The tier that told who they are.
    tier: Tier,
    /// Personal features that were asked for and are null because the caller lacks the scope `pii`; absent where there are none.
    #[schema(nullable = false, example = json!(["profile.email"]))]
    masked: Option<Vec<String>>,
    /// All members.
    #[schema(example = 604)]
    total: u64,
    /// The cursor of the next page; null on the last.
    #[schema(example = json!(null))]
    next: Option<String>,
    /// The members of this page.
    customers: Vec<Member>,
}

/// A member of a list.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct Member {
    /// Its place in the list, counted from 1.
    #[schema(example = 1)]
    rank: u64,
    /// The customer's id.
    #[schema(example = "14646")]
    customer_id: String,
    /// The views asked for; null where the customer could not be read.
    views: Option<super::openapi::Views>,
}

/// All segments and their figures
#[utoipa::path(
    get, path = "/v1/segments", tag = "segments", operation_id = "list_segments",
    responses(
        (status = 200, description = "The segments of the current snapshot", body = Segments),
        (status = 503, description = "Nothing is served yet", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn segments(
    State(app): State<Arc<App>>,
    access: Access,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let served = app.serving.current()?;
    if let Some(response) = conditional::not_modified(&headers, &served, &access) {
        return Ok(response);
    }
    let gaps = served.gaps().await?;
    let segments = Segments {
        snapshot: served.manifest.id.to_string(),
        as_of: served.as_of.clone(),
        customers: served.manifest.customers - gaps.customers(),
        segments: {
            let segments = served.manifest.segments.iter();
            segments.map(|stats| Segment::new(stats, &served.manifest, gaps, &access)).collect()
        },
    };
    Ok(([(header::ETAG, conditional::tag(&served, &access))], Json(segments)).into_response())
}

/// One segment and its figures
#[utoipa::path(
    get, path = "/v1/segments/{name}", tag = "segments", operation_id = "get_segment",
    params(("name" = String, Path, description = "The segment's name", example = "champions")),
    responses(
        (status = 200, description = "The segment", body = OneSegment),
        (status = 404, description = "No such segment", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Nothing is served yet", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn segment(
    State(app): State<Arc<App>>,
    access: Access,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let served = app.serving.current()?;
    let stats = find(&served, name)?;
    if let Some(response) = conditional::not_modified(&headers, &served, &access) {
        return Ok(response);
    }
    let segment = OneSegment {
        snapshot: served.manifest.id.to_string(),
        as_of: served.as_of.clone(),
        segment: Segment::new(stats, &served.manifest, served.gaps().await?, &access),
    };
    Ok(([(header::ETAG, conditional::tag(&served, &access))], Json(segment)).into_response())
}

/// The members of a segment, best first
#[utoipa::path(
    get, path = "/v1/segments/{name}/customers", tag = "segments", operation_id = "list_segment_customers",
    params(("name" = String, Path, description = "The segment's name", example = "champions"), PageQuery),
    responses(
        (status = 200, description = "A page of members, by monetary and then id", body = Members),
        (status = 400, description = "A bad limit or cursor, or an unknown view", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such segment", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The cursor's snapshot is gone", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No tier could tell", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn members(
    State(app): State<Arc<App>>,
    access: Access,
    name: Result<Path<String>, PathRejection>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = lists::limit(query.limit.as_deref())?;
    let Path(name) = name.map_err(|_| unknown("?", []))?;
    let list = format!("segment:{name}");
    let (served, offset) = lists::resume(&app, query.cursor.as_deref(), &list).await?;
    served.manifest.segment(&name).ok_or_else(|| unknown(&name, &served.manifest.segments))?;
    let selection = query
        .views
        .as_deref()
        .map_or_else(|| Ok(Selection::none()), |views| Selection::views(&served, &access, views))?;
    if let Some(response) = conditional::not_modified(&headers, &served, &access) {
        return Ok(response);
    }
    let members = app.serving.members(&served, &name, offset, limit).await?;
    let head = format!("\"segment\":{},", serde_json::Value::from(name));
    Page { list, head, figures: String::new(), served: &served, members }
        .answer(&app, &access, &selection)
        .await
}

fn find(served: &Served, name: Result<Path<String>, PathRejection>) -> Result<&SegmentStats, Problem> {
    let Path(name) = name.map_err(|_| unknown("?", []))?;
    served.manifest.segment(&name).ok_or_else(|| unknown(&name, &served.manifest.segments))
}

/// That there is no segment `name`, and which of those that are `known` may have been meant.
pub(super) fn unknown<'a>(name: &str, known: impl IntoIterator<Item = &'a SegmentStats>) -> Problem {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let hint = near::hint(name, known.into_iter().map(|segment| segment.name.as_str()));
    let hint = if hint.is_empty() { "; GET /v1/segments lists them" } else { &hint };
    Problem::segment_not_found(format!("there is no segment `{shown}`{hint}"))
}
