//! The guard of a service without API keys, which answers everything to every program on its machine.
//!
//! Such a service must not answer for others through a program on the machine. A page in a browser can make
//! its own host name point to 127.0.0.1, and then read answers: `Host` and `Origin` show the name. The page
//! can load an answer as an image, to see whether there is one: `Sec-Fetch-Site` shows that. A reverse proxy
//! forwards requests of other machines: it says so in a header.

use std::net::IpAddr;

use axum::http::{HeaderName, HeaderValue, Method, Request, header};

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

/// Header by which a browser tells from where a request comes. A request for an image or a script has no
/// `Origin`.
static FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

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
        let mut is_of_other_site = false;
        let mut forwarding = None;
        // One pass costs less than to look up each of the names.
        for (name, value) in request.headers() {
            if *name == header::HOST {
                is_addressed = is_addressed && value.to_str().is_ok_and(is_loopback);
            } else if *name == header::ORIGIN {
                is_origin_allowed = is_origin_allowed && self.allows(value);
            } else if *name == FETCH_SITE {
                is_of_other_site = value == "cross-site" || value == "same-site";
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
        if is_of_other_site && !request.headers().contains_key(header::ORIGIN) && !is_visit(request) {
            let why = "a page of another site or port sent the request, as its header `sec-fetch-site` says";
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

/// Checks whether the request opens a page in a tab of its own, as a link does. The page with the link cannot
/// read the answer.
fn is_visit<B>(request: &Request<B>) -> bool {
    let is = |name: &str, value: &str| request.headers().get(name).is_some_and(|found| found == value);
    request.method() == Method::GET && is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document")
}

/// Checks whether `authority` is a host or `host:port`, and the host `localhost` or a loopback address.
fn is_loopback(authority: &str) -> bool {
    let (host, rest) = match authority.strip_prefix('[').and_then(|address| address.split_once(']')) {
        Some(parts) => parts,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = |port: &str| port.bytes().all(|digit| digit.is_ascii_digit());
    if !rest.is_empty() && !rest.strip_prefix(':').is_some_and(is_port) {
        return false;
    }
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
                .into_iter()
                .chain(["localhost:80@evil.example", "localhost:evil", "[::1].evil.example", "[::1"])
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
