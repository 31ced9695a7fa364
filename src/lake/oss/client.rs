//! S3 client: endpoint, credentials, timeouts and retries.

use std::{net::IpAddr, time::Duration};

use aws_config::{
    BehaviorVersion, Region, profile::ProfileFileCredentialsProvider, provider_config::ProviderConfig,
    retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_s3::{
    Client,
    config::{RequestChecksumCalculation, ResponseChecksumValidation, SharedHttpClient},
};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns};
use tokio::sync::OnceCell;

use crate::config::LakeConfig;

/// Maximum number of attempts of one request. The SDK also bounds all retries of a client together.
const MAX_ATTEMPTS: u32 = 4;
/// Backoff before the first retry, which doubles with each retry.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// Longest backoff.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum time of a response, including the upload of a part.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Client that is created on first use and shared.
#[derive(Debug)]
pub(in crate::lake) struct LazyClient {
    config: LakeConfig,
    client: OnceCell<Client>,
}

impl LazyClient {
    pub(in crate::lake) fn new(config: LakeConfig) -> Self {
        Self { config, client: OnceCell::new() }
    }

    pub(super) async fn get(&self) -> &Client {
        self.client.get_or_init(|| client(&self.config)).await
    }
}

/// Creates a client for the endpoint of `config`. Credentials come from the default chain of the SDK:
/// environment, profile, container, instance.
async fn client(config: &LakeConfig) -> Client {
    let http = http(config.resolve);
    let retries = RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS).with_initial_backoff(FIRST_BACKOFF);
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .retry_config(retries.with_max_backoff(MAX_BACKOFF))
        .timeout_config(timeouts);
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(file) = &config.credentials_file {
        let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Credentials, file).build();
        let provider = ProviderConfig::without_region().with_http_client(http.clone());
        let keys =
            ProfileFileCredentialsProvider::builder().configure(&provider).profile_files(files).build();
        loader = loader.credentials_provider(keys);
    }
    let shared = loader.load().await;
    let mut builder = aws_sdk_s3::config::Builder::from(&shared)
        .force_path_style(config.path_style)
        // Larder has its own checksums, and OSS rejects the form in which the SDK would send others.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if shared.region().is_none() {
        // The signature needs a region. Most stores other than Amazon's accept any.
        builder = builder.region(Region::new("us-east-1"));
    }
    Client::from_conf(builder.build())
}

fn http(resolve: Option<IpAddr>) -> SharedHttpClient {
    let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    match resolve {
        None => builder.build_https(),
        Some(address) => builder.build_with_resolver(FixedAddress(address)),
    }
}

/// Resolver that returns one address for every name.
#[derive(Debug, Clone, Copy)]
struct FixedAddress(IpAddr);

impl ResolveDns for FixedAddress {
    fn resolve_dns<'a>(&'a self, _: &'a str) -> DnsFuture<'a> {
        DnsFuture::ready(Ok(vec![self.0]))
    }
}
