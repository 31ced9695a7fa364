//! `GET /v1/segments/{name}/changes` and `GET /v1/changes`: who entered or left a segment, and whose value of
//! a feature changed, from one snapshot to another.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    http::{HeaderValue, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    audience::FeatureValue,
    feature::Tier,
    http::{
        Problem,
        extract::{
            PathParam, Query, SegmentName, Selection, SnapshotRange, SnapshotRead, cursor::Cursor,
            expression::feature, flag,
        },
        problem::unknown_segment,
        reply::{Freshness, ListPage, MinCount, PageHead, Views, conditional, list_page},
    },
    serving::{Changed, ChangedRange, Direction, MemberPage, ReadError, SnapshotPair},
};

/// Two snapshots, the direction, and a page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SegmentChangesQuery {
    /// The earlier snapshot: an id, or a time (RFC 3339) or date, which stands for the last snapshot until
    /// then; by default the snapshot before `to`. A cursor keeps both snapshots.
    #[param(example = "2011-11-09")]
    from: Option<String>,
    /// The later snapshot, in the same forms; by default the current snapshot.
    #[param(example = "2011-12-09")]
    to: Option<String>,
    /// `entered`, `left`, or `both` (the default), which lists those who entered first.
    #[param(example = "entered")]
    direction: Option<String>,
    /// Number of customers on the page, 1 to 1,000; by default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, example = 100)]
    limit: Option<String>,
    /// `next` of the previous page, with the same `direction`.
    cursor: Option<String>,
    /// Views of each customer in the later snapshot, separated by commas; by default none.
    #[param(example = "rfm")]
    views: Option<String>,
    /// Whether the names of products are beside their ids, as in `GET /v1/customers/{id}`; by default not.
    #[param(value_type = Option<bool>, example = true)]
    names: Option<String>,
}

/// A feature, two snapshots, and a page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ValueChangesQuery {
    /// The feature, as `view.feature`.
    #[param(example = "rfm.segment")]
    feature: String,
    /// The earlier snapshot: an id, or a time (RFC 3339) or date, which stands for the last snapshot until
    /// then; by default the snapshot before `to`. A cursor keeps both snapshots.
    #[param(example = "2011-11-09")]
    from: Option<String>,
    /// The later snapshot, in the same forms; by default the current snapshot.
    #[param(example = "2011-12-09")]
    to: Option<String>,
    /// Number of customers on the page, 1 to 1,000; by default 100.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, example = 100)]
    limit: Option<String>,
    /// `next` of the previous page, with the same `feature`.
    cursor: Option<String>,
    /// Views of each customer in the later snapshot, separated by commas; by default none.
    #[param(example = "churn")]
    views: Option<String>,
    /// Whether the names of products are beside their ids, as in `GET /v1/customers/{id}`; by default not.
    #[param(value_type = Option<bool>, example = true)]
    names: Option<String>,
}

/// A page of the customers who entered or left a segment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SegmentChanges {
    /// Name of the segment.
    #[schema(example = "champions")]
    segment: String,
    /// The earlier snapshot.
    from: Freshness,
    /// The later snapshot, which the views are from.
    to: Freshness,
    /// Number of customers who entered.
    #[schema(example = 57)]
    entered: u64,
    /// Number of customers who left.
    #[schema(example = 31)]
    left: u64,
    #[serde(flatten)]
    head: PageHead,
    /// The customers of this page.
    #[serde(skip_serializing_if = "is_written_later")]
    #[schema(value_type = Vec<SegmentChange>, required = true)]
    customers: (),
}

/// A customer who entered or left a segment.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written row by row; this is the shape for the OpenAPI document")]
pub(crate) struct SegmentChange {
    /// Place in the list, from 1. Who entered is listed as the segment lists members in the later snapshot,
    /// who left as in the earlier one.
    #[schema(example = 1)]
    rank: u64,
    /// The customer's id.
    #[schema(example = "14646")]
    customer_id: String,
    /// `entered` or `left`.
    #[schema(example = "entered")]
    change: String,
    /// `from` or `to`, if that snapshot does not have the customer at all; else null.
    #[schema(example = json!(null))]
    absent_in: Option<String>,
    /// The requested views; null where the later snapshot does not have the customer.
    views: Option<Views>,
}

/// A page of the customers whose value of a feature changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValueChanges {
    /// The feature.
    #[schema(example = "rfm.segment")]
    feature: String,
    /// The earlier snapshot.
    from: Freshness,
    /// The later snapshot, which the views are from.
    to: Freshness,
    #[serde(flatten)]
    head: PageHead,
    /// The customers of this page.
    #[serde(skip_serializing_if = "is_written_later")]
    #[schema(value_type = Vec<ValueChange>, required = true)]
    customers: (),
}

/// A customer whose value of a feature changed.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written row by row; this is the shape for the OpenAPI document")]
pub(crate) struct ValueChange {
    /// Place in the list, from 1, by id.
    #[schema(example = 1)]
    rank: u64,
    /// The customer's id.
    #[schema(example = "14646")]
    customer_id: String,
    /// The value in the earlier snapshot; null where there is none.
    old: Option<FeatureValue>,
    /// The value in the later snapshot; null where there is none.
    new: Option<FeatureValue>,
    /// `from` or `to`, if that snapshot does not have the customer at all; else null.
    #[schema(example = json!(null))]
    absent_in: Option<String>,
    /// The requested views; null where the later snapshot does not have the customer.
    views: Option<Views>,
}

/// Returns true: the page appends the field after the others.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_written_later((): &()) -> bool {
    true
}

/// The snapshots that a request compares, and the place where the list continues.
struct Compared {
    pair: SnapshotPair,
    offset: u64,
    /// Tag of every answer about the retained snapshots.
    tag: HeaderValue,
}

impl Compared {
    /// Opens the snapshots of the request: those of the cursor, or those of `from` and `to`. The names of the
    /// lists in cursors begin with `list`, and end with the earlier snapshot.
    async fn open(
        read: &SnapshotRead,
        list: &str,
        cursor: Option<&str>,
        [from, to]: [Option<&str>; 2],
    ) -> Result<Self, Problem> {
        let SnapshotRead { app, served, access, .. } = read;
        let timeline = app.serving.timeline(served).await?;
        let tag = conditional::of_timeline(served, access, &timeline);
        let Some(cursor) = cursor else {
            let SnapshotRange { from, to } = SnapshotRange::find(read, &timeline, from, to).await?;
            return Ok(Self { pair: app.serving.pair(&from, &to).await?, offset: 0, tag });
        };
        let (cursor, from) = Cursor::decode_any(cursor, list)?;
        let from = from.parse().map_err(|_| Cursor::refused())?;
        let gone = |error: ReadError| match error {
            ReadError::UnknownSnapshot(id) => {
                Problem::cursor_gone(format!("snapshot {id} was removed; start the list from the beginning"))
            }
            other => other.into(),
        };
        let before = app.serving.snapshot(&from).await.map_err(gone)?;
        let after = app.serving.snapshot(&cursor.snapshot).await.map_err(gone)?;
        let offset = cursor.place(after.erased_count());
        Ok(Self { pair: SnapshotPair { before, after }, offset, tag })
    }

    /// Returns the name of the list in cursors.
    fn list(&self, list: &str) -> String {
        format!("{list}{}", self.pair.before.manifest.id)
    }

    fn ends(&self) -> [Freshness; 2] {
        [Freshness::from(&*self.pair.before), Freshness::from(&*self.pair.after)]
    }
}

/// Returns the selected views of the later snapshot.
fn selection(read: &SnapshotRead, views: Option<&str>) -> Result<Selection, Problem> {
    views.map_or_else(|| Ok(Selection::none()), |views| Selection::views(&read.served, &read.access, views))
}

/// Makes a page of `found`, which begins at the place `offset` of `total` customers.
fn member_page(found: &[Changed], offset: u64, total: u64) -> MemberPage {
    let customers = (offset..).zip(found.iter().map(|customer| customer.id.clone())).collect();
    let end = offset + found.len() as u64;
    let next = if end < total && !found.is_empty() { Some(end) } else { None };
    MemberPage { customers, total, next, tier: Tier::Snapshot }
}

/// Returns the name of the snapshot that does not have the customer, as JSON.
fn absent_in(customer: &Changed) -> &'static str {
    match (customer.was_known, customer.is_known) {
        (false, _) => "\"from\"",
        (_, false) => "\"to\"",
        _ => "null",
    }
}

/// List who entered or left a segment
///
/// Compares the members in two snapshots. Customers that one of the snapshots does not have at all count too,
/// and are marked.
#[utoipa::path(
    get, path = "/v1/segments/{name}/changes", tag = "over time", operation_id = "list_segment_changes",
    params(
        ("name" = String, Path, description = "Name of the segment", example = "champions"),
        SegmentChangesQuery,
    ),
    responses(
        (status = 200, description = "A page of customers who entered or left", body = SegmentChanges),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "A bad time, direction, limit or cursor, or an unknown view"),
        (status = 404, description = "No such snapshot, no earlier one, or no such segment in one of them"),
        (status = 410, description = "A snapshot of the cursor was removed"),
    )
)]
pub(crate) async fn list_segment_changes(
    mut read: SnapshotRead,
    PathParam(SegmentName(name)): PathParam<SegmentName>,
    Query(query): Query<SegmentChangesQuery>,
) -> Result<Response, Problem> {
    let limit = list_page::limit(query.limit.as_deref())?;
    let direction = direction(query.direction.as_deref())?;
    let list = format!("changes:{name}:{direction}:");
    let snapshots = [query.from.as_deref(), query.to.as_deref()];
    let compared = Compared::open(&read, &list, query.cursor.as_deref(), snapshots).await?;
    let asked_by = check_segment(&read, &compared.pair, &name)?;
    read.served = Arc::clone(&compared.pair.after);
    let selection = selection(&read, query.views.as_deref())?;
    let names = flag("names", query.names.as_deref())?;
    if let Some(response) = conditional::not_modified_by(read.if_none_match.as_ref(), &compared.tag) {
        return Ok(response);
    }
    let selection = selection.with_names(&read.served, names).await;
    let changes = read.app.serving.segment_changes(&compared.pair, &name).await?;
    check_counts(&read, &compared.pair, &name, [changes.entered(), changes.left()]).await?;
    let range = ChangedRange { direction, offset: compared.offset, limit, feature: None };
    let found = read.app.serving.changed(&compared.pair, &changes, range).await?;
    let details = found.iter().map(|customer| {
        let change = if customer.entered { "entered" } else { "left" };
        format!(",\"change\":\"{change}\",\"absent_in\":{}", absent_in(customer))
    });
    let details = details.collect();
    let members = member_page(&found, compared.offset, changes.total(direction));
    let page = ListPage { details, ..ListPage::new(compared.list(&list), members, asked_by) };
    let [from, to] = compared.ends();
    let (entered, left) = (changes.entered(), changes.left());
    let head = |head| SegmentChanges { segment: name, from, to, entered, left, head, customers: () };
    let mut response = list_page::respond(&read, &selection, page, head).await?;
    set_tag(&mut response, compared.tag);
    Ok(response)
}

/// Reads the parameter `direction`, which is `both` by default.
pub(crate) fn direction(text: Option<&str>) -> Result<Direction, Problem> {
    let direction = text.map_or(Ok(Direction::Both), str::parse);
    direction.map_err(|names| Problem::bad_parameter(format!("`direction` must be {names}")))
}

/// Checks that both snapshots have the segment and that the caller may see the members. Returns the personal
/// features that decide about the members.
pub(crate) fn check_segment(
    read: &SnapshotRead,
    pair: &SnapshotPair,
    name: &str,
) -> Result<Vec<String>, Problem> {
    let manifests = [&pair.before.manifest, &pair.after.manifest];
    let mut asked_by = BTreeSet::new();
    if manifests.iter().all(|manifest| manifest.segment(name).is_none()) {
        return Err(unknown_segment(name, &manifests[1].segments));
    }
    for manifest in manifests {
        let segment = manifest.segment(name).ok_or_else(|| {
            let why = format!("snapshot {} has no segment `{name}`, so it cannot be compared", manifest.id);
            Problem::segment_not_found(why)
        })?;
        asked_by.extend(read.access.check_segment(manifest, segment)?);
    }
    Ok(asked_by.into_iter().collect())
}

/// Refuses changes whose numbers the caller must not see. The sizes of the segment and one number tell the
/// other, so all of them must be allowed.
pub(crate) async fn check_counts(
    read: &SnapshotRead,
    pair: &SnapshotPair,
    name: &str,
    counts: [u64; 2],
) -> Result<(), Problem> {
    let least = MinCount::of(&read.app, &read.access);
    if least.shown().is_none() {
        return Ok(());
    }
    for manifest in [&pair.before.manifest, &pair.after.manifest] {
        let figures = read.app.serving.segment_then(manifest, name).await?;
        least.check_list(figures.map_or(0, |figures| figures.size))?;
    }
    counts.into_iter().try_for_each(|count| least.check_list(count))
}

/// Replaces the tag of the snapshot by one of all retained snapshots.
fn set_tag(response: &mut Response, tag: HeaderValue) {
    if response.headers().contains_key(header::ETAG) {
        response.headers_mut().insert(header::ETAG, tag);
    }
}

/// List whose value of a feature changed
///
/// Compares the values in two snapshots. The value of a customer that a snapshot does not have is null. A
/// personal feature needs the scope `pii`.
#[utoipa::path(
    get, path = "/v1/changes", tag = "over time", operation_id = "list_value_changes",
    params(ValueChangesQuery),
    responses(
        (status = 200, description = "A page of customers with old and new values", body = ValueChanges),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "A bad time, limit or cursor, an unknown view or feature, or a feature \
            that is a list"),
        (status = 404, description = "No such snapshot, or no earlier snapshot"),
        (status = 410, description = "A snapshot of the cursor was removed"),
    )
)]
pub(crate) async fn list_value_changes(
    mut read: SnapshotRead,
    Query(query): Query<ValueChangesQuery>,
) -> Result<Response, Problem> {
    let limit = list_page::limit(query.limit.as_deref())?;
    let name = feature("feature", &query.feature)?;
    let list = format!("values:{name}:");
    let snapshots = [query.from.as_deref(), query.to.as_deref()];
    let compared = Compared::open(&read, &list, query.cursor.as_deref(), snapshots).await?;
    let mut asked_by = BTreeSet::new();
    for served in [&compared.pair.after, &compared.pair.before] {
        let comparable = served.check_comparable(&name);
        comparable.map_err(|why| Problem::unknown_feature(format!("{why}, in {}", served.manifest.id)))?;
        asked_by.extend(read.access.check_query_by(&served.manifest, &name.view, &name.feature)?);
    }
    let asked_by: Vec<String> = asked_by.into_iter().collect();
    read.served = Arc::clone(&compared.pair.after);
    let selection = selection(&read, query.views.as_deref())?;
    let names = flag("names", query.names.as_deref())?;
    if let Some(response) = conditional::not_modified_by(read.if_none_match.as_ref(), &compared.tag) {
        return Ok(response);
    }
    let selection = selection.with_names(&read.served, names).await;
    let changes = read.app.serving.value_changes(&compared.pair, &name).await?;
    let total = changes.total(Direction::Both);
    MinCount::of(&read.app, &read.access).check_list(total)?;
    let range =
        ChangedRange { direction: Direction::Both, offset: compared.offset, limit, feature: Some(&name) };
    let found = read.app.serving.changed(&compared.pair, &changes, range).await?;
    let details = found.iter().map(|customer| {
        let null = || ("null".to_owned(), "null".to_owned());
        let (old, new) = customer.values.clone().unwrap_or_else(null);
        format!(",\"old\":{old},\"new\":{new},\"absent_in\":{}", absent_in(customer))
    });
    let details = details.collect();
    let members = member_page(&found, compared.offset, total);
    let shown = asked_by.clone();
    let page = ListPage { details, shown, ..ListPage::new(compared.list(&list), members, asked_by) };
    let [from, to] = compared.ends();
    let head = |head| ValueChanges { feature: name.to_string(), from, to, head, customers: () };
    let mut response = list_page::respond(&read, &selection, page, head).await?;
    set_tag(&mut response, compared.tag);
    Ok(response)
}
