//! `[http]`: the REST service.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;

use super::{
    KeyConfig,
    units::{bytes, duration},
};

/// The `[http]` section.
#[expect(clippy::struct_excessive_bools, reason = "independent settings")]
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port to listen on. Port 0 picks a free port.
    ///
    /// Default: `"127.0.0.1:8080"`.
    pub listen: SocketAddr,
    /// Whether requests without an API key get the scopes `features` and `metrics`. With `false`, a service
    /// with keys requires a key, and a service without keys listens on loopback only, where every scope is
    /// granted.
    ///
    /// Default: `false`.
    pub anonymous: bool,
    /// Rate limit of all callers without an API key together, counted as `rate` of a key is.
    ///
    /// Default: unlimited. Unit: customers per second. Example: `1000`.
    pub anonymous_rate: Option<NonZeroU32>,
    /// Deadline of a request, from the arrival of its head.
    ///
    /// Default: `"10s"`.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// Largest accepted request body.
    ///
    /// Default: `"1MiB"`.
    #[serde(deserialize_with = "bytes")]
    pub body_limit: u64,
    /// Memory for the bodies of all requests that are being received or answered, and for unsent answers.
    /// Answers below 16 KiB do not count. A request whose body or answer does not fit gets 503.
    ///
    /// Default: `"128MiB"`.
    #[serde(deserialize_with = "bytes")]
    pub bodies: u64,
    /// Largest number of requests that may wait for a thread to answer them; further requests get 503. Reads
    /// of one customer, probes and metrics do not wait.
    ///
    /// Default: `1024`.
    pub queue: NonZeroUsize,
    /// Largest number of connections. Further connections get answers to `/healthz`, `/readyz`, `/health` and
    /// `/metrics`, and 503 to all else. The limit of open files may allow fewer.
    ///
    /// Default: `4096`.
    pub connections: NonZeroUsize,
    /// Largest number of connections from one address; of IPv6, from the same first 64 bits.
    ///
    /// Default: `2048`.
    pub connections_per_address: NonZeroUsize,
    /// Longest time that open requests may continue after a stop signal.
    ///
    /// Default: `"20s"`.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
    /// Time from a stop signal, after which `/readyz` fails, until new connections are refused.
    ///
    /// Default: `"0s"`.
    #[serde(deserialize_with = "duration")]
    pub drain_delay: Duration,
    /// `[http.tls]`: certificate and private key. With this section the service speaks HTTPS instead of HTTP.
    pub tls: Option<TlsConfig>,
    /// CORS origins that may read answers in a browser, for example `https://dashboard.example`; `*` allows
    /// all. On a service without `[[keys]]`, `*` is refused.
    ///
    /// Default: `[]`.
    pub cors_origins: Vec<Origin>,
    /// Time that clients may cache an answer without revalidation. With `0s` clients revalidate each time and
    /// get 304 if nothing changed. Answers with personal data are never cached.
    ///
    /// Default: `"0s"`.
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
    /// Whether answers are compressed for clients that send `Accept-Encoding`.
    ///
    /// Default: `true`.
    pub compression: bool,
    /// Whether the console is served at `/`. It shows what the REST API answers to the reader's key.
    ///
    /// Default: `true`.
    pub console: bool,
    /// Whether `/openapi.json` and the page `/docs` are served.
    ///
    /// Default: `true`.
    pub docs: bool,
}

impl HttpConfig {
    /// Returns the reason why these settings and `keys` do not fit together.
    pub(super) fn conflict(&self, keys: &[KeyConfig]) -> Option<&'static str> {
        let allows_all = self.cors_origins.iter().any(|origin| origin.0 == "*");
        (allows_all && keys.is_empty()).then_some(
            "`cors_origins` in [http] allows every page in a browser to read answers, and there are no \
             [[keys]]: name the origins, or generate a key with `larder key`",
        )
    }
}

/// The `[http.tls]` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, leaf first. A changed file is reloaded while serving.
    ///
    /// Required. Example: `"/etc/larder/tls/fullchain.pem"`.
    pub certificate: PathBuf,
    /// PEM file with the private key of the certificate.
    ///
    /// Required. Example: `"/etc/larder/tls/privkey.pem"`.
    pub key: PathBuf,
}

/// A CORS origin such as `https://dashboard.example`, or `*` for every origin.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(String);

impl Origin {
    /// Checks whether the value of a request's `Origin` header is allowed.
    #[must_use]
    pub fn allows(&self, header: &[u8]) -> bool {
        self.0 == "*" || self.0.as_bytes() == header
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = url::Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        // Browsers send origins in lower case, without a path and without the default port of the scheme.
        let normalized = url.map(|url| url.origin().ascii_serialization());
        if text == "*" || normalized.as_deref() == Some(&text) {
            return Ok(Self(text));
        }
        let hint = normalized.unwrap_or_else(|| "https://dashboard.example".to_owned());
        Err(format!("`{text}` is not an origin as browsers send it; write e.g. {hint}"))
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            anonymous: false,
            anonymous_rate: None,
            timeout: Duration::from_secs(10),
            body_limit: 1 << 20,
            bodies: 128 << 20,
            queue: NonZeroUsize::new(1_024).unwrap_or(NonZeroUsize::MIN),
            connections: NonZeroUsize::new(4_096).unwrap_or(NonZeroUsize::MIN),
            connections_per_address: NonZeroUsize::new(2_048).unwrap_or(NonZeroUsize::MIN),
            drain: Duration::from_secs(20),
            drain_delay: Duration::ZERO,
            tls: None,
            cors_origins: Vec::new(),
            max_age: Duration::ZERO,
            compression: true,
            console: true,
            docs: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_must_match_the_header_that_browsers_send() {
        let parse = |text: &str| Origin::try_from(text.to_owned());
        for right in ["*", "https://dashboard.example", "http://localhost:3000"] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in
            ["https://dashboard.example/", "https://Dashboard.example", "https://a:443", "a.example", "null"]
        {
            assert!(parse(wrong).is_err_and(|why| why.contains("write e.g.")), "{wrong}");
        }
        let origin = parse("https://a.example").expect("valid");
        assert!(origin.allows(b"https://a.example") && !origin.allows(b"https://b.example"));
    }
}
