//! Conversion of errors of the S3 API to errors of `object_store`.
//!
//! Messages contain status, code and message only: no header and no request, which could hold a secret.

use std::error::Error as StdError;

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use object_store::{Error, path::Path};

use crate::causes::with_causes;

/// Name of the store in messages.
const STORE: &str = "OSS";

/// Converts the error of a request for `path`.
pub(super) fn failed<E>(path: &Path, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + StdError + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let mut text = status.map(|status| status.to_string()).unwrap_or_default();
    let message = error.as_service_error().and_then(ProvideErrorMetadata::message);
    for part in [Some(code), message].into_iter().flatten().filter(|part| !part.is_empty()) {
        text = if text.is_empty() { part.to_owned() } else { format!("{text} {part}") };
    }
    if status.is_none() || text.is_empty() {
        // Without a response, the chain of causes explains the failure.
        text = with_causes(error);
    }
    let (path, source) = (path.to_string(), text.clone().into());
    match (status, code) {
        (_, "NoSuchBucket") => generic(text),
        (Some(404), _) => Error::NotFound { path, source },
        (Some(304), _) => Error::NotModified { path, source },
        (Some(412), _) => Error::Precondition { path, source },
        (Some(401), _) => Error::Unauthenticated { path, source },
        (Some(403), _) => Error::PermissionDenied { path, source },
        _ => generic(text),
    }
}

/// Returns an error without a more specific kind.
pub(super) fn generic(why: String) -> Error {
    Error::Generic { store: STORE, source: why.into() }
}
