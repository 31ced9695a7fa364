//! Content of the keys in Tair: rows as field values, and the small records that name the publishes. No I/O.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::feature::{Feature, FeatureView, ViewRows};

/// Field with the number of the publish that wrote the customer's row.
pub const PUBLISH: &str = "_publish";
/// Field value of a view that has no row for the customer.
pub const ABSENT: &[u8] = b"null";

/// Value of `larder:current`: the publish that readers get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Number of the publish.
    pub publish: u64,
    /// Id of the snapshot.
    pub snapshot: String,
    /// As-of time of the snapshot, in RFC 3339.
    pub as_of: String,
    /// Name of the snapshot's lake, as its `CURRENT` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lake: Option<String>,
}

/// Value of `larder:publishing`: a publish that is in progress or unfinished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publishing {
    /// The publish and its snapshot.
    #[serde(flatten)]
    pub marker: Marker,
    /// Snapshot that an incremental publish builds on, or `None` for a full publish.
    pub from: Option<String>,
    /// Earlier unfinished publishes, whose rows may still be in Tair.
    #[serde(default)]
    pub unfinished: Vec<Marker>,
    /// Whether the publisher released the publish and writes no more.
    #[serde(default)]
    pub released: bool,
    /// Number of customers of the new snapshot that are done, updated every few seconds.
    #[serde(default)]
    pub done: u64,
    /// Number of customers of the new snapshot.
    #[serde(default)]
    pub customers: u64,
}

impl Publishing {
    /// Returns the earlier unfinished publishes and this one.
    pub fn markers(&self) -> impl Iterator<Item = &Marker> {
        self.unfinished.iter().chain([&self.marker])
    }
}

/// Lists of one publish, each with its number of members.
pub type Index = BTreeMap<String, u64>;

/// Returns the field that stores a view, such as `rfm:3f2a91c0`: the view's name, and a fingerprint of the
/// names, types and order of its columns, and of which of them are stored as instants.
#[must_use]
pub fn field(view: &FeatureView) -> String {
    let mut hash = Sha256::new();
    for feature in &view.features {
        let stored = if feature.days_since { "\tinstant" } else { "" };
        hash.update(format!("{}\t{}{stored}\n", feature.name, feature.data_type));
    }
    let hash = format!("{:x}", hash.finalize());
    format!("{}:{}", view.name, &hash[..8])
}

/// Returns the entry of a view in `larder:views`: its field, the names of its columns in order, and the names
/// of the columns that count days and are stored as instants, if there are any.
#[must_use]
pub fn columns(view: &FeatureView) -> String {
    let name = |feature: &Feature| feature.name.clone();
    let names: Vec<String> = view.features.iter().map(name).collect();
    let counts: Vec<String> = view.features.iter().filter(|feature| feature.days_since).map(name).collect();
    let mut entry = serde_json::json!({ "field": field(view), "columns": names });
    if !counts.is_empty() {
        entry["days_since"] = counts.into();
    }
    entry.to_string()
}

/// Customer row as stored in Tair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// Number of the publish that wrote the row.
    pub publish: u64,
    /// Values of the requested fields, with instants in place of day counts.
    pub views: ViewRows,
}

/// Decodes the answers to `HMGET` of view fields followed by [`PUBLISH`]. If any field is missing the whole
/// row counts as missing: it was written for other columns.
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

    fn view(columns: &[(&str, &str)]) -> FeatureView {
        let feature = |(name, kind): &(&str, &str)| Feature {
            name: (*name).to_owned(),
            data_type: (*kind).to_owned(),
            description: String::new(),
            personal: false,
            days_since: false,
        };
        FeatureView {
            name: "rfm".to_owned(),
            description: String::new(),
            source: "built-in".to_owned(),
            features: columns.iter().map(feature).collect(),
        }
    }

    #[test]
    fn field_depends_on_names_types_and_order_of_columns() {
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
    fn field_and_columns_tell_instants_from_numbers() {
        let numbers = view(&[("a", "Int64"), ("b", "Int64")]);
        let mut instants = numbers.clone();
        instants.features[1].days_since = true;
        assert_ne!(field(&numbers), field(&instants));
        let entry = |view| serde_json::from_str::<serde_json::Value>(&columns(view)).expect("JSON");
        assert_eq!(entry(&numbers)["days_since"], serde_json::Value::Null);
        assert_eq!(entry(&instants)["days_since"], serde_json::json!(["b"]));
        assert_eq!(entry(&instants)["columns"], serde_json::json!(["a", "b"]));
    }

    #[test]
    fn row_with_missing_field_is_missing() {
        let text = |text: &'static str| Some(text.as_bytes());
        let found = row(&[text("[1,2]"), text("null"), text("7")]).expect("a row");
        assert_eq!((found.publish, found.views.iter().collect()), (7, vec![Some(b"[1,2]".as_slice()), None]));
        assert_eq!(row(&[text("[1,2]"), None, text("7")]), None);
        assert_eq!(row(&[text("[1,2]"), text("[3]"), None]), None);
        assert_eq!(row(&[text("[1,2]"), text("[3]"), text("x")]), None);
    }
}
