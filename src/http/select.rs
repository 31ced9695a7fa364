//! Which views and features a caller wants, and how a customer is written with them.

use crate::{
    feature::{FeatureView, Row, is_name},
    serving::Served,
};

use super::Problem;

/// Views by their places in the manifest, each whole or with some of its features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection(Vec<(usize, Option<Vec<usize>>)>);

impl Selection {
    /// Every view.
    pub(super) fn all(served: &Served) -> Self {
        Self((0..served.keys.len()).map(|at| (at, None)).collect())
    }

    /// No view.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether every view is wanted, whole and in order.
    fn is_all(&self, served: &Served) -> bool {
        self.0.len() == served.keys.len()
            && self.0.iter().enumerate().all(|(place, (at, places))| place == *at && places.is_none())
    }

    /// Whether nothing is wanted.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The views that `?views=rfm,churn` names.
    pub(super) fn views(served: &Served, text: &str) -> Result<Self, Problem> {
        Self::named(served, text.split(',').map(str::trim).filter(|name| !name.is_empty()), [])
    }

    /// Whole `views`, and single `features` such as `rfm.segment`.
    pub(super) fn named<'a>(
        served: &Served,
        views: impl IntoIterator<Item = &'a str>,
        features: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Problem> {
        let manifest = &served.manifest;
        let mut selection = Self(Vec::new());
        for name in views {
            let at = manifest.view(name).ok_or_else(|| unknown_view(&manifest.views, name))?;
            selection.0.retain(|(view, _)| *view != at);
            selection.0.push((at, None));
        }
        for name in features {
            let (view, feature) = name.split_once('.').ok_or_else(|| {
                Problem::unknown_feature(format!("`{}` is no feature; write view.feature", shown(name)))
            })?;
            let at = manifest.view(view).ok_or_else(|| unknown_view(&manifest.views, view))?;
            let place =
                manifest.views[at].features.iter().position(|known| known.name == feature).ok_or_else(|| {
                    Problem::unknown_feature(format!("there is no feature `{}` in view {view}", shown(feature)))
                })?;
            match selection.0.iter_mut().find(|(known, _)| *known == at) {
                Some((_, Some(places))) => places.push(place),
                Some((_, None)) => {}
                None => selection.0.push((at, Some(vec![place]))),
            }
        }
        for (_, places) in &mut selection.0 {
            let places = places.iter_mut();
            places.for_each(|places| {
                places.sort_unstable();
                places.dedup();
            });
        }
        Ok(selection)
    }

    /// Appends `{"rfm":{…},"profile":null}`. A row that is `kept` in memory keeps the whole object too, for the next time.
    pub(super) fn write(&self, served: &Served, row: &Row, kept: bool, out: &mut Vec<u8>) {
        if kept && self.is_all(served) {
            return out.extend_from_slice(row.object(&served.keys));
        }
        out.push(b'{');
        for (number, (at, places)) in self.0.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            let (keys, view) = (&served.keys[*at], row.views.get(*at).unwrap_or(&None));
            match places {
                None => keys.write(view, out),
                Some(places) => keys.write_some(view, places, out),
            }
        }
        out.push(b'}');
    }
}

fn unknown_view(views: &[FeatureView], name: &str) -> Problem {
    let known: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
    Problem::unknown_view(format!("there is no view `{}`; there are {}", shown(name), known.join(", ")))
}

/// A caller's word, cut to a length that a message may have.
fn shown(word: &str) -> String {
    if is_name(word) { word.to_owned() } else { word.chars().filter(|c| !c.is_control()).take(64).collect() }
}

/// Appends a text as JSON.
pub(super) fn text(text: &str, out: &mut Vec<u8>) {
    // Into memory it cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Appends `"snapshot":"…","as_of":"…"`.
pub(super) fn freshness(served: &Served, out: &mut Vec<u8>) {
    snapshot(served.manifest.id.as_str(), &served.as_of, out);
}

/// Appends the same for any snapshot.
pub(super) fn snapshot(id: &str, as_of: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"snapshot\":\"");
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(b"\",\"as_of\":\"");
    out.extend_from_slice(as_of.as_bytes());
    out.push(b'"');
}
