//! `[metrics]`: where batch commands send their metrics.

use serde::{Deserialize, Deserializer, de::Error};

/// The `[metrics]` section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Pushgateway that gets the metrics of `build`, `publish`, `verify`, `snapshots` and `forget` when each
    /// ends. The job is `larder`, and each command is a group of its own. A failed push is a warning.
    ///
    /// Default: none; `--metrics-file` writes the metrics to a file. Example: `"http://pushgateway:9091"`.
    #[serde(deserialize_with = "plain_http")]
    pub pushgateway: Option<String>,
}

/// Reads a URL that begins with `http://`.
fn plain_http<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(from)?;
    let is_valid = url::Url::parse(&text).is_ok_and(|url| url.scheme() == "http" && url.has_host());
    if is_valid { Ok(Some(text)) } else { Err(D::Error::custom("expected a URL that begins with http://")) }
}
