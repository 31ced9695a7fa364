//! Mutual TLS between driver and workers.

use std::{net::IpAddr, path::Path};

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use super::ClusterError;
use crate::config::{BuildTls, Config};

/// Returns the TLS of the driver, or `None` without the section `[build.tls]`. Workers must show a
/// certificate of the authority.
pub(super) fn server(config: &Config) -> Result<Option<ServerTlsConfig>, ClusterError> {
    let Some(tls) = &config.build.tls else { return Ok(None) };
    let Files { identity, ca } = Files::read(config, tls)?;
    Ok(Some(ServerTlsConfig::new().identity(identity).client_ca_root(ca)))
}

/// Returns the TLS of a worker, or `None` without the section `[build.tls]`. The certificate of the driver
/// must be of the authority, and name `host`.
pub(super) fn client(config: &Config, host: &str) -> Result<Option<ClientTlsConfig>, ClusterError> {
    let Some(tls) = &config.build.tls else { return Ok(None) };
    let Files { identity, ca } = Files::read(config, tls)?;
    Ok(Some(ClientTlsConfig::new().identity(identity).ca_certificate(ca).domain_name(host)))
}

/// Returns the host of `address`, which is `host:port`.
///
/// # Errors
/// Fails if the address is beyond loopback and there is no section `[build.tls]`, since whoever reaches the
/// port of a driver could pass for a worker, and whoever owns the address for a driver.
pub(super) fn host<'a>(
    config: &Config,
    setting: &'static str,
    address: &'a str,
) -> Result<&'a str, ClusterError> {
    let wrong = |why: String| ClusterError::Setting { setting, why };
    let parts =
        address.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    let Some((host, _)) = parts else {
        return Err(wrong(format!("`{address}` is not of the form host:port")));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback =
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    if !is_loopback && config.build.tls.is_none() {
        return Err(wrong(format!("`{address}` is beyond loopback and needs the section [build.tls]")));
    }
    Ok(host)
}

/// Files of `[build.tls]`.
struct Files {
    identity: Identity,
    ca: Certificate,
}

impl Files {
    fn read(config: &Config, tls: &BuildTls) -> Result<Self, ClusterError> {
        let read = |path: &Path| {
            let path = config.resolve(path);
            std::fs::read(&path).map_err(|error| ClusterError::Tls {
                path: path.display().to_string(),
                why: error.to_string(),
            })
        };
        Ok(Self {
            identity: Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?),
            ca: Certificate::from_pem(read(&tls.ca)?),
        })
    }
}
