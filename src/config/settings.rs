//! The settings that a process was given: the tables of its files, merged, the environment variables, and the
//! source of each setting.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{Config, ConfigError, RedactedError, files::ConfigText};

/// The place that a setting has its value from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingSource {
    /// A configuration file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A file that holds the value, named by an environment variable.
    ValueFile {
        /// Name of the variable.
        variable: String,
        /// Path of the file.
        path: PathBuf,
    },
    /// A flag of the command line, by name.
    Flag(&'static str),
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::ValueFile { variable, path } => write!(f, "{} ({variable})", path.display()),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// The settings that files, environment and command line give, without defaults.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    table: Table,
    /// Source by path, such as `http.listen` and `keys[0].name`.
    sources: BTreeMap<String, SettingSource>,
}

impl Settings {
    /// Returns the merged table.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Returns the source of the setting `path`, such as `http.listen` or `keys[0].name`.
    #[must_use]
    pub fn source(&self, path: &str) -> Option<&SettingSource> {
        self.sources.get(path)
    }

    /// Returns the paths of the settings that `other` does not have or has with another value. A list is one
    /// setting.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        find_differences(&self.table, &other.table, "", &mut found);
        found
    }

    /// Sets `key` of `section`, whether or not it has a value.
    pub fn set(&mut self, section: &str, key: &str, value: Value, source: SettingSource) {
        let entry = self.table.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Some(table) = entry.as_table_mut() {
            table.insert(key.to_owned(), value);
            self.sources.insert(format!("{section}.{key}"), source);
        }
    }

    /// Adds the settings of a file. Lists of tables, such as `[[keys]]`, are joined.
    pub(super) fn add(&mut self, file: &ConfigText) -> Result<(), ConfigError> {
        let invalid = |error| ConfigError::Parse {
            place: file.path.display().to_string(),
            source: RedactedError::syntax(&file.text, error),
        };
        let mut values: Table = toml::from_str(&file.text).map_err(invalid)?;
        let positions = DeTable::parse(&file.text).map_err(invalid)?;
        values.remove("include");
        Merge { file, sources: &mut self.sources }.tables(&mut self.table, values, positions.get_ref(), "")
    }

    /// Converts the settings to a configuration. `place` names the settings in errors.
    pub(super) fn config(&self, place: &str) -> Result<Config, ConfigError> {
        let merged = self.table.to_string();
        toml::from_str(&merged).map_err(|error| ConfigError::Parse {
            place: place.to_owned(),
            source: RedactedError::environment(&merged, &error),
        })
    }
}

/// Appends the paths of the values below `path` that only one of the tables has or that differ.
fn find_differences(one: &Table, other: &Table, path: &str, found: &mut Vec<String>) {
    let (none, keys) = (Table::new(), one.keys().chain(other.keys()).collect::<BTreeSet<_>>());
    for key in keys {
        let path = child(path, key);
        match (one.get(key), other.get(key)) {
            (Some(Value::Table(one)), Some(Value::Table(other))) => {
                find_differences(one, other, &path, found);
            }
            (Some(Value::Table(only)), None) | (None, Some(Value::Table(only))) => {
                find_differences(only, &none, &path, found);
            }
            (one, other) if one == other => {}
            _ => found.push(path),
        }
    }
}

/// A file whose settings are being added.
struct Merge<'a> {
    file: &'a ConfigText,
    sources: &'a mut BTreeMap<String, SettingSource>,
}

impl Merge<'_> {
    /// Adds `values`, whose positions in the text are in `positions`, to the table `into`, which has the path
    /// `path`.
    fn tables(
        &mut self,
        into: &mut Table,
        mut values: Table,
        positions: &DeTable<'_>,
        path: &str,
    ) -> Result<(), ConfigError> {
        for (key, position) in positions {
            let name = key.get_ref().as_ref();
            let Some(value) = values.remove(name) else { continue };
            let path = child(path, name);
            match (value, position.get_ref()) {
                (Value::Table(values), DeValue::Table(positions)) => {
                    let entry = into.entry(name).or_insert_with(|| Value::Table(Table::new()));
                    let Value::Table(inner) = entry else {
                        return Err(self.set_twice(path, key.span().start));
                    };
                    self.tables(inner, values, positions, &path)?;
                }
                (Value::Array(list), DeValue::Array(positions)) if is_of_tables(&list) => {
                    let entry = into.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                    let joined = match entry {
                        Value::Array(joined) if joined.is_empty() || is_of_tables(joined) => joined,
                        _ => return Err(self.set_twice(path, key.span().start)),
                    };
                    for (value, position) in list.into_iter().zip(positions.iter()) {
                        let (Value::Table(values), DeValue::Table(positions)) = (value, position.get_ref())
                        else {
                            continue;
                        };
                        let mut element = Table::new();
                        self.tables(&mut element, values, positions, &format!("{path}[{}]", joined.len()))?;
                        joined.push(Value::Table(element));
                    }
                }
                (value, _) => {
                    if into.contains_key(name) {
                        return Err(self.set_twice(path, key.span().start));
                    }
                    into.insert(name.to_owned(), value);
                    let source = self.source(key.span().start);
                    self.sources.insert(path, source);
                }
            }
        }
        Ok(())
    }

    /// Returns the source of the setting at the byte `at` of the text.
    fn source(&self, at: usize) -> SettingSource {
        let line = self.file.text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        SettingSource::File { path: self.file.path.clone(), line }
    }

    /// Returns the error that the setting `path`, found at the byte `at`, has a value already.
    fn set_twice(&self, path: String, at: usize) -> ConfigError {
        let below = |name: &str| {
            name.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let first = self.sources.iter().find(|(name, _)| below(name));
        let first = first.map_or_else(|| "another file".to_owned(), |(_, source)| source.to_string());
        ConfigError::SetTwice { setting: path, first, second: self.source(at).to_string() }
    }
}

/// Checks whether a list has tables only, and at least one.
fn is_of_tables(list: &[Value]) -> bool {
    !list.is_empty() && list.iter().all(Value::is_table)
}

/// Returns the path of `key` in the table `path`.
#[must_use]
pub fn child(path: &str, key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_by_path() {
        let settings = |text: &str| {
            let mut settings = Settings::default();
            settings.add(&ConfigText { path: "larder.toml".into(), text: text.to_owned() }).expect("valid");
            settings
        };
        let one = settings("[log]\nlevel = \"info\"\n[http]\nqueue = 1\n[[keys]]\nname = \"a\"\n");
        let other = settings("[http]\nqueue = 2\n[audiences.big]\npriority = 1\n[[keys]]\nname = \"b\"\n");
        let expected = ["audiences.big.priority", "http.queue", "keys", "log.level"];
        assert_eq!(one.differences(&other), expected);
        assert_eq!(other.differences(&one), expected);
        assert!(one.differences(&one).is_empty());
    }
}
