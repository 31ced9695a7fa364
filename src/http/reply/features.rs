//! Customers' features as JSON: rows are copied byte by byte, so these parts of an answer are written by
//! hand.

use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::product_names;
use crate::{
    feature::{CustomerId, Row, Tier},
    http::extract::{NamesBesideIds, selection::Selection},
    serving::{CustomerRead, ReadError, Served},
};

/// View → feature → value; null where the customer is absent from the view.
#[derive(Debug, ToSchema)]
#[schema(example = json!({
    "rfm": {"recency_days": 371, "frequency": 34, "monetary": 5288.63, "segment": "cant_lose"}
}))]
pub(crate) struct Views {}

/// Appends `"snapshot":"…","as_of":"…"` of the served snapshot, or of the publish under way that answered.
pub(crate) fn write_freshness(served: &Served, answer: Option<&CustomerRead>, out: &mut Vec<u8>) {
    let (id, as_of) = match answer.and_then(|answer| answer.label.as_ref()) {
        None => (served.manifest.id.as_str(), served.as_of.as_str()),
        Some(label) => (&*label.snapshot, &*label.as_of),
    };
    out.extend_from_slice(b"\"snapshot\":\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\",\"as_of\":\"");
    out.extend_from_slice(as_of.as_bytes());
    out.push(b'"');
}

/// Appends `,"tier":"memory"`.
pub(crate) fn write_tier(tier: Tier, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"tier\":\"");
    out.extend_from_slice(tier.as_str().as_bytes());
    out.push(b'"');
}

/// Appends `,"masked":["profile.email"]`, or nothing where no selected feature is masked.
pub(crate) fn write_masked(selection: &Selection, served: &Served, out: &mut Vec<u8>) {
    if !selection.masked || served.personal.is_empty() {
        return;
    }
    // Names of views and features need no escaping.
    let mut before: &[u8] = b",\"masked\":[\"";
    let mut write = |name: &str| {
        out.extend_from_slice(before);
        out.extend_from_slice(name.as_bytes());
        before = b"\",\"";
    };
    if selection.views.is_none() && !selection.segments {
        served.default_personal().iter().for_each(|name| write(name));
    } else {
        selection.personal(served).into_iter().for_each(&mut write);
    }
    if before.len() == 3 {
        out.extend_from_slice(b"\"]");
    }
}

/// Appends `{"rfm":{…},"profile":null}`. A row that stays in memory keeps the object too, for the next
/// request.
pub(crate) fn write_views(selection: &Selection, served: &Served, row: &Row, tier: Tier, out: &mut Vec<u8>) {
    if selection.names != NamesBesideIds::Absent {
        return write_views_with_names(selection, served, row, out);
    }
    let Some(views) = &selection.views else {
        if tier == Tier::Memory {
            return row.write(&served.keys[..served.default_views()], selection.masked, out);
        }
        return write_object(0..served.default_views(), out, |view, out| {
            served.keys[view].write(row.views.get(view), selection.masked, out);
        });
    };
    write_object(views, out, |selected, out| {
        let (keys, values) = (&served.keys[selected.view], row.views.get(selected.view));
        match &selected.features {
            None => keys.write(values, selection.masked, out),
            Some(places) => keys.write_some(values, places, selection.masked, out),
        }
    });
}

/// Appends the views as [`write_views`] does, with the names of products beside their ids.
fn write_views_with_names(selection: &Selection, served: &Served, row: &Row, out: &mut Vec<u8>) {
    let write = |view: usize, features: Option<&[usize]>, out: &mut Vec<u8>| {
        product_names::write_view(selection, served, row, view, features, out);
    };
    match &selection.views {
        None => write_object(0..served.default_views(), out, |view, out| write(view, None, out)),
        Some(views) => write_object(views, out, |selected, out| {
            write(selected.view, selected.features.as_deref(), out);
        }),
    }
}

/// Appends `,"segments":["champions","churn_low"]` if the names of segments are selected.
pub(crate) fn write_segments(selection: &Selection, served: &Served, row: &Row, out: &mut Vec<u8>) {
    if selection.segments {
        out.extend_from_slice(b",\"segments\":");
        write_json(served.segments_of(row, !selection.masked), out);
    }
}

/// Appends an object whose members `write` appends.
fn write_object<T>(members: impl IntoIterator<Item = T>, out: &mut Vec<u8>, write: impl Fn(T, &mut Vec<u8>)) {
    out.push(b'{');
    write_joined(members, out, write);
    out.push(b'}');
}

/// Appends `items` with commas between them.
pub(crate) fn write_joined<T>(
    items: impl IntoIterator<Item = T>,
    out: &mut Vec<u8>,
    write: impl Fn(T, &mut Vec<u8>),
) {
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
    }
}

/// Appends a customer of a batch: `{"customer_id":…,"found":true,"tier":…,"views":{…}}` or the like.
pub(crate) fn write_result(
    served: &Served,
    selection: &Selection,
    id: &CustomerId,
    answer: &Result<CustomerRead, ReadError>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"customer_id\":");
    write_json(id.as_str(), out);
    match answer {
        Ok(answer) => match &answer.row {
            Some(row) => {
                out.extend_from_slice(b",\"found\":true");
                if answer.label.is_some() {
                    out.push(b',');
                    write_freshness(served, Some(answer), out);
                }
                write_tier(answer.tier, out);
                write_segments(selection, served, row, out);
                out.extend_from_slice(b",\"views\":");
                write_views(selection, served, row, answer.tier, out);
            }
            None => out.extend_from_slice(b",\"found\":false"),
        },
        Err(_) => out.extend_from_slice(b",\"found\":null,\"error\":\"unavailable\""),
    }
    out.push(b'}');
}

/// Appends `value` as JSON.
pub(crate) fn write_json(value: impl Serialize, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(out, &value);
}

/// Returns JSON text as a value.
pub(crate) fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
