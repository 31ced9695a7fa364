//! `GET /v1/migration`: customers who moved from segment to segment between two snapshots.

use std::sync::Arc;

use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{
    http::{
        Problem,
        extract::{Query, SnapshotRange, SnapshotRead},
        reply::{self, Freshness, MinCount, TableCell, conditional, raw, withheld_cells},
    },
    serving::{Cell, Placement, ReadError, Serving},
    snapshot::Manifest,
};

/// Two snapshots, and the kind of segments.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MigrationQuery {
    /// The earlier snapshot: an id, or a time (RFC 3339) or date, which stands for the last snapshot until
    /// then; by default the snapshot before `to`.
    #[param(example = "2011-11-09")]
    from: Option<String>,
    /// The later snapshot, in the same forms; by default the current snapshot.
    #[param(example = "2011-12-09")]
    to: Option<String>,
    /// Kind of the segments: `rfm` (the default) or `churn`.
    #[param(example = "rfm")]
    kind: Option<String>,
}

/// Movements between the segments of two snapshots.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Migration {
    /// Kind of the segments.
    #[schema(example = "rfm")]
    kind: &'static str,
    /// The earlier snapshot.
    from: MigrationEnd,
    /// The later snapshot.
    to: MigrationEnd,
    /// The cells of the matrix that are not empty.
    cells: Vec<MigrationCell>,
    /// The setting `min_count`, if it applies to the caller: numbers below it are null, and so are numbers
    /// from which they would follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    min_count: Option<u64>,
}

/// One of the two snapshots.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MigrationEnd {
    #[serde(flatten)]
    freshness: Freshness,
    /// Number of customers in the snapshot.
    #[schema(example = 4372)]
    customers: u64,
}

/// The customers who moved from one segment to another, or stayed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MigrationCell {
    /// Segment in the earlier snapshot; `absent` for customers who are not in that snapshot, null for
    /// customers in no segment of the kind.
    #[schema(example = "champions")]
    from: Option<String>,
    /// Segment in the later snapshot, in the same form.
    #[schema(example = "loyal")]
    to: Option<String>,
    /// Number of customers; null with the sums where it is withheld.
    #[schema(example = 57)]
    customers: Option<u64>,
    /// Sum of the customers' `rfm.monetary` in the later snapshot; 0 for absent customers.
    #[schema(value_type = Option<f64>, example = 182_911.4)]
    revenue: Option<Box<RawValue>>,
    /// Difference to the sum of the customers' `rfm.monetary` in the earlier snapshot.
    #[schema(value_type = Option<f64>, example = -1_204.55)]
    revenue_change: Option<Box<RawValue>>,
}

impl MigrationCell {
    fn new(cell: &Cell, is_withheld: bool) -> Self {
        let place = |place: &Placement| match place {
            Placement::Segment(name) => Some(name.clone()),
            Placement::Absent => Some("absent".to_owned()),
            Placement::Unplaced => None,
        };
        let (from, to) = (place(&cell.from), place(&cell.to));
        if is_withheld {
            return Self { from, to, customers: None, revenue: None, revenue_change: None };
        }
        Self {
            from,
            to,
            customers: Some(cell.customers),
            revenue: Some(raw(cell.revenue())),
            revenue_change: Some(raw(cell.revenue_change())),
        }
    }
}

/// Returns for each of `cells` whether its number is withheld. The sum of a row or a column is the size of a
/// segment.
fn withheld(cells: &[Cell], least: MinCount) -> Vec<bool> {
    let place = |place: &Placement, of: fn(&Cell) -> &Placement| {
        cells.iter().position(|cell| of(cell) == place).unwrap_or_default()
    };
    let cell = |cell: &Cell| TableCell {
        row: place(&cell.from, |cell| &cell.from),
        column: place(&cell.to, |cell| &cell.to),
        customers: cell.customers,
        counted: [&cell.from, &cell.to].map(|place| *place != Placement::Absent),
    };
    let cells: Vec<TableCell> = cells.iter().map(cell).collect();
    withheld_cells::withheld(&cells, |customers| least.withholds(customers))
}

impl MigrationEnd {
    async fn new(serving: &Serving, manifest: &Arc<Manifest>) -> Result<Self, ReadError> {
        let customers = serving.customers_then(manifest).await?;
        Ok(Self { freshness: Freshness::from(&**manifest), customers })
    }
}

/// Get movements between segments
///
/// Every customer of either snapshot is in exactly one cell, so the changes of revenue add up to the change
/// of all revenue.
#[utoipa::path(
    get, path = "/v1/migration", tag = "over time", operation_id = "get_migration",
    params(MigrationQuery),
    responses(
        (status = 200, description = "The migration matrix", body = Migration),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "A bad time or kind, or `from` is later than `to`"),
        (status = 404, description = "No such snapshot, or no earlier snapshot"),
    )
)]
pub(crate) async fn get_migration(
    read: SnapshotRead,
    Query(query): Query<MigrationQuery>,
) -> Result<Response, Problem> {
    let kind = match query.kind.as_deref() {
        None | Some("rfm") => "rfm",
        Some("churn") => "churn",
        Some(_) => {
            let why = "`kind` must be rfm or churn, the kinds that have each customer in one segment";
            return Err(Problem::bad_parameter(why));
        }
    };
    let SnapshotRead { app, served, access, .. } = &read;
    let timeline = app.serving.timeline(served).await?;
    let SnapshotRange { from, to } =
        SnapshotRange::find(&read, &timeline, query.from.as_deref(), query.to.as_deref()).await?;
    let tag = conditional::of_timeline(served, access, &timeline);
    if let Some(response) = conditional::not_modified_by(read.if_none_match.as_ref(), &tag) {
        return Ok(response);
    }
    let changes = app.serving.changes(&from, &to).await?;
    let cells = if kind == "churn" { &changes.churn } else { &changes.rfm };
    let least = MinCount::of(app, access);
    let withheld = withheld(cells, least);
    let cells =
        cells.iter().zip(withheld).map(|(cell, withheld)| MigrationCell::new(cell, withheld)).collect();
    let from = MigrationEnd::new(&app.serving, &from).await?;
    let to = MigrationEnd::new(&app.serving, &to).await?;
    reply::json_tagged(&Migration { kind, from, to, cells, min_count: least.shown() }, Some(tag))
}
