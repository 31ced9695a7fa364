//! Settings from environment variables: `LARDER_`, section and key in upper case. With `_FILE` at the end, a
//! variable names a file that holds the value.

use std::{collections::BTreeMap, path::Path};

use super::{
    ConfigError,
    files::INCLUDE,
    settings::{SettingSource, Settings},
};
use Variable::{Text, Typed};

/// A setting that an environment variable may set, as `section.key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// A setting that is text in TOML, also sizes, durations, paths and addresses.
    Text(&'static str),
    /// A setting that is a number or a boolean in TOML.
    Typed(&'static str),
}

/// Every setting of the form `section.key` that is a single value; lists, maps and nested sections have no
/// environment variable.
pub const VARIABLES: &[Variable] = &[
    Text("lake.url"),
    Text("lake.endpoint"),
    Text("lake.region"),
    Typed("lake.path_style"),
    Text("lake.credentials_file"),
    Text("lake.resolve"),
    Text("tair.url"),
    Text("tair.password_file"),
    Text("tair.namespace"),
    Typed("tair.pool"),
    Text("tair.timeout"),
    Text("tair.connect_timeout"),
    Text("tair.unresponsive"),
    Text("tair.ca_file"),
    Typed("tair.breaker_failures"),
    Text("tair.breaker_pause"),
    Text("tair.lease"),
    Text("http.listen"),
    Typed("http.anonymous"),
    Typed("http.anonymous_rate"),
    Text("http.timeout"),
    Text("http.body_limit"),
    Text("http.bodies"),
    Typed("http.queue"),
    Typed("http.connections"),
    Typed("http.connections_per_address"),
    Text("http.drain"),
    Text("http.drain_delay"),
    Text("http.max_age"),
    Typed("http.compression"),
    Typed("http.console"),
    Typed("http.docs"),
    Text("serving.cache"),
    Text("serving.audience_memory"),
    Text("serving.memory"),
    Text("serving.comparisons"),
    Text("serving.memory_ttl"),
    Text("serving.poll"),
    Typed("serving.lake_reads"),
    Text("serving.lake_timeout"),
    Typed("serving.exports"),
    Text("serving.export_idle"),
    Text("raw.zone"),
    Typed("raw.max_bad_share"),
    Text("raw.oldest"),
    Text("raw.newest"),
    Typed("raw.max_quantity"),
    Typed("raw.max_customer_share"),
    Text("views.folder"),
    Typed("recommendations.enabled"),
    Text("recommendations.category_column"),
    Text("recommendations.horizon"),
    Text("recommendations.retrain"),
    Text("build.memory"),
    Text("build.memory_limit"),
    Typed("build.threads"),
    Text("build.staging"),
    Typed("build.keep_staging"),
    Typed("build.verify_raw"),
    Typed("build.purchases"),
    Text("build.engine"),
    Text("build.listen"),
    Typed("build.workers"),
    Text("build.worker_timeout"),
    Typed("churn.enabled"),
    Text("churn.horizon"),
    Text("churn.levels"),
    Typed("churn.high"),
    Typed("churn.medium"),
    Typed("churn.monotone"),
    Text("churn.language"),
    Text("churn.retrain"),
    Typed("churn.cuts"),
    Typed("churn.training_rows"),
    Typed("value.enabled"),
    Typed("privacy.min_count"),
    Text("metrics.pushgateway"),
    Text("log.format"),
    Text("log.level"),
    Text("log.audit"),
    Typed("log.requests"),
];

impl Variable {
    /// Returns the setting as `section.key`.
    #[must_use]
    pub fn setting(self) -> &'static str {
        match self {
            Text(setting) | Typed(setting) => setting,
        }
    }

    /// Returns the name of the environment variable.
    #[must_use]
    pub fn name(self) -> String {
        format!("LARDER_{}", self.setting().replace('.', "_").to_uppercase())
    }
}

/// Returns the names of all environment variables.
#[must_use]
pub fn names() -> Vec<String> {
    VARIABLES.iter().map(|variable| variable.name()).collect()
}

/// Variables with the prefix that are not settings: names of configuration files, and the API key that
/// clients send.
const OTHERS: [&str; 3] = ["LARDER_CONFIG", INCLUDE, "LARDER_KEY"];

/// Checks whether Kubernetes set the variable for a Service whose name begins with `larder`, as it does in
/// every container of the namespace: `LARDER_SERVICE_HOST`, `LARDER_PORT=tcp://…`, `LARDER_PORT_8080_TCP`
/// and so on.
fn is_of_service(name: &str, value: &str) -> bool {
    let is_url = || {
        PROTOCOLS
            .iter()
            .any(|protocol| value.strip_prefix(protocol).is_some_and(|rest| rest.starts_with("://")))
    };
    let is_port = |(number, rest): (&str, &str)| {
        let protocol = rest.split('_').next().unwrap_or_default();
        number.bytes().all(|b| b.is_ascii_digit()) && PROTOCOLS.contains(&protocol.to_lowercase().as_str())
    };
    let after_port = name.rsplit_once("_PORT_").and_then(|(_, rest)| rest.split_once('_'));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url())
        || after_port.is_some_and(is_port)
}

/// Protocols of the ports of a Kubernetes Service.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Writes the `LARDER_…` variables among `vars` into `settings` and returns their number. Relative paths of
/// files that hold a value start from the folder `base`.
pub(super) fn overlay(
    settings: &mut Settings,
    vars: impl IntoIterator<Item = (String, String)>,
    base: &Path,
) -> Result<usize, ConfigError> {
    let mut given: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in vars {
        if !name.starts_with("LARDER_") || OTHERS.contains(&name.as_str()) {
            continue;
        }
        let (variable, text, source) = if let Some(variable) = named(&name) {
            (variable, value, SettingSource::Variable(name.clone()))
        } else if let Some(variable) = name.strip_suffix("_FILE").and_then(named) {
            let path = base.join(value);
            let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::ValueFile {
                variable: name.clone(),
                path: path.clone(),
                source,
            })?;
            let text = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
            (variable, text.to_owned(), SettingSource::ValueFile { variable: name.clone(), path })
        } else if is_of_service(&name, &value) {
            continue;
        } else {
            return Err(ConfigError::UnknownVariable { name });
        };
        let value = match variable {
            Text(_) => toml::Value::String(text),
            Typed(_) => typed(&text),
        };
        if let Some(first) = given.insert(variable.setting(), name.clone()) {
            return Err(ConfigError::SetTwice {
                setting: variable.setting().to_owned(),
                first,
                second: name,
            });
        }
        if let Some((section, key)) = variable.setting().split_once('.') {
            settings.set(section, key, value, source);
        }
    }
    Ok(given.len())
}

/// Returns the setting whose environment variable is `name`.
fn named(name: &str) -> Option<Variable> {
    VARIABLES.iter().copied().find(|variable| variable.name() == name)
}

/// Parses a number or a boolean. Other text stays text, so that deserialization rejects the text and names
/// the setting.
fn typed(value: &str) -> toml::Value {
    let integer = value.parse().map(toml::Value::Integer).ok();
    let float = || value.parse().map(toml::Value::Float).ok();
    let boolean = || value.parse().map(toml::Value::Boolean).ok();
    integer.or_else(float).or_else(boolean).unwrap_or_else(|| toml::Value::String(value.to_owned()))
}
