//! `GET /v1/customers/{id}/history`: one customer from snapshot to snapshot.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    config::Scope,
    feature::{CustomerId, Row, elements},
    http::{
        Problem,
        access::Access,
        extract::{PathParam, Query, Selection, SnapshotRead, names, time_range::TimeRange},
        reply::{Freshness, Views, audit, conditional, features::write_json},
    },
    serving::Served,
};

/// A time range, views and features.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CustomerHistoryQuery {
    /// Names of whole views, separated by commas; by default `rfm` and `churn`, unless `features` is given.
    #[param(example = "rfm")]
    views: Option<String>,
    /// Single features as `view.feature`, separated by commas.
    #[param(example = "rfm.segment,churn.probability")]
    features: Option<String>,
    /// Earliest `as_of`: a time (RFC 3339) or a date.
    #[param(example = "2011-06-01")]
    from: Option<String>,
    /// Latest `as_of`: a time (RFC 3339) or a date, which includes the whole day. To go further back, give
    /// the oldest `as_of` of the answer.
    #[param(example = "2011-12-09")]
    to: Option<String>,
    /// Number of snapshots, the newest of the range; 1 to 100, by default 30.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100, example = 30)]
    limit: Option<String>,
}

/// One customer from snapshot to snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CustomerHistory {
    /// The customer's id.
    #[schema(value_type = String, example = "17850")]
    customer_id: CustomerId,
    #[serde(flatten)]
    freshness: Freshness,
    /// Requested personal features that are null because the caller lacks the scope `pii`; absent where there
    /// are none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(required = false, value_type = Vec<String>, example = json!(["profile.email"]))]
    masked: BTreeSet<String>,
    /// The retained snapshots of the range, newest first, one for each `as_of`.
    #[serde(skip_serializing_if = "is_written_later")]
    #[schema(value_type = Vec<CustomerThen>, required = true)]
    history: (),
}

/// One customer in one snapshot.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CustomerThen {
    #[serde(flatten)]
    freshness: Freshness,
    /// Whether the snapshot has the customer; null where the customer could not be read.
    #[schema(example = true)]
    found: Option<bool>,
    /// View → feature → value, where the customer was found. Views and features that the snapshot does not
    /// have are null.
    #[serde(skip_serializing_if = "is_written_later")]
    #[schema(value_type = Option<Views>)]
    views: (),
    /// `unavailable` where the customer could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = json!(null))]
    error: Option<&'static str>,
}

/// Returns true: the handler appends the field after the others.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_written_later((): &()) -> bool {
    true
}

/// Get one customer over time
///
/// Views and features are those of the current snapshot. The latest of several builds with one `as_of`
/// counts, but the current snapshot always does.
#[utoipa::path(
    get, path = "/v1/customers/{id}/history", tag = "over time", operation_id = "get_customer_history",
    params(
        ("id" = String, Path, description = "The customer's id, percent-encoded", example = "17850"),
        CustomerHistoryQuery,
    ),
    responses(
        (status = 200, description = "The features by snapshot, newest first", body = CustomerHistory),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "Not a customer id, a bad time or limit, an unknown view or feature"),
        (status = 404, description = "No snapshot of the range has the customer"),
    )
)]
pub(crate) async fn get_customer_history(
    read: SnapshotRead,
    PathParam(id): PathParam<CustomerId>,
    Query(query): Query<CustomerHistoryQuery>,
) -> Result<Response, Problem> {
    let SnapshotRead { app, served, access, .. } = &read;
    let CustomerHistoryQuery { views, features, from, to, limit } = query;
    let selection = NamedFeatures::new(served, access, views.as_deref(), features.as_deref())?;
    let timeline = app.serving.timeline(served).await?;
    let places = TimeRange { from, to, limit }.places(&timeline)?;
    let tag = conditional::of_timeline(served, access, &timeline);
    let snapshots: Vec<_> = timeline.all()[places].iter().rev().cloned().collect();
    let past = app.serving.past(&snapshots, &id).await;
    if past.iter().all(|then| !matches!(then, Ok((_, Some(_))))) {
        if let Some(Err(error)) = past.iter().find(|then| then.is_err()) {
            return Err(error.clone().into());
        }
        let why = format!("no snapshot of the range has a customer `{id}`");
        return Err(Problem::customer_not_found(why));
    }
    // The customer is looked up first: a 304 without a look would tell unknown customers from erased ones.
    if past.iter().all(Result::is_ok)
        && let Some(response) = conditional::not_modified_by(read.if_none_match.as_ref(), &tag)
    {
        return Ok(response);
    }
    let personal = selection.personal(past.iter().flatten().map(|(then, _)| then.as_ref()));
    let masked = if selection.masked { personal.clone() } else { BTreeSet::new() };
    let freshness = Freshness::from(&**served);
    // A snapshot that could not be read may be readable at the next request.
    let tag = if past.iter().all(Result::is_ok) { Some(tag) } else { None };
    let mut out = Vec::with_capacity(256 + past.len() * 512);
    write_json(CustomerHistory { customer_id: id.clone(), freshness, masked, history: () }, &mut out);
    // The snapshots go before the bracket that ends the head.
    out.pop();
    out.extend_from_slice(b",\"history\":[");
    for (at, (manifest, then)) in snapshots.iter().zip(&past).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let (found, error) = match then {
            Ok((_, row)) => (Some(row.is_some()), None),
            Err(_) => (None, Some("unavailable")),
        };
        let freshness = Freshness::from(&**manifest);
        write_json(CustomerThen { freshness, found, views: (), error }, &mut out);
        if let Ok((then, Some(row))) = then {
            out.pop();
            out.extend_from_slice(b",\"views\":");
            selection.write(then, row, &mut out);
            out.push(b'}');
        }
    }
    out.extend_from_slice(b"]}");
    let mut response = conditional::json_text(out, tag);
    audit::note(&mut response, access, || personal, || vec![id]);
    Ok(response)
}

/// Selected views and features by name, since their places differ from snapshot to snapshot.
#[derive(Debug, PartialEq, Eq)]
struct NamedFeatures<'a> {
    /// View → features; `None` selects the whole view.
    views: BTreeMap<&'a str, Option<Vec<&'a str>>>,
    /// Whether personal values are written as `null`.
    masked: bool,
}

impl<'a> NamedFeatures<'a> {
    fn new(
        served: &Served,
        access: &Access,
        views: Option<&'a str>,
        features: Option<&'a str>,
    ) -> Result<Self, Problem> {
        let mut views: Vec<&str> = views.into_iter().flat_map(names).collect();
        let features: Vec<&str> = features.into_iter().flat_map(names).collect();
        if views.is_empty() && features.is_empty() {
            views = vec!["rfm", "churn"];
            views.retain(|name| served.manifest.view(name).is_some());
        }
        Selection::named(served, access, views.iter().copied(), features.iter().copied())?;
        let mut selected: BTreeMap<&str, Option<Vec<&str>>> =
            views.into_iter().map(|view| (view, None)).collect();
        for (view, feature) in features.into_iter().filter_map(|name| name.split_once('.')) {
            if let Some(features) = selected.entry(view).or_insert_with(|| Some(Vec::new()))
                && !features.contains(&feature)
            {
                features.push(feature);
            }
        }
        Ok(Self { views: selected, masked: !access.has(Scope::Pii) })
    }

    fn contains(&self, view: &str, feature: &str) -> bool {
        let features = self.views.get(view);
        features.is_some_and(|features| features.as_ref().is_none_or(|names| names.contains(&feature)))
    }

    /// Returns the selected personal features of any of `snapshots`, as `view.feature`.
    fn personal<'s>(&self, snapshots: impl Iterator<Item = &'s Served>) -> BTreeSet<String> {
        snapshots
            .flat_map(|served| served.manifest.personal())
            .filter(|(view, feature)| self.contains(view, feature))
            .map(|(view, feature)| format!("{view}.{feature}"))
            .collect()
    }

    /// Appends the views of `row` as `{"rfm":{…},"churn":null}`.
    fn write(&self, served: &Served, row: &Row, out: &mut Vec<u8>) {
        out.push(b'{');
        for (number, (view, features)) in self.views.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            let place = served.manifest.view(view);
            let values = place.and_then(|place| row.views.get(place));
            match (place, features) {
                (Some(place), None) => served.keys[place].write(values, self.masked, out),
                (Some(place), Some(features)) if let Some(values) = values => {
                    write_json(view, out);
                    let known = &served.manifest.views[place].features;
                    for (at, feature) in features.iter().enumerate() {
                        out.extend_from_slice(if at == 0 { b":{" } else { b"," });
                        write_json(feature, out);
                        out.push(b':');
                        let place = known.iter().position(|known| known.name == *feature);
                        let value = match place {
                            Some(place) if !(self.masked && known[place].personal) => {
                                elements(values).nth(place)
                            }
                            _ => None,
                        };
                        out.extend_from_slice(value.unwrap_or(b"null"));
                    }
                    out.push(b'}');
                }
                _ => {
                    write_json(view, out);
                    out.extend_from_slice(b":null");
                }
            }
        }
        out.push(b'}');
    }
}
