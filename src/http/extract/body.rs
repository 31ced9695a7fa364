//! Request bodies: JSON of a limited size.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use serde::{Deserialize, de::DeserializeOwned};

use crate::http::{App, Problem};

/// A body over the limit is read up to this multiple of the limit, so that a client that is still sending
/// gets the answer; then the connection is closed.
const DRAINED: usize = 16;

/// Length in bytes of a short body.
const SHORT: u64 = 64 << 10;

/// The text of a body that must be JSON.
#[derive(Debug)]
pub(crate) struct RawJsonBody(Bytes);

/// A body in the form of `T`.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl RawJsonBody {
    /// Parses the text as `T`, which may borrow from it.
    pub(crate) fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        serde_json::from_slice(&self.0).map_err(|error| Problem::bad_body(error.to_string()))
    }

    /// Returns the bytes of the text.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromRequest<Arc<App>> for RawJsonBody {
    type Rejection = Problem;

    async fn from_request(mut request: Request, _: &Arc<App>) -> Result<Self, Problem> {
        let received = request.extensions_mut().remove::<ReceivedBody>();
        received.unwrap_or_else(ReceivedBody::missing).0.map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        RawJsonBody::from_request(request, app).await?.parse().map(Self)
    }
}

/// Checks that the body is JSON and not compressed, as far as the headers say.
fn check_headers(headers: &HeaderMap) -> Result<(), Problem> {
    // A page in a browser can send a body to another origin without asking first, but not with this type.
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") && !media_type.ends_with("+json") {
        return Err(Problem::bad_media_type("the body must be JSON, with `Content-Type: application/json`"));
    }
    let is_identity = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    if codings.all(|value| value.as_bytes().split(|byte| *byte == b',').all(is_identity)) {
        return Ok(());
    }
    Err(Problem::bad_content_encoding("compressed bodies are not supported; send no Content-Encoding"))
}

/// The body of a request, or the reason why it was not received. The lifecycle of a request leaves it for the
/// handler.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedBody(Result<Bytes, Problem>);

impl ReceivedBody {
    fn missing() -> Self {
        Self(Err(Problem::internal("the request reached a handler without its body")))
    }

    /// Receives a body of at most `limit` bytes. `hold` accounts for the memory of each chunk.
    pub(crate) async fn receive(
        headers: &HeaderMap,
        body: Incoming,
        limit: u64,
        hold: impl FnMut(usize) -> Result<(), Problem>,
    ) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self(match check_headers(headers) {
            Ok(()) => read(body, limit, hold).await,
            Err(problem) => Err(problem),
        })
    }
}

/// Reads a short body and drops it. To close the connection and to accept a new one costs more.
pub(crate) async fn drop_short_body(mut body: Incoming) {
    if body.size_hint().upper().is_some_and(|length| length <= SHORT) {
        while let Some(Ok(_)) = body.frame().await {}
    }
}

async fn read(
    mut body: Incoming,
    limit: usize,
    mut hold: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    let (mut text, mut length) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Problem::bad_body("the body ended early")) };
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= limit {
            hold(data.len())?;
            if text.is_empty() && body.is_end_stream() {
                return Ok(data);
            }
            text.extend_from_slice(&data);
        } else if length > limit.saturating_mul(DRAINED) {
            break;
        }
    }
    if length > limit {
        return Err(Problem::body_too_large(format!("the body is larger than {limit} bytes")));
    }
    Ok(text.freeze())
}
