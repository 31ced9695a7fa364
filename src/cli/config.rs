//! `larder config`: prints the settings and where they come from.

use serde_json::json;
use toml::{Table, Value};

use super::{Setup, table};
use crate::config::{SettingSource, Settings, child, without_secrets};

/// Print the settings in effect as TOML, each with its source
///
/// The source is `default`, a file with the line, an environment variable, or a flag of the command line.
/// Settings without a value are left out. Passwords and hashes of keys are replaced by stars.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder config --json")]
pub(super) struct Args {
    /// Print JSON: a list of settings, each with value and source
    #[arg(long)]
    json: bool,
}

/// Every setting with its default.
const EXAMPLE: &str = include_str!("../../larder.example.toml");

pub(super) fn run(args: &Args, setup: &Setup) -> anyhow::Result<()> {
    let mut settings = setup.settings.clone();
    let flagged = [
        ("lake", "--lake", setup.overrides.lake.as_ref().map(|_| setup.config.lake.url.clone())),
        ("tair", "--tair", setup.overrides.tair.clone()),
    ];
    for (section, flag, url) in flagged {
        if let Some(url) = url {
            settings.set(section, "url", Value::String(url), SettingSource::Flag(flag));
        }
    }
    let mut all = defaults(settings.table().contains_key("tair"))?;
    overlay(&mut all, settings.table());
    let mut sections = Vec::new();
    collect(&all, "", "", &mut sections);
    if args.json {
        let list: Vec<_> = sections.iter().flat_map(|section| section.json(&settings)).collect();
        return Ok(table::line(&serde_json::to_string_pretty(&list)?)?);
    }
    let texts: Vec<String> = sections.iter().map(|section| section.toml(&settings)).collect();
    Ok(table::line(&texts.join("\n\n"))?)
}

/// A section with the settings that stand in it.
struct Section<'a> {
    header: String,
    /// Settings with key, path and value.
    settings: Vec<Setting<'a>>,
}

/// A setting that has a value.
struct Setting<'a> {
    key: &'a str,
    path: String,
    value: &'a Value,
}

impl Setting<'_> {
    fn source(&self, settings: &Settings) -> String {
        settings.source(&self.path).map_or_else(|| "default".to_owned(), SettingSource::to_string)
    }

    fn shown(&self) -> Value {
        without_secrets(&self.path, self.value)
    }
}

impl Section<'_> {
    fn toml(&self, settings: &Settings) -> String {
        let lines = self.settings.iter().map(|setting| {
            format!("{} = {}  # {}", child("", setting.key), setting.shown(), setting.source(settings))
        });
        std::iter::once(self.header.clone()).chain(lines).collect::<Vec<_>>().join("\n")
    }

    fn json(&self, settings: &Settings) -> Vec<serde_json::Value> {
        let entry = |setting: &Setting<'_>| {
            json!({
                "setting": setting.path,
                "value": json_of(&setting.shown()),
                "source": setting.source(settings),
            })
        };
        self.settings.iter().map(entry).collect()
    }
}

/// Converts a value. A date becomes text.
fn json_of(value: &Value) -> serde_json::Value {
    match value {
        Value::Datetime(time) => json!(time.to_string()),
        Value::Array(list) => list.iter().map(json_of).collect(),
        Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), json_of(value))).collect(),
        Value::String(text) => json!(text),
        Value::Integer(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Boolean(is) => json!(is),
    }
}

/// Appends the section of `table` and the sections below it. `name` is the name of the section in its header,
/// `path` the path of its settings.
fn collect<'a>(table: &'a Table, name: &str, path: &str, sections: &mut Vec<Section<'a>>) {
    let is_section = |value: &Value| match value {
        Value::Table(_) => true,
        Value::Array(list) => !list.is_empty() && list.iter().all(Value::is_table),
        _ => false,
    };
    let own = table.iter().filter(|(_, value)| !is_section(value));
    let setting = |(key, value): (&'a String, &'a Value)| Setting { key, path: child(path, key), value };
    let own: Vec<Setting<'_>> = own.map(setting).collect();
    let is_element = path.ends_with(']');
    if !name.is_empty() && (is_element || !own.is_empty() || table.is_empty()) {
        let header = if is_element { format!("[[{name}]]") } else { format!("[{name}]") };
        sections.push(Section { header, settings: own });
    }
    for (key, value) in table {
        let (name, path) = (child(name, key), child(path, key));
        match value {
            Value::Table(inner) => collect(inner, &name, &path, sections),
            Value::Array(list) if is_section(value) => {
                for (at, inner) in list.iter().enumerate() {
                    if let Value::Table(inner) = inner {
                        collect(inner, &name, &format!("{path}[{at}]"), sections);
                    }
                }
            }
            _ => {}
        }
    }
}

/// Writes `settings` over `all`.
fn overlay(all: &mut Table, settings: &Table) {
    for (key, value) in settings {
        match (all.get_mut(key), value) {
            (Some(Value::Table(all)), Value::Table(settings)) => overlay(all, settings),
            _ => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Returns the defaults in the example file; those of `[tair]` only `with_tair`.
fn defaults(with_tair: bool) -> anyhow::Result<Table> {
    let mut kept = String::new();
    let (mut is_kept, mut value) = (true, String::new());
    for line in EXAMPLE.lines() {
        let rest = line.strip_prefix('#').unwrap_or(line);
        if rest.starts_with('[') {
            is_kept = line == rest || (with_tair && rest == "[tair]");
            if is_kept {
                kept.push_str(rest);
                kept.push('\n');
            }
        } else if line != rest && (!rest.starts_with(' ') || rest.starts_with("  ")) {
            value.push_str(rest);
            value.push('\n');
            // A long list has several lines.
            if rest.ends_with('[') || rest.starts_with("  ") {
                continue;
            }
            if is_kept && !rest.ends_with("  # example") && !rest.ends_with("  # required") {
                kept.push_str(&value);
            }
            value.clear();
        }
    }
    Ok(toml::from_str(&kept)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_example_file() {
        let without = defaults(false).expect("TOML");
        assert!(!without.contains_key("tair") && !without.contains_key("keys"));
        assert_eq!(without["http"]["timeout"].as_str(), Some("10s"));
        assert!(without["http"].get("anonymous_rate").is_none(), "an example is not a default");
        assert!(without["recommendations"]["exclude"].as_array().is_some_and(|list| list.len() > 20));
        assert_eq!(without["churn"]["actions"]["low"]["low"].as_str(), Some("none"));
        assert_eq!(defaults(true).expect("TOML")["tair"]["pool"].as_integer(), Some(2));
    }
}
