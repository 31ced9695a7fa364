//! `GET /v1/customers/{id}`

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, Method},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::{
    App, Problem,
    access::Access,
    audit, conditional,
    query::Query,
    select::{self, Selection},
};
use crate::{
    feature::{CustomerId, Tier},
    serving::Served,
};

/// Which views a read is to bring.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ViewsQuery {
    /// Views by name, separated by commas; all unless given.
    #[param(example = "rfm,behavior")]
    views: Option<String>,
}

/// One customer's features.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct CustomerFeatures {
    /// The customer's id.
    #[schema(example = "17850")]
    customer_id: String,
    /// The snapshot that the features are from.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that they describe.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// The tier that answered.
    tier: Tier,
    /// Personal features that were asked for and are null because the caller lacks the scope `pii`; absent where there are none.
    #[schema(nullable = false, example = json!(["profile.email"]))]
    masked: Option<Vec<String>>,
    /// View → feature → value; null where the customer is absent from the view.
    #[schema(value_type = super::openapi::Views)]
    views: Map<String, Value>,
}

/// One customer's features
#[utoipa::path(
    get, path = "/v1/customers/{id}", tag = "customers", operation_id = "get_customer",
    params(("id" = String, Path, description = "The customer's id, URL-encoded", example = "17850"), ViewsQuery),
    responses(
        (status = 200, description = "The features, and the tier that they came from", body = CustomerFeatures),
        (status = 304, description = "The caller has them already, by If-None-Match"),
        (status = 400, description = "No customer id, or an unknown view", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such customer", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No tier could tell", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn customer(
    State(app): State<Arc<App>>,
    access: Access,
    id: Result<Path<String>, PathRejection>,
    Query(query): Query<ViewsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| not_utf8())?;
    answer(&app, &access, &id, query.views.as_deref(), &headers).await
}

/// The customer that `GET /v1/customers/{id}` without a query asks for, seen before the router: this is nearly all there is to do, and
/// the general way costs more than the answer. The same request by way of the router gets the same answer.
pub(super) fn asked_for(request: &axum::http::request::Parts) -> Option<Cow<'_, [u8]>> {
    let id = request.uri.path().strip_prefix("/v1/customers/")?;
    let direct =
        request.method == Method::GET && request.uri.query().is_none() && !id.is_empty() && !id.contains('/');
    direct.then(|| percent_encoding::percent_decode_str(id).into())
}

/// Answers what [`asked_for`] found.
pub(super) async fn direct(
    app: &App,
    access: &Access,
    id: &[u8],
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let id = std::str::from_utf8(id).map_err(|_| not_utf8())?;
    answer(app, access, id, None, headers).await
}

pub(super) fn not_utf8() -> Problem {
    Problem::bad_id("a customer id must be UTF-8")
}

/// The customer whose id is that of the batch endpoint.
pub(super) async fn customer_named_batch(
    State(app): State<Arc<App>>,
    access: Access,
    Query(query): Query<ViewsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&app, &access, "batch", query.views.as_deref(), &headers).await
}

async fn answer(
    app: &App,
    access: &Access,
    id: &str,
    views: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let id = CustomerId::parse(id).map_err(|error| Problem::bad_id(error.to_string()))?;
    let served = app.serving.current()?;
    let selection =
        views.map_or_else(|| Ok(Selection::all(access)), |views| Selection::views(&served, access, views))?;
    // Whatever a caller still has of a forgotten customer, it is not confirmed.
    let not_modified = conditional::not_modified(headers, &served, access);
    if let Some(response) = not_modified.filter(|_| !served.forgets(id.as_str())) {
        return Ok(response);
    }
    let answer = app.serving.customer(&served, &id).await?;
    let Some(row) = answer.row else {
        return Err(Problem::customer_not_found(format!("there is no customer `{id}` in the snapshot")));
    };
    let mut out = Vec::with_capacity(256 + served.keys_bytes + row.views.bytes());
    out.push(b'{');
    out.extend_from_slice(b"\"customer_id\":");
    select::text(id.as_str(), &mut out);
    out.push(b',');
    match &answer.label {
        None => select::freshness(&served, &mut out),
        Some(label) => select::snapshot(&label.snapshot, &label.as_of, &mut out),
    }
    tier(answer.tier, &mut out);
    selection.masked(&served, &mut out);
    out.extend_from_slice(b",\"views\":");
    selection.write(&served, &row, answer.tier == Tier::Memory, &mut out);
    out.push(b'}');
    let mut response = conditional::json(&served, access, answer.label.is_none(), out);
    audit::note(&mut response, access, || selection.personal(&served), || vec![id]);
    Ok(response)
}

/// Appends `,"tier":"memory"`.
pub(super) fn tier(tier: Tier, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"tier\":\"");
    out.extend_from_slice(tier.as_str().as_bytes());
    out.push(b'"');
}

/// Appends `{"customer_id":…,"found":true,"tier":…,"views":{…}}` and its like.
pub(super) fn result(
    served: &Served,
    selection: &Selection,
    id: &CustomerId,
    answer: &Result<crate::serving::CustomerRead, crate::serving::ReadError>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"customer_id\":");
    select::text(id.as_str(), out);
    match answer {
        Ok(answer) => match &answer.row {
            Some(row) => {
                out.extend_from_slice(b",\"found\":true");
                if let Some(label) = &answer.label {
                    out.push(b',');
                    select::snapshot(&label.snapshot, &label.as_of, out);
                }
                tier(answer.tier, out);
                out.extend_from_slice(b",\"views\":");
                selection.write(served, row, answer.tier == Tier::Memory, out);
            }
            None => out.extend_from_slice(b",\"found\":false"),
        },
        Err(_) => out.extend_from_slice(b",\"found\":null,\"error\":\"unavailable\""),
    }
    out.push(b'}');
}
