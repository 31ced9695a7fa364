//! `POST /get-online-features` and `GET /health`: the HTTP contract of Feast's feature server, for the clients that speak it.
//!
//! The only entity is the customer, by the join key `customer_id`. Where Feast's own server calls every value `PRESENT`, the statuses
//! here tell: `NULL_VALUE` (in the view, without that value, or with one
//! that the caller may not see), `NOT_FOUND` (not in the view, no such customer, or an id that cannot be a
//! customer's), `OUTSIDE_MAX_AGE` (older than `max_age` in `[feast]` allows, and withheld), and `INVALID`, Feast's word for
//! a status that is not set, where no tier could tell. Structs, and lists of them, are JSON in a text.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use utoipa::ToSchema;

use super::{App, Problem, access::Access, audit, batch, service};
use crate::{
    config::{FeastConfig, Scope},
    feature::{CustomerId, Tier},
    serving::{CustomerRead, ReadError, Served},
};

mod answer;
mod columns;
mod plans;
mod refusal;
mod request;

pub use columns::{FeastType, misfits, resolve};

use answer::Found;
use plans::Plans;
use refusal::{Refusal, Unprocessable};
use request::Request;

/// The join key of the only entity.
pub const JOIN_KEY: &str = "customer_id";
/// The most ids of one request, as of one batch.
const MAX_IDS: usize = batch::MAX_IDS;

/// `[feast]`, the publish that it was last compared with, and what clients asked for of late.
#[derive(Debug)]
pub(super) struct Feast {
    config: FeastConfig,
    compared: AtomicU64,
    plans: Plans,
}

impl Feast {
    pub(super) fn new(config: FeastConfig) -> Self {
        Self { config, compared: AtomicU64::new(0), plans: Plans::default() }
    }

    /// Complains in the log, once for each publish, of names that its snapshot does not have.
    fn compare(&self, served: &Served) {
        if self.compared.load(Ordering::Relaxed) != served.publish {
            self.compared.store(served.publish, Ordering::Relaxed);
            for why in misfits(&self.config, &served.manifest.views) {
                tracing::error!(snapshot = %served.manifest.id, why, "[feast] does not fit the snapshot");
            }
        }
    }
}

/// Which features of which customers.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of a body that is read field by field, for the contract")]
pub(super) struct OnlineFeaturesRequest {
    /// The customers.
    entities: Entities,
    /// Features as `view:feature`.
    #[schema(example = json!(["rfm:segment", "behavior:spend_90d"]))]
    features: Option<Vec<String>>,
    /// A feature service of the configuration, instead of `features`.
    #[schema(example = json!(null))]
    feature_service: Option<String>,
    /// Whether the names in the answer are `view__feature`; false unless given.
    #[schema(example = false)]
    full_feature_names: Option<bool>,
}

/// The customers of a request.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of a body that is read field by field, for the contract")]
pub(super) struct Entities {
    /// At most 1,000 ids, as texts or integers; repeats stay. The values of an id that cannot be a customer's are `NOT_FOUND`.
    #[schema(max_items = 1000, example = json!(["17850", 14646, "nobody"]))]
    customer_id: Vec<EntityId>,
}

/// A value of the join key.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "the form of a value that is read by hand, for the contract")]
enum EntityId {
    /// A customer's id.
    Id(batch::BatchId),
    /// No customer's id, as Feast's own server takes it.
    Boolean(bool),
}

/// Features, each with the values of all customers.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct OnlineFeatures {
    /// What the results are.
    metadata: OnlineFeaturesMetadata,
    /// One for each of the names.
    results: Vec<FeatureVector>,
}

/// What the results of an answer are.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct OnlineFeaturesMetadata {
    /// `customer_id`, then the features in the order asked.
    #[schema(example = json!(["customer_id", "segment", "spend_90d"]))]
    feature_names: Vec<String>,
}

/// The values of one feature, in the order of the customers.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct FeatureVector {
    /// The values; null unless present.
    #[schema(value_type = Vec<serde_json::Value>, example = json!(["cant_lose", "champions", null]))]
    values: Vec<()>,
    /// What is known of each value.
    statuses: Vec<FieldStatus>,
    /// The `as_of` of each value; the epoch where there is none, and for `customer_id`.
    #[schema(example = json!(["2011-12-09T12:50:00Z", "2011-12-09T12:50:00Z", "1970-01-01T00:00:00Z"]))]
    event_timestamps: Vec<String>,
}

/// What is known of a value: it is there; the customer is in the view without it, or the caller may not see it; the customer
/// is not in the view, or the id cannot be a customer's; it is too old and withheld; no tier could tell.
#[derive(Debug, ToSchema)]
#[schema(example = "PRESENT", rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) enum FieldStatus {
    Present,
    NullValue,
    NotFound,
    OutsideMaxAge,
    Invalid,
}

/// Features as Feast's clients ask for them
#[utoipa::path(
    post, path = "/get-online-features", tag = "feast", operation_id = "get_online_features",
    request_body(content = OnlineFeaturesRequest, description = "Which features of which customers; unknown fields are ignored"),
    responses(
        (status = 200, description = "A result per feature, with the values of all customers", body = OnlineFeatures),
        (status = 404, description = "An unknown view, feature, feature service or entity, as JSON in a text", body = String, content_type = "application/json",
            example = json!("{\"module\":\"feast.errors\",\"class\":\"FeatureViewNotFoundException\",\"message\":\"Feature view nope does not exist\"}")),
        (status = 413, description = "The body is over the limit", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON, or it is compressed", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body is not of the form asked for, or two features have one name", body = Unprocessable),
        (status = 503, description = "No id could be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn online_features(
    State(app): State<Arc<App>>,
    access: Access,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let body = batch::json_body(&headers, body, app.config.body_limit).await?;
    let request = Request::parse(&body)?;
    let served = app.serving.current()?;
    app.feast.compare(&served);
    let form = (request.full_names, !access.may(Scope::Pii));
    let columns = app.feast.plans.columns(&served.manifest, &request.asked, form, &app.feast.config)?;
    let ids: Vec<CustomerId> = request.ids.iter().flatten().cloned().collect();
    let answers = app.serving.customers(&served, &ids).await;
    if let Some(Err(error)) = answers.first().filter(|_| answers.iter().all(Result::is_err)) {
        return Err(error.clone().into());
    }
    let answers = in_place(&request.ids, answers);
    let found = Found { served: &served, answers: &answers, given: &request.given, now: chrono::Utc::now() };
    let mut response = Response::new(Body::from(answer::write(&columns, &found)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    audit::note(&mut response, &access, || &columns.personal, || audit::found(&answers));
    Ok(response)
}

/// The answers in the places of the ids that were asked for, and that there is no such customer in those of the others.
fn in_place(
    ids: &[Option<CustomerId>],
    answers: Vec<Result<CustomerRead, ReadError>>,
) -> Vec<Result<CustomerRead, ReadError>> {
    if answers.len() == ids.len() {
        return answers;
    }
    let mut answers = answers.into_iter();
    let nobody = || Ok(CustomerRead { row: None, tier: Tier::Memory, label: None });
    ids.iter().map(|id| id.as_ref().and_then(|_| answers.next()).unwrap_or_else(nobody)).collect()
}

/// Whether requests should be sent here, as Feast's clients ask
#[utoipa::path(
    get, path = "/health", tag = "feast", operation_id = "feast_health",
    responses(
        (status = 200, description = "Ready"),
        (status = 503, description = "Nothing is served yet, no tier answers, or the process is stopping"),
    )
)]
pub(super) async fn health(State(app): State<Arc<App>>) -> StatusCode {
    if service::ready(&app) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
