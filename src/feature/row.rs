//! Feature rows and their JSON form.

use std::{ops::Range, sync::OnceLock};

use super::{CustomerId, FeatureView, ViewRow, ViewRows, elements};

/// The feature row of one customer, with the views in the order of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Id of the customer.
    pub customer_id: CustomerId,
    /// JSON array of each view.
    pub views: ViewRows,
    /// The views that are read by default as one JSON object, rendered on first use.
    json: OnceLock<RowJson>,
}

impl Row {
    /// Creates the row of a customer.
    #[must_use]
    pub fn new(customer_id: CustomerId, views: ViewRows) -> Self {
        Self { customer_id, views, json: OnceLock::new() }
    }

    /// Returns the approximate memory of the row in bytes. The rendered object is included even before its
    /// first use; key names take about twice the space of the values.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.customer_id.as_str().len()
            + self.views.len() * size_of::<u32>()
            + 4 * self.views.bytes()
    }

    /// Appends the first views as one JSON object, which is kept for the next call. Personal values are
    /// written as `null` if `masked`. `keys` are the keys of these views, and must be the same in every call.
    pub fn write(&self, keys: &[ViewKeys], masked: bool, out: &mut Vec<u8>) {
        let json = self.json.get_or_init(|| self.render(keys));
        let mut from = 0;
        let hidden = if masked { &json.personal[..] } else { &[][..] };
        for value in hidden {
            out.extend_from_slice(&json.text[from..value.start]);
            out.extend_from_slice(b"null");
            from = value.end;
        }
        out.extend_from_slice(&json.text[from..]);
    }

    /// Renders the views of `keys` as one JSON object.
    fn render(&self, keys: &[ViewKeys]) -> RowJson {
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
        RowJson { text: text.into(), personal: personal.into() }
    }
}

/// The views of a row as one JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RowJson {
    text: Box<[u8]>,
    /// Byte ranges of the personal values in `text`.
    personal: Box<[Range<usize>]>,
}

/// The JSON keys of a view, with which a stored array becomes an object without being decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewKeys {
    /// Key of the view: `"rfm":`.
    name: Box<[u8]>,
    /// Keys of the features: `"recency_days":`, each but the first with a leading comma.
    features: Vec<Box<[u8]>>,
    /// Indexes of the personal features, ascending.
    personal: Vec<usize>,
}

impl ViewKeys {
    /// Creates the keys of `view`.
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

    /// Returns the total length of the keys in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.name.len() + self.features.iter().map(|key| key.len()).sum::<usize>()
    }

    /// Returns the indexes of the personal features, ascending.
    #[must_use]
    pub fn personal(&self) -> &[usize] {
        &self.personal
    }

    /// Appends `"rfm":{"recency_days":371,…}`, or `"rfm":null` if the customer is absent from the view.
    /// Personal values are written as `null` if `masked`.
    pub fn write(&self, row: ViewRow<'_>, masked: bool, out: &mut Vec<u8>) {
        self.write_with(row, out, |value, out| out.extend_from_slice(if masked { b"null" } else { value }));
    }

    /// Appends the object as [`ViewKeys::write`] does, and calls `write` for each personal value.
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

    /// Appends the object as [`ViewKeys::write`] does, with only the features at the indexes `wanted`
    /// (ascending).
    pub fn write_some(&self, row: ViewRow<'_>, wanted: &[usize], masked: bool, out: &mut Vec<u8>) {
        self.write_each(row, Some(wanted), masked, out, |_, _, _| {});
    }

    /// Appends the object as [`ViewKeys::write`] does, with only the features at the indexes `wanted`
    /// (ascending) if given. Behind each value, `after` gets the index of the feature and the value as
    /// written, and may append more members.
    pub fn write_each(
        &self,
        row: ViewRow<'_>,
        wanted: Option<&[usize]>,
        masked: bool,
        out: &mut Vec<u8>,
        after: impl Fn(usize, &[u8], &mut Vec<u8>),
    ) {
        out.extend_from_slice(&self.name);
        let Some(array) = row else { return out.extend_from_slice(b"null") };
        out.push(b'{');
        let mut places = wanted.unwrap_or_default().iter().peekable();
        let mut first = true;
        for (at, (key, value)) in self.features.iter().zip(elements(array)).enumerate() {
            if wanted.is_none() || places.next_if(|next| **next == at).is_some() {
                let key = if first { key.strip_prefix(b",").unwrap_or(key) } else { key };
                first = false;
                out.extend_from_slice(key);
                let masked = masked && self.personal.contains(&at);
                let value = if masked { b"null" } else { value };
                out.extend_from_slice(value);
                after(at, value, out);
            }
        }
        out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Feature;

    #[test]
    fn only_personal_values_are_masked() {
        let feature = |name: &str, personal| Feature {
            name: name.to_owned(),
            data_type: "Utf8".to_owned(),
            description: String::new(),
            personal,
            days_since: false,
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
        let shown = concat!(
            r#"{"profile":{"email":"a,b@x","city":"Oslo","born":null},"absent":null,"#,
            r#""rfm":{"score":5,"note":["n",{"k":1}]}}"#
        );
        let masked = concat!(
            r#"{"profile":{"email":null,"city":"Oslo","born":null},"absent":null,"#,
            r#""rfm":{"score":5,"note":null}}"#
        );
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
