//! Settings from the environment: `LARDER_` and the setting's place, in capitals.

use super::ConfigError;

/// The settings that the environment may set, as `section.key`; `!` marks those that are not text.
pub const NAMES: &[&str] = &[
    "lake.url",
    "lake.endpoint",
    "lake.region",
    "!lake.path_style",
    "lake.credentials_file",
    "lake.resolve",
    "tair.url",
    "tair.namespace",
    "!tair.pool",
    "tair.timeout",
    "tair.connect_timeout",
    "tair.unresponsive",
    "tair.ca_file",
    "!tair.breaker_failures",
    "tair.breaker_pause",
    "tair.lease",
    "http.listen",
    "!http.anonymous",
    "http.timeout",
    "http.body_limit",
    "http.drain",
    "http.drain_delay",
    "http.max_age",
    "!http.compression",
    "serving.cache",
    "serving.audience_memory",
    "serving.memory",
    "serving.comparisons",
    "serving.memory_ttl",
    "serving.poll",
    "!serving.lake_reads",
    "serving.lake_timeout",
    "!serving.exports",
    "serving.export_idle",
    "raw.zone",
    "!raw.max_bad_share",
    "raw.oldest",
    "raw.newest",
    "!raw.max_quantity",
    "!raw.max_customer_share",
    "views.folder",
    "!recommendations.enabled",
    "recommendations.horizon",
    "build.memory",
    "build.memory_limit",
    "!build.threads",
    "build.staging",
    "!churn.enabled",
    "churn.horizon",
    "!churn.high",
    "!churn.medium",
    "!churn.cuts",
    "!churn.training_rows",
    "log.format",
    "log.level",
    "log.audit",
];

/// The names of the variables, for messages and help.
#[must_use]
pub fn names() -> Vec<String> {
    NAMES.iter().map(|name| variable(name)).collect()
}

fn variable(name: &str) -> String {
    format!("LARDER_{}", name.trim_start_matches('!').replace('.', "_").to_uppercase())
}

/// Variables that are no settings: the command line's, and the key that clients of the service send.
const OTHERS: [&str; 2] = ["LARDER_CONFIG", "LARDER_KEY"];

/// Lays the `LARDER_…` among `vars` over `table`; returns how many there were.
pub(super) fn overlay(
    table: &mut toml::Table,
    vars: impl IntoIterator<Item = (String, String)>,
) -> Result<usize, ConfigError> {
    let mut count = 0;
    for (name, value) in vars {
        if !name.starts_with("LARDER_") || OTHERS.contains(&name.as_str()) {
            continue;
        }
        let Some(setting) = NAMES.iter().find(|setting| variable(setting) == name) else {
            return Err(ConfigError::UnknownVariable { name });
        };
        let text = !setting.starts_with('!');
        let value = if text { toml::Value::String(value) } else { literal(&value) };
        if let Some((section, key)) = setting.trim_start_matches('!').split_once('.') {
            let entry = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let Some(section) = entry.as_table_mut() {
                section.insert(key.to_owned(), value);
                count += 1;
            }
        }
    }
    Ok(count)
}

/// A number or truth value; any other text stays text, and is refused with the setting's name later.
fn literal(value: &str) -> toml::Value {
    let integer = value.parse().map(toml::Value::Integer).ok();
    let float = || value.parse().map(toml::Value::Float).ok();
    let boolean = || value.parse().map(toml::Value::Boolean).ok();
    integer.or_else(float).or_else(boolean).unwrap_or_else(|| toml::Value::String(value.to_owned()))
}
