//! `larder serve`

use std::{future::Future, net::SocketAddr, sync::Arc};

use anyhow::{Context, bail};
use tokio::net::TcpListener;

use super::{App, table};
use crate::{
    config::Config,
    http::{self, Tls},
    lake::Lake,
    serving::Serving,
    tair::{Tair, TairError},
    telemetry::Metrics,
    workers::Workers,
};

/// Answer REST reads from the current snapshot
///
/// Starts also when nothing is published yet, and is ready as soon as something is. SIGTERM or Ctrl-C ends it gently.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder serve --listen 127.0.0.1:8080")]
pub(super) struct Args {
    /// Address and port, instead of `listen` in [http]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

pub(super) async fn run(args: Args, app: &App) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&app.config.log)?;
    let mut config = app.config.clone();
    config.http.listen = args.listen.unwrap_or(config.http.listen);
    let listener = listen(&config).await?;
    let scheme = if config.http.tls.is_some() { "https" } else { "http" };
    table::line(&format!("listening on {scheme}://{}", listener.local_addr()?))?;
    serve(listener, app.lake()?, &config).await
}

/// Binds the address of the configuration, unless it is open to others and nobody said that it may be.
pub(super) async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.http.listen;
    if !address.ip().is_loopback() && config.keys.is_empty() && !config.http.anonymous {
        bail!(
            "{address} is open to other machines, and anybody could read there: make a key with `larder key NAME`, \
             or allow it with `anonymous = true` in [http]"
        );
    }
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// Serves until the process is told to stop.
pub(super) async fn serve(listener: TcpListener, lake: Lake, config: &Config) -> anyhow::Result<()> {
    let tls = config.http.tls.as_ref().map(Tls::open).transpose()?;
    let metrics = Arc::new(Metrics::new()?);
    let workers = Workers::start(super::runtime_threads(config)).context("cannot start threads")?;
    let tair = config
        .tair
        .as_ref()
        .map(|config| Ok::<_, TairError>((Tair::connect(config, Some(&workers))?, config)))
        .transpose()?;
    let serving = Serving::with_tair(lake, tair, &config.serving, Arc::clone(&metrics));
    let serving = Arc::new(serving.declaring(config.personal()));
    if let Err(error) = serving.refresh().await {
        tracing::error!(%error, "cannot open the current snapshot; it is tried again");
    }
    let app = http::App::new(Arc::clone(&serving), metrics, config);
    let poll = config.serving.poll;
    let polling = tokio::spawn(async move { serving.poll(poll).await });
    http::serve(listener, tls, app, &workers, stop_signal()?).await;
    polling.abort();
    Ok(())
}

/// SIGTERM or Ctrl-C. The handlers are in place when this returns.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
