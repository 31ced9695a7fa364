//! `/docs`: a page that shows the OpenAPI document, from assets that the binary holds compressed.

use std::sync::Arc;

use axum::Router;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::http::App;

/// The paths of the page and of its assets.
pub(crate) const PATHS: &[&str] = &["/docs", "/docs/", "/docs/{*file}"];

/// Returns the router of these paths.
pub(crate) fn router() -> Router<Arc<App>> {
    SwaggerUi::new("/docs").config(Config::from("/openapi.json")).into()
}
