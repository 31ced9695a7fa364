//! `ETag` and `If-None-Match`: a read changes with the publish, the form of the rows, the list of the forgotten and what the
//! caller may see, and with nothing else; one over time with the retained snapshots too.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::access::Access;
use crate::{
    config::Scope,
    serving::{CustomerRead, ReadError, Served, Timeline},
};

/// The weak tag of everything that `served` answers to those with the scopes of `access`.
pub(super) fn tag(served: &Served, access: &Access) -> HeaderValue {
    let tag = if access.may(Scope::Pii) { &served.tag } else { &served.masked_tag };
    HeaderValue::from_maybe_shared(tag.clone()).unwrap_or(HeaderValue::from_static("W/\"none\""))
}

/// The weak tag of everything that the snapshots of `timeline`, of which `served` is the current one, tell together.
pub(super) fn tag_over_time(served: &Served, access: &Access, timeline: &Timeline) -> HeaderValue {
    let tag = tag(served, access);
    let mut snapshots = DefaultHasher::new();
    timeline.all().iter().for_each(|manifest| manifest.id.hash(&mut snapshots));
    let text = tag.to_str().unwrap_or_default().trim_end_matches('"');
    HeaderValue::try_from(format!("{text}-{:016x}\"", snapshots.finish())).unwrap_or(tag)
}

/// 304 where the caller has what `served` would answer.
pub(super) fn not_modified(headers: &HeaderMap, served: &Served, access: &Access) -> Option<Response> {
    headers.get(header::IF_NONE_MATCH)?;
    has(headers, &tag(served, access))
}

/// 304 where the caller has what goes by `tag`.
pub(super) fn has(headers: &HeaderMap, tag: &HeaderValue) -> Option<Response> {
    let given = headers.get(header::IF_NONE_MATCH)?.to_str().ok()?;
    let known = tag.to_str().ok()?.trim_start_matches("W/");
    let same =
        given.trim() == "*" || given.split(',').any(|one| one.trim().trim_start_matches("W/") == known);
    same.then(|| (StatusCode::NOT_MODIFIED, [(header::ETAG, tag.clone())]).into_response())
}

/// JSON text as an answer of `served`; without a tag where not all of it is (`whole`) but some of a publish under way.
pub(super) fn json(served: &Served, access: &Access, whole: bool, text: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if whole {
        response.headers_mut().insert(header::ETAG, tag(served, access));
    }
    response
}

/// Whether all of `answers` are of the served snapshot.
pub(super) fn whole(answers: &[Result<CustomerRead, ReadError>]) -> bool {
    answers.iter().flatten().all(|answer| answer.label.is_none())
}
