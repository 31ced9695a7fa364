//! The contract: written by the handlers, completed with the views that a snapshot has.

use std::sync::Arc;

use axum::{Json, Router, extract::State};
use serde_json::{Value, json};
use utoipa::{OpenApi, ToSchema};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{App, access::contract, documented};
use crate::feature::FeatureView;

/// The contract with the built-in views, as the repository keeps it.
pub const COMMITTED: &str = include_str!("../../openapi/openapi.json");

/// View → feature → value; null where the customer is absent from the view.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"rfm": {"recency_days": 371, "frequency": 34, "monetary": 5288.63, "segment": "cant_lose"}}))]
pub(super) struct Views {}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Larder",
        description = "Customer features, computed once per run and served in well under a millisecond.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "customers", description = "Features of customers"),
        (name = "recommendations", description = "The next products, and similar ones"),
        (name = "segments", description = "Segments and their members"),
        (name = "exports", description = "Lists as files"),
        (name = "over time", description = "Segments and customers from snapshot to snapshot"),
        (name = "catalog", description = "What is served, and what it was made from"),
        (name = "feast", description = "For clients of Feast"),
        (name = "service", description = "For those who run the service"),
    )
)]
struct Head;

pub(super) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// Where that page and its assets are.
pub(super) const DOCS: [&str; 3] = ["/docs", "/docs/", "/docs/{*file}"];

/// The page that shows the contract, from assets inside the binary.
pub(super) fn docs() -> Router<Arc<App>> {
    SwaggerUi::new("/docs").config(Config::from("/openapi.json")).into()
}

/// The contract
#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "openapi",
    responses((status = 200, description = "The OpenAPI document, with the views of the current snapshot", body = Object,
        example = json!({"openapi": "3.1.0", "info": {"title": "Larder"}})))
)]
pub(super) async fn document(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.serving.current().map_or_else(|_| with_views(&[]), |served| with_views(&served.manifest.views)))
}

/// The contract with `views`.
#[must_use]
pub fn with_views(views: &[FeatureView]) -> Value {
    let (_, document) = documented().split_for_parts();
    let mut document = serde_json::to_value(document).unwrap_or(Value::Null);
    if let Some(schema) = document.pointer_mut("/components/schemas/Views") {
        let properties: serde_json::Map<String, Value> =
            views.iter().map(|view| (view.name.clone(), of_view(view))).collect();
        if !properties.is_empty() {
            schema["properties"] = Value::Object(properties);
        }
    }
    // An id may have any number of digits.
    if let Some(ids) = document.pointer_mut("/components/schemas/BatchId/oneOf").and_then(Value::as_array_mut)
    {
        ids.iter_mut().filter_map(Value::as_object_mut).for_each(|id| drop(id.remove("format")));
    }
    contract::secure(&mut document);
    document
}

fn of_view(view: &FeatureView) -> Value {
    let features: serde_json::Map<String, Value> = view
        .features
        .iter()
        .map(|feature| {
            let mut schema = of_type(&feature.data_type);
            let personal =
                if feature.personal { "Personal: null for callers without the scope `pii`." } else { "" };
            let description = format!("{} {personal}", feature.description);
            if !description.trim().is_empty() {
                schema["description"] = json!(description.trim());
            }
            (feature.name.clone(), schema)
        })
        .collect();
    json!({"type": ["object", "null"], "description": view.description, "properties": features})
}

/// The JSON form of an Arrow type.
fn of_type(arrow: &str) -> Value {
    match arrow.split('(').next().unwrap_or_default() {
        "Boolean" => json!({"type": ["boolean", "null"]}),
        "Int32" => json!({"type": ["integer", "null"], "format": "int32"}),
        "Int64" => json!({"type": ["integer", "null"], "format": "int64"}),
        "Float64" | "Decimal128" => json!({"type": ["number", "null"]}),
        "Utf8" => json!({"type": ["string", "null"]}),
        "Date32" => json!({"type": ["string", "null"], "format": "date"}),
        "Timestamp" => json!({"type": ["string", "null"], "format": "date-time"}),
        "List" => json!({"type": ["array", "null"], "items": {}}),
        "Struct" => json!({"type": ["object", "null"]}),
        _ => json!({}),
    }
}
