//! `GET /v1/customers/{id}/recommendations` and `/v1/products/{id}/similar`: product lists with names.

use std::borrow::Cow;

use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    config::Scope,
    feature::{CustomerId, Tier, normal_id},
    http::{
        Problem,
        extract::{PathParam, ProductId, SnapshotRead},
        problem::excerpt,
        reply::{self, Freshness, audit, conditional},
    },
    serving::{NextProduct, RepeatProduct},
};

/// Recommendations for a customer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Recommendations {
    /// The customer's id.
    #[schema(example = "17850")]
    customer_id: String,
    #[serde(flatten)]
    freshness: Freshness,
    /// The tier that answered.
    tier: Tier,
    /// Personal features whose lists are empty because the caller lacks the scope `pii`; absent where there
    /// are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, example = json!(["recommendations.buy_again"]))]
    masked: Vec<String>,
    /// Products that are new to the customer, the best first.
    products: Vec<NextProduct>,
    /// Products that the customer may buy again, the most likely first.
    buy_again: Vec<RepeatProduct>,
}

/// Products that are bought by the same customers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SimilarProducts {
    /// Id of the product.
    #[schema(example = "22423")]
    product_id: String,
    /// Name of the product; null where the raw data has none.
    #[schema(example = "REGENCY CAKESTAND 3 TIER")]
    name: Option<String>,
    /// Category of the product; null where the raw data has none.
    #[schema(example = "Kitchen")]
    category: Option<String>,
    #[serde(flatten)]
    freshness: Freshness,
    /// The tier that answered: always the snapshot.
    tier: Tier,
    /// Similar products, the most significant first.
    #[schema(value_type = Vec<SimilarProduct>)]
    similar: Box<RawValue>,
}

/// A similar product.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the snapshot holds the JSON ready; this is the shape for the OpenAPI document")]
pub(crate) struct SimilarProduct {
    /// Id of the product.
    #[schema(example = "22699")]
    product_id: String,
    /// Name of the product; null where the raw data has none.
    #[schema(example = "ROSES REGENCY TEACUP AND SAUCER")]
    name: Option<String>,
    /// Log-likelihood ratio of the overlap of buyers: above 10.8 the overlap is chance in one case of a
    /// thousand.
    #[schema(example = 412.7)]
    score: f64,
}

/// Get recommendations for a customer
#[utoipa::path(
    get, path = "/v1/customers/{id}/recommendations", tag = "recommendations",
    operation_id = "get_recommendations",
    params(("id" = String, Path, description = "The customer's id, percent-encoded", example = "17850")),
    responses(
        (status = 200, description = "New products, products to buy again, and the tier that answered",
            body = Recommendations),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "Not a customer id, or a snapshot without recommendations"),
        (status = 404, description = "No such customer"),
    )
)]
pub(crate) async fn get_recommendations(
    read: SnapshotRead,
    PathParam(id): PathParam<CustomerId>,
) -> Result<Response, Problem> {
    let SnapshotRead { app, served, access, .. } = &read;
    let view = served
        .manifest
        .view("recommendations")
        .ok_or_else(|| Problem::unknown_view("this snapshot was built without recommendations"))?;
    let answer = app.serving.customer(served, &id).await?;
    let Some(row) = &answer.row else {
        return Err(Problem::customer_not_found(format!("there is no customer `{id}` in the snapshot")));
    };
    // The customer is looked up first: a 304 without a look would tell unknown customers from erased ones.
    if answer.label.is_none()
        && let Some(response) = reply::not_modified(&read)
    {
        return Ok(response);
    }
    let features = &served.manifest.views[view].features;
    let personal = features.iter().filter(|feature| feature.personal);
    let personal: Vec<String> = personal.map(|feature| format!("recommendations.{}", feature.name)).collect();
    let masked = if access.has(Scope::Pii) { Vec::new() } else { personal.clone() };
    let lists = app.serving.recommended(served, view, row, !masked.is_empty()).await;
    let lists = lists.map_err(|error| unreadable(&error))?;
    let (freshness, tag) = match &answer.label {
        None => (Freshness::from(&**served), Some(conditional::of_snapshot(served, access))),
        Some(label) => (Freshness::from(label), None),
    };
    let body = Recommendations {
        customer_id: id.to_string(),
        freshness,
        tier: answer.tier,
        masked,
        products: lists.products,
        buy_again: lists.buy_again,
    };
    let mut response = reply::json_tagged(&body, tag)?;
    audit::note(&mut response, access, || personal, || vec![id]);
    Ok(response)
}

/// List similar products
#[utoipa::path(
    get, path = "/v1/products/{id}/similar", tag = "recommendations", operation_id = "get_similar_products",
    params(("id" = String, Path, description = "Id of the product, percent-encoded", example = "22423")),
    responses(
        (status = 200, description = "Products bought by the same customers, the most significant first",
            body = SimilarProducts),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 404, description = "No customer bought the product, or the product is excluded"),
    )
)]
pub(crate) async fn get_similar_products(
    read: SnapshotRead,
    PathParam(ProductId(id)): PathParam<ProductId>,
) -> Result<Response, Problem> {
    let product_id = normal_id(&id).unwrap_or(Cow::Borrowed(&id));
    let Some(product) = read.app.serving.product(&read.served, &product_id).await? else {
        let why = format!("there is no product `{}` in the snapshot", excerpt(&id));
        return Err(Problem::product_not_found(why));
    };
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let body = SimilarProducts {
        product_id: product_id.into_owned(),
        name: product.name,
        category: product.category,
        freshness: Freshness::from(&*read.served),
        tier: Tier::Snapshot,
        similar: RawValue::from_string(product.similar).map_err(|error| unreadable(&error))?,
    };
    reply::json(&read, &body)
}

fn unreadable(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "a recommendations row of the snapshot cannot be parsed");
    Problem::internal("the recommendations cannot be parsed; the log has the cause")
}
