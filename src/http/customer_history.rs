//! `GET /v1/customers/{id}/history`: one customer from snapshot to snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::{
    App, Problem,
    access::Access,
    audit, conditional,
    customers::not_utf8,
    query::Query,
    select::{self, Selection},
    span,
};
use crate::{
    config::Scope,
    feature::{CustomerId, Row, elements},
    serving::Served,
    snapshot::rfc3339,
};

/// Which snapshots and features are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CustomerHistoryQuery {
    /// Whole views by name, separated by commas; `rfm` and `churn` unless `views` or `features` is given.
    #[param(example = "rfm")]
    views: Option<String>,
    /// Single features as `view.feature`, separated by commas.
    #[param(example = "rfm.segment,churn.probability")]
    features: Option<String>,
    /// Only snapshots with this `as_of` or a later one: a time (RFC 3339) or a date.
    #[param(example = "2011-06-01")]
    from: Option<String>,
    /// Only snapshots with this `as_of` or an earlier one; a date counts whole. To go further back, give the oldest `as_of` of the answer.
    #[param(example = "2011-12-09")]
    to: Option<String>,
    /// How many snapshots, the newest of the span; 1 to 100, 30 unless given.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, example = 30)]
    limit: Option<String>,
}

/// One customer from snapshot to snapshot.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct CustomerHistory {
    /// The customer's id.
    #[schema(example = "17850")]
    customer_id: String,
    /// The current snapshot.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// Personal features that were asked for and are null because the caller lacks the scope `pii`; absent where there are none.
    #[schema(nullable = false, example = json!(["profile.email"]))]
    masked: Option<Vec<String>>,
    /// The retained snapshots of the span, newest first, one for each `as_of`.
    history: Vec<CustomerThen>,
}

/// One customer in one snapshot.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "the form of an answer that is written byte by byte, for the contract")]
pub(super) struct CustomerThen {
    /// The snapshot.
    #[schema(example = "20111209T125000Z-5f0c2a9e")]
    snapshot: String,
    /// The instant that it describes.
    #[schema(format = DateTime, example = "2011-12-09T12:50:00Z")]
    as_of: String,
    /// Whether it knows the customer; null where it could not be read.
    #[schema(example = true)]
    found: Option<bool>,
    /// View → feature → value, where the customer was found. A view or feature that this snapshot does not have is null.
    views: Option<super::openapi::Views>,
    /// `unavailable` where it could not be read.
    #[schema(example = json!(null))]
    error: Option<String>,
}

/// One customer over time
///
/// Views and features are those that the current snapshot has. Of several builds of one `as_of` the latest counts, except that the
/// current snapshot stands for its own.
#[utoipa::path(
    get, path = "/v1/customers/{id}/history", tag = "over time", operation_id = "get_customer_history",
    params(("id" = String, Path, description = "The customer's id, URL-encoded", example = "17850"), CustomerHistoryQuery),
    responses(
        (status = 200, description = "The features by snapshot, newest first", body = CustomerHistory),
        (status = 304, description = "The caller has it already, by If-None-Match"),
        (status = 400, description = "No customer id, a bad time or limit, an unknown view or feature", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No snapshot of the span knows the customer", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The lake cannot be read", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn customer(
    State(app): State<Arc<App>>,
    access: Access,
    id: Result<Path<String>, PathRejection>,
    Query(query): Query<CustomerHistoryQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| not_utf8())?;
    let id = CustomerId::parse(&id).map_err(|error| Problem::bad_id(error.to_string()))?;
    let served = app.serving.current()?;
    let wanted = Wanted::new(&served, &access, query.views.as_deref(), query.features.as_deref())?;
    let timeline = app.serving.timeline(&served).await?;
    let places = span::places(&timeline, query.from.as_deref(), query.to.as_deref(), query.limit.as_deref())?;
    let tag = conditional::tag_over_time(&served, &access, &timeline);
    // Whatever a caller still has of a forgotten customer, it is not confirmed.
    if let Some(response) = conditional::has(&headers, &tag).filter(|_| !served.forgets(id.as_str())) {
        return Ok(response);
    }
    let snapshots: Vec<_> = timeline.all()[places].iter().rev().cloned().collect();
    let past = app.serving.past(&snapshots, &id).await;
    if past.iter().all(|then| !matches!(then, Ok((_, Some(_))))) {
        if let Some(Err(error)) = past.iter().find(|then| then.is_err()) {
            return Err(error.clone().into());
        }
        return Err(Problem::customer_not_found(format!("no snapshot of the span knows a customer `{id}`")));
    }
    let mut out = b"{\"customer_id\":".to_vec();
    select::text(id.as_str(), &mut out);
    out.push(b',');
    select::freshness(&served, &mut out);
    if wanted.masked {
        select::masked(wanted.personal(past.iter().flatten().map(|(then, _)| then.as_ref())), &mut out);
    }
    out.extend_from_slice(b",\"history\":[");
    for (at, (manifest, then)) in snapshots.iter().zip(&past).enumerate() {
        out.extend_from_slice(if at > 0 { b",{" } else { b"{" });
        select::snapshot(manifest.id.as_str(), &rfc3339::format(manifest.as_of), &mut out);
        match then {
            Ok((then, Some(row))) => {
                out.extend_from_slice(b",\"found\":true,\"views\":");
                wanted.write(then, row, &mut out);
            }
            Ok((_, None)) => out.extend_from_slice(b",\"found\":false"),
            Err(_) => out.extend_from_slice(b",\"found\":null,\"error\":\"unavailable\""),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    let mut response = ([(header::CONTENT_TYPE, "application/json")], out).into_response();
    // What could not be read may be there the next time.
    if past.iter().all(Result::is_ok) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    let shown = || wanted.personal(past.iter().flatten().map(|(then, _)| then.as_ref()));
    audit::note(&mut response, &access, shown, || vec![id]);
    Ok(response)
}

/// Views and features by name, since each snapshot may have them in other places, or not at all.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    views: BTreeMap<&'a str, Option<Vec<&'a str>>>,
    /// Whether personal values are written as `null`.
    masked: bool,
}

impl<'a> Wanted<'a> {
    fn new(
        served: &Served,
        access: &Access,
        views: Option<&'a str>,
        features: Option<&'a str>,
    ) -> Result<Self, Problem> {
        let list = |text: Option<&'a str>| text.into_iter().flat_map(|text| text.split(',')).map(str::trim);
        let mut views: Vec<&str> = list(views).filter(|name| !name.is_empty()).collect();
        let features: Vec<&str> = list(features).filter(|name| !name.is_empty()).collect();
        if views.is_empty() && features.is_empty() {
            views =
                ["rfm", "churn"].into_iter().filter(|name| served.manifest.view(name).is_some()).collect();
        }
        Selection::named(served, access, views.iter().copied(), features.iter().copied())?;
        let mut wanted: BTreeMap<&str, Option<Vec<&str>>> =
            views.into_iter().map(|view| (view, None)).collect();
        for (view, feature) in features.into_iter().filter_map(|name| name.split_once('.')) {
            if let Some(features) = wanted.entry(view).or_insert_with(|| Some(Vec::new()))
                && !features.contains(&feature)
            {
                features.push(feature);
            }
        }
        Ok(Self { views: wanted, masked: !access.may(Scope::Pii) })
    }

    /// Whether `feature` of `view` is wanted.
    fn wants(&self, view: &str, feature: &str) -> bool {
        self.views
            .get(view)
            .is_some_and(|features| features.as_ref().is_none_or(|names| names.contains(&feature)))
    }

    /// The personal features that are wanted, of any of `snapshots`, as `view.feature`.
    fn personal<'s>(&self, snapshots: impl Iterator<Item = &'s Served>) -> BTreeSet<String> {
        let personal = snapshots.flat_map(|served| served.manifest.personal());
        personal
            .filter(|(view, feature)| self.wants(view, feature))
            .map(|(view, feature)| format!("{view}.{feature}"))
            .collect()
    }

    /// Appends `{"rfm":{…},"churn":null}`.
    fn write(&self, served: &Served, row: &Row, out: &mut Vec<u8>) {
        out.push(b'{');
        for (number, (view, features)) in self.views.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            let place = served.manifest.view(view);
            let values = place.and_then(|place| row.views.get(place));
            match (place, features) {
                (Some(place), None) => {
                    served.keys[place].write(row.views.get(place), self.masked, out);
                }
                (Some(place), Some(features)) if values.is_some() => {
                    select::text(view, out);
                    out.push(b':');
                    let known = &served.manifest.views[place].features;
                    let value = |feature: &str| {
                        let at = known.iter().position(|known| known.name == feature)?;
                        let shown = !(self.masked && known[at].personal);
                        elements(values?).nth(at).filter(|_| shown)
                    };
                    for (at, feature) in features.iter().enumerate() {
                        out.push(if at == 0 { b'{' } else { b',' });
                        select::text(feature, out);
                        out.push(b':');
                        out.extend_from_slice(value(feature).unwrap_or(b"null"));
                    }
                    out.push(b'}');
                }
                _ => {
                    select::text(view, out);
                    out.extend_from_slice(b":null");
                }
            }
        }
        out.push(b'}');
    }
}
