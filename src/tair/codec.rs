//! What the keys hold: rows as field values, and the small records that say which publish is which. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::feature::{FeatureView, ViewRows};

/// The field that holds the number of the publish that wrote a customer.
pub const PUBLISH: &str = "_publish";
/// The value of a view that the customer is absent from.
pub const ABSENT: &[u8] = b"null";

/// `larder:current`: the publish that readers get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The number of the publish.
    pub publish: u64,
    /// The snapshot.
    pub snapshot: String,
    /// Its instant, in RFC 3339.
    pub as_of: String,
    /// The lake that the snapshot is in, by the name that its `CURRENT` has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lake: Option<String>,
}

/// `larder:publishing`: a publish under way, or left unfinished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publishing {
    /// Which publish it is, of which snapshot.
    #[serde(flatten)]
    pub marker: Marker,
    /// The snapshot whose rows were there before; none where everything is written.
    pub from: Option<String>,
    /// Publishes before this one that were left unfinished: rows of theirs may still be there.
    #[serde(default)]
    pub unfinished: Vec<Marker>,
    /// Whether the publisher gave up in an orderly way: nobody writes any more.
    #[serde(default)]
    pub released: bool,
    /// How many customers of the new snapshot it has gone through, noted every few seconds.
    #[serde(default)]
    pub done: u64,
    /// How many there are.
    #[serde(default)]
    pub customers: u64,
}

/// What belongs to the index of one publish: segment → its members.
pub type Index = BTreeMap<String, u64>;

/// The field that a view is stored in, `rfm:3f2a91c0`: the name, and a fingerprint of names, types and order of its columns.
#[must_use]
pub fn field(view: &FeatureView) -> String {
    let mut hash = Sha256::new();
    for feature in &view.features {
        hash.update(format!("{}\t{}\n", feature.name, feature.data_type));
    }
    let hash = hash.finalize();
    format!("{}:{:02x}{:02x}{:02x}{:02x}", view.name, hash[0], hash[1], hash[2], hash[3])
}

/// What `larder:views` says of a view: its field, and the names of its columns in order.
#[must_use]
pub fn columns(view: &FeatureView) -> String {
    let names: Vec<&str> = view.features.iter().map(|feature| feature.name.as_str()).collect();
    serde_json::json!({ "field": field(view), "columns": names }).to_string()
}

/// A customer's row as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// The number of the publish that wrote it.
    pub publish: u64,
    /// A value for each field that was asked for.
    pub views: ViewRows,
}

/// The row of the answers to the asked fields, the last of them [`PUBLISH`]. A field that is missing makes the whole row one: it
/// was written with other columns.
#[must_use]
pub fn row(answers: &[Option<&[u8]>]) -> Option<StoredRow> {
    let (publish, values) = answers.split_last()?;
    let publish = std::str::from_utf8((*publish)?).ok()?.parse().ok()?;
    if values.iter().any(Option::is_none) {
        return None;
    }
    let views = ViewRows::new(values.iter().map(|value| value.filter(|value| *value != ABSENT)))?;
    Some(StoredRow { publish, views })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Feature;

    fn view(columns: &[(&str, &str)]) -> FeatureView {
        let feature = |(name, kind): &(&str, &str)| Feature {
            name: (*name).to_owned(),
            data_type: (*kind).to_owned(),
            description: String::new(),
            personal: false,
        };
        FeatureView {
            name: "rfm".to_owned(),
            description: String::new(),
            source: "built-in".to_owned(),
            features: columns.iter().map(feature).collect(),
        }
    }

    #[test]
    fn a_field_changes_with_names_types_and_order_of_columns() {
        let fields: Vec<String> = [
            view(&[("a", "Int64"), ("b", "Utf8")]),
            view(&[("b", "Utf8"), ("a", "Int64")]),
            view(&[("a", "Int64"), ("b", "Int64")]),
            view(&[("a", "Int64"), ("c", "Utf8")]),
        ]
        .iter()
        .map(field)
        .collect();
        assert!(fields.iter().all(|field| field.starts_with("rfm:") && field.len() == 12));
        assert_eq!(fields.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(field(&view(&[("a", "Int64"), ("b", "Utf8")])), fields[0]);
    }

    #[test]
    fn rows_are_whole_or_not_at_all() {
        let text = |text: &'static str| Some(text.as_bytes());
        let found = row(&[text("[1,2]"), text("null"), text("7")]).expect("a row");
        assert_eq!((found.publish, found.views.iter().collect()), (7, vec![Some(b"[1,2]".as_slice()), None]));
        assert_eq!(row(&[text("[1,2]"), None, text("7")]), None);
        assert_eq!(row(&[text("[1,2]"), text("[3]"), None]), None);
        assert_eq!(row(&[text("[1,2]"), text("[3]"), text("x")]), None);
    }
}
