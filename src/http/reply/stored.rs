//! Answers that are made once and sent many times: the files of the documentation, and the OpenAPI document.
//!
//! They are stored compressed, so that no request compresses them.

use std::{
    io::{Read, Write},
    sync::OnceLock,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use sha2::{Digest, Sha256};

use super::conditional;
use crate::snapshot::hex;

/// The first bytes of data in the format of gzip.
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// A body in both of its forms, with its type and its tag.
#[derive(Debug)]
pub(crate) struct StoredAnswer {
    content_type: HeaderValue,
    tag: HeaderValue,
    /// Body as gzip.
    gzip: Bytes,
    /// Body without compression, made for the first client that does not accept gzip.
    plain: OnceLock<Bytes>,
}

impl StoredAnswer {
    /// Stores `body`, which may be compressed already.
    pub(crate) fn new(content_type: &str, body: Bytes) -> Self {
        let digest = hex(&Sha256::digest(&body)[..8]);
        let stored = Self {
            content_type: HeaderValue::try_from(content_type)
                .unwrap_or(HeaderValue::from_static("application/octet-stream")),
            tag: HeaderValue::try_from(format!("W/\"{digest}\""))
                .unwrap_or(HeaderValue::from_static("W/\"none\"")),
            gzip: Bytes::new(),
            plain: OnceLock::new(),
        };
        if body.starts_with(GZIP_MAGIC) {
            return Self { gzip: body, ..stored };
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // Cannot fail: writing to memory does not fail.
        let gzip = encoder.write_all(&body).and_then(|()| encoder.finish()).unwrap_or_default();
        Self { gzip: gzip.into(), plain: body.into(), ..stored }
    }

    /// Answers a request with `headers`: 304 if the client has the body already, else the body, as gzip if
    /// `compresses` and the client accepts gzip.
    pub(crate) fn answer(
        &self,
        headers: &HeaderMap,
        cache_control: &'static str,
        compresses: bool,
    ) -> Response {
        let unchanged = conditional::not_modified_by(headers.get(header::IF_NONE_MATCH), &self.tag);
        let mut response = unchanged.unwrap_or_else(|| self.body(compresses && accepts_gzip(headers)));
        let named = [
            (header::ETAG, self.tag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static(cache_control)),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        response.headers_mut().extend(named);
        response
    }

    fn body(&self, as_gzip: bool) -> Response {
        let content_type = [(header::CONTENT_TYPE, self.content_type.clone())];
        if as_gzip {
            let encoding = [(header::CONTENT_ENCODING, "gzip")];
            return (content_type, encoding, Body::from(self.gzip.clone())).into_response();
        }
        let plain = self.plain.get_or_init(|| {
            let mut plain = Vec::new();
            if let Err(error) = GzDecoder::new(&self.gzip[..]).read_to_end(&mut plain) {
                tracing::error!(%error, "a stored answer cannot be decompressed");
            }
            plain.into()
        });
        (content_type, Body::from(plain.clone())).into_response()
    }
}

/// Checks whether `Accept-Encoding` allows gzip.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut wildcard = false;
    for coding in values.flat_map(|value| value.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), |weight| weight.trim().parse());
        let is_allowed = weight.is_ok_and(|weight: f32| weight > 0.0);
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") => return is_allowed,
            "*" => wildcard = is_allowed,
            _ => {}
        }
    }
    wildcard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_accepted_by_name_or_wildcard_unless_its_weight_is_zero() {
        for (value, accepted) in [
            ("gzip", true),
            ("br, GZip;q=0.5", true),
            ("zstd, *", true),
            ("gzip;q=0", false),
            ("*, gzip; q=0", false),
            ("*;q=0", false),
            ("gzip;q=x", false),
            ("identity", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, value.parse().expect("a value"))]);
            assert_eq!(accepts_gzip(&headers), accepted, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
