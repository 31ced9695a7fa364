//! Names of products beside their ids in the views of a customer.

use serde::Serialize;

use crate::{
    feature::{Row, product_names_key},
    http::extract::{NamesBesideIds, Selection},
    serving::Served,
};

/// Appends the view at the index `view` as `"behavior":{"favourite_product":"22423",
/// "favourite_product_name":"REGENCY CAKESTAND 3 TIER",…}`, with only the features at the indexes `wanted`
/// (ascending) if given.
pub(super) fn write_view(
    selection: &Selection,
    served: &Served,
    row: &Row,
    view: usize,
    wanted: Option<&[usize]>,
    out: &mut Vec<u8>,
) {
    let of_view = &served.manifest.views[view];
    let is_feature = |key: &str| of_view.features.iter().any(|feature| feature.name == key);
    served.keys[view].write_each(row.views.get(view), wanted, selection.masked, out, |at, value, out| {
        let key = product_names_key(&of_view.name, &of_view.features[at].name);
        // A view of the installation may have a feature of this name.
        if let Some(key) = key.filter(|key| !is_feature(key)) {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            write_names(&selection.names, value, out);
        }
    });
}

/// Appends the names of the ids in `value`, which is a text or a list of texts.
fn write_names(names: &NamesBesideIds, value: &[u8], out: &mut Vec<u8>) {
    let name = |id: String| match names {
        NamesBesideIds::Read(names) => names.get(&id).map(str::to_owned),
        NamesBesideIds::Absent | NamesBesideIds::Unreadable => None,
    };
    if value.starts_with(b"[") {
        let ids: Vec<Option<String>> = serde_json::from_slice(value).unwrap_or_default();
        write_json(ids.into_iter().map(|id| id.and_then(name)).collect::<Vec<_>>(), out);
    } else {
        let id: Option<String> = serde_json::from_slice(value).unwrap_or_default();
        write_json(id.and_then(name), out);
    }
}

fn write_json(value: impl Serialize, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = serde_json::to_writer(out, &value);
}
