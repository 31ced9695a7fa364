//! Pages of lists: segments, churn, audiences.

use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Freshness, Views,
    audit::{self, PersonalData},
    conditional,
    features::{write_json, write_views},
};
use crate::{
    feature::{CustomerId, Tier},
    http::{
        Problem,
        extract::{self, Selection, SnapshotRead, cursor::Cursor},
    },
    serving::MemberPage,
};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;

/// The part of a page that all lists have.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageHead {
    #[serde(flatten)]
    freshness: Freshness,
    /// The tier that knows the members.
    tier: Tier,
    /// Requested personal features that are null because the caller lacks the scope `pii`; absent where there
    /// are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, example = json!(["profile.email"]))]
    masked: Vec<String>,
    /// Number of members on all pages together.
    #[schema(example = 604)]
    total: u64,
    /// The cursor of the next page; null on the last page.
    #[schema(example = json!(null))]
    next: Option<String>,
}

/// A page of a list: all pages of a list come from one snapshot.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "the members are written row by row; this is the shape for the OpenAPI document"
)]
pub(crate) struct Page<H> {
    #[serde(flatten)]
    head: H,
    /// The members of this page.
    customers: Vec<Member>,
}

/// A member of a list.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written row by row; this is the shape for the OpenAPI document")]
pub(crate) struct Member {
    /// Place in the list, from 1.
    #[schema(example = 1)]
    rank: u64,
    /// The customer's id.
    #[schema(example = "14646")]
    customer_id: String,
    /// The requested views; null where the customer could not be read.
    views: Option<Views>,
}

/// Reads the number of members of a page: 1 to 1,000, by default 100.
pub(crate) fn limit(text: Option<&str>) -> Result<usize, Problem> {
    extract::limit(text, DEFAULT_LIMIT, MAX_LIMIT)
}

/// The members of a page, and the name of their list in cursors.
#[derive(Debug)]
pub(crate) struct ListPage {
    pub(crate) list: String,
    pub(crate) members: MemberPage,
    /// Personal features that the list is filtered, ordered or broken down by.
    pub(crate) asked_by: Vec<String>,
    /// More fields of each member, as JSON with a leading comma; empty if there are none.
    pub(crate) details: Vec<String>,
    /// Personal features whose values are in `details`.
    pub(crate) shown: Vec<String>,
}

impl ListPage {
    /// Creates a page whose members have no more fields than rank, id and views.
    pub(crate) fn new(list: String, members: MemberPage, asked_by: Vec<String>) -> Self {
        Self { list, members, asked_by, details: Vec::new(), shown: Vec::new() }
    }
}

/// Reads the selected views of the members, and writes the page behind what `head` makes of the common part.
pub(crate) async fn respond<H: Serialize>(
    read: &SnapshotRead,
    selection: &Selection,
    page: ListPage,
    head: impl FnOnce(PageHead) -> H,
) -> Result<Response, Problem> {
    let SnapshotRead { app, served, access, .. } = read;
    let ListPage { list, members, asked_by, details, shown } = page;
    let MemberPage { customers, total, next, tier } = members;
    let (ranks, ids): (Vec<u64>, Vec<CustomerId>) = customers.into_iter().unzip();
    access.charge(ids.len() as u64)?;
    let rows = if selection.is_empty() {
        Vec::new()
    } else {
        match app.serving.customers(served, &ids).await {
            Ok(rows) => rows,
            Err(error) => return Err(read.lost(error).await),
        }
    };
    let (snapshot, erased) = (served.manifest.id.clone(), served.erased_count());
    let next = next.map(|offset| Cursor { snapshot, list, offset, erased }.encode());
    let masked = selection.masked_features(served).into_iter().map(str::to_owned).collect();
    let head = head(PageHead { freshness: Freshness::from(&**served), tier, masked, total, next });
    let mut out = Vec::with_capacity(256 + ids.len() * 128);
    write_json(&head, &mut out);
    // The members go before the bracket that ends the head.
    out.pop();
    out.extend_from_slice(b",\"customers\":[");
    for (at, (id, rank)) in ids.iter().zip(ranks).enumerate() {
        out.extend_from_slice(if at > 0 { b",{\"rank\":" } else { b"{\"rank\":" });
        write_json(rank + 1, &mut out);
        out.extend_from_slice(b",\"customer_id\":");
        write_json(id.as_str(), &mut out);
        out.extend_from_slice(details.get(at).map_or(&[], |more| more.as_bytes()));
        out.extend_from_slice(b",\"views\":");
        match rows.get(at) {
            None => out.extend_from_slice(b"{}"),
            Some(Ok(answer)) if let Some(row) = &answer.row => {
                write_views(selection, served, row, answer.tier, &mut out);
            }
            Some(_) => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    let mut response = conditional::json_text(
        out,
        conditional::of_answers(served, access, selection, rows.iter().flatten()),
    );
    if asked_by.is_empty() {
        audit::note(&mut response, access, || selection.personal(served), || audit::found(&rows));
    } else {
        let features = if selection.masked { Vec::new() } else { selection.personal(served) };
        let features = features.into_iter().map(str::to_owned).chain(shown).collect();
        let read = PersonalData { features, asked_by, total: Some(total), customers: ids };
        audit::note_asked(&mut response, access, read);
    }
    Ok(response)
}
