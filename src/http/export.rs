//! Exports: every member of a list as CSV, NDJSON or Parquet, as a stream.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{App, Problem, access::Access, churn, segments};
use crate::{
    config::Scope,
    serving::{
        Served,
        export::{Columns, Export, Format, List, Order, Treatment},
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
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_parameter(error.body_text()))?;
    let Path(name) = name.map_err(|_| segments::unknown("?"))?;
    let served = app.serving.current()?;
    served.manifest.segment(&name).ok_or_else(|| segments::unknown(&name))?;
    export(&app, &access, &served, &name.clone(), List::Segment(name), &query).await
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
    query: Result<Query<ChurnExportQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query.map_err(|error| Problem::bad_parameter(error.body_text()))?;
    let ChurnExportQuery { risk, min_probability, segment, min_value, format, columns, order } = query;
    let served = app.serving.current()?;
    let filter = churn::filter(&served, risk, segment, min_probability.as_deref(), min_value.as_deref())?;
    export(&app, &access, &served, "churn", List::Churn(filter), &ExportQuery { format, columns, order }).await
}

async fn export(
    app: &App,
    access: &Access,
    served: &Arc<Served>,
    name: &str,
    list: List,
    query: &ExportQuery,
) -> Result<Response, Problem> {
    let (format, media, extension) = match query.format.as_deref() {
        None | Some("csv") => (Format::Csv, "text/csv; charset=utf-8; header=present", "csv"),
        Some("ndjson") => (Format::Ndjson, "application/x-ndjson", "ndjson"),
        Some("parquet") => (Format::Parquet, "application/vnd.apache.parquet", "parquet"),
        Some(_) => return Err(Problem::bad_parameter("`format` must be csv, ndjson or parquet")),
    };
    let order = match query.order.as_deref() {
        None | Some("id") => Order::Id,
        Some("rank") => Order::Rank,
        Some(_) => return Err(Problem::bad_parameter("`order` must be id or rank")),
    };
    let pii = access.may(Scope::Pii);
    let columns = match &query.columns {
        None => Columns::all(&served.manifest, pii),
        Some(names) => {
            let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
            Columns::named(&served.manifest, names, pii).map_err(|error| Problem::bad_parameter(error.to_string()))?
        }
    };
    if columns.is_empty() {
        return Err(Problem::bad_parameter("`columns` names none"));
    }
    let personal = columns.personal();
    let exporting = app.serving.export(served, Export { list, columns, format, order }).await?;
    audit(access, name, served, exporting.rows, &personal);
    let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("export"));
    let (snapshot, rows) = (served.manifest.id.to_string(), exporting.rows.to_string());
    let file = format!("attachment; filename=\"{name}-{snapshot}.{extension}\"");
    let mut response = Response::new(Body::from_stream(exporting));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CONTENT_DISPOSITION, value(file));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SNAPSHOT, value(snapshot));
    headers.insert(AS_OF, value(served.as_of.clone()));
    headers.insert(ROWS, value(rows));
    Ok(response)
}

/// One line in the log for each export: who takes how many of which list, and which personal features as they are or hashed.
fn audit(access: &Access, list: &str, served: &Served, rows: u64, personal: &[(String, Treatment)]) {
    let names = |wanted: fn(&Treatment) -> bool| {
        let names = personal.iter().filter(|(_, treatment)| wanted(treatment)).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(",")
    };
    tracing::info!(
        target: crate::telemetry::AUDIT,
        key = access.key().unwrap_or("anonymous"),
        list,
        customers = rows,
        snapshot = served.manifest.id.as_str(),
        shown = names(|treatment| *treatment == Treatment::Shown),
        hashed = names(|treatment| matches!(treatment, Treatment::HashedEmail | Treatment::HashedPhone)),
        "export"
    );
}
