//! `POST /v1/customers/batch`: many customers' features.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    feature::{CustomerId, Tier},
    http::{
        App, Problem,
        access::Access,
        extract::{BatchId, MAX_IDS, RawJsonBody, Selection, customer_id},
        reply::{
            Freshness, Views, audit, conditional,
            features::{write_freshness, write_joined, write_masked, write_result},
        },
    },
};

/// Customers and features.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest<'a> {
    /// At most 1,000 ids, as strings or integers. Repeated ids get repeated results.
    #[serde(borrow)]
    #[schema(value_type = Vec<BatchId>, max_items = 1000, example = json!(["17850", 14646, "nobody"]))]
    ids: Vec<&'a RawValue>,
    /// Names of whole views; by default all views but `segments`, unless `features` is given.
    #[schema(example = json!(["rfm"]))]
    views: Option<Vec<String>>,
    /// Single features as `view.feature`.
    #[schema(example = json!(["behavior.spend_90d"]))]
    features: Option<Vec<String>>,
    /// Whether each result has the names of the customer's segments; by default not.
    #[schema(example = true)]
    segments: Option<bool>,
    /// Whether the names of products are beside their ids, as in `GET /v1/customers/{id}`; by default not.
    #[schema(example = true)]
    names: Option<bool>,
}

/// One result for each id, in the order of the ids.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written byte by byte; this is the shape for the OpenAPI document")]
pub(crate) struct BatchAnswer {
    #[serde(flatten)]
    freshness: Freshness,
    /// Requested personal features that are null because the caller lacks the scope `pii`; absent where there
    /// are none.
    #[schema(nullable = false, example = json!(["profile.email"]))]
    masked: Option<Vec<String>>,
    /// The results.
    results: Vec<BatchResult>,
}

/// One customer of a batch.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written byte by byte; this is the shape for the OpenAPI document")]
pub(crate) struct BatchResult {
    /// The customer's id.
    #[schema(example = "17850")]
    customer_id: String,
    /// Whether the snapshot has the customer; null where the customer could not be read.
    #[schema(example = true)]
    found: Option<bool>,
    /// The snapshot of the features, where a publish under way answered instead of the active snapshot.
    #[schema(example = json!(null))]
    snapshot: Option<String>,
    /// The instant that this other snapshot describes.
    #[schema(format = DateTime, example = json!(null))]
    as_of: Option<String>,
    /// The tier that answered, where the customer was found.
    tier: Option<Tier>,
    /// Names of the customer's segments, sorted, where requested and the customer was found.
    #[schema(nullable = false, example = json!(["champions", "churn_low"]))]
    segments: Option<Vec<String>>,
    /// View → feature → value, where the customer was found.
    views: Option<Views>,
    /// `unavailable` where the customer could not be read.
    #[schema(example = json!(null))]
    error: Option<String>,
}

/// Get many customers' features
#[utoipa::path(
    post, path = "/v1/customers/batch", tag = "customers", operation_id = "get_customers",
    request_body(content = BatchRequest, description = "Customers and features"),
    responses(
        (status = 200, description = "One result for each id, in the order of the ids", body = BatchAnswer),
        (status = 400, description = "A bad id, too many ids, an unknown view or feature"),
    )
)]
pub(crate) async fn get_customers(
    State(app): State<Arc<App>>,
    access: Access,
    text: RawJsonBody,
) -> Result<Response, Problem> {
    let request: BatchRequest<'_> = text.parse()?;
    if request.ids.len() > MAX_IDS {
        let why = format!("a batch may have {MAX_IDS} ids; this batch has {}", request.ids.len());
        return Err(Problem::too_many_ids(why));
    }
    let read = |(at, value): (usize, &&RawValue)| {
        customer_id(value.get()).map_err(|why| Problem::bad_id(format!("ids[{at}]: {why}")))
    };
    let ids: Vec<CustomerId> = request.ids.iter().enumerate().map(read).collect::<Result<_, _>>()?;
    access.charge(ids.len() as u64)?;
    let served = app.serving.current()?;
    let selection = match (&request.views, &request.features) {
        (None, None) => Selection::all(&access),
        (views, features) => {
            let views = views.iter().flatten().map(String::as_str);
            Selection::named(&served, &access, views, features.iter().flatten().map(String::as_str))?
        }
    };
    let selection =
        if request.segments == Some(true) { selection.with_segments(&served)? } else { selection };
    let selection = selection.with_names(&served, request.names == Some(true)).await;
    let answers = app.serving.customers(&served, &ids).await?;
    let rows = answers.iter().flatten().filter_map(|answer| answer.row.as_ref());
    let size: usize = rows.map(|row| served.keys_bytes + row.views.bytes()).sum();
    let mut out = Vec::with_capacity(256 + ids.len() * 128 + size);
    out.push(b'{');
    write_freshness(&served, None, &mut out);
    write_masked(&selection, &served, &mut out);
    out.extend_from_slice(b",\"results\":[");
    write_joined(ids.iter().zip(&answers), &mut out, |(id, answer), out| {
        write_result(&served, &selection, id, answer, out);
    });
    out.extend_from_slice(b"]}");
    let tag = conditional::of_answers(&served, &access, &selection, answers.iter().flatten());
    let mut response = conditional::json_text(out, tag);
    audit::note(&mut response, &access, || selection.personal(&served), || audit::found(&answers));
    Ok(response)
}
