//! Exports: all members of a list as CSV, NDJSON or Parquet, streamed.

use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    http::{
        Problem,
        extract::{
            JsonBody, PathParam, Query, SegmentName, SnapshotRead,
            churn_filter::{self, ChurnFilters},
            expression::{check_not_personal, check_query_by, expression, number, order_by, whole},
            flag, names,
        },
        problem::unknown_segment,
    },
    serving::{
        Ranked,
        export::{ExportList, ExportRows},
    },
};

pub(crate) mod changes;
mod file;

use file::{FileOptions, FileShape, export};

/// Columns, order and format of a file.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// `csv` (the default), `ndjson` or `parquet`.
    #[param(example = "csv")]
    format: Option<String>,
    /// `customer_id`, `rank`, features as `view.feature` and whole views, separated by commas; by default
    /// all but those of `segments`.
    #[param(example = "customer_id,rank,rfm.segment,profile.email")]
    columns: Option<String>,
    /// `id` (the default), which reads the snapshot once, or `rank`, which reads the snapshot once for every
    /// 65,536 members.
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

/// Filters of the churn list; columns, order and format of the file.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChurnExportQuery {
    /// Level of risk: `high`, `medium` or `low`.
    #[param(example = "high")]
    risk: Option<String>,
    /// Lowest probability of churn, 0 to 1.
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1, example = 0.5)]
    min_probability: Option<String>,
    /// Segment of the customers, by `rfm.segment`.
    #[param(example = "cant_lose")]
    segment: Option<String>,
    /// Lowest value at risk.
    #[param(value_type = Option<f64>, minimum = 0, example = 100)]
    min_value: Option<String>,
    /// `csv` (the default), `ndjson` or `parquet`.
    #[param(example = "csv")]
    format: Option<String>,
    /// `customer_id`, `rank`, features as `view.feature` and whole views, separated by commas; by default
    /// all but those of `segments`.
    #[param(example = "customer_id,rank,churn.value_at_risk,churn.action")]
    columns: Option<String>,
    /// `id` (the default), which reads the snapshot once, or `rank`, which reads the snapshot once for every
    /// 65,536 members.
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

/// An audience in an address; columns, order and format of the file.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AudienceExportQuery {
    /// The expression, in the syntax of `POST /v1/audiences`, URL-encoded. It must not depend on personal
    /// features.
    #[param(max_length = 8192, example = "segment:champions and rfm.monetary >= 1000")]
    r#where: String,
    /// A feature that ranks the members, then `asc` (the default) or `desc`; by default `rfm.monetary desc`.
    #[param(example = "rfm.monetary desc")]
    order_by: Option<String>,
    /// Number of members, the first by rank; by default all.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 4_294_967_295_u64, example = 5000)]
    limit: Option<String>,
    /// `csv` (the default), `ndjson` or `parquet`.
    #[param(example = "csv")]
    format: Option<String>,
    /// `customer_id`, `rank`, features as `view.feature` and whole views, separated by commas; by default
    /// all but those of `segments`.
    #[param(example = "customer_id,rank,rfm.segment")]
    columns: Option<String>,
    /// `id`, which reads the snapshot once, or `rank`, which reads the snapshot once for every 65,536
    /// members; by default `rank` with `order_by`, else `id`.
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

/// An audience; columns, order and format of the file.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AudienceExportBody {
    /// The expression, in the syntax of `POST /v1/audiences`.
    #[schema(
        max_length = 8192,
        example = "segment:champions and not profile.country:\"United Kingdom\" and rfm.monetary >= 1000"
    )]
    r#where: String,
    /// A feature that ranks the members, then `asc` (the default) or `desc`; by default `rfm.monetary desc`.
    #[schema(example = "rfm.monetary desc")]
    order_by: Option<String>,
    /// Number of members, the first by rank; by default all.
    #[schema(minimum = 1, maximum = 4_294_967_295_u64, example = 5000)]
    limit: Option<u64>,
    /// `csv` (the default), `ndjson` or `parquet`.
    #[schema(example = "csv")]
    format: Option<String>,
    /// `customer_id`, `rank`, features as `view.feature` and whole views; by default all but those
    /// of `segments`.
    #[schema(example = json!(["customer_id", "rank", "rfm.segment", "profile.email"]))]
    columns: Option<Vec<String>>,
    /// `id`, which reads the snapshot once, or `rank`, which reads the snapshot once for every 65,536
    /// members; by default `rank` with `order_by`, else `id`.
    #[schema(example = "rank")]
    order: Option<String>,
    /// `guard` (the default) protects texts in CSV that a spreadsheet would evaluate as formulas; `keep`
    /// writes all texts unchanged, for programs.
    #[schema(example = "guard")]
    formulas: Option<String>,
    /// Whether a CSV file begins with a UTF-8 byte order mark, without which Excel misreads accents; by
    /// default not.
    #[schema(example = true)]
    bom: Option<bool>,
    /// Advertising platform, `google` or `meta`, that hashes of email addresses and phone numbers are made
    /// for. Needs the scope `match` or `pii`, and hides other personal values also with `pii`.
    #[schema(example = "google")]
    platform: Option<String>,
}

/// Export the members of a segment
///
/// The file is streamed and never short: after an error the connection is closed before the end of the body.
/// The headers `larder-rows`, `larder-snapshot` and `larder-as-of` have the number of members, the snapshot
/// and its instant. Without the scope `pii`, personal values are null; with the scope `match`, mail addresses
/// and phone numbers are SHA-256 hashes of their normalized forms. In CSV, text that a spreadsheet would take
/// for a formula gets a leading `'`, unless `formulas` is `keep`.
#[utoipa::path(
    get, path = "/v1/segments/{name}/export", tag = "exports", operation_id = "export_segment",
    params(("name" = String, Path, description = "Name of the segment", example = "champions"), ExportQuery),
    responses(
        (status = 200, description = "The members; rank 1 is the best", content(
            (String = "text/csv", example = "customer_id,rank,rfm.segment\r\n14646,1,champions\r\n"),
            (String = "application/x-ndjson"),
            (String = "application/vnd.apache.parquet"),
        )),
        (status = 400, description = "A bad format, order or option, or an unknown column"),
        (status = 404, description = "No such segment"),
        (status = 503, description = "The lake cannot be read, or too many exports run"),
    )
)]
pub(crate) async fn export_segment(
    read: SnapshotRead,
    PathParam(SegmentName(name)): PathParam<SegmentName>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let manifest = &read.served.manifest;
    let segment = manifest.segment(&name).ok_or_else(|| unknown_segment(&name, &manifest.segments))?;
    let asked_by = read.access.check_segment(manifest, segment)?.into_iter().collect();
    let file = query.shape(&read, ExportRows::Members)?;
    export(&read, &name.clone(), ExportList::Segment(name), asked_by, file).await
}

/// Export customers by value at risk
///
/// Works as the export of a segment, with the filters of `GET /v1/churn`.
#[utoipa::path(
    get, path = "/v1/churn/export", tag = "exports", operation_id = "export_churn",
    params(ChurnExportQuery),
    responses(
        (status = 200, description = "The customers; rank 1 has the highest value at risk", content(
            (String = "text/csv", example = "customer_id,rank,churn.value_at_risk\r\n17850,1,212.5\r\n"),
            (String = "application/x-ndjson"),
            (String = "application/vnd.apache.parquet"),
        )),
        (status = 400, description = "A bad filter, format, order or option, or an unknown column"),
        (status = 404, description = "The snapshot has no churn model"),
        (status = 503, description = "The lake cannot be read, or too many exports run"),
    )
)]
pub(crate) async fn export_churn(
    read: SnapshotRead,
    Query(query): Query<ChurnExportQuery>,
) -> Result<Response, Problem> {
    let ChurnExportQuery {
        risk,
        min_probability,
        segment,
        min_value,
        format,
        columns,
        order,
        formulas,
        bom,
        platform,
    } = query;
    let filter = ChurnFilters { risk, segment, min_probability, min_value }.parse()?;
    let asked_by = churn_filter::check(&read.served, &read.access, &filter)?;
    let file = ExportQuery { format, columns, order, formulas, bom, platform };
    let file = file.shape(&read, ExportRows::Members)?;
    export(&read, "churn", ExportList::Churn(filter), asked_by, file).await
}

/// Export the members of an audience
///
/// Works as the export of a segment, for any expression of `POST /v1/audiences`. Without the scope `pii` the
/// expression must not use personal features.
#[utoipa::path(
    post, path = "/v1/audiences/export", tag = "exports", operation_id = "export_audience",
    request_body = AudienceExportBody,
    responses(
        (status = 200, description = "The members; rank 1 is the first by `order_by`", content(
            (String = "text/csv", example = "customer_id,rank,rfm.segment\r\n14646,1,champions\r\n"),
            (String = "application/x-ndjson"),
            (String = "application/vnd.apache.parquet"),
        )),
        (status = 400, description = "A bad expression, with its `position`, or another bad field"),
        (status = 503, description = "The lake cannot be read, or too many exports run"),
    )
)]
pub(crate) async fn export_audience(
    read: SnapshotRead,
    JsonBody(body): JsonBody<AudienceExportBody>,
) -> Result<Response, Problem> {
    respond(&read, body, false).await
}

/// Export the members of an audience by address
///
/// Answers as the POST request does, for programs that can send no body. Since addresses are logged, the
/// expression and the order must not depend on personal features.
#[utoipa::path(
    get, path = "/v1/audiences/export", tag = "exports", operation_id = "export_audience_by_address",
    params(AudienceExportQuery),
    responses(
        (status = 200, description = "The members; rank 1 is the first by `order_by`", content(
            (String = "text/csv", example = "customer_id,rank,rfm.segment\r\n14646,1,champions\r\n"),
            (String = "application/x-ndjson"),
            (String = "application/vnd.apache.parquet"),
        )),
        (status = 400, description = "A bad expression, with its `position`, another bad parameter, or a \
            personal feature"),
        (status = 503, description = "The lake cannot be read, or too many exports run"),
    )
)]
pub(crate) async fn export_audience_by_address(
    read: SnapshotRead,
    Query(query): Query<AudienceExportQuery>,
) -> Result<Response, Problem> {
    let AudienceExportQuery { r#where, order_by, limit, format, columns, order, formulas, bom, platform } =
        query;
    let body = AudienceExportBody {
        r#where,
        order_by,
        limit: whole("limit", limit)?,
        format,
        columns: columns.map(|columns| names(&columns).map(str::to_owned).collect()),
        order,
        formulas,
        bom: Some(flag("bom", bom.as_deref())?),
        platform,
    };
    respond(&read, body, true).await.map_err(Problem::of_query)
}

/// Answers the request `body`, which came in an address if `by_address`.
async fn respond(
    read: &SnapshotRead,
    body: AudienceExportBody,
    by_address: bool,
) -> Result<Response, Problem> {
    let expression = expression(&body.r#where)?;
    let order_by = order_by(body.order_by.as_deref())?;
    if let Some(limit) = body.limit {
        number("limit", limit, 1, u64::from(u32::MAX))?;
    }
    let asked_by = check_query_by(&read.access, &read.served, &expression, [&order_by.0])?;
    if by_address {
        check_not_personal(&asked_by)?;
    }
    let order = body.order.as_deref().or(body.order_by.as_ref().map(|_| "rank"));
    let options = FileOptions {
        format: body.format.as_deref(),
        order,
        columns: body.columns.as_ref().map(|names| names.iter().map(String::as_str).collect()),
        formulas: body.formulas.as_deref(),
        bom: body.bom,
        platform: body.platform.as_deref(),
        rows: ExportRows::Members,
    };
    let file = FileShape::new(read, options, Problem::bad_body)?;
    let list = ExportList::Audience(Ranked { expression, order_by, limit: body.limit });
    export(read, "audience", list, asked_by, file).await
}

impl ExportQuery {
    /// Reads the columns, order and format of the file. `rows` is the kind of its rows.
    fn shape(&self, read: &SnapshotRead, rows: ExportRows) -> Result<FileShape, Problem> {
        let bom = self.bom.as_deref().map(str::parse).transpose();
        let options = FileOptions {
            format: self.format.as_deref(),
            order: self.order.as_deref(),
            columns: self.columns.as_deref().map(|list| names(list).collect()),
            formulas: self.formulas.as_deref(),
            bom: bom.map_err(|_| Problem::bad_parameter("`bom` must be true or false"))?,
            platform: self.platform.as_deref(),
            rows,
        };
        FileShape::new(read, options, Problem::bad_parameter)
    }
}
