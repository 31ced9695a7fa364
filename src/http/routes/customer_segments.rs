//! `GET /v1/customers/{id}/segments`: the segments that a customer is in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    config::Scope,
    feature::{CustomerId, Tier},
    http::{
        Problem,
        extract::{PathParam, Query, Selection, SnapshotRead, names},
        problem::unknown_segment,
        reply::{
            self, Freshness,
            audit::{self, PersonalData},
            conditional,
        },
    },
};

/// The segments to check.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CustomerSegmentsQuery {
    /// Names of segments, separated by commas. The answer then tells for each of them whether the customer is
    /// a member, and does not list all segments.
    #[param(example = "champions,churn_high")]
    r#in: Option<String>,
}

/// The segments of one customer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CustomerSegments<'a> {
    /// The customer's id.
    #[schema(value_type = String, example = "17850")]
    customer_id: CustomerId,
    #[serde(flatten)]
    freshness: Freshness,
    /// The tier that answered.
    tier: Tier,
    /// Features of the view `segments` whose names are left out because the caller lacks the scope `pii`;
    /// absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, example = json!(["segments.personal_names"]))]
    masked: Vec<&'a str>,
    /// Names of all segments that the customer is in, sorted; absent with `in`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!(["champions", "churn_low"]))]
    segments: Option<Vec<&'a str>>,
    /// For each segment of the parameter `in`, whether the customer is a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = json!({"champions": true, "churn_high": false}))]
    r#in: Option<BTreeMap<&'a str, bool>>,
}

/// Get the segments of a customer
///
/// Lists segments of every kind: `rfm`, `churn` and named audiences. Audiences that depend on personal
/// features need the scope `pii`.
#[utoipa::path(
    get, path = "/v1/customers/{id}/segments", tag = "customers", operation_id = "get_customer_segments",
    params(
        ("id" = String, Path, description = "The customer's id, percent-encoded", example = "17850"),
        CustomerSegmentsQuery,
    ),
    responses(
        (status = 200, description = "The segments, and the tier that answered", body = CustomerSegments),
        (status = 304, description = "Not modified since the answer that If-None-Match names"),
        (status = 400, description = "Not a customer id, or a snapshot without the view `segments`"),
        (status = 404, description = "No such customer, or no such segment"),
    )
)]
pub(crate) async fn get_customer_segments(
    read: SnapshotRead,
    PathParam(id): PathParam<CustomerId>,
    Query(query): Query<CustomerSegmentsQuery>,
) -> Result<Response, Problem> {
    let SnapshotRead { app, served, access, .. } = &read;
    let selection = Selection::none().with_segments(served)?;
    let asked: Option<BTreeSet<&str>> = query.r#in.as_deref().map(|list| names(list).collect());
    let mut asked_by = BTreeSet::new();
    for name in asked.iter().flatten() {
        let segments = &served.manifest.segments;
        let segment = served.manifest.segment(name).ok_or_else(|| unknown_segment(name, segments))?;
        asked_by.extend(access.check_segment(&served.manifest, segment)?);
    }
    // The customer is looked up first: a 304 without a look would tell unknown customers from erased ones.
    let answer = app.serving.customer(served, &id).await?;
    let Some(row) = &answer.row else {
        return Err(Problem::customer_not_found(format!("there is no customer `{id}` in the snapshot")));
    };
    let has_tag = answer.label.is_none();
    if has_tag && let Some(response) = reply::not_modified(&read) {
        return Ok(response);
    }
    let row = Arc::clone(row);
    let pii = access.has(Scope::Pii);
    let found = served.segments_of(&row, pii || asked.is_some());
    let freshness = answer.label.as_ref().map_or_else(|| Freshness::from(&**served), Freshness::from);
    let is_in = asked.as_ref().map(|asked| asked.iter().map(|name| (*name, found.contains(name))).collect());
    let personal = if asked.is_none() { selection.personal(served) } else { Vec::new() };
    let body = CustomerSegments {
        customer_id: id.clone(),
        freshness,
        tier: answer.tier,
        masked: if pii { Vec::new() } else { personal.clone() },
        segments: if asked.is_none() { Some(found) } else { None },
        r#in: is_in,
    };
    let tag = if has_tag { Some(conditional::of_snapshot(served, access)) } else { None };
    let mut response = reply::json_tagged(&body, tag)?;
    if asked_by.is_empty() {
        audit::note(&mut response, access, || personal, || vec![id]);
    } else {
        let asked_by = asked_by.into_iter().collect();
        let read = PersonalData { asked_by, total: Some(1), customers: vec![id], ..PersonalData::default() };
        audit::note_asked(&mut response, access, read);
    }
    Ok(response)
}
