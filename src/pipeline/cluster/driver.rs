//! The driver of a build on a cluster: listens for workers, and gives them the items of steps.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::transport::Server;

use super::{
    ClusterError,
    connections::{ConnectedWorkers, Connection},
    gate::{Gate, Gated},
    identity::Identity,
    items::Item,
    results::{ItemResult, Results},
    scheduler::{Job, Scheduler},
    step_exec, tls,
};
use crate::{
    causes::with_causes,
    config::{BuildConfig, Config},
    lake::Lake,
};

/// Number of times in a row that a step may fail without the result of a single item.
const ATTEMPTS: u32 = 3;
/// Number of results that are read from the lake at a time.
const READS: usize = 16;
/// Longest time that the end of a build waits for workers to take notice.
const FAREWELL: Duration = Duration::from_secs(2);
/// Interval and timeout of the pings that show whether a silent worker is there.
const PING: Duration = Duration::from_secs(5);

/// A cluster during one build.
pub(in crate::pipeline) struct Cluster {
    scheduler: Scheduler,
    gate: Arc<Gate>,
    results: Results,
    /// Address that workers connect to.
    address: String,
    worker_timeout: Duration,
    server: JoinHandle<()>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Listens for workers, and waits until as many are connected as `[build]` wants. `build` is the id of
    /// the build.
    pub(in crate::pipeline) async fn start(
        config: &Config,
        lake: &Lake,
        build: String,
        identity: Identity,
    ) -> Result<Self, ClusterError> {
        let BuildConfig { listen, workers, worker_timeout, .. } = &config.build;
        let address = listen.clone().ok_or_else(|| ClusterError::Setting {
            setting: "listen",
            why: "engine = \"cluster\" needs an address for workers, such as 127.0.0.1:7070".to_owned(),
        })?;
        tls::host(config, "listen", &address)?;
        let failed = |source| ClusterError::Listen { address: address.clone(), source };
        let listener = TcpListener::bind(&address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        let connected = Arc::<ConnectedWorkers>::default();
        let gate =
            Arc::new(Gate { identity, workers: Arc::clone(&connected), has_ended: AtomicBool::new(false) });
        let scheduler = Scheduler::start().await?;
        let mut server =
            Server::builder().http2_keepalive_interval(Some(PING)).http2_keepalive_timeout(Some(PING));
        if let Some(tls) = tls::server(config)? {
            let unusable = |error: tonic::transport::Error| ClusterError::Tls {
                path: "[build.tls]".to_owned(),
                why: with_causes(&error),
            };
            server = server.tls_config(tls).map_err(unusable)?;
        }
        let service = Gated { scheduler: scheduler.service(), gate: Arc::clone(&gate) };
        let connections = stream::unfold(listener, move |listener| {
            let workers = Arc::clone(&connected);
            async move {
                let connection = accept(&listener).await.map(|stream| Connection::new(stream, &workers));
                Some((connection, listener))
            }
        });
        let serving = server.add_service(service).serve_with_incoming(connections);
        let server = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the server for workers failed");
            }
        });
        let results = Results::new(lake.clone(), build);
        let worker_timeout = *worker_timeout;
        let cluster = Self { scheduler, gate, results, address, worker_timeout, server };
        tracing::info!(address = cluster.address, workers, "waiting for workers");
        cluster.wait_for(*workers).await?;
        Ok(cluster)
    }

    /// Returns the id of the build.
    pub(in crate::pipeline) fn build(&self) -> &str {
        self.results.build()
    }

    /// Waits until `needed` workers are connected.
    async fn wait_for(&self, needed: usize) -> Result<(), ClusterError> {
        let workers = &self.gate.workers;
        let mut changes = workers.changes();
        let came = changes.wait_for(|_| workers.count() >= needed);
        match tokio::time::timeout(self.worker_timeout, came).await {
            Ok(_) => Ok(()),
            Err(_) => Err(ClusterError::TooFewWorkers {
                connected: workers.count(),
                needed,
                address: self.address.clone(),
                waited: self.worker_timeout,
                refused: workers.refusals(),
            }),
        }
    }

    /// Has workers work on an item for each of `inputs`, and returns the results. Items without a result are
    /// worked on again, whatever the scheduler says about them. `step` names the step in messages and in the
    /// paths of the results.
    pub(in crate::pipeline) async fn run(
        &self,
        step: &str,
        inputs: Vec<String>,
    ) -> Result<Vec<ItemResult>, ClusterError> {
        let item = |(number, input)| {
            let (build, step) = (self.build().to_owned(), step.to_owned());
            serde_json::to_string(&Item { build, step, number, input }).unwrap_or_default()
        };
        let items: Vec<String> = inputs.into_iter().enumerate().map(item).collect();
        let mut results: Vec<Option<ItemResult>> = vec![None; items.len()];
        let mut failures = 0;
        loop {
            let open: Vec<usize> = (0..items.len()).filter(|at| results[*at].is_none()).collect();
            if open.is_empty() {
                return Ok(results.into_iter().flatten().collect());
            }
            let plan = step_exec::plan(open.iter().map(|at| items[*at].clone()).collect());
            let plan = plan.map_err(|error| ClusterError::Scheduler(error.to_string()))?;
            let mut job = self.scheduler.submit(step, plan).await?;
            let ended = self.watch(step, &mut job).await;
            let reads: Vec<_> = open.iter().map(|at| self.results.get(step, *at)).collect();
            let found: Vec<Option<ItemResult>> = stream::iter(reads).buffered(READS).try_collect().await?;
            let has_progress = found.iter().any(Option::is_some);
            for (at, result) in open.into_iter().zip(found) {
                results[at] = result;
            }
            let why = match ended? {
                Ok(()) => "items without results".to_owned(),
                Err(why) => why,
            };
            failures = if has_progress { 0 } else { failures + 1 };
            if failures == ATTEMPTS {
                return Err(ClusterError::Step { step: step.to_owned(), attempts: ATTEMPTS, why });
            }
        }
    }

    /// Waits until `job` has ended, and returns whether it failed. Fails if no worker is left for too long.
    async fn watch(&self, step: &str, job: &mut Job) -> Result<Result<(), String>, ClusterError> {
        let workers = &self.gate.workers;
        let mut changes = workers.changes();
        loop {
            changes.mark_unchanged();
            for worker in workers.take_lost() {
                self.scheduler.lose(worker).await;
            }
            let alone = async {
                if workers.count() > 0 {
                    return std::future::pending().await;
                }
                tokio::time::sleep(self.worker_timeout).await;
            };
            tokio::select! {
                ended = self.scheduler.ended(job) => return Ok(ended),
                () = alone => {
                    self.scheduler.cancel(job).await;
                    let (step, waited) = (step.to_owned(), self.worker_timeout);
                    return Err(ClusterError::NoWorkers { step, waited });
                }
                _ = changes.changed() => {}
            }
        }
    }

    /// Ends the cluster: workers are told, and all that they share for this build is removed.
    pub(in crate::pipeline) async fn end(&self) {
        if self.gate.has_ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let workers = &self.gate.workers;
        let mut changes = workers.changes();
        let _ = tokio::time::timeout(FAREWELL, changes.wait_for(|_| workers.count() == 0)).await;
        if let Err(error) = self.results.remove().await {
            tracing::warn!(%error, "cannot remove the results of items from the lake");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Accepts a connection. Pings show a lost peer, and small messages are not held back.
async fn accept(listener: &TcpListener) -> std::io::Result<tokio::net::TcpStream> {
    let (stream, _): (_, SocketAddr) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
