//! `GET /v1/customers/{id}/purchases`: the purchase lines of one customer.

use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::{
    feature::{CustomerId, Tier, money},
    http::{
        Problem,
        extract::{PathParam, Query, SnapshotRead, cursor::Cursor},
        reply::{self, Freshness, features::raw, list_page},
    },
    snapshot::{reader::PurchaseLine, rfc3339},
};

/// A page of lines.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PurchasesQuery {
    /// Number of lines on the page, 1 to 1,000; by default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, example = 100)]
    limit: Option<String>,
    /// `next` of the previous page.
    cursor: Option<String>,
}

/// The purchase lines of one customer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CustomerPurchases {
    /// The customer's id.
    #[schema(value_type = String, example = "17850")]
    customer_id: CustomerId,
    #[serde(flatten)]
    freshness: Freshness,
    /// The tier that answered: always the snapshot.
    tier: Tier,
    /// Number of lines on all pages together.
    #[schema(example = 297)]
    total: u64,
    /// The cursor of the next page; null on the last page.
    #[schema(example = json!(null))]
    next: Option<String>,
    /// The lines, the newest first. Returns are not among them.
    purchases: Vec<Purchase>,
}

/// A purchase line.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Purchase {
    /// Time of the line.
    #[serde(with = "rfc3339")]
    #[schema(value_type = String, format = DateTime, example = "2011-12-09T12:50:00Z")]
    at: DateTime<Utc>,
    /// Id of the order.
    #[schema(example = "581587")]
    order_id: String,
    /// Id of the product.
    #[schema(example = "22423")]
    product_id: String,
    /// Name of the product on the line; null where the raw data has none.
    #[schema(example = "REGENCY CAKESTAND 3 TIER")]
    product: Option<String>,
    /// Quantity.
    #[schema(value_type = f64, example = 2)]
    quantity: Box<RawValue>,
    /// Amount of the line in the currency of the shop, with up to four decimals.
    #[schema(value_type = f64, example = 25.5)]
    amount: Box<RawValue>,
}

impl From<PurchaseLine> for Purchase {
    fn from(line: PurchaseLine) -> Self {
        Self {
            at: line.at,
            order_id: line.order_id,
            product_id: line.product_id,
            product: line.product,
            quantity: raw(money(line.quantity)),
            amount: raw(money(line.amount)),
        }
    }
}

/// List the purchases of a customer
///
/// Lists purchase lines up to the as-of time, the newest first. The order of the lines of one instant is
/// always the same.
#[utoipa::path(
    get, path = "/v1/customers/{id}/purchases", tag = "customers", operation_id = "get_customer_purchases",
    params(
        ("id" = String, Path, description = "The customer's id, percent-encoded", example = "17850"),
        PurchasesQuery,
    ),
    responses(
        (status = 200, description = "A page of purchase lines, the newest first", body = CustomerPurchases),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "A bad id, limit or cursor, or no purchases in the snapshot"),
        (status = 404, description = "No such customer"),
        (status = 410, description = "The cursor's snapshot was removed"),
    )
)]
pub(crate) async fn get_customer_purchases(
    mut read: SnapshotRead,
    PathParam(id): PathParam<CustomerId>,
    Query(query): Query<PurchasesQuery>,
) -> Result<Response, Problem> {
    let limit = list_page::limit(query.limit.as_deref())?;
    // An id may have spaces, which the name of a list may not.
    let list = format!("purchases:{:08x}", crc32fast::hash(id.as_str().as_bytes()));
    let offset = read.resume(query.cursor.as_deref(), &list).await?;
    let SnapshotRead { app, served, .. } = &read;
    if !served.has_purchases() {
        return Err(Problem::unknown_view("this snapshot was built without purchases"));
    }
    // The customer is looked up first: a 304 without a look would tell unknown customers from erased ones.
    if app.serving.customer(served, &id).await?.row.is_none() {
        return Err(Problem::customer_not_found(format!("there is no customer `{id}` in the snapshot")));
    }
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let page = match served.purchases(&id, offset, limit).await {
        Ok(page) => page,
        Err(error) => return Err(read.lost(error).await),
    };
    let end = offset.saturating_add(page.lines.len());
    let next = (end < page.total).then(|| {
        let snapshot = served.manifest.id.clone();
        // Erased customers take no line from another customer.
        Cursor { snapshot, list, offset: end as u64, erased: u64::MAX }.encode()
    });
    let body = CustomerPurchases {
        customer_id: id,
        freshness: Freshness::from(&**served),
        tier: Tier::Snapshot,
        total: page.total as u64,
        next,
        purchases: page.lines.into_iter().map(Purchase::from).collect(),
    };
    reply::json(&read, &body)
}
