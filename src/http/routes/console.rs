//! `/`: the console, a page made of the public API, from files that the binary holds compressed.
//!
//! Files have the hash of their content in their names, so that clients keep them for good. The page has an
//! import map from the names in the sources to these names, and is checked with each visit.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    http::{App, problem, reply::stored::StoredAnswer},
    snapshot::hex,
};

mod files;

use files::{FILES, PAGE, SourceFile};

/// The paths of the page and of its files.
pub(crate) const PATHS: &[&str] = &["/", "/console/{*file}"];

/// The folder of the files.
const FOLDER: &str = "/console/";
/// The place of the import map in the page.
const IMPORT_MAP: &str = "<!-- import map -->";
/// Number of bytes of a hash in a name.
const HASH_BYTES: usize = 6;
/// The `Cache-Control` of the files: another content has another name.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

static CONSOLE: LazyLock<Console> = LazyLock::new(Console::new);

/// The page and its files, as they are sent.
struct Console {
    /// The page of a service with documentation, and of one without.
    pages: [StoredAnswer; 2],
    /// `Content-Security-Policy` of the page.
    policy: HeaderValue,
    /// Files by name with the hash.
    files: BTreeMap<String, StoredAnswer>,
}

impl Console {
    fn new() -> Self {
        // Style sheets name pictures; modules name modules through the import map.
        let (leaves, sheets): (Vec<_>, Vec<_>) = FILES.iter().partition(|file| !file.is_style_sheet());
        let mut names = BTreeMap::new();
        let mut files = BTreeMap::new();
        for file in leaves.into_iter().chain(sheets) {
            let text =
                if file.is_style_sheet() { with_names(file.text, &names) } else { file.text.to_owned() };
            let name = hashed_name(file, &text);
            names.insert(file.name, name.clone());
            files.insert(name, StoredAnswer::new(file.content_type(), text.into()));
        }
        let import_map = import_map(&names);
        let page = with_names(PAGE, &names)
            .replace(IMPORT_MAP, &format!("<script type=\"importmap\">{import_map}</script>"));
        let page_without_docs = page.replacen("<html", "<html data-docs=\"false\"", 1);
        let stored = |page: String| StoredAnswer::new("text/html; charset=utf-8", page.into());
        Self { pages: [stored(page), stored(page_without_docs)], policy: policy(&import_map), files }
    }
}

/// Returns the name of a file with the hash of its content: `lib/api-0123456789ab.js`.
fn hashed_name(file: &SourceFile, text: &str) -> String {
    let hash = hex(&Sha256::digest(text)[..HASH_BYTES]);
    let (stem, extension) = file.name.rsplit_once('.').unwrap_or((file.name, ""));
    format!("{stem}-{hash}.{extension}")
}

/// Returns `text` with the hashes in all names of files.
fn with_names(text: &str, names: &BTreeMap<&str, String>) -> String {
    names.iter().fold(text.to_owned(), |text, (name, hashed)| {
        text.replace(&format!("\"{FOLDER}{name}\""), &format!("\"{FOLDER}{hashed}\""))
    })
}

/// Returns the import map: the address of each module as the sources name it, and the address with the hash.
fn import_map(names: &BTreeMap<&str, String>) -> String {
    let address = |name: &str| format!("{FOLDER}{name}");
    let modules = FILES.iter().filter(|file| file.is_module());
    let imports: BTreeMap<String, String> =
        modules.filter_map(|file| Some((address(file.name), address(names.get(file.name)?)))).collect();
    json!({ "imports": imports }).to_string()
}

/// Returns the `Content-Security-Policy` of the page: its own files and API, the one script in the page, no
/// text that becomes markup or code, and no frame around the page.
fn policy(import_map: &str) -> HeaderValue {
    let hash = STANDARD.encode(Sha256::digest(import_map));
    let policy = format!(
        "default-src 'none'; script-src 'self' 'sha256-{hash}'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Returns the router of these paths.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new().route(PATHS[0], get(page)).route(PATHS[1], get(file))
}

/// Answers a request for the page.
async fn page(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let page = &CONSOLE.pages[usize::from(!app.config.docs)];
    let mut response = page.answer(&headers, "no-cache", app.config.compression);
    let named = [
        (header::CONTENT_SECURITY_POLICY, CONSOLE.policy.clone()),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    response.headers_mut().extend(named);
    response
}

/// Answers a request for a file of the page.
async fn file(State(app): State<Arc<App>>, request: Request) -> Response {
    let path = request.uri().path();
    let found = path.strip_prefix(FOLDER).and_then(|name| CONSOLE.files.get(name));
    found.map_or_else(
        || problem::not_found(path, app.config.docs).into_response(),
        |file| file.answer(request.headers(), FOR_GOOD, app.config.compression),
    )
}
