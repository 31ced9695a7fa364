//! `GET /v1/churn`: who is likely to stay away, the most at stake first.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap, response::Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    App, Problem,
    access::Access,
    conditional,
    lists::{self, Page},
    query::Query,
    segments::Member,
    select::Selection,
};
use crate::{
    feature::{SegmentKind, Tier, near},
    serving::Served,
    snapshot::{CHURN_LIST, reader::ChurnFilter},
};

/// What is wanted of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChurnQuery {
    /// Only this level of risk: `high`, `medium` or `low`.
    #[param(example = "high")]
    risk: Option<String>,
    /// Only those whose probability of churn is so great at least, 0 to 1.
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1, example = 0.5)]
    min_probability: Option<String>,
    /// Only members of this segment, by `rfm.segment`.
    #[param(example = "cant_lose")]
    segment: Option<String>,
    /// Only those whose value at risk is so great at least.
    #[param(value_type = Option<f64>, minimum = 0, example = 100)]
    min_value: Option<String>,
    /// How many customers, 1 to 1,000; 100 unless given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, example = 100)]
    limit: Option<String>,
    /// Where to go on: `next` of the page before. The filters must be the same.
    cursor: Option<String>,
    /// Views to bring with each customer, separated by commas; `churn` unless given.
    #[param(example = "churn")]
    views: Option<String>,
}

/// Customers by value at risk.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct ChurnList {
    /// The snapshot that the list is from; the same on all pages.
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
    /// All customers that the filters leave.
    #[schema(example = 604)]
    total: u64,
    /// The cursor of the next page; null on the last.
    #[schema(example = json!(null))]
    next: Option<String>,
    /// The customers of this page.
    customers: Vec<Member>,
}

/// Customers by value at risk
#[utoipa::path(
    get, path = "/v1/churn", tag = "segments", operation_id = "list_churn",
    params(ChurnQuery),
    responses(
        (status = 200, description = "A page of customers, by value at risk and then id", body = ChurnList),
        (status = 400, description = "A bad filter, limit or cursor, or an unknown view", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The snapshot has no churn model", body = Problem, content_type = "application/problem+json"),
        (status = 410, description = "The cursor's snapshot is gone", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "No tier could tell", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn churn(
    State(app): State<Arc<App>>,
    access: Access,
    Query(query): Query<ChurnQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let limit = lists::limit(query.limit.as_deref())?;
    let filter =
        parse(query.risk, query.segment, query.min_probability.as_deref(), query.min_value.as_deref())?;
    let list = list_name(&filter);
    let (served, offset) = lists::resume(&app, query.cursor.as_deref(), &list).await?;
    check(&served, &filter)?;
    let selection = Selection::views(&served, &access, query.views.as_deref().unwrap_or("churn"))?;
    if let Some(response) = conditional::not_modified(&headers, &served, &access) {
        return Ok(response);
    }
    let members = app.serving.churn(&served, &filter, offset, limit).await?;
    Page { list, head: String::new(), figures: String::new(), served: &served, members }
        .answer(&app, &access, &selection)
        .await
}

/// What is wanted of the list of `served`, which must have one.
pub(super) fn filter(
    served: &Served,
    risk: Option<String>,
    segment: Option<String>,
    min_probability: Option<&str>,
    min_value: Option<&str>,
) -> Result<ChurnFilter, Problem> {
    let filter = parse(risk, segment, min_probability, min_value)?;
    check(served, &filter)?;
    Ok(filter)
}

fn parse(
    risk: Option<String>,
    segment: Option<String>,
    min_probability: Option<&str>,
    min_value: Option<&str>,
) -> Result<ChurnFilter, Problem> {
    if risk.as_deref().is_some_and(|risk| !["high", "medium", "low"].contains(&risk)) {
        return Err(Problem::bad_parameter("`risk` must be high, medium or low"));
    }
    let min_probability = at_least("min_probability", min_probability, 1.0)?;
    let min_value = at_least("min_value", min_value, 1e15)?;
    Ok(ChurnFilter { risk, segment, min_probability, min_value })
}

/// `text` as ten-thousandths.
fn at_least(name: &str, text: Option<&str>, most: f64) -> Result<Option<i128>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=most).contains(number));
    let number = number
        .ok_or_else(|| Problem::bad_parameter(format!("`{name}` must be a number from 0 to {most}")))?;
    Ok(Some(ChurnFilter::at_least(number)))
}

fn check(served: &Served, filter: &ChurnFilter) -> Result<(), Problem> {
    if served.manifest.models.churn.is_none() {
        return Err(Problem::model_not_found("the snapshot has no churn model"));
    }
    let Some(segment) = &filter.segment else { return Ok(()) };
    let known = || served.manifest.segments.iter().filter(|known| known.kind == SegmentKind::Rfm);
    if known().any(|known| known.name == *segment) {
        return Ok(());
    }
    let shown: String = segment.chars().filter(|c| !c.is_control()).take(64).collect();
    let hint = near::hint(segment, known().map(|known| known.name.as_str()));
    let hint = if hint.is_empty() { "; GET /v1/segments lists them" } else { &hint };
    Err(Problem::bad_parameter(format!("`{shown}` is no segment of kind rfm{hint}")))
}

/// The list of a filter, as cursors name it; a cursor goes on with the filter that it began with.
fn list_name(filter: &ChurnFilter) -> String {
    let number = |number: Option<i128>| number.map(|number| number.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    // No name of a segment has a space in it, which would part the fields of a cursor.
    let segment: String = text(&filter.segment).split_whitespace().collect();
    let (probability, value) = (number(filter.min_probability), number(filter.min_value));
    format!("{CHURN_LIST}:{}:{segment}:{probability}:{value}", text(&filter.risk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_taken_as_they_are_written() {
        let of = |text| at_least("x", Some(text), 1.0).ok().flatten();
        assert_eq!(
            [of("0.3"), of("0.30001"), of("0"), of("1")],
            [Some(3_000), Some(3_001), Some(0), Some(10_000)]
        );
        assert_eq!([of("-0.1"), of("1.1"), of("NaN"), of("half")], [None; 4]);
    }
}
