//! `[http]`

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{bytes, duration};

/// `[http]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port; default `127.0.0.1:8080`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Lets requests without a key have the scopes `features` and `metrics`, and no other; default false. Without it, a service that has
    /// keys wants one, and a service that has none listens on loopback only, where everything is allowed.
    pub anonymous: bool,
    /// How long a request may take; default `10s`.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// The largest request body; default `1MiB`.
    #[serde(deserialize_with = "bytes")]
    pub body_limit: u64,
    /// How long open requests may go on after a stop signal; default `20s`.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
    /// How long `/readyz` says no before connections are no longer accepted; default `0s`.
    #[serde(deserialize_with = "duration")]
    pub drain_delay: Duration,
    /// `[http.tls]`: serves HTTPS instead of HTTP.
    pub tls: Option<TlsConfig>,
    /// Origins whose pages may read answers in a browser, such as `https://dashboard.example`, or `*` for all; default: none.
    pub cors_origins: Vec<Origin>,
    /// For how long callers may keep answers without asking again; default `0s`, by which they ask each time and get 304 where nothing
    /// changed. Answers with personal data are never kept.
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
    /// Whether answers are made smaller for callers that ask for it by `Accept-Encoding`; default true.
    pub compression: bool,
}

/// `[http.tls]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// A file with the certificate and those that lead from it to one that clients know (PEM). New content is taken up while serving.
    pub certificate: PathBuf,
    /// A file with its private key (PEM).
    pub key: PathBuf,
}

/// Where a page in a browser is from: `https://dashboard.example`, or `*` for anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Origin(String);

impl Origin {
    /// Whether it is what a browser says, in `Origin`.
    #[must_use]
    pub fn allows(&self, said: &[u8]) -> bool {
        self.0 == "*" || self.0.as_bytes() == said
    }
}

impl TryFrom<String> for Origin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = url::Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        // As browsers write it: lower case, without a path or a port that goes without saying.
        let said = url.map(|url| url.origin().ascii_serialization());
        if text == "*" || said.as_deref() == Some(&text) {
            return Ok(Self(text));
        }
        let hint = said.unwrap_or_else(|| "https://dashboard.example".to_owned());
        Err(format!("`{text}` is no origin as browsers send it; write e.g. {hint}"))
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            anonymous: false,
            timeout: Duration::from_secs(10),
            body_limit: 1 << 20,
            drain: Duration::from_secs(20),
            drain_delay: Duration::ZERO,
            tls: None,
            cors_origins: Vec::new(),
            max_age: Duration::ZERO,
            compression: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_send_them() {
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
