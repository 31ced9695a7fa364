//! `ETag` and `If-None-Match`.
//!
//! An answer changes with the publish, the layout of the rows, the erasure list and the caller's right to
//! personal data; an answer over time also with the retained snapshots.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    config::Scope,
    http::{
        Problem,
        access::Access,
        extract::{Selection, SnapshotRead},
    },
    serving::{CustomerRead, Served, Timeline},
};

/// Returns the weak tag of every answer from `served` to callers with the scopes of `access`.
pub(crate) fn of_snapshot(served: &Served, access: &Access) -> HeaderValue {
    let tag = if access.has(Scope::Pii) { &served.tag } else { &served.masked_tag };
    HeaderValue::from_maybe_shared(tag.clone()).unwrap_or(HeaderValue::from_static("W/\"none\""))
}

/// Returns the weak tag of every answer from all snapshots of `timeline`, of which `served` is the current
/// one.
pub(crate) fn of_timeline(served: &Served, access: &Access, timeline: &Timeline) -> HeaderValue {
    let tag = of_snapshot(served, access);
    let mut snapshots = DefaultHasher::new();
    timeline.all().iter().for_each(|manifest| manifest.id.hash(&mut snapshots));
    let text = tag.to_str().unwrap_or_default().trim_end_matches('"');
    HeaderValue::try_from(format!("{text}-{:016x}\"", snapshots.finish())).unwrap_or(tag)
}

/// Returns 304 if the caller has the answer from the snapshot already.
pub(crate) fn not_modified(read: &SnapshotRead) -> Option<Response> {
    not_modified_by(read.if_none_match.as_ref(), &of_snapshot(&read.served, &read.access))
}

/// Returns 304 if `If-None-Match` has `tag`.
pub(crate) fn not_modified_by(if_none_match: Option<&HeaderValue>, tag: &HeaderValue) -> Option<Response> {
    let known = if_none_match?.to_str().ok()?;
    let opaque = tag.to_str().ok()?.trim_start_matches("W/");
    let mut tags = known.split(',').map(|tag| tag.trim().trim_start_matches("W/"));
    if known.trim() == "*" || tags.any(|tag| tag == opaque) {
        Some((StatusCode::NOT_MODIFIED, [(header::ETAG, tag.clone())]).into_response())
    } else {
        None
    }
}

/// Returns `body` as JSON, with the tag of the snapshot.
pub(crate) fn json(read: &SnapshotRead, body: &impl Serialize) -> Result<Response, Problem> {
    json_tagged(body, Some(of_snapshot(&read.served, &read.access)))
}

/// Returns `body` as JSON, with a tag where the answer has one.
pub(crate) fn json_tagged(body: &impl Serialize, tag: Option<HeaderValue>) -> Result<Response, Problem> {
    let text = serde_json::to_vec(body).map_err(|error| Problem::internal(error.to_string()))?;
    Ok(json_text(text, tag))
}

/// Returns JSON text, with a tag where the answer has one.
pub(crate) fn json_text(text: Vec<u8>, tag: Option<HeaderValue>) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Returns the tag of an answer made of `answers`, unless one of them comes from a publish that is under way,
/// or the answer lacks a part of `selection`.
pub(crate) fn of_answers<'a>(
    served: &Served,
    access: &Access,
    selection: &Selection,
    answers: impl IntoIterator<Item = &'a CustomerRead>,
) -> Option<HeaderValue> {
    let is_current = answers.into_iter().all(|answer| answer.label.is_none());
    if is_current && selection.is_readable() { Some(of_snapshot(served, access)) } else { None }
}
