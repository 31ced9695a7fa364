//! The OpenAPI document: written by the handlers, completed with the features of a snapshot and with access
//! rules.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::{extract::State, http::HeaderMap, response::Response};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use super::{
    App, endpoints,
    reply::stored::StoredAnswer,
    route_table::{Endpoints, Need},
};
use crate::{
    config::HttpConfig,
    feature::{FeatureView, product_names_key},
    snapshot::SnapshotId,
};

/// The OpenAPI document with the built-in views, as committed to the repository.
pub const COMMITTED: &str = include_str!("../../openapi/openapi.json");

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Larder",
        description = "Customer features, computed once per run and served in well under a millisecond.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    tags(
        (name = "customers", description = "Features of customers"),
        (name = "recommendations", description = "Next products and similar products"),
        (name = "segments", description = "Segments, churn lists and audiences"),
        (name = "exports", description = "Lists as files"),
        (name = "over time", description = "Segments and customers across snapshots"),
        (name = "catalog", description = "Views, snapshots and models"),
        (name = "feast", description = "Feast's feature server API"),
        (name = "service", description = "Health, metrics and this document"),
    )
)]
pub(super) struct Head;

/// Get the OpenAPI document
#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "openapi",
    responses(
        (status = 200, description = "The document, with the views of the current snapshot",
            body = Object, example = json!({"openapi": "3.1.0", "info": {"title": "Larder"}})),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
    )
)]
pub(super) async fn openapi(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    app.document.current(&app).answer.answer(&headers, "no-cache", app.config.compression)
}

/// The document of the current snapshot, made by the first request after the snapshot was activated.
#[derive(Debug, Default)]
pub(super) struct CurrentDocument(ArcSwapOption<SnapshotDocument>);

#[derive(Debug)]
struct SnapshotDocument {
    /// The snapshot; `None` if none is active yet.
    snapshot: Option<SnapshotId>,
    answer: StoredAnswer,
}

impl CurrentDocument {
    fn current(&self, app: &App) -> Arc<SnapshotDocument> {
        let served = app.serving.current().ok();
        let snapshot = served.as_ref().map(|served| &served.manifest.id);
        if let Some(made) = self.0.load_full()
            && made.snapshot.as_ref() == snapshot
        {
            return made;
        }
        let mut views = served.as_ref().map_or_else(Vec::new, |served| served.manifest.views.clone());
        if app.layers.has_keys() {
            // Only callers with a key may know which features are personal: `GET /v1/views` tells them.
            let features = views.iter_mut().flat_map(|view| &mut view.features);
            features.for_each(|feature| feature.personal = false);
        }
        let answer = StoredAnswer::new("application/json", with_views(&views).to_string().into());
        let made = Arc::new(SnapshotDocument { snapshot: snapshot.cloned(), answer });
        self.0.store(Some(Arc::clone(&made)));
        made
    }
}

/// Returns the document with the features of `views`.
#[must_use]
pub fn with_views(views: &[FeatureView]) -> Value {
    let Endpoints { router, needs } = endpoints(&HttpConfig::default());
    let mut document = serde_json::to_value(router.into_openapi()).unwrap_or(Value::Null);
    if let Some(schema) = document.pointer_mut("/components/schemas/Views") {
        let properties: Map<String, Value> =
            views.iter().map(|view| (view.name.clone(), view_schema(view))).collect();
        if !properties.is_empty() {
            schema["properties"] = Value::Object(properties);
        }
    }
    // An id may have more digits than a 64-bit integer.
    if let Some(ids) = document.pointer_mut("/components/schemas/BatchId/oneOf").and_then(Value::as_array_mut)
    {
        ids.iter_mut().filter_map(Value::as_object_mut).for_each(|id| drop(id.remove("format")));
    }
    add_access_rules(&mut document, &needs);
    document
}

fn view_schema(view: &FeatureView) -> Value {
    let features: Map<String, Value> = view
        .features
        .iter()
        .map(|feature| {
            let mut schema = value_schema(&feature.data_type);
            let personal =
                if feature.personal { "Personal: null for callers without the scope `pii`." } else { "" };
            let description = format!("{} {personal}", feature.description);
            if !description.trim().is_empty() {
                schema["description"] = json!(description.trim());
            }
            (feature.name.clone(), schema)
        })
        .chain(view.features.iter().filter_map(|feature| {
            let key = product_names_key(&view.name, &feature.name)?;
            let mut schema = value_schema(&feature.data_type);
            schema["description"] = json!(format!("With `names`: the name of each id in {}.", feature.name));
            Some((key.to_owned(), schema))
        }))
        .collect();
    json!({"type": ["object", "null"], "description": view.description, "properties": features})
}

/// Returns the JSON schema of an Arrow type, which is given as the manifest spells it.
fn value_schema(arrow: &str) -> Value {
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

/// Errors of every operation that needs a scope.
const ANY_ERRORS: &[(&str, &str)] =
    &[("401", "Unauthorized"), ("403", "Forbidden"), ("429", "TooManyRequests"), ("503", "Unavailable")];
/// Errors of operations with a request body.
const BODY_ERRORS: &[(&str, &str)] = &[("413", "BodyTooLarge"), ("415", "UnsupportedMediaType")];

/// Adds the two ways to send a key, and to each operation its scope and the answers that all operations have.
fn add_access_rules(document: &mut Value, needs: &[(String, Need)]) {
    let problem = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
    let header = |description: &str, example: &str| {
        let schema = json!({"type": "string"});
        json!({"description": description, "schema": schema, "example": example})
    };
    let scheme = "An API key made by `larder key`. A service without keys needs none on loopback, and with \
        `anonymous = true` none for the scopes `features` and `metrics`.";
    document["components"]["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": scheme},
        "basic": {"type": "http", "scheme": "basic",
            "description": "The API key as password, with any user name, where programs know no other way."},
        "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": scheme},
    });
    document["components"]["responses"] = json!({
        "BodyTooLarge": {"description": "The body is too large"},
        "UnsupportedMediaType": {"description": "The body is not JSON, or is compressed"},
        "Unauthorized": {"description": "No API key, or an unknown one",
            "headers": {"WWW-Authenticate": header("How to send a key: one header for each way", "Bearer")}},
        "Forbidden": {"description": "The key lacks the scope that the detail names"},
        "TooManyRequests": {"description": "Rate limit of the key exceeded",
            "headers": {"Retry-After": header("Seconds to wait before the next request", "1")}},
        "Unavailable": {"description": "No snapshot is active, or no tier can answer",
            "headers": {"Retry-After": header("Seconds to wait before the next request", "1")}},
    });
    for (_, response) in document["components"]["responses"].as_object_mut().into_iter().flatten() {
        response["content"] = problem.clone();
    }
    for (template, methods) in document["paths"].as_object_mut().into_iter().flatten() {
        let scope = needs.iter().find(|(path, _)| path == template).and_then(|(_, need)| match need {
            Need::Public => None,
            Need::Scope(scope) => Some(scope.as_str()),
        });
        for (_, operation) in methods.as_object_mut().into_iter().flatten() {
            let Some(scope) = scope else {
                operation["security"] = json!([]);
                continue;
            };
            operation["security"] = json!([{"bearer": [scope]}, {"api_key": [scope]}, {"basic": [scope]}]);
            let has_body = operation.get("requestBody").is_some();
            let Some(responses) = operation["responses"].as_object_mut() else { continue };
            // An error without a body of its own is a problem.
            for (_, response) in responses.iter_mut().filter(|(status, _)| status.starts_with(['4', '5'])) {
                if let Some(response) = response.as_object_mut() {
                    response.entry("content").or_insert_with(|| problem.clone());
                }
            }
            for (status, name) in ANY_ERRORS.iter().chain(if has_body { BODY_ERRORS } else { &[] }) {
                let reference = json!({"$ref": format!("#/components/responses/{name}")});
                responses.entry(*status).or_insert(reference);
            }
        }
    }
}
