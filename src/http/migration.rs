//! `GET /v1/migration`: who moved from which segment to which, between two snapshots.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
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
    query::Query,
    span::{self, End},
};
use crate::{
    serving::{Cell, Placement, Timeline},
    snapshot::{Manifest, SnapshotId, rfc3339},
};

/// Between which snapshots, by which segments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MigrationQuery {
    /// The earlier snapshot: its id, or a time (RFC 3339) or date, which means the last snapshot up to then; the one before `to` unless given.
    #[param(example = "2011-11-09")]
    from: Option<String>,
    /// The later snapshot, likewise; the current one unless given.
    #[param(example = "2011-12-09")]
    to: Option<String>,
    /// The segments: `rfm` or `churn`; `rfm` unless given.
    #[param(example = "rfm")]
    kind: Option<String>,
}

/// Who moved between two snapshots, and who stayed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Migration {
    /// The kind of the segments.
    #[schema(example = "rfm")]
    kind: &'static str,
    /// The earlier snapshot.
    from: Instant,
    /// The later one.
    to: Instant,
    /// The cells of the matrix that are not empty.
    cells: Vec<MigrationCell>,
}

/// A snapshot and its instant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Instant {
    /// The snapshot.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// All its customers.
    #[schema(example = 4372)]
    customers: u64,
}

/// The customers that went from one segment to another, or stayed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MigrationCell {
    /// The segment in the earlier snapshot; `absent` for customers that it does not have, null for those in no segment of the kind.
    #[schema(example = "champions")]
    from: Option<String>,
    /// The segment in the later snapshot, likewise.
    #[schema(example = "loyal")]
    to: Option<String>,
    /// How many customers.
    #[schema(example = 57)]
    customers: u64,
    /// Their `rfm.monetary` in the later snapshot, summed; 0 for the absent.
    #[schema(value_type = f64, example = 182_911.4)]
    revenue: Box<RawValue>,
    /// By how much that is more than their `rfm.monetary` in the earlier snapshot.
    #[schema(value_type = f64, example = -1_204.55)]
    revenue_change: Box<RawValue>,
}

impl MigrationCell {
    fn new(cell: &Cell) -> Self {
        let place = |place: &Placement| match place {
            Placement::Segment(name) => Some(name.clone()),
            Placement::Absent => Some("absent".to_owned()),
            Placement::Unplaced => None,
        };
        let number = |text: String| RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self {
            from: place(&cell.from),
            to: place(&cell.to),
            customers: cell.customers,
            revenue: number(cell.revenue()),
            revenue_change: number(cell.revenue_change()),
        }
    }
}

impl Instant {
    fn new(manifest: &Manifest) -> Self {
        let (snapshot, as_of) = (manifest.id.to_string(), rfc3339::format(manifest.as_of));
        Self { snapshot, as_of, customers: manifest.customers }
    }
}

/// Who moved from which segment to which
///
/// Every customer of either snapshot is in exactly one cell, so the changes add up to that of all revenue.
#[utoipa::path(
    get, path = "/v1/migration", tag = "over time", operation_id = "get_migration",
    params(MigrationQuery),
    responses(
        (status = 200, description = "The migration matrix", body = Migration),
        (status = 304, description = "The caller has it already, by If-None-Match"),
        (status = 400, description = "A bad time or kind, or a later snapshot than `to`", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such snapshot, or none before", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The lake cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn migration(
    State(app): State<Arc<App>>,
    access: Access,
    Query(query): Query<MigrationQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kind = match query.kind.as_deref() {
        None | Some("rfm") => "rfm",
        Some("churn") => "churn",
        Some(_) => {
            return Err(Problem::bad_parameter(
                "`kind` must be rfm or churn, whose segments have each customer once",
            ));
        }
    };
    let served = app.serving.current()?;
    let timeline = app.serving.timeline(&served).await?;
    let to = match &query.to {
        None => Arc::clone(&served.manifest),
        Some(text) => snapshot(&app, &timeline, "to", text).await?,
    };
    let from = match &query.from {
        None => timeline.before(&to).cloned().ok_or_else(|| {
            Problem::snapshot_not_found(format!(
                "there is no snapshot before {}; a migration needs two",
                to.id
            ))
        })?,
        Some(text) => snapshot(&app, &timeline, "from", text).await?,
    };
    if from.as_of > to.as_of {
        return Err(Problem::bad_parameter("`from` must not be later than `to`"));
    }
    let tag = conditional::tag_over_time(&served, &access, &timeline);
    if let Some(response) = conditional::has(&headers, &tag) {
        return Ok(response);
    }
    let changes = app.serving.changes(&from, &to).await?;
    let cells = if kind == "churn" { &changes.churn } else { &changes.rfm };
    let cells = cells.iter().map(MigrationCell::new).collect();
    let migration = Migration { kind, from: Instant::new(&from), to: Instant::new(&to), cells };
    Ok(([(header::ETAG, tag)], Json(migration)).into_response())
}

/// The snapshot that `text` means: by its id, or the last one up to a time.
async fn snapshot(app: &App, timeline: &Timeline, name: &str, text: &str) -> Result<Arc<Manifest>, Problem> {
    if let Ok(id) = text.parse::<SnapshotId>() {
        return Ok(Arc::clone(&app.serving.snapshot(&id).await?.manifest));
    }
    let bad =
        || Problem::bad_parameter(format!("`{name}` must be a snapshot's id, a time (RFC 3339) or a date"));
    let time = span::instant(text, End::Last).ok_or_else(bad)?;
    let none =
        || Problem::snapshot_not_found(format!("there is no snapshot up to {}", rfc3339::format(time)));
    timeline.at(time).cloned().ok_or_else(none)
}
