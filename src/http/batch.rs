//! `POST /v1/customers/batch`

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use bytes::BytesMut;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    App, Problem,
    access::Access,
    audit, conditional, customers,
    select::{self, Selection},
};
use crate::feature::{CustomerId, Tier};

/// The most ids of one batch.
pub(super) const MAX_IDS: usize = 1_000;
/// Of a body that is too large, so many times the limit is taken in before the connection is cut.
const TAKEN: usize = 16;

/// Which customers, with which features.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest<'a> {
    /// At most 1,000 ids, as texts or integers; repeats stay.
    #[serde(borrow)]
    #[schema(value_type = Vec<BatchId>, max_items = 1000, example = json!(["17850", 14646, "nobody"]))]
    ids: Vec<&'a RawValue>,
    /// Whole views by name; all unless `views` or `features` is given.
    #[schema(example = json!(["rfm"]))]
    views: Option<Vec<String>>,
    /// Single features as `view.feature`.
    #[schema(example = json!(["behavior.spend_90d"]))]
    features: Option<Vec<String>>,
}

/// A customer's id; an integer means the id of its digits.
#[derive(Debug, ToSchema)]
#[schema(example = "17850")]
#[serde(untagged)]
#[expect(dead_code, reason = "for the contract")]
pub(super) enum BatchId {
    /// As text.
    Text(String),
    /// As digits.
    Integer(i64),
}

/// A result per id, in the order asked.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct BatchAnswer {
    /// The snapshot that the features are from.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that they describe.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// Personal features that were asked for and are null because the caller lacks the scope `pii`; absent where there are none.
    #[schema(nullable = false, example = json!(["profile.email"]))]
    masked: Option<Vec<String>>,
    /// One for each id.
    results: Vec<BatchResult>,
}

/// One customer of a batch.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct BatchResult {
    /// The customer's id.
    #[schema(example = "17850")]
    customer_id: String,
    /// Whether the snapshot knows the customer; null where it could not be read.
    #[schema(example = true)]
    found: Option<bool>,
    /// The snapshot that the features are from, where it is not that of the whole answer but of a publish under way.
    #[schema(example = json!(null))]
    snapshot: Option<String>,
    /// The instant that they describe then.
    #[schema(format = DateTime, example = json!(null))]
    as_of: Option<String>,
    /// The tier that answered, where the customer was found.
    tier: Option<Tier>,
    /// View → feature → value, where the customer was found.
    views: Option<super::openapi::Views>,
    /// `unavailable` where it could not be read.
    #[schema(example = json!(null))]
    error: Option<String>,
}

/// Many customers' features
#[utoipa::path(
    post, path = "/v1/customers/batch", tag = "customers", operation_id = "get_customers",
    request_body(content = BatchRequest, description = "Which customers, with which features"),
    responses(
        (status = 200, description = "A result per id, in order", body = BatchAnswer),
        (status = 400, description = "A bad id, too many ids, an unknown view or feature", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is over the limit", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON, or it is compressed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No id could be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn customers(
    State(app): State<Arc<App>>,
    access: Access,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = json_body(&headers, body, app.config.body_limit).await?;
    let request: BatchRequest<'_> =
        serde_json::from_slice(&body).map_err(|error| Problem::bad_body(error.to_string()))?;
    if request.ids.len() > MAX_IDS {
        return Err(Problem::too_many_ids(format!(
            "a batch may have {MAX_IDS} ids, this one has {}",
            request.ids.len()
        )));
    }
    let bad = |at: usize, why: String| Problem::bad_id(format!("ids[{at}]: {why}"));
    let ids = request.ids.iter().enumerate().map(|(at, value)| id(value.get()).map_err(|why| bad(at, why)));
    let ids: Vec<CustomerId> = ids.collect::<Result<_, _>>()?;
    let served = app.serving.current()?;
    let selection = match (&request.views, &request.features) {
        (None, None) => Selection::all(&access),
        (views, features) => {
            let views = views.iter().flatten().map(String::as_str);
            Selection::named(&served, &access, views, features.iter().flatten().map(String::as_str))?
        }
    };
    let answers = app.serving.customers(&served, &ids).await;
    if let Some(Err(error)) = answers.first().filter(|_| answers.iter().all(Result::is_err)) {
        return Err(error.clone().into());
    }
    let rows = answers.iter().flatten().filter_map(|answer| answer.row.as_ref());
    let size: usize = rows.map(|row| served.keys_bytes + row.views.bytes()).sum();
    let mut out = Vec::with_capacity(256 + ids.len() * 128 + size);
    out.push(b'{');
    select::freshness(&served, &mut out);
    selection.masked(&served, &mut out);
    out.extend_from_slice(b",\"results\":[");
    for (at, (id, answer)) in ids.iter().zip(&answers).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        customers::result(&served, &selection, id, answer, &mut out);
    }
    out.extend_from_slice(b"]}");
    let mut response = conditional::json(&served, &access, conditional::whole(&answers), out);
    audit::note(&mut response, &access, || selection.personal(&served), || audit::found(&answers));
    Ok(response)
}

const NO_ID: &str = "a customer id is a text or an integer";

/// Reads the id that a JSON value stands for: a text, or a whole number by its digits.
pub(super) fn id(value: &str) -> Result<CustomerId, String> {
    let text = match value.as_bytes() {
        // Without escapes it is what stands between the quotes.
        [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => Cow::Borrowed(&value[1..value.len() - 1]),
        [b'"', ..] => Cow::Owned(serde_json::from_str::<String>(value).map_err(|error| error.to_string())?),
        [b'-' | b'0'..=b'9', ..] => {
            let id = CustomerId::parse(value).map_err(|error| error.to_string())?;
            let digits = id.as_str().strip_prefix('-').unwrap_or(id.as_str());
            return if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                Ok(id)
            } else {
                Err(NO_ID.to_owned())
            };
        }
        _ => return Err(NO_ID.to_owned()),
    };
    CustomerId::parse(&text).map_err(|error| error.to_string())
}

/// The body of a request that must be JSON.
pub(super) async fn json_body(headers: &HeaderMap, mut body: Body, limit: u64) -> Result<Bytes, Problem> {
    if let Some(given) = headers.get(header::CONTENT_TYPE) {
        let media = given
            .to_str()
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        if media != "application/json" && !media.ends_with("+json") {
            return Err(Problem::bad_media_type("the body must be application/json"));
        }
    }
    if !is_plain(headers) {
        return Err(Problem::bad_content_encoding(
            "the body must not be compressed: no Content-Encoding but identity",
        ));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut text, mut length) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Problem::bad_body("the body did not arrive whole")) };
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= limit {
            text.extend_from_slice(&data);
        } else if length > limit.saturating_mul(TAKEN) {
            break;
        }
    }
    // What is too large is taken in all the same, within bounds: whoever is cut off while sending does not see the answer.
    if length > limit {
        return Err(Problem::body_too_large(format!("the body may have {limit} bytes")));
    }
    Ok(text.freeze())
}

/// Whether a body comes as it is, and not compressed.
fn is_plain(headers: &HeaderMap) -> bool {
    let identity = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .all(|given| given.as_bytes().split(|b| *b == b',').all(identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_body_that_is_not_encoded_is_plain() {
        for (given, plain) in [
            (&[][..], true),
            (&["identity"], true),
            (&["Identity, identity"], true),
            (&[""], true),
            (&["gzip"], false),
            (&["identity", "zstd"], false),
            (&["identity, br"], false),
            (&["x-unknown"], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in given {
                headers.append(header::CONTENT_ENCODING, value.parse().expect("a header's value"));
            }
            assert_eq!(is_plain(&headers), plain, "{given:?}");
        }
    }
}
