//! `POST` and `GET /v1/audiences`: any expression over segments and features, with counts and a page of
//! members.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use crate::{
    audience::FeatureValue,
    http::{
        Problem,
        extract::{
            JsonBody, Query, Selection, SnapshotRead,
            expression::{check_not_personal, check_query_by, expression, feature, number, order_by, whole},
            flag, names,
        },
        reply::{self, ListPage, MinCount, Page, PageHead, list_page, raw},
    },
    serving::{Audience, AudienceError, AudienceRequest, Breakdown, Parts},
};

mod comparison;

use comparison::ComparisonAnswer;

/// An audience, and the parts of the answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AudienceBody {
    /// The expression: `segment:NAME`; `view.feature` with `:` or `=`, `!=`, `<`, `<=`, `>`, `>=`, `in (…)`,
    /// `is null`, `is not null`; `and`, `or`, `not`, brackets. Values are bare words or quoted text, numbers,
    /// `true`, `false`, dates (midnight in UTC) and times in RFC 3339. A comparison with null is unknown, and
    /// so is its `not`; members are the customers for whom the whole expression is true. At most 8,192 bytes,
    /// nested 32 deep.
    #[schema(
        max_length = 8192,
        example = "segment:champions and not profile.country:\"United Kingdom\" and rfm.monetary >= 1000"
    )]
    r#where: String,
    /// Number of members on the page, 0 to 1,000; by default 100. With 0 the answer has counts only.
    #[schema(minimum = 0, maximum = 1000, example = 10)]
    limit: Option<u64>,
    /// `next` of the previous page, with the same `where` and `order_by`.
    #[schema(example = json!(null))]
    cursor: Option<String>,
    /// Views of each member; by default none.
    #[schema(example = json!(["rfm"]))]
    views: Option<Vec<String>>,
    /// Whether the names of products are beside their ids, as in `GET /v1/customers/{id}`; by default not.
    #[schema(example = true)]
    names: Option<bool>,
    /// A feature that is a number or a time, then `asc` (the default) or `desc`; by default `rfm.monetary
    /// desc`. Equal members are ordered by id; members without a value come last.
    #[schema(example = "rfm.monetary desc")]
    order_by: Option<String>,
    /// A feature to group the members by.
    breakdown: Option<BreakdownBody>,
    /// Whether the answer compares the members with all customers, feature by feature; by default not.
    #[schema(example = true)]
    compare: Option<bool>,
}

/// The grouping of an audience.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BreakdownBody {
    /// The feature. Text, integers and booleans are counted by value.
    #[schema(example = "profile.country")]
    feature: String,
    /// Number of values to list, the most frequent first, 1 to 1,000; by default 20.
    #[schema(minimum = 1, maximum = 1000, example = 5)]
    top: Option<u64>,
    /// Number of quantile buckets for a number or a time, 2 to 100, each with about the same number of
    /// members.
    #[schema(minimum = 2, maximum = 100, example = json!(null))]
    buckets: Option<u64>,
}

/// An audience in an address, and the parts of the answer.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AudienceQuery {
    /// The expression, in the syntax of `POST /v1/audiences`, URL-encoded. It must not depend on personal
    /// features.
    #[param(max_length = 8192, example = "segment:champions and rfm.monetary >= 1000")]
    r#where: String,
    /// Number of members on the page, 0 to 1,000; by default 100. With 0 the answer has counts only.
    #[param(value_type = Option<u32>, minimum = 0, maximum = 1000, example = 10)]
    limit: Option<String>,
    /// `next` of the previous page, with the same `where` and `order_by`.
    cursor: Option<String>,
    /// Views of each member, separated by commas; by default none.
    #[param(example = "rfm")]
    views: Option<String>,
    /// Whether the names of products are beside their ids, as in `GET /v1/customers/{id}`; by default not.
    #[param(value_type = Option<bool>, example = true)]
    names: Option<String>,
    /// A feature that is a number or a time, then `asc` (the default) or `desc`; by default `rfm.monetary
    /// desc`.
    #[param(example = "rfm.monetary desc")]
    order_by: Option<String>,
    /// A feature to group the members by.
    #[param(example = "rfm.segment")]
    breakdown: Option<String>,
    /// Number of values of the breakdown, the most frequent first, 1 to 1,000; by default 20.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    top: Option<String>,
    /// Number of quantile buckets of the breakdown, for a number or a time, 2 to 100.
    #[param(value_type = Option<u32>, minimum = 2, maximum = 100)]
    buckets: Option<String>,
    /// Whether the answer compares the members with all customers, feature by feature; by default not.
    #[param(value_type = Option<bool>)]
    compare: Option<String>,
}

/// An audience: figures of all members, and a page of members.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AudiencePage {
    #[serde(flatten)]
    head: PageHead,
    /// Share of all customers, 0 to 1.
    #[schema(example = 0.0352)]
    share: f64,
    /// Exact sum of the members' `rfm.monetary`.
    #[schema(value_type = f64, example = 1_240_112.83)]
    revenue: Box<RawValue>,
    /// Mean recency score; null where no member has one.
    #[schema(example = 5.0)]
    mean_r_score: Option<f64>,
    /// Mean frequency score.
    #[schema(example = 4.8)]
    mean_f_score: Option<f64>,
    /// Mean monetary score.
    #[schema(example = 4.6)]
    mean_m_score: Option<f64>,
    /// The groups of the whole audience, where requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    breakdown: Option<BreakdownAnswer>,
    /// The features that distinguish the members from all customers, where requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    comparison: Option<ComparisonAnswer>,
    /// Possible mistakes in the expression, such as a text that no customer has.
    hints: Vec<Hint>,
}

/// Number of members by value or by bucket.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BreakdownAnswer {
    /// The feature.
    #[schema(example = "profile.country")]
    feature: String,
    /// The most frequent values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    values: Option<Vec<ValueCount>>,
    /// All other values together.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    other: Option<OtherCount>,
    /// The buckets, where requested; fewer than requested where many values are equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    buckets: Option<Vec<BucketCount>>,
    /// Number of members without a value; null where it is withheld.
    #[schema(required = true, example = 0)]
    null: Option<usize>,
    /// The setting `min_count`, if it applies to the caller: groups of fewer members are not counted one by
    /// one. Small values, and members without a value if they are few, are counted in `other`; small buckets
    /// are joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(null))]
    min_count: Option<u64>,
}

/// A value and its members.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValueCount {
    /// The value.
    #[schema(value_type = FeatureValue)]
    value: Box<RawValue>,
    /// Number of members.
    #[schema(example = 41)]
    customers: usize,
}

/// The values that are not listed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OtherCount {
    /// Number of values.
    #[schema(example = 12)]
    values: usize,
    /// Number of members with one of these values.
    #[schema(example = 33)]
    customers: usize,
}

/// A bucket of a feature's range. Members with equal values are in the same bucket.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BucketCount {
    /// Lowest value of a member in the bucket.
    #[schema(value_type = FeatureValue)]
    from: Box<RawValue>,
    /// Highest value of a member in the bucket.
    #[schema(value_type = FeatureValue)]
    to: Box<RawValue>,
    /// Number of members.
    #[schema(example = 31)]
    customers: usize,
}

/// A possible mistake.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hint {
    /// Place in the expression, in characters (Unicode scalar values) from 0.
    #[schema(example = 36)]
    position: usize,
    /// The mistake, and a suggestion.
    #[schema(example = "no customer has profile.country \"Untied Kingdom\"; did you mean `United Kingdom`?")]
    message: String,
}

/// Query an audience
///
/// Combines segments and features. The answer has the exact number of members, their figures, and the first
/// members.
#[utoipa::path(
    post, path = "/v1/audiences", tag = "segments", operation_id = "query_audience",
    request_body(content = AudienceBody, description = "An audience, and the parts of the answer"),
    responses(
        (status = 200, description = "Figures of the audience, and a page of members",
            body = Page<AudiencePage>),
        (status = 400, description = "A bad expression, with its `position`, or another bad field"),
        (status = 410, description = "The cursor's snapshot was removed"),
    )
)]
pub(crate) async fn query_audience(
    read: SnapshotRead,
    JsonBody(body): JsonBody<AudienceBody>,
) -> Result<Response, Problem> {
    respond(read, body, false).await
}

/// Query an audience by address
///
/// Answers as the POST request does, for programs that can send no body. Since addresses are logged, the
/// expression, the order and the breakdown must not depend on personal features.
#[utoipa::path(
    get, path = "/v1/audiences", tag = "segments", operation_id = "get_audience",
    params(AudienceQuery),
    responses(
        (status = 200, description = "Figures of the audience, and a page of members",
            body = Page<AudiencePage>),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "A bad expression, with its `position`, another bad parameter, or a \
            personal feature"),
        (status = 410, description = "The cursor's snapshot was removed"),
    )
)]
pub(crate) async fn get_audience(
    read: SnapshotRead,
    Query(query): Query<AudienceQuery>,
) -> Result<Response, Problem> {
    respond(read, query.body()?, true).await.map_err(Problem::of_query)
}

/// Answers the request `body`, which came in an address if `by_address`.
async fn respond(mut read: SnapshotRead, body: AudienceBody, by_address: bool) -> Result<Response, Problem> {
    let mut request = parse(&body)?;
    let list = list_name(&request);
    request.offset = read.resume(body.cursor.as_deref(), &list).await?;
    let SnapshotRead { app, served, access, .. } = &read;
    let others = request.breakdown.iter().map(|by| &by.feature).chain([&request.order_by.0]);
    let mut asked_by = check_query_by(access, served, &request.expression, others)?;
    if by_address {
        check_not_personal(&asked_by)?;
        if let Some(response) = reply::not_modified(&read) {
            return Ok(response);
        }
    }
    let selection = Selection::named(served, access, body.views.iter().flatten().map(String::as_str), [])?;
    let selection = selection.with_names(served, body.names == Some(true)).await;
    if body.compare == Some(true) {
        request.compare = Some(comparison::request(&read));
    }
    let audience = match app.serving.audience(served, &request).await {
        Ok(audience) => audience,
        Err(AudienceError::Read(error)) => return Err(read.lost(error).await),
        Err(error) => return Err(error.into()),
    };
    let Audience { figures, members, parts, comparison, hints } = audience;
    let least = MinCount::of(app, access);
    least.check_audience(figures.size as u64)?;
    if let Some(comparison) = &comparison {
        comparison::check_others(&read, comparison.sizes)?;
        asked_by.extend(comparison::personal(&read, comparison));
        asked_by.sort_unstable();
        asked_by.dedup();
    }
    let breakdown = request.breakdown.zip(parts);
    let head = |head| {
        let [mean_r_score, mean_f_score, mean_m_score] = figures.mean_scores;
        AudiencePage {
            head,
            share: figures.share,
            revenue: raw(figures.revenue),
            mean_r_score,
            mean_f_score,
            mean_m_score,
            breakdown: breakdown.map(|(by, parts)| BreakdownAnswer::new(&by, parts, least)),
            comparison: comparison.map(|comparison| ComparisonAnswer::new(comparison, least)),
            hints: hints.into_iter().map(|(position, message)| Hint { position, message }).collect(),
        }
    };
    list_page::respond(&read, &selection, ListPage::new(list, members, asked_by), head).await
}

impl AudienceQuery {
    /// Returns the same request as a body.
    fn body(self) -> Result<AudienceBody, Problem> {
        let breakdown = match self.breakdown {
            None if self.top.is_some() || self.buckets.is_some() => {
                return Err(Problem::bad_parameter("`top` and `buckets` need `breakdown`"));
            }
            None => None,
            Some(feature) => {
                let (top, buckets) = (whole("top", self.top)?, whole("buckets", self.buckets)?);
                Some(BreakdownBody { feature, top, buckets })
            }
        };
        Ok(AudienceBody {
            r#where: self.r#where,
            limit: whole("limit", self.limit)?,
            cursor: self.cursor,
            views: self.views.map(|views| names(&views).map(str::to_owned).collect()),
            order_by: self.order_by,
            breakdown,
            names: Some(flag("names", self.names.as_deref())?),
            compare: Some(flag("compare", self.compare.as_deref())?),
        })
    }
}

impl BreakdownAnswer {
    /// Describes a breakdown, without counts below `least`.
    fn new(by: &Breakdown, parts: Parts, least: MinCount) -> Self {
        let feature = by.feature.to_string();
        let (min_count, least) = (least.shown(), least.members());
        match parts {
            Parts::Values(mut counts) => {
                counts.withhold(least);
                let value = |(value, customers)| ValueCount { value: raw(value), customers };
                let (values, customers) = counts.other;
                Self {
                    feature,
                    values: Some(counts.values.into_iter().map(value).collect()),
                    other: Some(OtherCount { values, customers }),
                    buckets: None,
                    null: counts.null,
                    min_count,
                }
            }
            Parts::Ranges(mut ranges) => {
                ranges.withhold(least);
                let bucket = |(from, to, customers)| BucketCount { from: raw(from), to: raw(to), customers };
                let buckets = Some(ranges.buckets.into_iter().map(bucket).collect());
                Self { feature, values: None, other: None, buckets, null: ranges.null, min_count }
            }
        }
    }
}

/// Reads the fields of a body; names are not looked up in the snapshot yet.
fn parse(body: &AudienceBody) -> Result<AudienceRequest, Problem> {
    let breakdown = match &body.breakdown {
        None => None,
        Some(breakdown) => {
            let feature = feature("breakdown", &breakdown.feature)?;
            if breakdown.top.is_some() && breakdown.buckets.is_some() {
                return Err(Problem::bad_body("`breakdown` takes `top` or `buckets`, not both"));
            }
            let top = number("breakdown.top", breakdown.top.unwrap_or(20), 1, 1_000)?;
            let buckets = breakdown.buckets.map(|buckets| number("breakdown.buckets", buckets, 2, 100));
            Some(Breakdown { feature, top, buckets: buckets.transpose()? })
        }
    };
    Ok(AudienceRequest {
        expression: expression(&body.r#where)?,
        order_by: order_by(body.order_by.as_deref())?,
        offset: 0,
        limit: number("limit", body.limit.unwrap_or(100), 0, 1_000)?,
        breakdown,
        compare: None,
    })
}

/// Returns the name of the list in cursors: a list continues with the expression and the order that it began
/// with.
fn list_name(request: &AudienceRequest) -> String {
    let (feature, descending) = &request.order_by;
    let digest = Sha256::digest(format!("{}\n{feature} {descending}", request.expression));
    format!("audience:{:.32}", format!("{digest:x}"))
}
