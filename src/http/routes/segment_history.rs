//! `GET /v1/segments/{name}/history`: a segment from snapshot to snapshot.

use std::collections::BTreeSet;

use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    feature::SegmentKind,
    http::{
        Problem,
        extract::{PathParam, Query, SegmentName, SnapshotRead, time_range::TimeRange},
        problem::unknown_segment,
        reply::{
            self, Freshness, MinCount,
            audit::{self, PersonalData},
            conditional, raw,
        },
    },
    serving::{Moved, SegmentFigures},
    snapshot::Manifest,
};

/// A segment from snapshot to snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SegmentHistory {
    /// Name of the segment.
    #[schema(example = "champions")]
    segment: String,
    /// Kind of the segment in the newest snapshot that has the segment.
    kind: SegmentKind,
    #[serde(flatten)]
    freshness: Freshness,
    /// The retained snapshots of the range, oldest first, one for each `as_of`.
    history: Vec<SegmentThen>,
    /// The setting `min_count`, if it applies to the caller: numbers from 1 to below it are null, and so are
    /// numbers from which they would follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    min_count: Option<u64>,
}

/// A segment in one snapshot. Values are null, not 0, in a snapshot without the segment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SegmentThen {
    #[serde(flatten)]
    freshness: Freshness,
    /// Number of customers in the snapshot.
    #[schema(example = 4372)]
    customers: u64,
    /// Number of members.
    #[schema(example = 604)]
    size: Option<u64>,
    /// Share of all customers, 0 to 1.
    #[schema(example = 0.138)]
    share: Option<f64>,
    /// Sum of the members' `rfm.monetary`.
    #[schema(value_type = Option<f64>, example = 4_188_912.83)]
    revenue: Option<Box<RawValue>>,
    /// Members who were no members in the previous retained snapshot; null without such a snapshot or
    /// segment.
    #[schema(example = 31)]
    added: Option<u64>,
    /// Members of the previous snapshot who are no members any more.
    #[schema(example = 12)]
    dropped: Option<u64>,
}

/// Get a segment over time
///
/// The latest of several builds with one `as_of` counts, but the current snapshot always does.
/// The first comparison of two snapshots reads their customers; later requests use the kept result.
#[utoipa::path(
    get, path = "/v1/segments/{name}/history", tag = "over time", operation_id = "get_segment_history",
    params(("name" = String, Path, description = "Name of the segment", example = "champions"), TimeRange),
    responses(
        (status = 200, description = "Size, share, revenue and changes by snapshot", body = SegmentHistory),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "A bad time or limit"),
        (status = 404, description = "No retained snapshot has the segment"),
    )
)]
pub(crate) async fn get_segment_history(
    read: SnapshotRead,
    PathParam(SegmentName(name)): PathParam<SegmentName>,
    Query(range): Query<TimeRange>,
) -> Result<Response, Problem> {
    let SnapshotRead { app, served, access, .. } = &read;
    let timeline = app.serving.timeline(served).await?;
    let places = range.places(&timeline)?;
    let newest = timeline.all().iter().rev().find_map(|manifest| manifest.segment(&name));
    let known = || timeline.all().iter().flat_map(|manifest| &manifest.segments);
    let kind = newest.ok_or_else(|| unknown_segment(&name, known()))?.kind;
    let mut asked_by = BTreeSet::new();
    for manifest in timeline.all() {
        if let Some(segment) = manifest.segment(&name) {
            // Either snapshot may know of personal features that the other one does not have.
            asked_by.extend(access.check_segment(manifest, segment)?);
            asked_by.extend(access.check_segment(&served.manifest, segment)?);
        }
    }
    let tag = conditional::of_timeline(served, access, &timeline);
    if let Some(response) = conditional::not_modified_by(read.if_none_match.as_ref(), &tag) {
        return Ok(response);
    }
    let moves = app.serving.moves(&timeline, places.clone(), &name).await?;
    let least = MinCount::of(app, access);
    let few = |figures: &Option<SegmentFigures>| {
        figures.as_ref().is_some_and(|figures| least.withholds(figures.size))
    };
    let mut was_few = match places.start.checked_sub(1) {
        Some(before) if least.shown().is_some() => {
            few(&app.serving.segment_then(&timeline.all()[before], &name).await?)
        }
        _ => false,
    };
    let mut history = Vec::with_capacity(moves.len());
    for (manifest, moved) in timeline.all()[places].iter().zip(moves) {
        let customers = app.serving.customers_then(manifest).await?;
        let figures = app.serving.segment_then(manifest, &name).await?;
        let is_few = few(&figures);
        let mut then = SegmentThen::new(manifest, customers, figures, moved);
        if is_few {
            (then.size, then.share, then.revenue) = (None, None, None);
        }
        // Both sizes and one of the changes tell the other change, and the changes and one size the other.
        let is_withheld = |moved: Moved| least.withholds(moved.added) || least.withholds(moved.dropped);
        if was_few || is_few || moved.is_some_and(is_withheld) {
            (then.added, then.dropped) = (None, None);
        }
        history.push(then);
        was_few = is_few;
    }
    let (freshness, min_count) = (Freshness::from(&**served), least.shown());
    let history = SegmentHistory { segment: name, kind, freshness, history, min_count };
    let mut response = reply::json_tagged(&history, Some(tag))?;
    audit::note_asked(&mut response, access, PersonalData::asked(asked_by));
    Ok(response)
}

impl SegmentThen {
    fn new(
        manifest: &Manifest,
        customers: u64,
        figures: Option<SegmentFigures>,
        moved: Option<Moved>,
    ) -> Self {
        Self {
            freshness: Freshness::from(manifest),
            customers,
            size: figures.as_ref().map(|figures| figures.size),
            share: figures.as_ref().map(|figures| figures.share),
            revenue: figures.and_then(|figures| figures.revenue).map(raw),
            added: moved.map(|moved| moved.added),
            dropped: moved.map(|moved| moved.dropped),
        }
    }
}
