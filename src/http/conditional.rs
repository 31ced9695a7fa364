//! `ETag` and `If-None-Match`: a read changes with the publish and with the form of the rows, and with nothing else.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::serving::Served;

/// The weak tag of everything that `served` answers.
pub(super) fn tag(served: &Served) -> HeaderValue {
    let mut form = DefaultHasher::new();
    for view in &served.manifest.views {
        view.name.hash(&mut form);
        view.features.iter().for_each(|feature| (&feature.name, &feature.data_type).hash(&mut form));
    }
    let text = format!("W/\"{}-{}-{:08x}\"", served.publish, served.manifest.id, form.finish() >> 32);
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("W/\"none\""))
}

/// 304 where the caller has what `served` would answer.
pub(super) fn not_modified(headers: &HeaderMap, served: &Served) -> Option<Response> {
    let given = headers.get(header::IF_NONE_MATCH)?.to_str().ok()?;
    let tag = tag(served);
    let known = tag.to_str().ok()?.trim_start_matches("W/");
    let same = given.trim() == "*" || given.split(',').any(|one| one.trim().trim_start_matches("W/") == known);
    same.then(|| (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response())
}

/// JSON text as an answer of `served`.
pub(super) fn json(served: &Served, text: Vec<u8>) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::ETAG, tag(served))];
    (headers, Body::from(text)).into_response()
}
