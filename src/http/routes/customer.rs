//! `GET /v1/customers/{id}`: one customer's features.

use std::{borrow::Cow, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, Method, Request, header},
    response::Response,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::{
    feature::{CustomerId, Tier},
    http::{
        App, Problem,
        access::Access,
        extract::{FromPath, PathParam, Query, Selection, flag},
        reply::{
            Freshness, Views, audit, conditional,
            features::{write_freshness, write_json, write_masked, write_segments, write_tier, write_views},
        },
    },
};

/// The views that an answer has.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ViewsQuery {
    /// Names of views, separated by commas; by default all views but `segments`.
    #[param(example = "rfm,behavior")]
    views: Option<String>,
    /// Whether the answer has the names of the customer's segments; by default not.
    #[param(value_type = Option<bool>, example = true)]
    segments: Option<String>,
    /// Whether the names of products are beside their ids: `favourite_product_name` in `behavior`, and
    /// `product_names`, `product_because_names` and `buy_again_names` in `recommendations`, parallel to the
    /// ids; by default not. A name is null where the snapshot has none, or names cannot be read at the
    /// moment.
    #[param(value_type = Option<bool>, example = true)]
    names: Option<String>,
}

/// One customer's features.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written byte by byte; this is the shape for the OpenAPI document")]
pub(crate) struct CustomerFeatures {
    /// The customer's id.
    #[schema(example = "17850")]
    customer_id: String,
    #[serde(flatten)]
    freshness: Freshness,
    /// The tier that answered.
    tier: Tier,
    /// Requested personal features that are null because the caller lacks the scope `pii`; absent where there
    /// are none.
    #[schema(nullable = false, example = json!(["profile.email"]))]
    masked: Option<Vec<String>>,
    /// Names of the customer's segments, sorted, where requested.
    #[schema(nullable = false, example = json!(["champions", "churn_low"]))]
    segments: Option<Vec<String>>,
    /// View → feature → value; null where the customer is absent from the view.
    #[schema(value_type = Views)]
    views: Map<String, Value>,
}

/// Get one customer's features
#[utoipa::path(
    get, path = "/v1/customers/{id}", tag = "customers", operation_id = "get_customer",
    params(
        ("id" = String, Path, description = "The customer's id, percent-encoded", example = "17850"),
        ViewsQuery,
    ),
    responses(
        (status = 200, description = "The features, and the tier that answered", body = CustomerFeatures),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "Not a customer id, or an unknown view"),
        (status = 404, description = "No such customer"),
    )
)]
pub(crate) async fn get_customer(
    State(app): State<Arc<App>>,
    access: Access,
    PathParam(id): PathParam<CustomerId>,
    Query(query): Query<ViewsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    respond(&app, &access, id, &query, &headers).await
}

/// Reads the customer whose id is `batch`, the path of the batch endpoint.
pub(crate) async fn get_customer_named_batch(
    State(app): State<Arc<App>>,
    access: Access,
    Query(query): Query<ViewsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    respond(&app, &access, CustomerId::read(Some("batch"))?, &query, &headers).await
}

/// Returns the id in `GET /v1/customers/{id}` without a query.
///
/// This request is most of the load, and the router costs more than its answer, so [`answer_directly`]
/// answers it in front of the router. Both ways give the same answer.
pub(crate) fn direct_id<B>(request: &Request<B>) -> Option<Cow<'_, [u8]>> {
    let id = request.uri().path().strip_prefix("/v1/customers/")?;
    if request.method() != Method::GET || request.uri().query().is_some() || id.is_empty() || id.contains('/')
    {
        return None;
    }
    Some(percent_encoding::percent_decode_str(id).into())
}

/// Answers the request for the customer that [`direct_id`] found.
pub(crate) async fn answer_directly(
    app: &App,
    access: &Access,
    id: &[u8],
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    respond(app, access, CustomerId::read(std::str::from_utf8(id).ok())?, &ViewsQuery::default(), headers)
        .await
}

async fn respond(
    app: &App,
    access: &Access,
    id: CustomerId,
    query: &ViewsQuery,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let served = app.serving.current()?;
    let mut selection = match &query.views {
        None => Selection::all(access),
        Some(views) => Selection::views(&served, access, views)?,
    };
    if flag("segments", query.segments.as_deref())? {
        selection = selection.with_segments(&served)?;
    }
    if flag("names", query.names.as_deref())? {
        // Boxed so that the future of a read without names stays small.
        selection = Box::pin(selection.with_names(&served, true)).await;
    }
    // The customer is looked up first: a 304 without a look would tell unknown customers from erased ones.
    let answer = app.serving.customer(&served, &id).await?;
    let Some(row) = &answer.row else {
        return Err(Problem::customer_not_found(format!("there is no customer `{id}` in the snapshot")));
    };
    if let Some(known) = headers.get(header::IF_NONE_MATCH)
        && answer.label.is_none()
        && let Some(response) =
            conditional::not_modified_by(Some(known), &conditional::of_snapshot(&served, access))
    {
        return Ok(response);
    }
    let mut out = Vec::with_capacity(256 + served.keys_bytes + row.views.bytes());
    out.extend_from_slice(b"{\"customer_id\":");
    write_json(id.as_str(), &mut out);
    out.push(b',');
    write_freshness(&served, Some(&answer), &mut out);
    write_tier(answer.tier, &mut out);
    write_masked(&selection, &served, &mut out);
    write_segments(&selection, &served, row, &mut out);
    out.extend_from_slice(b",\"views\":");
    write_views(&selection, &served, row, answer.tier, &mut out);
    out.push(b'}');
    let tag = conditional::of_answers(&served, access, &selection, [&answer]);
    let mut response = conditional::json_text(out, tag);
    audit::note(&mut response, access, || selection.personal(&served), || vec![id]);
    Ok(response)
}
