//! `larder serve`: starts the REST service.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, bail};
use tokio::{net::TcpListener, signal::unix::Signal};

use super::{
    Setup,
    reload::{self, Reload},
    stop_signal::stop_signal,
    systemd, table, traces,
};
use crate::{
    config::{Config, Settings},
    http::{self, Tls},
    lake::Lake,
    serving::{Serving, unmaskable},
    tair::{Tair, TairError},
    telemetry::Metrics,
    workers::Workers,
};

/// Serve the current snapshot over REST
///
/// Starts even if no snapshot is published yet, and becomes ready with the first publish. SIGTERM or Ctrl-C
/// shuts the service down gracefully. SIGHUP reloads the settings that may change while serving, and changed
/// API keys and certificates at once, which else takes two seconds. Under systemd, units with Type=notify are
/// ready once a snapshot is served.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  larder serve --listen 127.0.0.1:8080")]
pub(super) struct Args {
    /// Address and port to listen on, overrides `listen` in [http]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Run scheduled builds beside the service, each as a process of its own
    #[cfg(feature = "build")]
    #[arg(long)]
    build: bool,
    #[cfg(feature = "build")]
    #[command(flatten)]
    schedule: super::schedule::ScheduleArgs,
}

pub(super) async fn run(args: Args, setup: &Setup) -> anyhow::Result<()> {
    let _log = crate::telemetry::start_log(&setup.config.log)?;
    #[cfg(feature = "build")]
    let schedule = args.schedule.schedule()?;
    #[cfg(feature = "build")]
    match (args.build, &schedule) {
        (true, None) => bail!("--build needs --every or --watch"),
        (false, Some(_)) => bail!("--every and --watch need --build"),
        _ => {}
    }
    let mut config = setup.config.clone();
    config.http.listen = args.listen.unwrap_or(config.http.listen);
    let hangups = reload::hangups()?;
    let listener = listen(&config).await?;
    let scheme = if config.http.tls.is_some() { "https" } else { "http" };
    table::line(&format!("listening on {scheme}://{}", listener.local_addr()?))?;
    let lake = setup.lake()?;
    let input = ServeInput { listener, lake, config: &config, settings: &setup.settings, hangups };
    let serving = input.serve();
    #[cfg(feature = "build")]
    if let Some(schedule) = schedule {
        let lake = setup.lake()?;
        return tokio::select! {
            served = Box::pin(serving) => served,
            () = Box::pin(schedule.repeat(setup, &lake)) => Ok(()),
        };
    }
    serving.await
}

/// Binds the configured address. Refuses an address that other machines can reach without keys or
/// `anonymous`.
pub(super) async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    let address = config.http.listen;
    if !address.ip().is_loopback() && config.keys.is_empty() && !config.http.anonymous {
        bail!(
            "{address} is reachable from other machines without authentication: generate a key with \
             `larder key NAME`, or allow anonymous reads with `anonymous = true` in [http]"
        );
    }
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))
}

/// A bound address, and everything that a service is made of.
pub(super) struct ServeInput<'a> {
    pub(super) listener: TcpListener,
    pub(super) lake: Lake,
    pub(super) config: &'a Config,
    /// The settings that the configuration was made of.
    pub(super) settings: &'a Settings,
    /// Signals to read the configuration again.
    pub(super) hangups: Signal,
}

impl ServeInput<'_> {
    /// Serves until SIGTERM or Ctrl-C.
    pub(super) async fn serve(self) -> anyhow::Result<()> {
        let Self { listener, lake, config, settings, hangups } = self;
        if let Some(why) = unmaskable(&config.personal()) {
            bail!("{why}");
        }
        let tls = config.http.tls.as_ref().map(Tls::open).transpose()?;
        let metrics = Arc::new(Metrics::new()?);
        let traces = traces::start(&metrics);
        let workers =
            Workers::start(super::runtime_threads(config)).context("cannot start worker threads")?;
        let tair = config
            .tair
            .as_ref()
            .map(|config| Ok::<_, TairError>((Tair::connect(config, Some(&workers))?, config)))
            .transpose()?;
        let serving = Serving::with_tair(lake, tair, &config.serving, Arc::clone(&metrics));
        let serving = Arc::new(serving.declaring(config.personal()));
        if let Err(error) = serving.refresh().await {
            tracing::error!(%error, "cannot open the current snapshot; retrying");
        }
        let http_app = http::App::new(Arc::clone(&serving), metrics, config);
        let (watched, watching) = (Arc::clone(&http_app), config.clone());
        let keys = tokio::spawn(async move { watched.watch_keys(&watching).await });
        let poll = config.serving.poll;
        let (app, settings) = (Arc::clone(&http_app), settings.clone());
        let reload = Reload { app, serving: Arc::clone(&serving), config: config.clone(), settings };
        let reloading = tokio::spawn(reload.repeat(hangups));
        let polling = tokio::spawn(async move { serving.poll(poll).await });
        let starting = tokio::spawn(systemd::report_ready(Arc::clone(&http_app)));
        let stop = stop_signal()?;
        let stop = async {
            stop.await;
            systemd::report_stopping();
        };
        http::serve(listener, tls, http_app, &workers, stop).await;
        starting.abort();
        reloading.abort();
        keys.abort();
        polling.abort();
        if let Some(traces) = traces {
            traces.flush().await;
        }
        Ok(())
    }
}
