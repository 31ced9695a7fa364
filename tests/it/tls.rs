//! HTTPS: the certificate, its renewal at run time, and settings that are refused.

use std::{fs, sync::Arc};

use larder::config::TlsConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

use crate::support::shop::{PATIENCE, Service, corners, eventually};

/// Writes a new certificate and its key, and returns the certificate.
fn certify(config: &TlsConfig) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&config.certificate, made.cert.pem()).unwrap();
    fs::write(&config.key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// Reads a customer over TLS, trusting `certificate` only.
async fn https(service: &Service, certificate: &CertificateDer<'static>) -> Result<String, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = tokio::net::TcpStream::connect(service.url.strip_prefix("http://").unwrap()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let request = "GET /v1/customers/loyal HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn tls_certificate_is_reloaded() {
    let mut shop = corners();
    let config = TlsConfig { certificate: shop.path().join("tls.pem"), key: shop.path().join("tls-key.pem") };
    let first = certify(&config);
    shop.config.http.tls = Some(config.clone());
    let service = shop.open().await;
    let answer = https(&service, &first).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"customer_id\":\"loyal\""),
        "{answer}"
    );
    assert!(answer.contains("\r\nstrict-transport-security: max-age=31536000\r\n"), "{answer}");
    // Plain HTTP is refused, and a silent connection does not block others.
    let _silent = tokio::net::TcpStream::connect(service.url.strip_prefix("http://").unwrap()).await.unwrap();
    let plain = service.client.get(format!("{}/healthz", service.url)).timeout(PATIENCE).send().await;
    assert!(plain.is_err());
    let second = certify(&config);
    assert!(eventually(async || https(&service, &second).await, Result::is_ok).await.is_ok());
    assert!(https(&service, &first).await.is_err());

    // Unusable files are reported at the start.
    for (certificate, key, word) in [
        ("nowhere.pem", "tls-key.pem", "nowhere.pem"),
        ("tls-key.pem", "tls-key.pem", "no certificate"),
        ("tls.pem", "tls.pem", "no private key"),
    ] {
        let toml = format!("[http.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n");
        fs::write(shop.path().join("larder.toml"), toml).unwrap();
        let refused = shop.larder(&["serve", "--listen", "127.0.0.1:0"]);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && error.contains(word), "{error}");
    }
}
