//! `[lake]`: the object store or folder that holds raw files and snapshots.

use std::{fmt, net::IpAddr, path::PathBuf};

use serde::Deserialize;

use super::passwords::shown_url;

/// The `[lake]` section.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LakeConfig {
    /// Location of the lake: `s3://bucket/path`, `file:///var/lib/larder` or a path. A relative path starts
    /// from the folder of the configuration file.
    ///
    /// Default: `"lake"`.
    pub url: String,
    /// Endpoint of the S3 API that serves the bucket.
    ///
    /// Default: Amazon's endpoint of the region. Example:
    /// `"https://s3.oss-cn-hangzhou-internal.aliyuncs.com"`.
    pub endpoint: Option<String>,
    /// Region that requests are signed for.
    ///
    /// Default: the region of the AWS environment or profile. Example: `"cn-hangzhou"`.
    pub region: Option<String>,
    /// Whether the bucket name is part of the URL path and not of the host name. OSS requires `false`.
    ///
    /// Default: `false`.
    pub path_style: bool,
    /// Credentials file in the format of the AWS tools, for example a mounted secret. The file has the
    /// entries `aws_access_key_id` and `aws_secret_access_key` under `[default]`.
    ///
    /// Default: the AWS chain of environment, profile, container and instance. Example: `"/run/secrets/oss"`.
    pub credentials_file: Option<PathBuf>,
    /// IP address that every host name of the lake resolves to, for example of a tunnel to the endpoint.
    ///
    /// Default: the answer of DNS. Example: `"10.0.0.7"`.
    pub resolve: Option<IpAddr>,
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

impl fmt::Debug for LakeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeConfig")
            .field("url", &shown_url(&self.url))
            .field("endpoint", &self.endpoint.as_deref().map(shown_url))
            .field("region", &self.region)
            .field("path_style", &self.path_style)
            .field("credentials_file", &self.credentials_file)
            .field("resolve", &self.resolve)
            .finish()
    }
}
