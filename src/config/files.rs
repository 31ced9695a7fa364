//! The configuration files of a process: `larder.toml`, the files that `LARDER_INCLUDE` names, and the files
//! that these include.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Config, ConfigError};

/// Variable with further configuration files, separated by commas.
pub(super) const INCLUDE: &str = "LARDER_INCLUDE";

/// The files that a configuration is read from, without the files that these include.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigFiles {
    /// The configuration file; `None` if there is none.
    pub main: Option<PathBuf>,
    /// Further files.
    pub others: Vec<PathBuf>,
}

/// A configuration file and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigText {
    /// Path of the file.
    pub path: PathBuf,
    /// The TOML text.
    pub text: String,
}

impl ConfigFiles {
    /// Finds the file `path`, or `larder.toml` in the current folder if it exists, and the files that `vars`
    /// name.
    pub(super) fn find(path: Option<&Path>, vars: &[(String, String)]) -> Self {
        let default = Path::new("larder.toml");
        let main = path.or_else(|| default.exists().then_some(default)).map(Path::to_path_buf);
        let base = folder(main.as_deref());
        let named = vars.iter().filter(|(name, _)| name == INCLUDE);
        let names = named.flat_map(|(_, names)| names.split(',')).map(str::trim);
        let others = names.filter(|name| !name.is_empty()).map(|name| base.join(name)).collect();
        Self { main, others }
    }

    /// Returns the folder that relative paths start from.
    pub(super) fn base(&self) -> PathBuf {
        folder(self.main.as_deref())
    }

    /// Checks whether there are no files.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.main.is_none() && self.others.is_empty()
    }

    /// Reads and checks the files and the files that these include, each before the files that it includes.
    ///
    /// # Errors
    /// [`ConfigError`] with the file.
    pub fn read(&self) -> Result<Vec<ConfigText>, ConfigError> {
        let mut texts = Vec::new();
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<PathBuf> = self.main.iter().chain(&self.others).rev().cloned().collect();
        while let Some(path) = waiting.pop() {
            let text = std::fs::read_to_string(&path)
                .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            // Two paths may lead to one file.
            if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                return Err(ConfigError::IncludedTwice { path });
            }
            let included = Config::check(&text, &path.display().to_string())?.include;
            let base = folder(Some(&path));
            waiting.extend(included.iter().rev().map(|name| base.join(name)));
            texts.push(ConfigText { path, text });
        }
        Ok(texts)
    }
}

/// Returns the folder of a file; the current folder if there is no file.
fn folder(file: Option<&Path>) -> PathBuf {
    file.and_then(Path::parent).unwrap_or(Path::new("")).to_path_buf()
}
