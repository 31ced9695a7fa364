//! The client: where the endpoint is, who asks, how long it waits and how often it tries.

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

/// Tries of one request, the first included. The SDK bounds all retries of a client together as well.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer may be in coming, the upload of a part included.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that is made when it is first needed, and shared from then on.
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

/// A client for the endpoint that `config` names, with credentials of the usual chain: environment, profile, container, instance.
async fn client(config: &LakeConfig) -> Client {
    let http = http(config.resolve);
    let retries = RetryConfig::standard().with_max_attempts(TRIES).with_initial_backoff(FIRST_PAUSE);
    let timeouts =
        TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .retry_config(retries.with_max_backoff(LONGEST_PAUSE))
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
        // Larder has checksums of its own; OSS refuses the form in which the SDK would send others.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if shared.region().is_none() {
        // The signature needs some region; stores that are not Amazon's mostly take any.
        builder = builder.region(Region::new("us-east-1"));
    }
    Client::from_conf(builder.build())
}

fn http(resolve: Option<IpAddr>) -> SharedHttpClient {
    let builder = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    match resolve {
        None => builder.build_https(),
        Some(address) => builder.build_with_resolver(Fixed(address)),
    }
}

/// Every name has this one address.
#[derive(Debug, Clone, Copy)]
struct Fixed(IpAddr);

impl ResolveDns for Fixed {
    fn resolve_dns<'a>(&'a self, _: &'a str) -> DnsFuture<'a> {
        DnsFuture::ready(Ok(vec![self.0]))
    }
}
