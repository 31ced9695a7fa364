//! `GET /v1/customers/{id}/recommendations` and `/v1/products/{id}/similar`: product lists with names.

use std::{borrow::Cow, collections::BTreeSet};

use axum::response::Response;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Number, value::RawValue};
use utoipa::ToSchema;

use crate::{
    config::Scope,
    feature::{CustomerId, Row, Tier, elements, normal_id},
    http::{
        Problem,
        extract::{PathParam, ProductId, SnapshotRead},
        problem::excerpt,
        reply::{self, Freshness, audit, conditional},
    },
    serving::Served,
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

/// A product that is new to the customer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NextProduct {
    /// Id of the product.
    #[schema(example = "85123A")]
    product_id: String,
    /// Name of the product; null where the raw data has none, or names cannot be read at the moment.
    #[schema(example = "WHITE HANGING HEART T-LIGHT HOLDER")]
    name: Option<String>,
    /// Share of the votes of the customer's purchases, times the product's trend; 0 for a best seller that
    /// fills the list.
    #[schema(value_type = f64, example = 0.184)]
    score: Number,
    /// The purchase that contributed most to the score; null for a best seller.
    because: Option<Because>,
}

/// A product that the customer bought.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Because {
    /// Id of the product.
    #[schema(example = "22423")]
    product_id: String,
    /// Name of the product, null as above.
    #[schema(example = "REGENCY CAKESTAND 3 TIER")]
    name: Option<String>,
}

/// A product that the customer bought and may buy again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RepeatProduct {
    /// Id of the product.
    #[schema(example = "22423")]
    product_id: String,
    /// Name of the product, null as above.
    #[schema(example = "REGENCY CAKESTAND 3 TIER")]
    name: Option<String>,
    /// Day (UTC) of the last purchase.
    #[schema(format = Date, example = "2011-10-04")]
    last_on: String,
    /// Day of the expected next purchase, by the customer's own interval or else by that of all customers;
    /// null for a product that no customer bought twice.
    #[schema(format = Date, example = "2011-12-20")]
    due_on: Option<String>,
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
    // A 304 would confirm that an erased customer was known.
    if !served.forgets(id.as_str())
        && let Some(response) = reply::not_modified(&read)
    {
        return Ok(response);
    }
    let view = served
        .manifest
        .view("recommendations")
        .ok_or_else(|| Problem::unknown_view("this snapshot was built without recommendations"))?;
    let answer = app.serving.customer(served, &id).await?;
    let Some(row) = &answer.row else {
        return Err(Problem::customer_not_found(format!("there is no customer `{id}` in the snapshot")));
    };
    let features = &served.manifest.views[view].features;
    let personal = features.iter().filter(|feature| feature.personal);
    let personal: Vec<String> = personal.map(|feature| format!("recommendations.{}", feature.name)).collect();
    let masked = if access.has(Scope::Pii) { Vec::new() } else { personal.clone() };
    let lists = ProductLists::read(served, view, row, !masked.is_empty())?;
    let names = app.serving.product_names(served, &lists.ids()).await;
    let name = |id: &String| names.get(id).cloned();
    let products = lists.products.into_iter().zip(lists.scores).zip(lists.because);
    let products = products.map(|((product_id, score), because)| NextProduct {
        name: name(&product_id),
        because: because.map(|product_id| Because { name: name(&product_id), product_id }),
        product_id,
        score,
    });
    let repeats = lists.buy_again.into_iter().zip(lists.last_on).zip(lists.due_on);
    let repeats = repeats.map(|((product_id, last_on), due_on)| RepeatProduct {
        name: name(&product_id),
        product_id,
        last_on,
        due_on,
    });
    let (freshness, tag) = match &answer.label {
        None => (Freshness::from(&**served), Some(conditional::of_snapshot(served, access))),
        Some(label) => (Freshness::from(label), None),
    };
    let body = Recommendations {
        customer_id: id.to_string(),
        freshness,
        tier: answer.tier,
        masked,
        products: products.collect(),
        buy_again: repeats.collect(),
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
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let product_id = normal_id(&id).unwrap_or(Cow::Borrowed(&id));
    let Some(product) = read.app.serving.product(&read.served, &product_id).await? else {
        let why = format!("there is no product `{}` in the snapshot", excerpt(&id));
        return Err(Problem::product_not_found(why));
    };
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

/// The product lists of a customer's row, as parallel columns.
#[derive(Debug, Default)]
struct ProductLists {
    products: Vec<String>,
    scores: Vec<Number>,
    because: Vec<Option<String>>,
    buy_again: Vec<String>,
    last_on: Vec<String>,
    due_on: Vec<Option<String>>,
}

impl ProductLists {
    /// Reads the row; a customer who is absent from the view has empty lists, and so has each list of
    /// which a column is personal and `masked`.
    fn read(served: &Served, view: usize, row: &Row, masked: bool) -> Result<Self, Problem> {
        let Some(array) = row.views.get(view) else { return Ok(Self::default()) };
        let features = &served.manifest.views[view].features;
        let values: Vec<&[u8]> = elements(array).collect();
        let value = |name: &str| {
            let at = features.iter().position(|feature| feature.name == name);
            if masked && at.is_some_and(|at| features[at].personal) {
                return b"[]".as_slice();
            }
            at.and_then(|at| values.get(at).copied()).unwrap_or(b"[]")
        };
        Ok(Self {
            products: parse(value("products"))?,
            scores: parse(value("product_scores"))?,
            because: parse(value("product_because"))?,
            buy_again: parse(value("buy_again"))?,
            last_on: parse(value("buy_again_last_on"))?,
            due_on: parse(value("buy_again_due_on"))?,
        })
    }

    /// Returns the ids of all products in the lists.
    fn ids(&self) -> BTreeSet<String> {
        self.products.iter().chain(self.because.iter().flatten()).chain(&self.buy_again).cloned().collect()
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(text).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "a recommendations row of the snapshot cannot be parsed");
    Problem::internal("the recommendations cannot be parsed; the log has the cause")
}
