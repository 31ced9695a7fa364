//! `POST /v1/audiences`: any expression over segments and features, counted before anybody acts on it.

use std::{fmt::Write as _, sync::Arc};

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{
    App, Problem,
    access::Access,
    batch::json_body,
    lists::{self, Page},
    segments::Member,
    select::Selection,
};
use crate::{
    audience::{Expression, FeatureName, order},
    feature::Tier,
    serving::{Audience, AudienceError, AudienceRequest, Breakdown, Parts, Served},
};

/// Who is wanted, and what of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AudienceBody {
    /// The expression: `segment:NAME`, `view.feature` with `:` or `=`, `!=`, `<`, `<=`, `>`, `>=`, `in (…)`, `is null`, `is not null`;
    /// `and`, `or`, `not`, brackets. Values are bare words or text in quotes, numbers, `true`, `false`, dates (midnight in UTC) and times in
    /// RFC 3339. A comparison with null is unknown, and so is its `not`; members are those for whom the whole is true. At most 8,192
    /// bytes, nested 32 deep.
    #[schema(
        max_length = 8192,
        example = "segment:champions and not profile.country:\"United Kingdom\" and rfm.monetary >= 1000"
    )]
    r#where: String,
    /// How many members to give, 0 to 1,000; 100 unless given. With 0 they are counted only.
    #[schema(minimum = 0, maximum = 1000, example = 10)]
    limit: Option<u64>,
    /// Where to go on: `next` of the page before. `where` and `order_by` must be the same.
    #[schema(example = json!(null))]
    cursor: Option<String>,
    /// Views to bring with each member; none unless given.
    #[schema(example = json!(["rfm"]))]
    views: Option<Vec<String>>,
    /// A number or time to order the members by, then `asc` (as without a word) or `desc`; `rfm.monetary desc` unless given. Equals are
    /// ordered by id, those without a value come last.
    #[schema(example = "rfm.monetary desc")]
    order_by: Option<String>,
    /// A feature to divide all members by.
    breakdown: Option<BreakdownBody>,
}

/// How to divide an audience.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BreakdownBody {
    /// The feature. Text, whole numbers, and true or false are counted value by value.
    #[schema(example = "profile.country")]
    feature: String,
    /// How many values to name, the most frequent first, 1 to 1,000; 20 unless given.
    #[schema(minimum = 1, maximum = 1000, example = 5)]
    top: Option<u64>,
    /// Into how many parts with about as many members each (quantiles) to divide the range of a number or time, 2 to 100.
    #[schema(minimum = 2, maximum = 100, example = json!(null))]
    buckets: Option<u64>,
}

/// An audience: a page of its members, and the figures of all of them.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct AudiencePage {
    /// The snapshot that all of it is from; the same on all pages.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// The tier that told who they are.
    tier: Tier,
    /// Personal features that were asked for and are null because the caller lacks the scope `pii`; absent where there are none.
    #[schema(nullable = false, example = json!(["profile.email"]))]
    masked: Option<Vec<String>>,
    /// All members, exactly.
    #[schema(example = 154)]
    total: u64,
    /// Their share of all customers, 0 to 1.
    #[schema(example = 0.0352)]
    share: f64,
    /// Their `rfm.monetary`, summed exactly.
    #[schema(example = 1_240_112.83)]
    revenue: f64,
    /// Mean recency score; null where no member has one.
    #[schema(example = 5.0)]
    mean_r_score: Option<f64>,
    /// Mean frequency score.
    #[schema(example = 4.8)]
    mean_f_score: Option<f64>,
    /// Mean monetary score.
    #[schema(example = 4.6)]
    mean_m_score: Option<f64>,
    /// The parts of the whole audience, where they were asked for.
    #[schema(nullable = false)]
    breakdown: Option<BreakdownAnswer>,
    /// What may be a mistake although it is an answer, such as a text that no customer has.
    hints: Vec<Hint>,
    /// The cursor of the next page; null on the last.
    #[schema(example = json!(null))]
    next: Option<String>,
    /// The members of this page.
    customers: Vec<Member>,
}

/// How many members have each value, or are in each part of the range.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct BreakdownAnswer {
    /// The feature.
    #[schema(example = "profile.country")]
    feature: String,
    /// The most frequent values.
    #[schema(nullable = false)]
    values: Option<Vec<ValueCount>>,
    /// All other values together.
    #[schema(nullable = false)]
    other: Option<OtherCount>,
    /// The parts of the range, where `buckets` were asked for; fewer where many are equal.
    #[schema(nullable = false, example = json!(null))]
    buckets: Option<Vec<BucketCount>>,
    /// Members without a value.
    #[schema(example = 0)]
    null: u64,
}

/// A value of a feature: text, a number, or a truth value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(example = "Germany")]
#[expect(dead_code, reason = "for the contract")]
pub(super) enum FeatureValue {
    /// Text; an instant is text in RFC 3339.
    Text(String),
    /// A number.
    Number(f64),
    /// A truth value.
    Truth(bool),
}

/// A value, and how many members have it.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the contract")]
pub(super) struct ValueCount {
    /// The value.
    value: FeatureValue,
    /// Members.
    #[schema(example = 41)]
    customers: u64,
}

/// The values that are not named.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the contract")]
pub(super) struct OtherCount {
    /// How many they are.
    #[schema(example = 12)]
    values: u64,
    /// Members who have one of them.
    #[schema(example = 33)]
    customers: u64,
}

/// A part of a feature's range. Members with equal values are in the same part.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the contract")]
pub(super) struct BucketCount {
    /// The least value that a member in it has.
    from: FeatureValue,
    /// The greatest.
    to: FeatureValue,
    /// Members.
    #[schema(example = 31)]
    customers: u64,
}

/// What may be a mistake.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "for the contract")]
pub(super) struct Hint {
    /// Where in the expression, in characters (Unicode scalar values) from 0.
    #[schema(example = 36)]
    position: u64,
    /// What it is.
    #[schema(example = "no customer has profile.country \"Untied Kingdom\"; did you mean `United Kingdom`?")]
    message: String,
}

/// An audience
///
/// Combines segments and features, and tells exactly how many customers that are, who comes first, and what they are worth.
#[utoipa::path(
    post, path = "/v1/audiences", tag = "segments", operation_id = "query_audience",
    request_body(content = AudienceBody, description = "Who is wanted, and what of them"),
    responses(
        (status = 200, description = "The audience, with a page of its members", body = AudiencePage),
        (status = 400, description = "A bad expression, with `position` in characters from 0, or another bad part of the request", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The cursor's snapshot is gone", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is over the limit", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON, or it is compressed", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The snapshot cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn audience(
    State(app): State<Arc<App>>,
    access: Access,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body: AudienceBody = read(&app, &headers, body).await?;
    let mut asked = request(&body)?;
    let list = list_name(&asked);
    let (served, offset) = lists::resume(&app, body.cursor.as_deref(), &list).await?;
    asked.offset = offset;
    let others = asked.breakdown.iter().map(|by| &by.feature).chain([&asked.order_by.0]);
    may_ask(&access, &served, asked.expression.features().into_iter().chain(others))?;
    let selection = Selection::named(&served, &access, body.views.iter().flatten().map(String::as_str), [])?;
    let audience = app.serving.audience(&served, &asked).await?;
    let figures = figures_of(&audience, asked.breakdown.as_ref());
    let page = Page { list, head: String::new(), figures, served: &served, members: audience.members };
    page.answer(&app, &access, &selection).await
}

/// The body of a request, in the form `T`.
pub(super) async fn read<T: DeserializeOwned>(
    app: &App,
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Problem> {
    let body = json_body(headers, body, app.config.body_limit).await?;
    serde_json::from_slice(&body).map_err(|error| Problem::bad_body(error.to_string()))
}

/// Whether the caller may ask by all of `features`.
pub(super) fn may_ask<'a>(
    access: &Access,
    served: &Served,
    features: impl IntoIterator<Item = &'a FeatureName>,
) -> Result<(), Problem> {
    features.into_iter().try_for_each(|name| access.may_ask_by(&served.manifest, &name.view, &name.feature))
}

/// The expression in `text`.
pub(super) fn expression(text: &str) -> Result<Expression, Problem> {
    Expression::parse(text).map_err(|error| AudienceError::from(error).into())
}

/// The request, which nothing has been looked up of.
fn request(body: &AudienceBody) -> Result<AudienceRequest, Problem> {
    let expression = expression(&body.r#where)?;
    let breakdown = body.breakdown.as_ref().map(|breakdown| {
        let feature = feature("breakdown", &breakdown.feature)?;
        if breakdown.top.is_some() && breakdown.buckets.is_some() {
            return Err(Problem::bad_body("`breakdown` takes `top` or `buckets`, not both"));
        }
        let top = number("breakdown.top", breakdown.top.unwrap_or(20), 1, 1_000)?;
        let buckets =
            breakdown.buckets.map(|buckets| number("breakdown.buckets", buckets, 2, 100)).transpose()?;
        Ok(Breakdown { feature, top, buckets })
    });
    Ok(AudienceRequest {
        expression,
        order_by: order_by(body.order_by.as_deref())?,
        offset: 0,
        limit: number("limit", body.limit.unwrap_or(100), 0, 1_000)?,
        breakdown: breakdown.transpose()?,
    })
}

pub(super) fn number(name: &str, number: u64, least: u64, most: u64) -> Result<usize, Problem> {
    let fits = usize::try_from(number).ok().filter(|_| (least..=most).contains(&number));
    fits.ok_or_else(|| Problem::bad_body(format!("`{name}` must be a number from {least} to {most}")))
}

fn feature(part: &str, text: &str) -> Result<FeatureName, Problem> {
    let shown: String = text.chars().filter(|c| !c.is_control()).take(64).collect();
    FeatureName::parse(text).ok_or_else(|| {
        Problem::unknown_feature(format!("`{part}`: `{shown}` is no feature; write view.feature"))
    })
}

/// `rfm.monetary desc`, as it is unless given.
pub(super) fn order_by(text: Option<&str>) -> Result<(FeatureName, bool), Problem> {
    let bad = || Problem::bad_body("`order_by` is a feature, then `asc` or `desc` or nothing");
    let (name, descending) = order::parse(text.unwrap_or(order::DEFAULT)).ok_or_else(bad)?;
    Ok((feature("order_by", name)?, descending))
}

/// The list of a request, as cursors name it; a cursor goes on with the expression and order that it began with.
fn list_name(asked: &AudienceRequest) -> String {
    let (feature, descending) = &asked.order_by;
    let digest = Sha256::digest(format!("{}\n{feature} {descending}", asked.expression));
    format!("audience:{}", &format!("{digest:x}")[..32])
}

/// All that is written between the total and the members.
fn figures_of(audience: &Audience, by: Option<&Breakdown>) -> String {
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let figures = &audience.figures;
    let [r, f, m] = figures.mean_scores.map(|mean| serde_json::Value::from(mean).to_string());
    let (share, revenue) = (serde_json::Value::from(figures.share), &figures.revenue);
    let mut out = format!(
        ",\"share\":{share},\"revenue\":{revenue},\"mean_r_score\":{r},\"mean_f_score\":{f},\"mean_m_score\":{m}"
    );
    let listed = |items: Vec<String>| items.join(",");
    // Into memory it cannot fail.
    if let (Some(by), Some(parts)) = (by, &audience.parts) {
        let _ = write!(out, ",\"breakdown\":{{\"feature\":{}", json(&by.feature.to_string()));
        let null = match parts {
            Parts::Values(counts) => {
                let values = counts.values.iter();
                let values = values
                    .map(|(value, count)| format!("{{\"value\":{value},\"customers\":{count}}}"))
                    .collect();
                let (values, (others, count)) = (listed(values), counts.other);
                let _ = write!(
                    out,
                    ",\"values\":[{values}],\"other\":{{\"values\":{others},\"customers\":{count}}}"
                );
                counts.null
            }
            Parts::Ranges(ranges) => {
                let buckets = ranges.buckets.iter();
                let bucket = |(from, to, count): &(String, String, usize)| {
                    format!("{{\"from\":{from},\"to\":{to},\"customers\":{count}}}")
                };
                let _ = write!(out, ",\"buckets\":[{}]", listed(buckets.map(bucket).collect()));
                ranges.null
            }
        };
        let _ = write!(out, ",\"null\":{null}}}");
    }
    let hints = audience.hints.iter();
    let hints =
        hints.map(|(position, text)| format!("{{\"position\":{position},\"message\":{}}}", json(text)));
    let _ = write!(out, ",\"hints\":[{}]", listed(hints.collect()));
    out
}

impl From<AudienceError> for Problem {
    fn from(error: AudienceError) -> Self {
        match error {
            AudienceError::Expression(error) => Self::bad_expression(error.to_string()).at(error.position),
            AudienceError::Request(..) => Self::unknown_feature(error.to_string()),
            AudienceError::Read(error) => error.into(),
        }
    }
}
