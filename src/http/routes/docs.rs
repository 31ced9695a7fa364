//! `/docs`: a page that shows the OpenAPI document, from files that the binary holds compressed.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use utoipa_swagger_ui::{Config, serve};

use crate::http::{App, problem, reply::stored::StoredAnswer};

/// The paths of the page and of its files.
pub(crate) const PATHS: &[&str] = &["/docs", FOLDER, "/docs/{*file}"];

/// The path of the page.
const FOLDER: &str = "/docs/";
/// The files that the page loads. The package has more, for other ways to embed the page.
const NAMES: &[&str] = &[
    "index.html",
    "index.css",
    "favicon-16x16.png",
    "favicon-32x32.png",
    "swagger-initializer.js",
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
];
/// The `Cache-Control` of the files, which change only with the version of the program.
const CACHE_CONTROL: &str = "public, max-age=3600";
/// The `Content-Security-Policy` of the page: nothing from other origins, no scripts in the page itself, and
/// no frame around the page. Logos in the page have style elements.
const SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The files by name.
static FILES: LazyLock<Vec<(&str, StoredAnswer)>> = LazyLock::new(|| {
    let config = Arc::new(Config::from("/openapi.json"));
    let file = |name: &&'static str| {
        let file = serve(name, Arc::clone(&config)).ok().flatten()?;
        let body = match file.bytes {
            Cow::Borrowed(body) => Bytes::from_static(body),
            Cow::Owned(body) => body.into(),
        };
        Some((*name, StoredAnswer::new(&file.content_type, body)))
    };
    NAMES.iter().filter_map(file).collect()
});

/// Returns the router of these paths.
pub(crate) fn router() -> Router<Arc<App>> {
    PATHS.iter().fold(Router::new(), |router, path| router.route(path, get(file)))
}

/// Answers a request for the page or for one of its files.
async fn file(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path();
    let mut response = match path.strip_prefix(FOLDER) {
        None => Redirect::to(FOLDER).into_response(),
        Some(name) => {
            let name = if name.is_empty() { NAMES[0] } else { name };
            match FILES.iter().find(|(known, _)| *known == name) {
                Some((_, file)) => file.answer(request.headers(), CACHE_CONTROL, app.config.compression),
                None => problem::not_found(path, true).into_response(),
            }
        }
    };
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, SECURITY_POLICY);
    response
}
