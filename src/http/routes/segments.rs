//! `GET /v1/segments…`: segments, their figures and their members.

use std::collections::{BTreeSet, HashMap};

use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{
    audience::figures::Figures,
    feature::SegmentKind,
    http::{
        Problem,
        extract::{PathParam, Query, SegmentName, Selection, SnapshotRead, flag},
        problem::unknown_segment,
        reply::{
            self, Freshness, ListPage, MinCount, Page, PageHead,
            audit::{self, PersonalData},
            list_page, raw,
        },
    },
    snapshot::SegmentStats,
};

/// A segment and its figures.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Segment {
    /// Name of the segment.
    #[schema(example = "champions")]
    name: String,
    /// Kind of the segment.
    kind: SegmentKind,
    /// The rule for membership.
    #[schema(example = "R 5 and F 4 to 5")]
    definition: String,
    /// Number of members; null with all other figures where it is below `min_count`.
    #[schema(example = 604)]
    size: Option<u64>,
    /// Share of all customers, 0 to 1.
    #[schema(example = 0.138)]
    share: Option<f64>,
    /// Sum of the members' `rfm.monetary`.
    #[schema(value_type = Option<f64>, example = 4_188_912.83)]
    revenue: Option<Box<RawValue>>,
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
    /// Describes a segment by the figures of the build, or by `counted` ones, which leave erased customers
    /// out. Figures of fewer members than `least` are withheld.
    fn new(stats: &SegmentStats, counted: Option<&HashMap<String, Figures>>, least: MinCount) -> Self {
        let counted = counted.and_then(|counted| counted.get(&stats.name));
        let mut segment = Self {
            name: stats.name.clone(),
            kind: stats.kind,
            definition: stats.definition.clone(),
            size: None,
            share: None,
            revenue: None,
            mean_r_score: None,
            mean_f_score: None,
            mean_m_score: None,
        };
        let size = counted.map_or(stats.size, |figures| figures.size as u64);
        if least.withholds(size) {
            return segment;
        }
        segment.size = Some(size);
        segment.share = Some(counted.map_or(stats.share, |figures| figures.share));
        segment.revenue = Some(raw(counted.map_or(&stats.revenue, |figures| &figures.revenue).clone()));
        let as_built = [stats.mean_r_score, stats.mean_f_score, stats.mean_m_score];
        [segment.mean_r_score, segment.mean_f_score, segment.mean_m_score] =
            counted.map_or(as_built, |figures| figures.mean_scores);
        segment
    }
}

/// All segments.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Segments {
    #[serde(flatten)]
    freshness: Freshness,
    /// Number of customers in the snapshot.
    #[schema(example = 4372)]
    customers: u64,
    /// The segments.
    segments: Vec<Segment>,
    /// The setting `min_count`, if it applies to the caller: figures of segments with 1 to fewer members are
    /// null.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    min_count: Option<u64>,
}

/// One segment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OneSegment {
    #[serde(flatten)]
    freshness: Freshness,
    #[serde(flatten)]
    segment: Segment,
    /// The setting `min_count`, if it applies to the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    min_count: Option<u64>,
}

/// A page of a list, and the views of each member.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Number of members on the page, 1 to 1,000; by default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, example = 100)]
    limit: Option<String>,
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Views of each member, separated by commas; by default none.
    #[param(example = "rfm")]
    views: Option<String>,
    /// Whether the names of products are beside their ids, as in `GET /v1/customers/{id}`; by default not.
    #[param(value_type = Option<bool>, example = true)]
    names: Option<String>,
}

/// The members of a segment, the highest `rfm.monetary` first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SegmentMembers {
    /// Name of the segment.
    #[schema(example = "champions")]
    segment: String,
    #[serde(flatten)]
    head: PageHead,
}

/// List segments
#[utoipa::path(
    get, path = "/v1/segments", tag = "segments", operation_id = "list_segments",
    responses(
        (status = 200, description = "The segments of the current snapshot", body = Segments),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
    )
)]
pub(crate) async fn list_segments(read: SnapshotRead) -> Result<Response, Problem> {
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let (manifest, gaps) = (&read.served.manifest, read.served.gaps().await?);
    let counted = read.served.segment_figures().await?;
    let least = MinCount::of(&read.app, &read.access);
    let (mut segments, mut asked_by) = (Vec::new(), BTreeSet::new());
    for stats in &manifest.segments {
        // Without the scope `pii`, personal audiences are left out.
        if let Ok(personal) = read.access.check_segment(manifest, stats) {
            segments.push(Segment::new(stats, counted, least));
            asked_by.extend(personal);
        }
    }
    let customers = manifest.customers - gaps.customers();
    let (freshness, min_count) = (Freshness::from(&*read.served), least.shown());
    let segments = Segments { freshness, customers, segments, min_count };
    let mut response = reply::json(&read, &segments)?;
    audit::note_asked(&mut response, &read.access, PersonalData::asked(asked_by));
    Ok(response)
}

/// Get one segment
#[utoipa::path(
    get, path = "/v1/segments/{name}", tag = "segments", operation_id = "get_segment",
    params(("name" = String, Path, description = "Name of the segment", example = "champions")),
    responses(
        (status = 200, description = "The segment and its figures", body = OneSegment),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 404, description = "No such segment"),
    )
)]
pub(crate) async fn get_segment(
    read: SnapshotRead,
    PathParam(SegmentName(name)): PathParam<SegmentName>,
) -> Result<Response, Problem> {
    let (stats, asked_by) = find(&read, &name)?;
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let counted = read.served.segment_figures().await?;
    let least = MinCount::of(&read.app, &read.access);
    let segment = Segment::new(stats, counted, least);
    let (freshness, min_count) = (Freshness::from(&*read.served), least.shown());
    let mut response = reply::json(&read, &OneSegment { freshness, segment, min_count })?;
    audit::note_asked(&mut response, &read.access, PersonalData::asked(asked_by));
    Ok(response)
}

/// List the members of a segment
#[utoipa::path(
    get, path = "/v1/segments/{name}/customers", tag = "segments", operation_id = "list_segment_customers",
    params(("name" = String, Path, description = "Name of the segment", example = "champions"), PageQuery),
    responses(
        (status = 200, description = "A page of members, by monetary descending, then id",
            body = Page<SegmentMembers>),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "A bad limit or cursor, or an unknown view"),
        (status = 404, description = "No such segment"),
        (status = 410, description = "The cursor's snapshot was removed"),
    )
)]
pub(crate) async fn list_segment_customers(
    mut read: SnapshotRead,
    PathParam(SegmentName(name)): PathParam<SegmentName>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let limit = list_page::limit(query.limit.as_deref())?;
    let list = format!("segment:{name}");
    let offset = read.resume(query.cursor.as_deref(), &list).await?;
    let asked_by = find(&read, &name)?.1.into_iter().collect();
    let selection = match query.views.as_deref() {
        None => Selection::none(),
        Some(views) => Selection::views(&read.served, &read.access, views)?,
    };
    let names = flag("names", query.names.as_deref())?;
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let selection = selection.with_names(&read.served, names).await;
    let members = match read.app.serving.members(&read.served, &name, offset, limit).await {
        Ok(members) => members,
        Err(error) => return Err(read.lost(error).await),
    };
    MinCount::of(&read.app, &read.access).check_list(members.total)?;
    let head = |head| SegmentMembers { segment: name, head };
    list_page::respond(&read, &selection, ListPage::new(list, members, asked_by), head).await
}

/// Returns the segment `name`, and the personal features that decide about its members.
fn find<'a>(read: &'a SnapshotRead, name: &str) -> Result<(&'a SegmentStats, BTreeSet<String>), Problem> {
    let manifest = &read.served.manifest;
    let stats = manifest.segment(name).ok_or_else(|| unknown_segment(name, &manifest.segments))?;
    Ok((stats, read.access.check_segment(manifest, stats)?))
}
