//! Sends metrics to a Pushgateway.

use std::time::Duration;

use anyhow::Context;
use hyper::Method;
use url::Url;

use crate::{config::shown_url, telemetry::PostClient};

/// Longest time for the whole exchange.
const DEADLINE: Duration = Duration::from_secs(10);

/// Sends `text` as the metrics of `command`. The metrics of a successful run replace all earlier ones of the
/// command; those of a failed run leave the others, such as the time of the last success.
pub(super) fn send(gateway: &str, command: &str, is_success: bool, text: String) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exchange = async {
        let mut url = Url::parse(gateway)?;
        url.set_path(&format!("{}/metrics/job/larder/command/{command}", url.path().trim_end_matches('/')));
        let method = if is_success { Method::PUT } else { Method::POST };
        let mut client = PostClient::new(&url, [("content-type", "text/plain; version=0.0.4")]);
        anyhow::Ok(client.send(method, text.into(), DEADLINE).await?)
    };
    let sent = runtime.block_on(exchange);
    sent.with_context(|| format!("cannot send the metrics to {}", shown_url(gateway)))
}
