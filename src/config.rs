//! All settings: flag over environment (`LARDER_…`) over `larder.toml` over the default written here.
//!
//! Nothing else in the crate reads the environment, and this file knows nothing of what the settings are
//! used for. `LARDER_HTTP_LISTEN=0.0.0.0:80` sets `listen` in `[http]`; the names that the environment may
//! set are [`env::NAMES`].

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer};

mod audiences;
mod churn;
pub mod env;
mod feast;
mod http;
mod keys;
mod log;
mod personal;
mod quality;
mod raw;
mod recommendations;
mod secrets;
mod units;

pub use audiences::AudienceConfig;
pub use churn::{Actions, ByValue, ChurnConfig, level};
pub use feast::{FeastConfig, FeatureRef};
pub use http::{HttpConfig, Origin, TlsConfig};
pub use keys::{ANONYMOUS, KEY_START, KeyConfig, Scope, check_name, digest};
pub use log::{LogConfig, LogFormat};
pub use personal::ColumnRef;
pub use quality::{Comparison, Metric, QualityConfig, Rule};
pub use raw::{RawConfig, TableConfig};
pub use recommendations::RecommendationsConfig;
pub use secrets::{Mistake, shown_url};
pub use units::{parse_bytes, parse_duration};

/// Everything that can be set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[lake]`: where snapshots are kept.
    pub lake: LakeConfig,
    /// `[tair]`: the online store; without it the snapshot alone serves.
    pub tair: Option<TairConfig>,
    /// `[http]`: how REST is served.
    pub http: HttpConfig,
    /// `[[keys]]`: who may read what; without any, whoever reaches the service on loopback may all.
    pub keys: Vec<KeyConfig>,
    /// `[serving]`: budgets and deadlines of reads.
    pub serving: ServingConfig,
    /// `[raw]`: where raw data lies and how it is to be read.
    pub raw: RawConfig,
    /// `[quality]`: when a build is too unlike the snapshot before to be published.
    pub quality: QualityConfig,
    /// `[views]`: views of the user's own.
    pub views: ViewsConfig,
    /// `[recommendations]`: what is recommended and how it is measured.
    pub recommendations: RecommendationsConfig,
    /// `[build]`: what a build may use.
    pub build: BuildConfig,
    /// `[churn]`: what churn is, and what is to be done about it.
    pub churn: ChurnConfig,
    /// `[audiences.NAME]`: named audiences, which are segments.
    pub audiences: BTreeMap<String, AudienceConfig>,
    /// `[feast]`: what Feast's clients may ask for by name.
    pub feast: FeastConfig,
    /// `[log]`: form and level of the log.
    pub log: LogConfig,
    /// The folder that relative paths start from: that of the configuration file, else the current one.
    #[serde(skip)]
    pub base: PathBuf,
}

/// `[lake]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LakeConfig {
    /// `s3://bucket/path`, `file:///var/lib/larder` or a path; default `lake` beside the configuration file.
    pub url: String,
    /// Where the S3 API of the bucket is, `https://s3.oss-cn-hangzhou-internal.aliyuncs.com`; default:
    /// Amazon's.
    pub endpoint: Option<String>,
    /// The region that requests are signed for; default: that of the environment or profile.
    pub region: Option<String>,
    /// Whether the bucket stands in the path of a URL and not in the name of the host; default false, as
    /// OSS wants it.
    pub path_style: bool,
    /// A file with keys as the AWS tools keep them (`[default]`, `aws_access_key_id`,
    /// `aws_secret_access_key`), e.g. a mounted secret; default: the usual chain of environment, profile,
    /// container and instance.
    pub credentials_file: Option<PathBuf>,
    /// The address that every name of a host stands for, e.g. of a tunnel to the endpoint; default: what
    /// DNS says.
    pub resolve: Option<IpAddr>,
}

/// `[tair]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TairConfig {
    /// `redis://`, `rediss://` (TLS), `redis-cluster://` or `rediss-cluster://` with user, password, host
    /// and port.
    pub url: String,
    /// What all keys begin with; default `larder`.
    pub namespace: String,
    /// Connections to each server; default 2.
    pub pool: usize,
    /// The deadline of a read; default `50ms`. A batch has as much for every 100 customers. What takes
    /// longer is read from the snapshot.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// The deadline of a connection; default `1s`.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// How long a server may owe an answer before its connection is given up; default `1500ms`.
    #[serde(deserialize_with = "duration")]
    pub unresponsive: Duration,
    /// A file with certificates (PEM) to trust, as Tair's console gives it; default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// How many failed reads in a row it takes until Tair is left alone; default 5.
    pub breaker_failures: u32,
    /// For how long it is left alone then; default `500ms`.
    #[serde(deserialize_with = "duration")]
    pub breaker_pause: Duration,
    /// For how long a publisher has the right to write without renewing it; default `15s`.
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
}

/// `[serving]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServingConfig {
    /// Memory for Parquet footers and decoded blocks of the snapshot; default `512MiB`.
    #[serde(deserialize_with = "bytes")]
    pub cache: u64,
    /// Memory for the columns and sets that audiences are counted with; default `512MiB`. What was not used
    /// for longest goes first, and what goes is read again.
    #[serde(deserialize_with = "bytes")]
    pub audience_memory: u64,
    /// Memory for rows read lately, the memory tier; default `64MiB`, `0` turns it off.
    #[serde(deserialize_with = "bytes")]
    pub memory: u64,
    /// Memory for what was found by comparing snapshots, and for the sets of segments; default `64MiB`.
    #[serde(deserialize_with = "bytes")]
    pub comparisons: u64,
    /// How long the memory tier keeps a row; default `10s`.
    #[serde(deserialize_with = "duration")]
    pub memory_ttl: Duration,
    /// How often `CURRENT` is looked at; default `2s`.
    #[serde(deserialize_with = "duration")]
    pub poll: Duration,
    /// How many reads on the lake run at a time; default 32.
    pub lake_reads: usize,
    /// The deadline of one read on the lake; default `5s`.
    #[serde(deserialize_with = "duration")]
    pub lake_timeout: Duration,
    /// How many exports run at a time; default 2.
    pub exports: usize,
    /// How long a receiver may take nothing of an export before it is broken off; default `30s`.
    #[serde(deserialize_with = "duration")]
    pub export_idle: Duration,
}

/// `[views]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewsConfig {
    /// A folder of `.sql` files, each a view, or a replacement of the built-in view of that name.
    pub folder: Option<PathBuf>,
    /// View → a folder or file of Parquet that another engine wrote, in the lake or elsewhere.
    pub parquet: BTreeMap<String, String>,
    /// Columns of any view that hold personal data, as `view.column`, beside those that the view's own head
    /// declares.
    pub personal: Vec<ColumnRef>,
}

/// `[build]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildConfig {
    /// What sorts, joins and aggregations may hold in memory before they spill; default `1GiB`.
    #[serde(deserialize_with = "bytes")]
    pub memory: u64,
    /// What the whole process may hold; a view that goes past it is stopped, by name; default `3GiB`.
    #[serde(deserialize_with = "bytes")]
    pub memory_limit: u64,
    /// Worker threads; default: one per core.
    pub threads: Option<usize>,
    /// Where temporary files are kept during a build; default: the system's temporary folder.
    pub staging: Option<PathBuf>,
}

impl Default for LakeConfig {
    fn default() -> Self {
        Self {
            url: "lake".to_owned(),
            endpoint: None,
            region: None,
            path_style: false,
            credentials_file: None,
            resolve: None,
        }
    }
}

impl Default for TairConfig {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".to_owned(),
            namespace: "larder".to_owned(),
            pool: 2,
            timeout: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            unresponsive: Duration::from_millis(1_500),
            ca_file: None,
            breaker_failures: 5,
            breaker_pause: Duration::from_millis(500),
            lease: Duration::from_secs(15),
        }
    }
}

impl Default for ServingConfig {
    fn default() -> Self {
        Self {
            cache: 512 << 20,
            audience_memory: 512 << 20,
            memory: 64 << 20,
            comparisons: 64 << 20,
            memory_ttl: Duration::from_secs(10),
            poll: Duration::from_secs(2),
            lake_reads: 32,
            lake_timeout: Duration::from_secs(5),
            exports: 2,
            export_idle: Duration::from_secs(30),
        }
    }
}

impl Default for BuildConfig {
    fn default() -> Self {
        Self { memory: 1 << 30, memory_limit: 3 << 30, threads: None, staging: None }
    }
}

/// Why the settings could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or sets what does not exist, or to what it cannot be.
    #[error("in the configuration {place}")]
    Parse {
        /// The file, or the environment.
        place: String,
        /// What and where.
        source: Mistake,
    },
    /// A key is not as it should be.
    #[error("in the configuration {place}: {why}")]
    Key {
        /// The file.
        place: String,
        /// Which, and why.
        why: String,
    },
    /// The environment names a setting that does not exist.
    #[error("{name} is no setting; the environment may set {}", env::names().join(", "))]
    UnknownVariable {
        /// The variable.
        name: String,
    },
}

impl Config {
    /// Reads `path`, or `larder.toml` in the current folder where there is one, and lays the environment
    /// over it.
    ///
    /// # Errors
    /// Names the file or the variable, and the place in it.
    pub fn load(
        path: Option<&Path>,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let default = Path::new("larder.toml");
        let found = path.or_else(|| default.exists().then_some(default));
        let text = match found {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?,
            None => String::new(),
        };
        let place = found.map_or_else(|| "defaults".to_owned(), |path| path.display().to_string());
        let mut config = Self::parse(&text, &place, vars)?;
        config.base = found.and_then(Path::parent).unwrap_or(Path::new("")).to_path_buf();
        let base = config.base.clone();
        let tls = config.http.tls.iter_mut().flat_map(|tls| [&mut tls.certificate, &mut tls.key]);
        tls.chain(&mut config.log.audit).for_each(|path| *path = base.join(&path));
        Ok(config)
    }

    /// The settings of a TOML text (from `place`) with the variables `vars` laid over it.
    ///
    /// # Errors
    /// Names the place of what is wrong.
    pub fn parse(
        text: &str,
        place: &str,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let wrong = |place: &str, source: Mistake| ConfigError::Parse { place: place.to_owned(), source };
        let mut table: toml::Table =
            toml::from_str(text).map_err(|error| wrong(place, Mistake::of_form(text, error)))?;
        // Once by itself, so that an error shows the line in the file.
        let from_file: Self =
            toml::from_str(text).map_err(|error| wrong(place, Mistake::of_content(text, error)))?;
        if let Some(why) = keys::wrong(&from_file.keys) {
            return Err(ConfigError::Key { place: place.to_owned(), why });
        }
        if env::overlay(&mut table, vars)? == 0 {
            return Ok(from_file);
        }
        let text = table.to_string();
        toml::from_str(&text).map_err(|error| wrong("environment", Mistake::of_environment(&text, &error)))
    }

    /// `path`, seen from the folder of the configuration file.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base.join(path)
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).map_err(serde::de::Error::custom)
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(bytes) => Ok(bytes),
        Either::Text(text) => parse_bytes(&text).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::parse(text, "larder.toml", vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    #[test]
    fn the_environment_wins_over_the_file_and_the_file_over_defaults() {
        let text = "[http]\nlisten = \"127.0.0.1:1\"\ntimeout = \"3s\"\n[serving]\ncache = \"1GiB\"";
        let vars = [
            ("LARDER_HTTP_LISTEN", "127.0.0.1:2"),
            ("LARDER_BUILD_THREADS", "3"),
            ("PATH", "x"),
            // A client's.
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
    fn what_does_not_exist_is_named_with_its_place() {
        let error = parse("[http]\nlisen = \"127.0.0.1:1\"", &[]).expect_err("a typing error");
        let source = std::error::Error::source(&error).expect("a source").to_string();
        assert!(source.contains("lisen") && source.contains("line 2"), "{source}");
        let error = parse("", &[("LARDER_HTTP_LISEN", "x")]).expect_err("a typing error");
        assert!(error.to_string().contains("LARDER_HTTP_LISEN is no setting"), "{error}");
        let error = parse("[serving]\ncache = \"12 bananas\"", &[]).expect_err("no size");
        assert!(std::error::Error::source(&error).expect("a source").to_string().contains("12 bananas"));
    }
}
