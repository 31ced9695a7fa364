//! `POST /get-online-features` and `GET /health`: the HTTP API of Feast's feature server.
//!
//! The only entity is the customer, with the join key `customer_id`. Feast's own server calls every value
//! `PRESENT`; the statuses here say more: `NULL_VALUE` (in the view, but without the value, or with a value
//! that the caller must not see), `NOT_FOUND` (not in the view, no such customer, or an id that cannot be a
//! customer's), `OUTSIDE_MAX_AGE` (older than `max_age` in `[feast]` allows, and withheld), and `INVALID`,
//! Feast's word for an unset status, where no tier can answer. Structs, and lists of structs, are JSON in a
//! string.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{extract::State, http::StatusCode, response::Response};
use utoipa::ToSchema;

use crate::{
    config::{FeastConfig, Scope},
    feast::misfits,
    feature::{CustomerId, Tier},
    http::{
        App,
        access::Access,
        extract::{BatchId, RawJsonBody},
        reply::{audit, conditional},
    },
    serving::{CustomerRead, ReadError, Served},
};

mod answer;
mod columns;
mod plans;
mod refusal;
mod request;

use answer::{FeastAnswers, FieldStatus};
use plans::{NameForm, Plans};
use refusal::{Refusal, Unprocessable};
use request::Request;

/// State of the API: the configuration, the publish that was last checked against it, and recent requests.
#[derive(Debug)]
pub(crate) struct Feast {
    config: FeastConfig,
    /// Number of the publish that was checked.
    checked: AtomicU64,
    plans: Plans,
}

impl Feast {
    pub(crate) fn new(config: FeastConfig) -> Self {
        Self { config, checked: AtomicU64::new(0), plans: Plans::default() }
    }

    /// Logs, once for each publish, the configured names that its snapshot does not have.
    fn check_names(&self, served: &Served) {
        if self.checked.swap(served.publish, Ordering::Relaxed) != served.publish {
            for why in misfits(&self.config, &served.manifest.views) {
                tracing::error!(snapshot = %served.manifest.id, why, "[feast] does not fit the snapshot");
            }
        }
    }
}

/// Customers and features.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "read field by field; this is the shape for the OpenAPI document")]
pub(crate) struct OnlineFeaturesRequest {
    /// The customers.
    entities: Entities,
    /// Features as `view:feature`.
    #[schema(example = json!(["rfm:segment", "behavior:spend_90d"]))]
    features: Option<Vec<String>>,
    /// A feature service of the configuration, instead of `features`.
    #[schema(example = json!(null))]
    feature_service: Option<String>,
    /// Whether names in the answer are `view__feature`; by default false.
    #[schema(example = false)]
    full_feature_names: Option<bool>,
}

/// The customers of a request.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "read field by field; this is the shape for the OpenAPI document")]
pub(crate) struct Entities {
    /// At most 1,000 ids, as strings or integers. Repeated ids get repeated values. Values of an id that
    /// cannot be a customer's are `NOT_FOUND`.
    #[schema(max_items = 1000, example = json!(["17850", 14646, "nobody"]))]
    customer_id: Vec<EntityId>,
}

/// A value of the join key.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "read by hand; this is the shape for the OpenAPI document")]
enum EntityId {
    /// A customer's id.
    Id(BatchId),
    /// Never a customer's id; Feast's own server accepts booleans.
    Boolean(bool),
}

/// One vector for each feature, with the values of all customers.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written byte by byte; this is the shape for the OpenAPI document")]
pub(crate) struct OnlineFeatures {
    /// Names of the results.
    metadata: OnlineFeaturesMetadata,
    /// One result for each name.
    results: Vec<FeatureVector>,
}

/// Names of the results.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written byte by byte; this is the shape for the OpenAPI document")]
pub(crate) struct OnlineFeaturesMetadata {
    /// `customer_id`, then the features in the order of the request.
    #[schema(example = json!(["customer_id", "segment", "spend_90d"]))]
    feature_names: Vec<String>,
}

/// The values of one feature, in the order of the customers.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written byte by byte; this is the shape for the OpenAPI document")]
pub(crate) struct FeatureVector {
    /// The values; null unless the status is `PRESENT`.
    #[schema(value_type = Vec<serde_json::Value>, example = json!(["cant_lose", "champions", null]))]
    values: Vec<()>,
    /// The status of each value.
    statuses: Vec<FieldStatus>,
    /// The `as_of` of each value; the epoch for values without one, and for `customer_id`.
    #[schema(example = json!(["2011-12-09T12:50:00Z", "2011-12-09T12:50:00Z", "1970-01-01T00:00:00Z"]))]
    event_timestamps: Vec<String>,
}

/// Get online features (Feast)
#[utoipa::path(
    post, path = "/get-online-features", tag = "feast", operation_id = "get_online_features",
    request_body(
        content = OnlineFeaturesRequest,
        description = "Customers and features; unknown fields are ignored",
    ),
    responses(
        (status = 200, description = "One result for each feature, with the values of all customers",
            body = OnlineFeatures),
        (status = 404, description = "An unknown view, feature, service or entity, as JSON in a string",
            body = String, content_type = "application/json",
            example = json!("{\"module\":\"feast.errors\",\"class\":\"FeatureViewNotFoundException\",\
                \"message\":\"Feature view nope does not exist\"}")),
        (status = 422, description = "The body has the wrong shape, or two features have one name",
            body = Unprocessable),
    )
)]
pub(crate) async fn get_online_features(
    State(app): State<Arc<App>>,
    access: Access,
    body: RawJsonBody,
) -> Result<Response, Refusal> {
    let request = Request::parse(body.bytes())?;
    let served = app.serving.current()?;
    app.feast.check_names(&served);
    let form = NameForm { full_names: request.full_names, masked: !access.has(Scope::Pii) };
    let columns = app.feast.plans.columns(&served.manifest, &request.wanted, form, &app.feast.config)?;
    let ids: Vec<CustomerId> = request.ids.iter().flatten().cloned().collect();
    access.charge(ids.len() as u64)?;
    let answers = app.serving.customers(&served, &ids).await?;
    let answers = align(&request.ids, answers);
    let written = answer::write(
        &columns,
        &FeastAnswers { served: &served, answers: &answers, given: &request.given, now: chrono::Utc::now() },
    );
    let mut response = conditional::json_text(written, None);
    audit::note(&mut response, &access, || &columns.personal, || audit::found(&answers));
    Ok(response)
}

/// Puts the answers in the places of their ids; an id that cannot be a customer's gets the answer "no such
/// customer".
fn align(
    ids: &[Option<CustomerId>],
    answers: Vec<Result<CustomerRead, ReadError>>,
) -> Vec<Result<CustomerRead, ReadError>> {
    if answers.len() == ids.len() {
        return answers;
    }
    let mut answers = answers.into_iter();
    let unknown = || Ok(CustomerRead { row: None, tier: Tier::Memory, label: None });
    ids.iter().map(|id| id.as_ref().and_then(|_| answers.next()).unwrap_or_else(unknown)).collect()
}

/// Readiness probe (Feast)
#[utoipa::path(
    get, path = "/health", tag = "feast", operation_id = "feast_health",
    responses(
        (status = 200, description = "Ready"),
        (status = 503, description = "No active snapshot, no tier answers, or the process is shutting down"),
    )
)]
pub(crate) async fn feast_health(State(app): State<Arc<App>>) -> StatusCode {
    if app.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
