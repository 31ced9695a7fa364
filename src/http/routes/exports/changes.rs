//! Export of the customers who entered or left a segment.

use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{ExportQuery, file::export};
use crate::{
    http::{
        Problem,
        extract::{PathParam, Query, SegmentName, SnapshotRange, SnapshotRead},
        routes::changes::{check_counts, check_segment, direction},
    },
    serving::export::{ChangedMembers, ExportList, ExportRows},
};

/// Two snapshots and the direction; columns, order and format of the file.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangesExportQuery {
    /// The earlier snapshot: an id, or a time (RFC 3339) or date, which stands for the last snapshot until
    /// then; by default the snapshot before `to`.
    #[param(example = "2011-11-09")]
    from: Option<String>,
    /// The later snapshot, in the same forms; by default the current snapshot.
    #[param(example = "2011-12-09")]
    to: Option<String>,
    /// `entered`, `left`, or `both` (the default), which ranks those who entered first.
    #[param(example = "entered")]
    direction: Option<String>,
    /// `csv` (the default), `ndjson` or `parquet`.
    #[param(example = "csv")]
    format: Option<String>,
    /// `customer_id`, `rank`, `change` (`entered` or `left`), `absent_in` (`from` or `to`, if that snapshot
    /// does not have the customer), features as `view.feature` and whole views, separated by commas; by
    /// default all but those of `segments`.
    #[param(example = "customer_id,rank,change,rfm.segment")]
    columns: Option<String>,
    /// `id` (the default), where customers whom the later snapshot does not have come last, or `rank`.
    #[param(example = "rank")]
    order: Option<String>,
    /// `guard` (the default) protects texts in CSV that a spreadsheet would evaluate as formulas; `keep`
    /// writes all texts unchanged, for programs.
    #[param(example = "guard")]
    formulas: Option<String>,
    /// Whether a CSV file begins with a UTF-8 byte order mark, without which Excel misreads accents; by
    /// default not.
    #[param(value_type = Option<bool>, example = true)]
    bom: Option<String>,
    /// Advertising platform, `google` or `meta`, that hashes of email addresses and phone numbers are made
    /// for. Needs the scope `match` or `pii`, and hides other personal values also with `pii`.
    #[param(example = "google")]
    platform: Option<String>,
}

/// Export who entered or left a segment
///
/// Works as the export of a segment, for the customers of `GET /v1/segments/{name}/changes`. Features are
/// those of the later snapshot; a customer whom it does not have has none. The header `larder-from` has the
/// earlier snapshot.
#[utoipa::path(
    get, path = "/v1/segments/{name}/changes/export", tag = "exports",
    operation_id = "export_segment_changes",
    params(
        ("name" = String, Path, description = "Name of the segment", example = "champions"),
        ChangesExportQuery,
    ),
    responses(
        (status = 200, description = "The customers; rank 1 is the first of the list", content(
            (String = "text/csv", example = "customer_id,rank,change\r\n14646,1,entered\r\n"),
            (String = "application/x-ndjson"),
            (String = "application/vnd.apache.parquet"),
        )),
        (status = 400, description = "A bad time, direction, format, order or option, or an unknown column"),
        (status = 404, description = "No such snapshot, no earlier one, or no such segment in one of them"),
        (status = 503, description = "The lake cannot be read, or too many exports run"),
    )
)]
pub(crate) async fn export_segment_changes(
    mut read: SnapshotRead,
    PathParam(SegmentName(name)): PathParam<SegmentName>,
    Query(query): Query<ChangesExportQuery>,
) -> Result<Response, Problem> {
    let direction = direction(query.direction.as_deref())?;
    let timeline = read.app.serving.timeline(&read.served).await?;
    let SnapshotRange { from, to } =
        SnapshotRange::find(&read, &timeline, query.from.as_deref(), query.to.as_deref()).await?;
    let pair = read.app.serving.pair(&from, &to).await?;
    let asked_by = check_segment(&read, &pair, &name)?;
    read.served = pair.after.clone();
    let ChangesExportQuery { format, columns, order, formulas, bom, platform, .. } = query;
    let file = ExportQuery { format, columns, order, formulas, bom, platform };
    let file = file.shape(&read, ExportRows::Changes)?;
    let changes = read.app.serving.segment_changes(&pair, &name).await?;
    check_counts(&read, &pair, &name, [changes.entered(), changes.left()]).await?;
    let listed = format!("{name}-changes");
    let list = ExportList::Changes(ChangedMembers { segment: name, from: from.id.clone(), direction });
    export(&read, &listed, list, asked_by, file).await
}
