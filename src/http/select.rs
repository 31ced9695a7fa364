//! Which views and features a caller wants, and how a customer is written with them.

use serde::Serialize;

use super::{Problem, access::Access};
use crate::{
    config::Scope,
    feature::{FeatureView, Row, is_name, near},
    serving::Served,
};

/// Views by their places in the manifest, each whole or with some of its features; and whether the caller gets personal values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    /// Nothing says all of them.
    views: Option<Vec<(usize, Option<Vec<usize>>)>>,
    /// Whether personal values are written as `null`.
    masked: bool,
}

impl Selection {
    /// Every view.
    pub(super) fn all(access: &Access) -> Self {
        Self { views: None, masked: !access.may(Scope::Pii) }
    }

    /// No view.
    pub(super) fn none() -> Self {
        Self { views: Some(Vec::new()), masked: true }
    }

    /// Whether nothing is wanted.
    pub(super) fn is_empty(&self) -> bool {
        self.views.as_ref().is_some_and(Vec::is_empty)
    }

    /// The personal features among those wanted, as `view.feature`.
    pub(super) fn personal<'a>(&self, served: &'a Served) -> Vec<&'a str> {
        let Some(views) = &self.views else { return served.personal.iter().map(String::as_str).collect() };
        let wanted = |view: usize, place: usize| {
            let mut views = views.iter().filter(|(at, _)| *at == view);
            views.any(|(_, places)| places.as_ref().is_none_or(|places| places.contains(&place)))
        };
        let places = served.keys.iter().enumerate();
        let places = places.flat_map(|(view, keys)| keys.personal().iter().map(move |place| (view, *place)));
        let names = places.zip(served.personal.iter());
        names.filter(|((view, place), _)| wanted(*view, *place)).map(|(_, name)| name.as_str()).collect()
    }

    /// Appends `,"masked":["profile.email"]`, or nothing where nothing is masked.
    pub(super) fn masked(&self, served: &Served, out: &mut Vec<u8>) {
        match &self.views {
            _ if !self.masked || served.personal.is_empty() => {}
            None => masked(served.personal.iter(), out),
            Some(_) => masked(self.personal(served), out),
        }
    }

    /// The views that `?views=rfm,churn` names.
    pub(super) fn views(served: &Served, access: &Access, text: &str) -> Result<Self, Problem> {
        Self::named(served, access, text.split(',').map(str::trim).filter(|name| !name.is_empty()), [])
    }

    /// Whole `views`, and single `features` such as `rfm.segment`.
    pub(super) fn named<'a>(
        served: &Served,
        access: &Access,
        views: impl IntoIterator<Item = &'a str>,
        features: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, Problem> {
        let manifest = &served.manifest;
        let mut wanted: Vec<(usize, Option<Vec<usize>>)> = Vec::new();
        for name in views {
            let at = manifest.view(name).ok_or_else(|| unknown_view(&manifest.views, name))?;
            wanted.retain(|(view, _)| *view != at);
            wanted.push((at, None));
        }
        for name in features {
            let (view, feature) = name.split_once('.').ok_or_else(|| {
                Problem::unknown_feature(format!("`{}` is no feature; write view.feature", shown(name)))
            })?;
            let at = manifest.view(view).ok_or_else(|| unknown_view(&manifest.views, view))?;
            let known = &manifest.views[at].features;
            let place = known.iter().position(|known| known.name == feature).ok_or_else(|| {
                let hint = near::hint(feature, known.iter().map(|known| known.name.as_str()));
                Problem::unknown_feature(format!(
                    "there is no feature `{}` in view {view}{hint}",
                    shown(feature)
                ))
            })?;
            match wanted.iter_mut().find(|(known, _)| *known == at) {
                Some((_, Some(places))) => places.push(place),
                Some((_, None)) => {}
                None => wanted.push((at, Some(vec![place]))),
            }
        }
        for places in wanted.iter_mut().filter_map(|(_, places)| places.as_mut()) {
            places.sort_unstable();
            places.dedup();
        }
        let whole = wanted.iter().enumerate().all(|(place, (at, places))| place == *at && places.is_none());
        let all = whole && wanted.len() == served.keys.len();
        Ok(Self { views: (!all).then_some(wanted), masked: !access.may(Scope::Pii) })
    }

    /// Appends `{"rfm":{…},"profile":null}`. A row that is `kept` in memory keeps the whole object too, for the next time.
    pub(super) fn write(&self, served: &Served, row: &Row, kept: bool, out: &mut Vec<u8>) {
        if kept && self.views.is_none() {
            return row.write(&served.keys, self.masked, out);
        }
        let mut write = |number: usize, at: usize, places: Option<&Vec<usize>>| {
            out.push(if number > 0 { b',' } else { b'{' });
            let (keys, view) = (&served.keys[at], row.views.get(at));
            match places {
                None => keys.write(view, self.masked, out),
                Some(places) => keys.write_some(view, places, self.masked, out),
            }
        };
        match &self.views {
            None => (0..served.keys.len()).for_each(|at| write(at, at, None)),
            Some(views) => {
                let views = views.iter().enumerate();
                views.for_each(|(number, (at, places))| write(number, *at, places.as_ref()));
            }
        }
        if self.is_empty() || served.keys.is_empty() {
            out.push(b'{');
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
    json(text, out);
}

fn json(value: &(impl Serialize + ?Sized), out: &mut Vec<u8>) {
    // Into memory it cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// Appends `,"masked":["profile.email"]`, or nothing where there are no `names`; views and features have names that JSON takes as they are.
pub(super) fn masked<T: AsRef<str>>(names: impl IntoIterator<Item = T>, out: &mut Vec<u8>) {
    let mut before: &[u8] = b",\"masked\":[\"";
    for name in names {
        out.extend_from_slice(before);
        out.extend_from_slice(name.as_ref().as_bytes());
        before = b"\",\"";
    }
    if before.len() == 3 {
        out.extend_from_slice(b"\"]");
    }
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
