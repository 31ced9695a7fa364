//! Settings, from highest to lowest precedence: command-line flag, environment variable (`LARDER_…`),
//! `larder.toml` with the files that it includes, default.
//!
//! `LARDER_HTTP_LISTEN=0.0.0.0:80` sets `listen` in `[http]`; [`env::VARIABLES`] lists every setting with an
//! environment variable. No other module of the crate reads the environment, and this module does not know
//! what the settings are used for.
//!
//! `docs/configuration.md` and `larder.example.toml` are generated from the doc comments of [`Config`] and
//! its sections by `tests/it/settings.rs`. The first sentence of a setting's comment becomes its line in the
//! example file. The last paragraph states `Default:` (a TOML value in backticks, or words), or `Required.`,
//! then optionally `Unit:` and `Example:`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

mod audiences;
mod build;
mod churn;
pub mod env;
mod feast;
mod files;
mod http;
mod keys;
mod lake;
mod log;
mod metrics;
mod passwords;
mod personal;
mod privacy;
mod quality;
mod raw;
mod recommendations;
mod secrets;
mod serving;
mod settings;
mod shown;
mod tair;
mod traces;
mod units;
mod value;
mod views;

pub use audiences::AudienceConfig;
pub use build::{BuildConfig, BuildEngine, BuildTls};
pub use churn::{
    ActionsByValue, ChurnActions, ChurnConfig, CustomerShare, Language, LevelRule, TopLevels, level,
};
pub use feast::{FeastConfig, FeatureRef};
pub use files::{ConfigFiles, ConfigText};
pub use http::{HttpConfig, Origin, TlsConfig};
pub use keys::{ANONYMOUS, KEY_START, KeyConfig, Scope, check_name, digest, key_hash, parse_instant};
pub use lake::LakeConfig;
pub use log::{LogConfig, LogFormat};
pub use metrics::MetricsConfig;
pub use passwords::{has_password, shown_url, without_passwords};
pub use personal::{ColumnRef, shown_to_all};
pub use privacy::PrivacyConfig;
pub use quality::{Comparator, QualityConfig, QualityMetric, QualityRule};
pub use raw::{CurrencyConfig, DialectConfig, Fill, RawConfig, TableConfig};
pub use recommendations::RecommendationsConfig;
pub use secrets::RedactedError;
pub use serving::ServingConfig;
pub use settings::{SettingSource, Settings, child};
pub use shown::without_secrets;
pub use tair::TairConfig;
pub use traces::{LoadedTraceConfig, Sampler, TraceConfig};
pub use units::{parse_bytes, parse_duration};
pub use value::ValueConfig;
pub use views::ViewsConfig;

/// All settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[lake]`: the object store or folder that holds raw files and snapshots.
    pub lake: LakeConfig,
    /// `[tair]`: the online store. Without this section, reads are served from the snapshot alone.
    pub tair: Option<TairConfig>,
    /// `[http]`: the REST service.
    pub http: HttpConfig,
    /// `[[keys]]`: the API keys and their scopes. Without keys, every caller on loopback has every scope.
    pub keys: Vec<KeyConfig>,
    /// `[serving]`: memory budgets and deadlines of reads.
    pub serving: ServingConfig,
    /// `[raw]`: location and format of the raw files.
    pub raw: RawConfig,
    /// `[quality]`: conditions that a build must meet to be published.
    pub quality: QualityConfig,
    /// `[views]`: custom feature views.
    pub views: ViewsConfig,
    /// `[recommendations]`: the `recommendations` view and how it is measured.
    pub recommendations: RecommendationsConfig,
    /// `[build]`: memory, threads and temporary files of a build.
    pub build: BuildConfig,
    /// `[churn]`: the `churn` view: horizon, risk levels and actions.
    pub churn: ChurnConfig,
    /// `[value]`: the `value` view: customer lifetime value.
    pub value: ValueConfig,
    /// `[audiences.NAME]`: named audiences. Each audience is a segment of every snapshot built from then on.
    pub audiences: BTreeMap<String, AudienceConfig>,
    /// `[feast]`: feature services and maximum ages for Feast clients.
    pub feast: FeastConfig,
    /// `[privacy]`: protection of small groups of customers.
    pub privacy: PrivacyConfig,
    /// `[metrics]`: where batch commands send their metrics.
    pub metrics: MetricsConfig,
    /// `[log]`: format, level and audit file of the log.
    pub log: LogConfig,
    /// Further configuration files, relative to the file that includes these. Empty once all are merged.
    pub include: Vec<PathBuf>,
    /// Folder that relative paths start from: the folder of the configuration file, else the current folder.
    #[serde(skip)]
    pub base: PathBuf,
    /// The files that the configuration was read from.
    #[serde(skip)]
    pub files: ConfigFiles,
}

/// A configuration, and the settings that it was made of.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The configuration.
    pub config: Config,
    /// The settings that are not defaults, with their sources.
    pub settings: Settings,
}

/// An error in the configuration file or in the environment.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file could not be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The I/O error.
        source: std::io::Error,
    },
    /// The text is not TOML, or a setting is unknown or has an invalid value.
    #[error("invalid configuration in {place}")]
    Parse {
        /// The file, or `environment`.
        place: String,
        /// The error with its position.
        source: RedactedError,
    },
    /// An entry of `[[keys]]` is invalid.
    #[error("invalid configuration in {place}: {why}")]
    Key {
        /// The file.
        place: String,
        /// The key and the reason.
        why: String,
    },
    /// Settings do not fit together.
    #[error("invalid configuration in {place}: {why}")]
    Conflict {
        /// The file.
        place: String,
        /// The settings and the reason.
        why: &'static str,
    },
    /// A configuration file is included more than once.
    #[error("the configuration {path} is included more than once")]
    IncludedTwice {
        /// Path of the file.
        path: PathBuf,
    },
    /// A setting has two values.
    #[error("`{setting}` is set twice: in {first} and in {second}")]
    SetTwice {
        /// The setting.
        setting: String,
        /// Place of the first value.
        first: String,
        /// Place of the second value.
        second: String,
    },
    /// The file with the value of a setting could not be read.
    #[error("cannot read {path}, which {variable} names")]
    ValueFile {
        /// Name of the variable.
        variable: String,
        /// Path of the file.
        path: PathBuf,
        /// The I/O error.
        source: std::io::Error,
    },
    /// A `LARDER_…` variable does not name a setting.
    #[error("unknown environment variable {name}")]
    UnknownVariable {
        /// Name of the variable.
        name: String,
    },
}

impl Config {
    /// Loads `path`, or `larder.toml` in the current folder if it exists, with the files that it includes,
    /// and applies the environment variables `vars`.
    ///
    /// # Errors
    /// [`ConfigError`] with the file or the variable, and the position in the file.
    pub fn load(
        path: Option<&Path>,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Ok(Self::load_with_settings(path, vars)?.config)
    }

    /// Loads like [`Config::load`], and returns the settings with their sources, too.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_with_settings(
        path: Option<&Path>,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<LoadedConfig, ConfigError> {
        let vars: Vec<(String, String)> = vars.into_iter().collect();
        let files = ConfigFiles::find(path, &vars);
        let base = files.base();
        let mut loaded = Self::merge(&files.read()?, vars, &base)?;
        loaded.config.base = base;
        loaded.config.files = files;
        loaded.config.resolve_paths();
        Ok(loaded)
    }

    /// Returns the keys in the files `texts`.
    ///
    /// # Errors
    /// [`ConfigError`] with the file and the position.
    pub fn keys_in(texts: &[ConfigText]) -> Result<Vec<KeyConfig>, ConfigError> {
        Ok(Self::merge(texts, [], Path::new(""))?.config.keys)
    }

    /// Makes the paths of the settings relative to the folder of the configuration file. The lake, the
    /// staging and the folder of views are resolved where they are opened.
    fn resolve_paths(&mut self) {
        let Self { base, http, tair, log, lake, .. } = self;
        let tls = http.tls.iter_mut().flat_map(|tls| [&mut tls.certificate, &mut tls.key]);
        let of_tair = tair.iter_mut().flat_map(|tair| [&mut tair.password_file, &mut tair.ca_file]).flatten();
        // The home folder is known to the library that reads the credentials.
        let credentials = lake.credentials_file.iter_mut().filter(|path| !path.starts_with("~"));
        let paths = tls.chain(&mut log.audit).chain(of_tair).chain(credentials);
        paths.for_each(|path| *path = base.join(&path));
    }

    /// Parses a TOML text and applies the environment variables `vars`. `place` names the text in errors.
    /// Includes are not read.
    ///
    /// # Errors
    /// [`ConfigError`] with the position in the text.
    pub fn parse(
        text: &str,
        place: &str,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::check(text, place)?;
        let text = ConfigText { path: place.into(), text: text.to_owned() };
        Ok(Self::merge(&[text], vars, Path::new(""))?.config)
    }

    /// Parses the text of one file, so that an error shows the line in the file.
    fn check(text: &str, place: &str) -> Result<Self, ConfigError> {
        let invalid = |source| ConfigError::Parse { place: place.to_owned(), source };
        toml::from_str::<toml::Table>(text).map_err(|error| invalid(RedactedError::syntax(text, error)))?;
        let config: Self =
            toml::from_str(text).map_err(|error| invalid(RedactedError::content(text, error)))?;
        match keys::invalid_key(&config.keys) {
            Some(why) => Err(ConfigError::Key { place: place.to_owned(), why }),
            None => Ok(config),
        }
    }

    /// Merges the checked `texts` and the environment variables `vars`. Relative paths of files that hold a
    /// value start from the folder `base`.
    fn merge(
        texts: &[ConfigText],
        vars: impl IntoIterator<Item = (String, String)>,
        base: &Path,
    ) -> Result<LoadedConfig, ConfigError> {
        let mut settings = Settings::default();
        for text in texts {
            settings.add(text)?;
        }
        let files = texts.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>().join(", ");
        let has_variables = env::overlay(&mut settings, vars, base)? > 0;
        let config = settings.config(if has_variables { "environment" } else { &files })?;
        if let Some(why) = keys::invalid_key(&config.keys) {
            return Err(ConfigError::Key { place: files, why });
        }
        match config.http.conflict(&config.keys) {
            Some(why) => Err(ConfigError::Conflict { place: files, why }),
            None => Ok(LoadedConfig { config, settings }),
        }
    }

    /// Returns `path` relative to the folder of the configuration file.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(text: &str, vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse(text, "larder.toml", vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn environment_overrides_file_and_file_overrides_defaults() {
        let text = "[http]\nlisten = \"127.0.0.1:1\"\ntimeout = \"3s\"\n[serving]\ncache = \"1GiB\"";
        let vars = [
            ("LARDER_HTTP_LISTEN", "127.0.0.1:2"),
            ("LARDER_BUILD_THREADS", "3"),
            ("PATH", "x"),
            // Set for clients of the service, not a setting.
            ("LARDER_KEY", "lrd_x"),
        ];
        let config = parse(text, &vars).expect("valid");
        assert_eq!(config.http.listen.port(), 2);
        assert_eq!(config.http.timeout, Duration::from_secs(3));
        assert_eq!(config.serving.cache, 1 << 30);
        assert_eq!(config.build.threads, Some(3));
        assert_eq!(config.raw.zone, "UTC");
    }

    #[test]
    fn relative_paths_start_from_the_folder_of_the_configuration_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("larder.toml");
        let text = "[http.tls]\ncertificate = \"a\"\nkey = \"b\"\n[log]\naudit = \"c\"\n\
            [tair]\npassword_file = \"d\"\nca_file = \"e\"\n[lake]\ncredentials_file = \"f\"\n";
        std::fs::write(&file, text).expect("a file");
        let config = Config::load(Some(&file), []).expect("valid");
        let (tls, tair) = (config.http.tls.expect("TLS"), config.tair.expect("Tair"));
        let paths =
            [Some(tls.certificate), Some(tls.key), config.log.audit, tair.password_file, tair.ca_file];
        let paths = paths.into_iter().chain([config.lake.credentials_file]).flatten();
        let expected = ["a", "b", "c", "d", "e", "f"].map(|name| folder.path().join(name));
        assert_eq!(paths.collect::<Vec<_>>(), expected);

        std::fs::write(&file, "[tair]\nca_file = \"/e\"\n[lake]\ncredentials_file = \"~/f\"\n")
            .expect("a file");
        let config = Config::load(Some(&file), []).expect("valid");
        let paths = [config.tair.and_then(|tair| tair.ca_file), config.lake.credentials_file];
        assert_eq!(paths, [Some(PathBuf::from("/e")), Some(PathBuf::from("~/f"))]);
    }

    #[test]
    fn unknown_setting_is_named_with_its_position() {
        let error = parse("[http]\nlisen = \"127.0.0.1:1\"", &[]).expect_err("a typo");
        let source = std::error::Error::source(&error).expect("a source").to_string();
        assert!(source.contains("lisen") && source.contains("line 2"), "{source}");
        let error = parse("", &[("LARDER_HTTP_LISEN", "x")]).expect_err("a typo");
        assert!(error.to_string().contains("unknown environment variable LARDER_HTTP_LISEN"), "{error}");
        let error = parse("[serving]\ncache = \"12 bananas\"", &[]).expect_err("not a size");
        assert!(std::error::Error::source(&error).expect("a source").to_string().contains("12 bananas"));
    }
}
