//! The guard of a service without API keys, which answers everything to every program on its machine.
//!
//! Such a service must not answer for others through a program on the machine. A page in a browser can make
//! its own host name point to 127.0.0.1, and then read answers: `Host` and `Origin` show the name. A reverse
//! proxy forwards requests of other machines: it says so in a header.

use std::net::IpAddr;

use axum::http::{HeaderName, HeaderValue, Request, header};

use crate::{
    config::{Config, Origin},
    http::Problem,
};

/// Headers by which a proxy says that it forwards the request of another machine.
static FORWARDING: [HeaderName; 4] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
    header::VIA,
];

/// Remedy in the detail of each refusal.
const REMEDY: &str = "this service has no API keys and answers only programs on its own machine; \
    `larder key` makes a key";

/// The guard, with the origins that the configuration allows besides those on loopback.
#[derive(Debug)]
pub(super) struct LoopbackGuard {
    origins: Vec<Origin>,
}

impl LoopbackGuard {
    /// Returns `None` for a service with keys or with anonymous callers, which may be reached by any name.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let is_guarded = config.keys.is_empty() && !config.http.anonymous;
        is_guarded.then(|| Self { origins: config.http.cors_origins.clone() })
    }

    /// Checks that the request is addressed to a loopback name, comes from no page of another host, and was
    /// forwarded by no proxy.
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        let mut is_addressed = request.uri().authority().is_none_or(|host| is_loopback(host.as_str()));
        let mut is_origin_allowed = true;
        let mut forwarding = None;
        // One pass costs less than to look up each of the names.
        for (name, value) in request.headers() {
            if *name == header::HOST {
                is_addressed = is_addressed && value.to_str().is_ok_and(is_loopback);
            } else if *name == header::ORIGIN {
                is_origin_allowed = is_origin_allowed && self.allows(value);
            } else if FORWARDING.contains(name) {
                forwarding = Some(name);
            }
        }
        if !is_addressed {
            let why = "`Host` must be localhost or a loopback address";
            return Err(Problem::misdirected(format!("{why}: {REMEDY}")));
        }
        if !is_origin_allowed {
            let why = "`Origin` must be on localhost, on a loopback address, or in `cors_origins` of [http]";
            return Err(Problem::forbidden(format!("{why}: {REMEDY}")));
        }
        if let Some(name) = forwarding {
            let why = format!("the request was forwarded by a proxy, as its header `{name}` says");
            return Err(Problem::forbidden(format!("{why}: {REMEDY}")));
        }
        Ok(())
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let host = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        host.is_some_and(|(_, host)| is_loopback(host))
            || self.origins.iter().any(|allowed| allowed.allows(origin.as_bytes()))
    }
}

/// Checks whether the host of `authority` (`host` or `host:port`) is `localhost` or a loopback address.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    host == "127.0.0.1"
        || host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_addresses_are_recognized() {
        for host in
            ["localhost", "LocalHost:8080", "127.0.0.1", "127.9.9.9:80", "[::1]:8080", "[::ffff:127.0.0.1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "[::2]"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
