//! Sends metrics to a Pushgateway.

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, body::Bytes, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use crate::config::shown_url;

/// Longest time for the whole exchange.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const ANSWER: usize = 4 << 10;

/// Sends `text` as the metrics of `command`. The metrics of a successful run replace all earlier ones of the
/// command; those of a failed run leave the others, such as the time of the last success.
pub(super) fn send(gateway: &str, command: &str, is_success: bool, text: String) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(async {
            let method = if is_success { Method::PUT } else { Method::POST };
            let exchange = exchange(gateway, command, method, text);
            tokio::time::timeout(DEADLINE, exchange).await.context("no answer in time")?
        })
        .with_context(|| format!("cannot send the metrics to {}", shown_url(gateway)))
}

async fn exchange(gateway: &str, command: &str, method: Method, text: String) -> anyhow::Result<()> {
    let url = Url::parse(gateway)?;
    let host = url.host_str().context("the URL has no host")?;
    let port = url.port_or_known_default().unwrap_or(80);
    // Brackets enclose an IPv6 address.
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = format!("{}/metrics/job/larder/command/{command}", url.path().trim_end_matches('/'));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::CONTENT_TYPE, "text/plain; version=0.0.4")
        .body(Full::new(Bytes::from(text)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), ANSWER).collect().await;
    connection.abort();
    if !status.is_success() {
        let answer = answer.map(|body| String::from_utf8_lossy(&body.to_bytes()).trim().to_owned());
        bail!("the answer is {status}: {}", answer.unwrap_or_default());
    }
    Ok(())
}
