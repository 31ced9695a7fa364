//! `GET /v1/customers/{id}/recommendations` and `/v1/products/{id}/similar`: the next products, with names.

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Number, value::RawValue};
use utoipa::ToSchema;

use super::{App, Problem, access::Access, conditional, customers::not_utf8};
use crate::{
    feature::{CustomerId, Row, Tier, elements, normal_id},
    serving::Served,
};

/// What a customer may want next.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Recommendations {
    /// The customer's id.
    #[schema(example = "17850")]
    customer_id: String,
    /// The snapshot that the lists are from.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that they describe.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// The tier that answered.
    tier: Tier,
    /// Products new to the customer, the best first.
    products: Vec<NextProduct>,
    /// Products that the customer may buy again, the likeliest first.
    buy_again: Vec<RepeatProduct>,
}

/// A product that is new to the customer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NextProduct {
    /// The product's id.
    #[schema(example = "85123A")]
    product_id: String,
    /// Its name; null where the raw data has none, or names cannot be read at the moment.
    #[schema(example = "WHITE HANGING HEART T-LIGHT HOLDER")]
    name: Option<String>,
    /// How much of the votes of what the customer bought it got, times its trend; 0 for a best seller that fills the list.
    #[schema(value_type = f64, example = 0.184)]
    score: Number,
    /// What the customer bought that spoke for it most; null for a best seller.
    because: Option<Because>,
}

/// A product that the customer bought.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Because {
    /// The product's id.
    #[schema(example = "22423")]
    product_id: String,
    /// Its name, as above.
    #[schema(example = "REGENCY CAKESTAND 3 TIER")]
    name: Option<String>,
}

/// A product that the customer bought and may buy again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RepeatProduct {
    /// The product's id.
    #[schema(example = "22423")]
    product_id: String,
    /// Its name, as above.
    #[schema(example = "REGENCY CAKESTAND 3 TIER")]
    name: Option<String>,
    /// The day (UTC) it was last bought.
    #[schema(format = Date, example = "2011-10-04")]
    last_on: String,
    /// The day it is due by the customer's own pace, else by that of all customers; null where nobody bought it twice.
    #[schema(format = Date, example = "2011-12-20")]
    due_on: Option<String>,
}

/// What goes with a product.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SimilarProducts {
    /// The product's id.
    #[schema(example = "22423")]
    product_id: String,
    /// Its name; null where the raw data has none.
    #[schema(example = "REGENCY CAKESTAND 3 TIER")]
    name: Option<String>,
    /// Its category; null where the raw data has none.
    #[schema(example = "Kitchen")]
    category: Option<String>,
    /// The snapshot that the list is from.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// The tier that answered: always the snapshot.
    tier: Tier,
    /// What is bought by the same customers, the most significant first.
    #[schema(value_type = Vec<SimilarProduct>)]
    similar: Box<RawValue>,
}

/// A product that goes with another.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of what the snapshot holds ready, for the contract")]
pub(super) struct SimilarProduct {
    /// The product's id.
    #[schema(example = "22699")]
    product_id: String,
    /// Its name; null where the raw data has none.
    #[schema(example = "ROSES REGENCY TEACUP AND SAUCER")]
    name: Option<String>,
    /// The log-likelihood ratio: how far their buyers overlap beyond chance. Above 10.8 chance has one case in a thousand.
    #[schema(example = 412.7)]
    score: f64,
}

/// What a customer may want next
#[utoipa::path(
    get, path = "/v1/customers/{id}/recommendations", tag = "recommendations", operation_id = "get_recommendations",
    params(("id" = String, Path, description = "The customer's id, URL-encoded", example = "17850")),
    responses(
        (status = 200, description = "New products and ones to buy again, and the tier that they came from", body = Recommendations),
        (status = 304, description = "The caller has them already, by If-None-Match"),
        (status = 400, description = "No customer id, or a snapshot without recommendations", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such customer", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No tier could tell", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn of_customer(
    State(app): State<Arc<App>>,
    access: Access,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| not_utf8())?;
    let id = CustomerId::parse(&id).map_err(|error| Problem::bad_id(error.to_string()))?;
    let served = app.serving.current()?;
    let not_modified = conditional::not_modified(&headers, &served, &access);
    if let Some(response) = not_modified.filter(|_| !served.forgets(id.as_str())) {
        return Ok(response);
    }
    let view = served.manifest.view("recommendations");
    let view =
        view.ok_or_else(|| Problem::unknown_view("this snapshot was built without recommendations"))?;
    let answer = app.serving.customer(&served, &id).await?;
    let Some(row) = answer.row else {
        return Err(Problem::customer_not_found(format!("there is no customer `{id}` in the snapshot")));
    };
    let lists = Lists::read(&served, view, &row)?;
    let names = app.serving.product_names(&served, &lists.ids()).await;
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
    let (snapshot, as_of) = match &answer.label {
        None => (served.manifest.id.to_string(), served.as_of.clone()),
        Some(label) => (label.snapshot.to_string(), label.as_of.to_string()),
    };
    let body = Recommendations {
        customer_id: id.to_string(),
        snapshot,
        as_of,
        tier: answer.tier,
        products: products.collect(),
        buy_again: repeats.collect(),
    };
    let text = serde_json::to_vec(&body).map_err(|error| unreadable(&error))?;
    Ok(conditional::json(&served, &access, answer.label.is_none(), text))
}

/// What goes with a product
#[utoipa::path(
    get, path = "/v1/products/{id}/similar", tag = "recommendations", operation_id = "get_similar_products",
    params(("id" = String, Path, description = "The product's id, URL-encoded", example = "22423")),
    responses(
        (status = 200, description = "What the same customers buy, the most significant first", body = SimilarProducts),
        (status = 304, description = "The caller has it already, by If-None-Match"),
        (status = 404, description = "Nobody bought such a product, or it is excluded", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The snapshot cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn similar(
    State(app): State<Arc<App>>,
    access: Access,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| Problem::product_not_found("a product id must be UTF-8"))?;
    let served = app.serving.current()?;
    if let Some(response) = conditional::not_modified(&headers, &served, &access) {
        return Ok(response);
    }
    let product_id = normal_id(&id).unwrap_or(Cow::Borrowed(&id));
    let product = app.serving.product(&served, &product_id).await?;
    let Some(product) = product else {
        let shown: String = id.chars().filter(|c| !c.is_control()).take(64).collect();
        return Err(Problem::product_not_found(format!("there is no product `{shown}` in the snapshot")));
    };
    let body = SimilarProducts {
        product_id: product_id.into_owned(),
        name: product.name,
        category: product.category,
        snapshot: served.manifest.id.to_string(),
        as_of: served.as_of.clone(),
        tier: Tier::Snapshot,
        similar: RawValue::from_string(product.similar).map_err(|error| unreadable(&error))?,
    };
    Ok(([(header::ETAG, conditional::tag(&served, &access))], Json(body)).into_response())
}

/// The lists of a customer's row, side by side.
#[derive(Debug, Default)]
struct Lists {
    products: Vec<String>,
    scores: Vec<Number>,
    because: Vec<Option<String>>,
    buy_again: Vec<String>,
    last_on: Vec<String>,
    due_on: Vec<Option<String>>,
}

impl Lists {
    /// A customer who is absent from the view has empty lists.
    fn read(served: &Served, view: usize, row: &Row) -> Result<Self, Problem> {
        let Some(array) = row.views.get(view) else { return Ok(Self::default()) };
        let features = &served.manifest.views[view].features;
        let values: Vec<&[u8]> = elements(array).collect();
        let value = |name: &str| {
            let at = features.iter().position(|feature| feature.name == name);
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

    /// Every product named.
    fn ids(&self) -> BTreeSet<String> {
        self.products.iter().chain(self.because.iter().flatten()).chain(&self.buy_again).cloned().collect()
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(text).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "a row of the snapshot is not what the view says");
    Problem::internal("the recommendations are not of the form that the snapshot promises; the log tells why")
}
