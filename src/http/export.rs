//! Exports: every member of a list as CSV, NDJSON or Parquet, as a stream.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{App, Problem, access::Access, audiences, audit::NOT_KEPT, churn, query::Query, segments};
use crate::{
    audience::Expression,
    config::Scope,
    serving::{
        Ranked, Served,
        export::{Export, ExportColumns, ExportFormat, ExportList, ExportOrder, Treatment},
    },
};

const SNAPSHOT: HeaderName = HeaderName::from_static("larder-snapshot");
const AS_OF: HeaderName = HeaderName::from_static("larder-as-of");
const ROWS: HeaderName = HeaderName::from_static("larder-rows");

/// What is wanted of each member, and how.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// `csv`, `ndjson` or `parquet`; `csv` unless given.
    #[param(example = "csv")]
    format: Option<String>,
    /// `customer_id`, `rank`, features as `view.feature` and whole views, separated by commas; all of them unless given.
    #[param(example = "customer_id,rank,rfm.segment,profile.email")]
    columns: Option<String>,
    /// `id`, which reads the snapshot once, or `rank`, which reads it once for every 65,536 members; `id` unless given.
    #[param(example = "rank")]
    order: Option<String>,
}

/// What is wanted of the list of churn, and how.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChurnExportQuery {
    /// Only this level of risk: `high`, `medium` or `low`.
    #[param(example = "high")]
    risk: Option<String>,
    /// Only those whose probability of churn is so great at least, 0 to 1.
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1, example = 0.5)]
    min_probability: Option<String>,
    /// Only members of this segment, by `rfm.segment`.
    #[param(example = "cant_lose")]
    segment: Option<String>,
    /// Only those whose value at risk is so great at least.
    #[param(value_type = Option<f64>, minimum = 0, example = 100)]
    min_value: Option<String>,
    /// `csv`, `ndjson` or `parquet`; `csv` unless given.
    #[param(example = "csv")]
    format: Option<String>,
    /// `customer_id`, `rank`, features as `view.feature` and whole views, separated by commas; all of them unless given.
    #[param(example = "customer_id,rank,churn.value_at_risk,churn.action")]
    columns: Option<String>,
    /// `id`, which reads the snapshot once, or `rank`, which reads it once for every 65,536 members; `id` unless given.
    #[param(example = "rank")]
    order: Option<String>,
}

/// Which audience is wanted as a file, and what of each member.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AudienceExportBody {
    /// The expression, as `POST /v1/audiences` takes it.
    #[schema(
        max_length = 8192,
        example = "segment:champions and not profile.country:\"United Kingdom\" and rfm.monetary >= 1000"
    )]
    r#where: String,
    /// A number or time that the ranks go by, then `asc` (as without a word) or `desc`; `rfm.monetary desc` unless given.
    #[schema(example = "rfm.monetary desc")]
    order_by: Option<String>,
    /// Only so many, the first by rank; all of them unless given.
    #[schema(minimum = 1, maximum = 4_294_967_295_u64, example = 5000)]
    limit: Option<u64>,
    /// `csv`, `ndjson` or `parquet`; `csv` unless given.
    #[schema(example = "csv")]
    format: Option<String>,
    /// `customer_id`, `rank`, features as `view.feature` and whole views; all of them unless given.
    #[schema(example = json!(["customer_id", "rank", "rfm.segment", "profile.email"]))]
    columns: Option<Vec<String>>,
    /// `id`, which reads the snapshot once, or `rank`, which reads it once for every 65,536 members; `rank` where `order_by` is given,
    /// else `id`.
    #[schema(example = "rank")]
    order: Option<String>,
}

/// The members of a segment as a file
///
/// Streamed, and never short: when something goes wrong on the way the connection is broken off before the end of the body. `larder-rows`
/// tells how many members there are, `larder-snapshot` and `larder-as-of` what they are of. Without the scope `pii`, mail addresses and
/// phone numbers are SHA-256 hashes of their normalised forms, and other personal values null. In CSV a text that a spreadsheet would
/// take for a formula begins with `'`.
#[utoipa::path(
    get, path = "/v1/segments/{name}/export", tag = "exports", operation_id = "export_segment",
    params(("name" = String, Path, description = "The segment's name", example = "champions"), ExportQuery),
    responses(
        (status = 200, description = "The members; rank 1 is the best", content(
            (String = "text/csv", example = "customer_id,rank,rfm.segment\r\n14646,1,champions\r\n"),
            (String = "application/x-ndjson"),
            (String = "application/vnd.apache.parquet"),
        )),
        (status = 400, description = "A bad format or order, or an unknown column", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such segment", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The lake cannot be read, or too many exports are under way", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn segment(
    State(app): State<Arc<App>>,
    access: Access,
    name: Result<Path<String>, PathRejection>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let Path(name) = name.map_err(|_| segments::unknown("?", []))?;
    let served = app.serving.current()?;
    served.manifest.segment(&name).ok_or_else(|| segments::unknown(&name, &served.manifest.segments))?;
    let how = How::of_query(&served, &access, &query)?;
    export(&app, &access, &served, &name.clone(), ExportList::Segment(name), how).await
}

/// The customers by value at risk as a file
///
/// As the export of a segment, with the filters of `GET /v1/churn`.
#[utoipa::path(
    get, path = "/v1/churn/export", tag = "exports", operation_id = "export_churn",
    params(ChurnExportQuery),
    responses(
        (status = 200, description = "The customers; rank 1 has the most at risk", content(
            (String = "text/csv", example = "customer_id,rank,churn.value_at_risk\r\n17850,1,212.5\r\n"),
            (String = "application/x-ndjson"),
            (String = "application/vnd.apache.parquet"),
        )),
        (status = 400, description = "A bad filter, format or order, or an unknown column", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The snapshot has no churn model", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The lake cannot be read, or too many exports are under way", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn churn(
    State(app): State<Arc<App>>,
    access: Access,
    Query(query): Query<ChurnExportQuery>,
) -> Result<Response, Problem> {
    let ChurnExportQuery { risk, min_probability, segment, min_value, format, columns, order } = query;
    let served = app.serving.current()?;
    let filter = churn::filter(&served, risk, segment, min_probability.as_deref(), min_value.as_deref())?;
    let how = How::of_query(&served, &access, &ExportQuery { format, columns, order })?;
    export(&app, &access, &served, "churn", ExportList::Churn(filter), how).await
}

/// The members of an audience as a file
///
/// As the export of a segment, for any expression that `POST /v1/audiences` counts. Without the scope `pii` one may not ask by a personal
/// feature.
#[utoipa::path(
    post, path = "/v1/audiences/export", tag = "exports", operation_id = "export_audience",
    request_body = AudienceExportBody,
    responses(
        (status = 200, description = "The members; rank 1 is the first by `order_by`", content(
            (String = "text/csv", example = "customer_id,rank,rfm.segment\r\n14646,1,champions\r\n"),
            (String = "application/x-ndjson"),
            (String = "application/vnd.apache.parquet"),
        )),
        (status = 400, description = "A bad expression, with its `position`; another bad part of the body, an unknown feature or column", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is over the limit", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON, or it is compressed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The lake cannot be read, or too many exports are under way", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn audience(
    State(app): State<Arc<App>>,
    access: Access,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body: AudienceExportBody = audiences::read(&app, &headers, body).await?;
    let expression = audiences::expression(&body.r#where)?;
    let order_by = audiences::order_by(body.order_by.as_deref())?;
    if let Some(limit) = body.limit {
        audiences::number("limit", limit, 1, u64::from(u32::MAX))?;
    }
    let served = app.serving.current()?;
    audiences::may_ask(&access, &served, expression.features().into_iter().chain([&order_by.0]))?;
    let order = body.order.as_deref().or(body.order_by.as_ref().map(|_| "rank"));
    let columns = body.columns.as_ref().map(|names| names.iter().map(String::as_str).collect());
    let how =
        How::new(&served, &access, body.format.as_deref(), order, columns).map_err(Problem::bad_body)?;
    let list = ExportList::Audience(Ranked { expression, order_by, limit: body.limit });
    export(&app, &access, &served, "audience", list, how).await
}

/// What is wanted of each member, and how.
struct How {
    columns: ExportColumns,
    format: ExportFormat,
    order: ExportOrder,
}

impl How {
    /// What the words of a request mean; else what is wrong with them.
    fn new(
        served: &Served,
        access: &Access,
        format: Option<&str>,
        order: Option<&str>,
        columns: Option<Vec<&str>>,
    ) -> Result<Self, String> {
        let format = match format {
            None | Some("csv") => ExportFormat::Csv,
            Some("ndjson") => ExportFormat::Ndjson,
            Some("parquet") => ExportFormat::Parquet,
            Some(_) => return Err("`format` must be csv, ndjson or parquet".to_owned()),
        };
        let order = match order {
            None | Some("id") => ExportOrder::Id,
            Some("rank") => ExportOrder::Rank,
            Some(_) => return Err("`order` must be id or rank".to_owned()),
        };
        let pii = access.may(Scope::Pii);
        let columns = match columns {
            None => ExportColumns::all(&served.manifest, pii),
            Some(names) => {
                ExportColumns::named(&served.manifest, names, pii).map_err(|error| error.to_string())?
            }
        };
        if columns.is_empty() {
            return Err("`columns` names none".to_owned());
        }
        Ok(Self { columns, format, order })
    }

    fn of_query(served: &Served, access: &Access, query: &ExportQuery) -> Result<Self, Problem> {
        let columns = query
            .columns
            .as_deref()
            .map(|names| names.split(',').map(str::trim).filter(|name| !name.is_empty()).collect());
        Self::new(served, access, query.format.as_deref(), query.order.as_deref(), columns)
            .map_err(Problem::bad_parameter)
    }
}

async fn export(
    app: &App,
    access: &Access,
    served: &Arc<Served>,
    name: &str,
    list: ExportList,
    how: How,
) -> Result<Response, Problem> {
    let How { columns, format, order } = how;
    let (media, extension) = match format {
        ExportFormat::Csv => ("text/csv; charset=utf-8; header=present", "csv"),
        ExportFormat::Ndjson => ("application/x-ndjson", "ndjson"),
        ExportFormat::Parquet => ("application/vnd.apache.parquet", "parquet"),
    };
    let export = Export { list, columns, format, order };
    let exporting = app.serving.export(served, export.clone()).await?;
    audit(access, name, served, exporting.rows, &export);
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("export"));
    let (snapshot, rows) = (served.manifest.id.to_string(), exporting.rows.to_string());
    let file = format!("attachment; filename=\"{name}-{snapshot}.{extension}\"");
    let mut response = Response::new(Body::from_stream(exporting));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CONTENT_DISPOSITION, value(file));
    headers.insert(header::CACHE_CONTROL, NOT_KEPT);
    headers.insert(SNAPSHOT, value(snapshot));
    headers.insert(AS_OF, value(served.as_of.clone()));
    headers.insert(ROWS, value(rows));
    Ok(response)
}

/// One line in the log for each export: who takes how many of which list, and which personal features as they are or hashed. An
/// expression that asks by personal features has values of theirs in it, and only their names are written.
fn audit(access: &Access, list: &str, served: &Served, rows: u64, export: &Export) {
    let personal = export.columns.personal();
    let names = |wanted: fn(&Treatment) -> bool| {
        let names = personal.iter().filter(|(_, treatment)| wanted(treatment)).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(",")
    };
    let expression = match &export.list {
        ExportList::Audience(audience) => Some(&audience.expression),
        ExportList::Segment(_) | ExportList::Churn(_) => None,
    };
    let asked_by: Vec<String> = expression
        .into_iter()
        .flat_map(Expression::features)
        .filter(|name| served.manifest.is_personal(&name.view, &name.feature))
        .map(ToString::to_string)
        .collect();
    tracing::info!(
        target: crate::telemetry::AUDIT,
        key = access.key().unwrap_or("anonymous"),
        list,
        expression = expression.filter(|_| asked_by.is_empty()).map(ToString::to_string),
        asked_by = (!asked_by.is_empty()).then(|| asked_by.join(",")),
        customers = rows,
        snapshot = served.manifest.id.as_str(),
        shown = names(|treatment| *treatment == Treatment::Shown),
        hashed = names(|treatment| matches!(treatment, Treatment::HashedEmail | Treatment::HashedPhone)),
        "export"
    );
}
