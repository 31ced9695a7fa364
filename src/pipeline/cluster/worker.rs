//! A worker: asks the driver of a build for items, and works on them until the build ends.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use ballista_core::{
    BALLISTA_PROTOCOL_VERSION, JobId,
    registry::BallistaFunctionRegistry,
    serde::{
        BallistaCodec, BallistaLogicalExtensionCodec,
        protobuf::{
            ExecutorOperatingSystemSpecification, ExecutorRegistration, ExecutorResource,
            ExecutorSpecification, executor_resource::Resource, scheduler_grpc_client::SchedulerGrpcClient,
        },
    },
    utils::default_config_producer,
};
use ballista_executor::{
    execution_engine::QueryStageExecutor, execution_loop, executor::Executor, health::ExecutorHealth,
    metrics::ExecutorMetricsCollector,
};
use bytes::Bytes;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use futures::future::BoxFuture;
use tokio::{net::TcpStream, sync::mpsc};
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    transport::{Channel, Endpoint},
};

use super::{
    ClusterError,
    gate::{ENDED, IDENTITY, VERDICT, WORKER},
    identity::Identity,
    items::{Steps, WorkerItems},
    scheduler::MAX_MESSAGE,
    step_exec::StepCodec,
    tls,
};
use crate::{
    causes::with_causes,
    config::Config,
    lake::{Lake, LakeError},
    pipeline::{error::BuildError, memory_watch::MemoryWatch},
    snapshot::staged,
    telemetry::Progress,
};

/// Interval between two attempts to connect.
const RETRY: Duration = Duration::from_millis(500);
/// Time within which a worker reconnects to a driver.
const RECONNECT: Duration = Duration::from_secs(30);
/// Interval and timeout of the pings that show whether a silent driver is there.
const PING: Duration = Duration::from_secs(5);

/// Options of a worker.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Address of the driver, as `host:port`.
    pub build: String,
    /// Number of items at a time.
    pub slots: usize,
    /// Limit of the resident memory in bytes.
    pub memory: u64,
    /// Whether to wait for the next build when one has ended.
    pub stay: bool,
    /// Name of the worker in messages.
    pub name: String,
}

/// Reason why a worker stops.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant has a message")]
pub enum WorkerError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Build(#[from] Box<BuildError>),
    #[error("no build listened on {address} for {} s (worker_timeout in [build])", waited.as_secs())]
    NoBuild { address: String, waited: Duration },
    #[error("the connection to the build on {address} was lost: {why}")]
    Lost { address: String, why: String },
    #[error("the build on {address} refused this worker: {why}")]
    Refused { address: String, why: String },
    #[error("this worker cannot write to `staged/` of the lake, which workers need")]
    NoRights(#[source] LakeError),
    #[error(
        "this worker used {used} MiB of memory, more than --memory ({limit} MiB); raise --memory or lower \
         --slots"
    )]
    Memory { used: u64, limit: u64 },
    #[error("the engine of the worker failed: {0}")]
    Engine(String),
}

/// How a connection to a driver ended.
#[derive(Debug)]
enum End {
    /// The build has ended.
    Build,
    Refused(String),
    /// The driver cannot be reached.
    Lost(String),
}

/// A worker that is ready to work.
#[derive(Debug)]
pub(in crate::pipeline) struct Worker {
    pub(in crate::pipeline) options: WorkerOptions,
    pub(in crate::pipeline) identity: Identity,
    pub(in crate::pipeline) steps: Arc<dyn Steps>,
    pub(in crate::pipeline) lake: Lake,
    /// Folder of temporary files.
    pub(in crate::pipeline) scratch: PathBuf,
}

/// Works for the build that the options of `worker` name until the build ends.
///
/// # Errors
/// Fails if there is no such build, if it refuses the worker, and if the worker has no right to write to the
/// lake or needs more memory than it may use.
pub(in crate::pipeline) async fn serve(config: &Config, worker: Worker) -> Result<(), WorkerError> {
    let Worker { options, identity, steps, lake, scratch } = worker;
    let host = tls::host(config, "--build", &options.build)?;
    let id = format!("{}-{:08x}", options.name, random()?);
    check_rights(&lake, &id).await?;
    let endpoint = endpoint(config, host, &options.build)?;
    let runtime = tokio::runtime::Handle::current();
    let (worker, begun) = (id.clone(), Mutex::default());
    let items = Arc::new(WorkerItems { steps, lake, worker, runtime, begun });
    let session = WorkerSession { id, slots: options.slots, scratch, items, endpoint, identity };
    let memory = MemoryWatch::start(options.memory);
    let progress = Progress::default();
    let serving = session.serve(&options, config.build.worker_timeout);
    match Box::pin(memory.guard(&progress, async { Ok(serving.await) })).await {
        Ok(result) => result,
        Err(BuildError::Memory { used, limit, .. }) => Err(WorkerError::Memory { used, limit }),
        Err(error) => Err(WorkerError::Engine(error.to_string())),
    }
}

/// Returns a random number, which tells workers of one name apart.
fn random() -> Result<u32, WorkerError> {
    getrandom::u32().map_err(|error| WorkerError::Engine(error.to_string()))
}

/// Checks that the worker may write to the kept staging.
async fn check_rights(lake: &Lake, id: &str) -> Result<(), WorkerError> {
    let probe = staged::object_path(&staged::build_folder(&format!("probe-{id}")), "probe");
    lake.put(&probe, Bytes::from_static(b"larder worker")).await.map_err(WorkerError::NoRights)?;
    lake.delete(&probe).await.map_err(WorkerError::NoRights)
}

/// Returns the endpoint of the driver.
fn endpoint(config: &Config, host: &str, address: &str) -> Result<Endpoint, ClusterError> {
    let wrong = |why: String| ClusterError::Setting { setting: "--build", why };
    let tls = tls::client(config, host)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|error| wrong(error.to_string()))?
        .connect_timeout(PING)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    match tls {
        Some(tls) => endpoint
            .tls_config(tls)
            .map_err(|error| ClusterError::Tls { path: "[build.tls]".to_owned(), why: with_causes(&error) }),
        None => Ok(endpoint),
    }
}

/// State of a worker while it looks for builds and works for them.
struct WorkerSession {
    /// Id of the worker.
    id: String,
    /// Number of items at a time.
    slots: usize,
    scratch: PathBuf,
    items: Arc<WorkerItems>,
    endpoint: Endpoint,
    identity: Identity,
}

impl WorkerSession {
    /// Connects to drivers, and works for each until its build has ended.
    async fn serve(&self, options: &WorkerOptions, patience: Duration) -> Result<(), WorkerError> {
        let address = &options.build;
        let mut lost: Option<String> = None;
        loop {
            let patience = if lost.is_some() { RECONNECT } else { patience };
            let deadline = (!options.stay).then(|| Instant::now() + patience);
            if !reached(address, deadline).await {
                return Err(match lost {
                    Some(why) => WorkerError::Lost { address: address.clone(), why },
                    None => WorkerError::NoBuild { address: address.clone(), waited: patience },
                });
            }
            let end = self.connection().await;
            self.items.end().await;
            match end? {
                End::Build if options.stay => {
                    tracing::info!(address, "the build has ended; waiting for the next");
                    lost = None;
                }
                End::Build => return Ok(()),
                End::Refused(why) => return Err(WorkerError::Refused { address: address.clone(), why }),
                End::Lost(why) => {
                    tracing::warn!(address, why, "the connection to the build was lost");
                    lost = Some(why);
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Works for the driver until the connection ends.
    async fn connection(&self) -> Result<End, WorkerError> {
        let engine = |error: &dyn std::error::Error| WorkerError::Engine(with_causes(error));
        let folder = tempfile::tempdir_in(&self.scratch).map_err(|error| engine(&error))?;
        let vcores = u32::try_from(self.slots).unwrap_or(u32::MAX);
        let registration = ExecutorRegistration {
            id: self.id.clone(),
            host: Some(self.id.clone()),
            // A worker listens on no port: nobody reads what the engine stores here.
            port: 0,
            grpc_port: 0,
            specification: Some(ExecutorSpecification {
                resources: vec![ExecutorResource { resource: Some(Resource::Vcores(vcores)) }],
            }),
            os_info: Some(ExecutorOperatingSystemSpecification::default()),
            ballista_protocol_version: BALLISTA_PROTOCOL_VERSION,
        };
        let executor = Executor::with_default_execution_engine(
            registration,
            &folder.path().display().to_string(),
            Arc::new(|_| Ok(Arc::new(RuntimeEnv::default()))),
            Arc::new(default_config_producer),
            Arc::new(BallistaFunctionRegistry::default()),
            Arc::new(NoMetrics),
            self.slots,
        );
        let mut codec = StepCodec::default();
        codec.handler = Some(Arc::<WorkerItems>::clone(&self.items));
        let codec: BallistaCodec<LogicalPlanNode, PhysicalPlanNode> =
            BallistaCodec::new(Arc::new(BallistaLogicalExtensionCodec::default()), Arc::new(codec));
        let (events, mut ends) = mpsc::unbounded_channel();
        let channel = Watched {
            channel: self.endpoint.connect_lazy(),
            worker: self.id.clone(),
            identity: serde_json::to_string(&self.identity).unwrap_or_default(),
            events,
        };
        let client = SchedulerGrpcClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE);
        let polling =
            execution_loop::poll_loop(client, Arc::new(executor), codec, None, None, ExecutorHealth::new());
        tokio::select! {
            ended = polling => match ended {
                Ok(()) => Ok(End::Build),
                Err(error) => Err(engine(&error)),
            },
            end = ends.recv() => Ok(end.unwrap_or_else(|| End::Lost("the client has ended".to_owned()))),
        }
    }
}

/// Waits until somebody listens on `address`. Returns whether that is so before `deadline`.
async fn reached(address: &str, deadline: Option<Instant>) -> bool {
    while TcpStream::connect(address).await.is_err() {
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return false;
        }
        tokio::time::sleep(RETRY).await;
    }
    true
}

/// Ignores the metrics of the engine: an item is one task, whose time the worker logs.
struct NoMetrics;

impl ExecutorMetricsCollector for NoMetrics {
    fn record_stage(&self, _: &JobId, _: usize, _: usize, _: Arc<dyn QueryStageExecutor>) {}
}

/// Channel that says who the worker is, and tells the end of the connection.
#[derive(Debug, Clone)]
struct Watched {
    channel: Channel,
    /// Id of the worker.
    worker: String,
    /// Identity of the worker as JSON.
    identity: String,
    events: mpsc::UnboundedSender<End>,
}

impl Service<http::Request<Body>> for Watched {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let ready = self.channel.poll_ready(context);
        if let Poll::Ready(Err(error)) = &ready {
            let _ = self.events.send(End::Lost(with_causes(error)));
        }
        ready
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        for (name, text) in [(WORKER, &self.worker), (IDENTITY, &self.identity)] {
            if let Ok(value) = http::HeaderValue::from_str(text) {
                request.headers_mut().insert(name, value);
            }
        }
        let (answer, events) = (self.channel.call(request), self.events.clone());
        Box::pin(async move {
            let answer = answer.await;
            let end = match &answer {
                Err(error) => Some(End::Lost(with_causes(error))),
                Ok(answer) => verdict(answer.headers()),
            };
            if let Some(end) = end {
                // Without a receiver the worker has ended already.
                let _ = events.send(end);
            }
            answer
        })
    }
}

/// Returns the end that the headers of an answer tell.
fn verdict(headers: &http::HeaderMap) -> Option<End> {
    let verdict = headers.get(VERDICT)?;
    if verdict == ENDED {
        return Some(End::Build);
    }
    let status = Status::from_header_map(headers);
    Some(End::Refused(status.map(|status| status.message().to_owned()).unwrap_or_default()))
}
