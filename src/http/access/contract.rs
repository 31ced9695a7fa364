//! The contract's word on access: the two ways of sending a key, and for every operation the scope and the refusals.

use serde_json::{Value, json};

use super::{Need, need};

/// Adds to `document` what [`need`] says of its paths.
pub(in crate::http) fn secure(document: &mut Value) {
    let problem = |description: &str, headers: Value| {
        let content =
            json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        json!({"description": description, "headers": headers, "content": content})
    };
    let text = |description: &str, example: &str| json!({"description": description, "schema": {"type": "string"}, "example": example});
    let scheme = "A key that `larder key` made. A service without keys needs none on loopback, \
        and with `anonymous = true` none for the scopes `features` and `metrics`.";
    document["components"]["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": scheme},
        "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": scheme},
    });
    document["components"]["responses"] = json!({
        "Unauthorized": problem("No key, or one that nobody has",
            json!({"WWW-Authenticate": text("How to send a key", "Bearer")})),
        "Forbidden": problem("The key lacks the scope that the detail names", json!({})),
        "TooManyRequests": problem("The key has a rate, and is past it",
            json!({"Retry-After": text("Seconds until there is room again", "1")})),
    });
    let paths = document["paths"].as_object_mut();
    for (template, methods) in paths.into_iter().flatten() {
        let need = need(template);
        for operation in methods.as_object_mut().into_iter().flatten().map(|(_, operation)| operation) {
            let Need::Scope(scope) = need else {
                operation["security"] = json!([]);
                continue;
            };
            operation["security"] = json!([{"bearer": [scope.as_str()]}, {"api_key": [scope.as_str()]}]);
            for (status, name) in [("401", "Unauthorized"), ("403", "Forbidden"), ("429", "TooManyRequests")]
            {
                operation["responses"][status] = json!({"$ref": format!("#/components/responses/{name}")});
            }
        }
    }
}
