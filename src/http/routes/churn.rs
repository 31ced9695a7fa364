//! `GET /v1/churn`: customers who are likely to stay away, the highest value at risk first.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::http::{
    Problem,
    extract::{
        Query, Selection, SnapshotRead,
        churn_filter::{self, ChurnFilters},
        flag,
    },
    reply::{self, ListPage, MinCount, Page, PageHead, list_page},
};

/// Filters of the list, and the page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChurnQuery {
    /// Level of risk: `high`, `medium` or `low`.
    #[param(example = "high")]
    risk: Option<String>,
    /// Lowest probability of churn, 0 to 1.
    #[param(value_type = Option<f64>, minimum = 0, maximum = 1, example = 0.5)]
    min_probability: Option<String>,
    /// Segment of the customers, by `rfm.segment`.
    #[param(example = "cant_lose")]
    segment: Option<String>,
    /// Lowest value at risk.
    #[param(value_type = Option<f64>, minimum = 0, example = 100)]
    min_value: Option<String>,
    /// Number of customers on the page, 1 to 1,000; by default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, example = 100)]
    limit: Option<String>,
    /// `next` of the previous page, with the same filters.
    cursor: Option<String>,
    /// Views of each customer, separated by commas; by default `churn`.
    #[param(example = "churn")]
    views: Option<String>,
    /// Whether the names of products are beside their ids, as in `GET /v1/customers/{id}`; by default not.
    #[param(value_type = Option<bool>, example = true)]
    names: Option<String>,
}

/// Customers by value at risk.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChurnList {
    #[serde(flatten)]
    head: PageHead,
}

/// List customers by value at risk
#[utoipa::path(
    get, path = "/v1/churn", tag = "segments", operation_id = "list_churn",
    params(ChurnQuery),
    responses(
        (status = 200, description = "A page of customers, by value at risk descending, then id",
            body = Page<ChurnList>),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "A bad filter, limit or cursor, or an unknown view"),
        (status = 404, description = "The snapshot has no churn model"),
        (status = 410, description = "The cursor's snapshot was removed"),
    )
)]
pub(crate) async fn list_churn(
    mut read: SnapshotRead,
    Query(query): Query<ChurnQuery>,
) -> Result<Response, Problem> {
    let ChurnQuery { risk, min_probability, segment, min_value, limit, cursor, views, names } = query;
    let limit = list_page::limit(limit.as_deref())?;
    let names = flag("names", names.as_deref())?;
    let filter = ChurnFilters { risk, segment, min_probability, min_value }.parse()?;
    let list = churn_filter::list_name(&filter);
    let offset = read.resume(cursor.as_deref(), &list).await?;
    let asked_by = churn_filter::check(&read.served, &read.access, &filter)?;
    let selection = Selection::views(&read.served, &read.access, views.as_deref().unwrap_or("churn"))?;
    if let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let selection = selection.with_names(&read.served, names).await;
    let members = match read.app.serving.churn(&read.served, &filter, offset, limit).await {
        Ok(members) => members,
        Err(error) => return Err(read.lost(error).await),
    };
    MinCount::of(&read.app, &read.access).check_list(members.total)?;
    let page = ListPage::new(list, members, asked_by);
    list_page::respond(&read, &selection, page, |head| ChurnList { head }).await
}
