//! A snapshot's views as Feast's definitions: Python and YAML as text.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
};

use crate::{
    config::FeastConfig,
    feature::{Feature, FeatureView},
    http::feast::{FeastType, JOIN_KEY, resolve},
    snapshot::Manifest,
};

/// What the file with the definitions begins with.
pub(super) const HEAD: &str = "\"\"\"Larder's feature views, as `larder feast-repo` writes them.";

/// The environment variable that Feast's SDK takes its key from.
const KEY: &str = "LARDER_KEY";

/// The configuration of a repository whose online store is the Larder at `url`, which may want a key.
pub(super) fn store(url: &str, key: bool) -> String {
    let auth = format!(
        "# What Feast calls so sends the variable's value as `Authorization: Bearer …`.
auth:
  type: oidc
  token_env_var: {KEY}
"
    );
    format!(
        "# Written by `larder feast-repo`, which leaves it alone from now on.
project: larder
provider: local
registry: registry.db
online_store:
  type: remote
  path: {url}
entity_key_serialization_version: 3
{auth}",
        url = Text(url),
        auth = if key { &auth } else { "" }
    )
}

/// The definitions of all views of `manifest`, and of the feature services of `config`, which must fit.
pub(super) fn python(manifest: &Manifest, config: &FeastConfig) -> String {
    let mut out = format!(
        "{HEAD}

Of snapshot {id}. Run `larder feast-repo` again when views have changed; edits are lost then.
Money is Float64, times are String (RFC 3339), and structs and lists of structs are String, JSON in a text.
\"\"\"

from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import {types}

customer = Entity(
    name=\"customer\",
    join_keys=[{key}],
    value_type=ValueType.STRING,
    description=\"A customer\",
)

# A view has to have one. Larder is an online store only, so there is no such file, as `feast apply` warns; what `larder build --as-of`
# makes is training data.
source = FileSource(name=\"larder\", path=\"larder.parquet\", timestamp_field=\"as_of\")
",
        id = manifest.id,
        types = types(&manifest.views).join(", "),
        key = Text(JOIN_KEY),
    );
    for view in &manifest.views {
        define(view, config, &mut out);
    }
    for (number, (name, features)) in config.services.iter().enumerate() {
        let places = resolve(features, &manifest.views).unwrap_or_default();
        let mut of_views: Vec<(usize, Vec<usize>)> = Vec::new();
        for (at, place) in places {
            match of_views.iter_mut().find(|(view, _)| *view == at) {
                Some((_, places)) => places.push(place),
                None => of_views.push((at, vec![place])),
            }
        }
        let projections = of_views.iter().map(|(at, places)| {
            let view = &manifest.views[*at];
            let names: Vec<String> =
                places.iter().map(|place| Text(&view.features[*place].name).to_string()).collect();
            format!("        view_{}[[{}]],\n", view.name, names.join(", "))
        });
        let projections: String = projections.collect();
        let _ = write!(
            out,
            "\nservice_{number} = FeatureService(\n    name={},\n    features=[\n{projections}    ],\n)\n",
            Text(name)
        );
    }
    out
}

fn define(view: &FeatureView, config: &FeastConfig, out: &mut String) {
    let seconds = config.max_age.get(&view.name).map_or(0, std::time::Duration::as_secs);
    // Into a text it cannot fail.
    let _ = write!(
        out,
        "
view_{view} = FeatureView(
    name={name},
    description={description},
    entities=[customer],
    ttl=timedelta(seconds={seconds}),
    schema=[
        Field(name={key}, dtype=String),
",
        view = view.name,
        name = Text(&view.name),
        description = Text(&view.description),
        key = Text(JOIN_KEY),
    );
    for Feature { name, data_type, description, .. } in &view.features {
        let (name, description) = (Text(name), Text(description));
        let dtype = Dtype(FeastType::of(data_type));
        let _ = writeln!(out, "        Field(name={name}, dtype={dtype}, description={description}),");
    }
    out.push_str("    ],\n    online=True,\n    source=source,\n)\n");
}

/// The names to import.
fn types(views: &[FeatureView]) -> Vec<&'static str> {
    let mut names = BTreeSet::from(["String"]);
    for feature in views.iter().flat_map(|view| &view.features) {
        match FeastType::of(&feature.data_type) {
            FeastType::Plain(name) => drop(names.insert(name)),
            FeastType::Array(name) => names.extend(["Array", name]),
            FeastType::JsonText => {}
        }
    }
    names.into_iter().collect()
}

struct Dtype(FeastType);

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FeastType::Plain(name) => f.write_str(name),
            FeastType::Array(name) => write!(f, "Array({name})"),
            FeastType::JsonText => f.write_str("String"),
        }
    }
}

/// A text as Python and YAML read it: JSON's form is valid in both.
struct Text<'a>(&'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::Value::from(self.0).to_string())
    }
}
