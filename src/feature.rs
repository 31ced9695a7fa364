//! The nouns of Larder: a customer's id, feature views and their columns, rows as they are served, tiers.
//!
//! Pure: no I/O, no clock, and nothing of Parquet, Redis, SQL or HTTP. A row's values are kept as the JSON text that
//! every tier stores, for example `[371,34,5288.63,1,5,5,"155","cant_lose"]` for the view `rfm`.

use std::{ops::Range, sync::OnceLock};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod elements;
mod id;
mod money;
mod name;
pub mod near;
mod packed_texts;
mod view_rows;

pub use elements::elements;
pub use id::{CustomerId, InvalidId, MAX_ID_BYTES, check_id, is_null_word, normal_id, trim};
pub use money::money;
pub use name::{feature_name, is_feature_name, is_name, is_name_char};
pub use packed_texts::PackedTexts;
pub use view_rows::{ViewRow, ViewRows};

/// A named group of features of a customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FeatureView {
    /// The view's name, `[a-z0-9_]{1,64}`.
    #[schema(example = "rfm")]
    pub name: String,
    /// What the view tells, from the head of its definition.
    #[schema(example = "Recency, frequency and monetary value, with scores and the segment.")]
    pub description: String,
    /// Where the view comes from: `built-in`, `sql`, `parquet` or `model`.
    #[schema(example = "built-in")]
    pub source: String,
    /// Its features, in the order in which every tier stores their values.
    pub features: Vec<Feature>,
}

/// One column of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Feature {
    /// The feature's name.
    #[schema(example = "recency_days")]
    pub name: String,
    /// Its Arrow type.
    #[serde(rename = "type")]
    #[schema(example = "Int64")]
    pub data_type: String,
    /// What it means, with its unit; empty where the view's definition says nothing.
    #[serde(default)]
    #[schema(example = "Whole days from the last purchase to as_of.")]
    pub description: String,
    /// Whether it holds personal data.
    #[serde(default)]
    #[schema(example = false)]
    pub personal: bool,
}

/// One customer's features as every tier hands them on, in the order of the manifest's views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The customer.
    pub customer_id: CustomerId,
    /// The JSON array of each view.
    pub views: ViewRows,
    /// All views as one JSON object, once it was asked for.
    object: OnceLock<Object>,
}

impl Row {
    /// The row of a customer.
    #[must_use]
    pub fn new(customer_id: CustomerId, views: ViewRows) -> Self {
        Self { customer_id, views, object: OnceLock::new() }
    }

    /// How many bytes the row keeps in memory, about. The object counts as if it were there: names are about twice the values.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.customer_id.as_str().len()
            + self.views.len() * size_of::<u32>()
            + 4 * self.views.bytes()
    }

    /// Appends all views as one JSON object, which is kept for the next time; personal values as `null` where they are `masked`. The
    /// `keys` must always be those of the row's views.
    pub fn write(&self, keys: &[ViewKeys], masked: bool, out: &mut Vec<u8>) {
        let object = self.object.get_or_init(|| self.object(keys));
        let mut from = 0;
        for value in object.personal.iter().filter(|_| masked) {
            out.extend_from_slice(&object.text[from..value.start]);
            out.extend_from_slice(b"null");
            from = value.end;
        }
        out.extend_from_slice(&object.text[from..]);
    }

    fn object(&self, keys: &[ViewKeys]) -> Object {
        let mut text = Vec::with_capacity(
            2 + self.views.bytes() + keys.iter().map(|keys| 1 + keys.bytes()).sum::<usize>(),
        );
        let mut personal = Vec::new();
        text.push(b'{');
        for (at, (keys, view)) in keys.iter().zip(self.views.iter()).enumerate() {
            if at > 0 {
                text.push(b',');
            }
            keys.write_with(view, &mut text, |value, text| {
                personal.push(text.len()..text.len() + value.len());
                text.extend_from_slice(value);
            });
        }
        text.push(b'}');
        Object { text: text.into(), personal: personal.into() }
    }
}

/// A customer's views as one JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    text: Box<[u8]>,
    /// Where in it the personal values stand.
    personal: Box<[Range<usize>]>,
}

/// The keys of a view's features as JSON writes them, to make an object of a stored array without decoding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewKeys {
    /// `"rfm":`
    name: Box<[u8]>,
    /// `"recency_days":`, with the comma that goes before it.
    features: Vec<Box<[u8]>>,
    /// The places of those that are personal, ascending.
    personal: Vec<usize>,
}

impl ViewKeys {
    /// The keys of `view`.
    #[must_use]
    pub fn new(view: &FeatureView) -> Self {
        let key = |name: &str, comma: &str| {
            format!("{comma}{}:", serde_json::Value::from(name)).into_bytes().into()
        };
        let features = view.features.iter().enumerate();
        let personal = features.clone().filter(|(_, feature)| feature.personal).map(|(at, _)| at).collect();
        let features =
            features.map(|(at, feature)| key(&feature.name, if at == 0 { "" } else { "," })).collect();
        Self { name: key(&view.name, ""), features, personal }
    }

    /// How many bytes the keys have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.name.len() + self.features.iter().map(|key| key.len()).sum::<usize>()
    }

    /// The places of the personal features, ascending.
    #[must_use]
    pub fn personal(&self) -> &[usize] {
        &self.personal
    }

    /// Appends `"rfm":{"recency_days":371,…}`, or `"rfm":null` where the customer is absent from the view; personal values as `null`
    /// where they are `masked`.
    pub fn write(&self, row: ViewRow<'_>, masked: bool, out: &mut Vec<u8>) {
        self.write_with(row, out, |value, out| out.extend_from_slice(if masked { b"null" } else { value }));
    }

    /// The same, with `write` for the personal values.
    fn write_with(&self, row: ViewRow<'_>, out: &mut Vec<u8>, mut write: impl FnMut(&[u8], &mut Vec<u8>)) {
        out.extend_from_slice(&self.name);
        let Some(array) = row else { return out.extend_from_slice(b"null") };
        out.push(b'{');
        let mut personal = self.personal.iter().peekable();
        for (at, (key, value)) in self.features.iter().zip(elements(array)).enumerate() {
            out.extend_from_slice(key);
            match personal.next_if(|next| **next == at) {
                None => out.extend_from_slice(value),
                Some(_) => write(value, out),
            }
        }
        out.push(b'}');
    }

    /// As [`ViewKeys::write`], with the features of the places `wanted` (ascending) only.
    pub fn write_some(&self, row: ViewRow<'_>, wanted: &[usize], masked: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.name);
        let Some(array) = row else { return out.extend_from_slice(b"null") };
        out.push(b'{');
        let mut wanted = wanted.iter().peekable();
        let mut first = true;
        for (at, (key, value)) in self.features.iter().zip(elements(array)).enumerate() {
            if wanted.next_if(|next| **next == at).is_some() {
                let key = if first { key.strip_prefix(b",").unwrap_or(key) } else { key };
                first = false;
                out.extend_from_slice(key);
                let masked = masked && self.personal.contains(&at);
                out.extend_from_slice(if masked { b"null" } else { value });
            }
        }
        out.push(b'}');
    }
}

/// Where an answer came from; the tiers are asked in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The cache inside the process.
    Memory,
    /// The online store.
    Tair,
    /// The Parquet snapshot in the lake.
    Snapshot,
}

impl Tier {
    /// The tier's name in answers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Tair => "tair",
            Self::Snapshot => "snapshot",
        }
    }
}

/// The kinds of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SegmentKind {
    /// A cell group of the R×F grid, or customers without a purchase.
    Rfm,
    /// A level of churn risk.
    Churn,
    /// A named expression over segments and features.
    Audience,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn personal_values_are_masked_at_their_places_only() {
        let feature = |name: &str, personal| Feature {
            name: name.to_owned(),
            data_type: "Utf8".to_owned(),
            description: String::new(),
            personal,
        };
        let view = |name: &str, features: &[(&str, bool)]| FeatureView {
            name: name.to_owned(),
            description: String::new(),
            source: String::new(),
            features: features.iter().map(|(name, personal)| feature(name, *personal)).collect(),
        };
        let views = [
            view("profile", &[("email", true), ("city", false), ("born", true)]),
            view("absent", &[("name", true)]),
            view("rfm", &[("score", false), ("note", true)]),
        ];
        let keys = views.each_ref().map(ViewKeys::new);
        let texts: [Option<&str>; 3] = [Some(r#"["a,b@x","Oslo",null]"#), None, Some(r#"[5,["n",{"k":1}]]"#)];
        let rows = ViewRows::new(texts.iter().map(|text| text.map(str::as_bytes))).expect("short");
        let row = Row::new(CustomerId::parse("a").expect("an id"), rows);
        let shown = r#"{"profile":{"email":"a,b@x","city":"Oslo","born":null},"absent":null,"rfm":{"score":5,"note":["n",{"k":1}]}}"#;
        let masked = r#"{"profile":{"email":null,"city":"Oslo","born":null},"absent":null,"rfm":{"score":5,"note":null}}"#;
        for (mask, expected) in [(false, shown), (true, masked), (false, shown)] {
            let (mut kept, mut single, mut some) = (Vec::new(), b"{".to_vec(), Vec::new());
            row.write(&keys, mask, &mut kept);
            for (at, (keys, view)) in keys.iter().zip(row.views.iter()).enumerate() {
                single.extend_from_slice(if at > 0 { b"," } else { b"" });
                keys.write(view, mask, &mut single);
            }
            single.push(b'}');
            assert_eq!(
                (std::str::from_utf8(&kept), std::str::from_utf8(&single)),
                (Ok(expected), Ok(expected))
            );
            keys[0].write_some(row.views.get(0), &[0, 1], mask, &mut some);
            let email = if mask { "null" } else { r#""a,b@x""# };
            let expected = format!(r#""profile":{{"email":{email},"city":"Oslo"}}"#);
            assert_eq!(std::str::from_utf8(&some), Ok(expected.as_str()));
        }
    }
}
