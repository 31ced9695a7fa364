//! The scheduler of Apache Ballista inside the driver.
//!
//! Workers ask for items (pull scheduling), and one item is a task. The adaptive planner is off. Both follow
//! from defects of version 55: pushed tasks hang after a worker is lost, and adaptive plans give wrong rows.

use std::{sync::Arc, time::Duration};

use ballista_core::{
    JobId,
    config::TaskSchedulingPolicy,
    extension::SessionConfigExt,
    serde::{
        BallistaCodec, BallistaLogicalExtensionCodec,
        protobuf::{
            ExecutorStoppedParams, JobStatus,
            job_status::Status,
            scheduler_grpc_server::{SchedulerGrpc, SchedulerGrpcServer},
        },
    },
    utils::{default_config_producer, default_session_builder},
};
use ballista_scheduler::{
    cluster::BallistaCluster, config::SchedulerConfig, metrics::default_metrics_collector,
    scheduler_server::SchedulerServer,
};
use datafusion::{
    physical_plan::ExecutionPlan,
    prelude::{SessionConfig, SessionContext},
};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::sync::mpsc;

use super::{ClusterError, step_exec::StepCodec};

type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// Limit of a message: a step with all its items.
pub(super) const MAX_MESSAGE: usize = 1 << 30;
/// Time after which a worker that asks for nothing is lost. A closed connection shows that at once.
const SILENCE: Duration = Duration::from_secs(30);
/// Interval between two looks at the state of a job, beside the notices of the scheduler.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The scheduler.
#[derive(Clone)]
pub(super) struct Scheduler(Server);

/// A running step.
pub(super) struct Job {
    id: JobId,
    notices: mpsc::Receiver<JobStatus>,
}

impl Scheduler {
    /// Starts the scheduler.
    pub(super) async fn start() -> Result<Self, ClusterError> {
        let config = SchedulerConfig {
            scheduling_policy: TaskSchedulingPolicy::PullStaged,
            // The driver repeats the items without a result.
            task_max_failures: 1,
            stage_max_failures: 1,
            executor_timeout_seconds: SILENCE.as_secs(),
            // The driver decides for how long a step may be without workers.
            no_executors_grace_period_seconds: u64::from(u32::MAX),
            executor_termination_grace_period: 0,
            ..SchedulerConfig::default()
        };
        let cluster = BallistaCluster::new_memory(
            "larder",
            Arc::new(default_session_builder),
            Arc::new(default_config_producer),
        );
        let codec = BallistaCodec::new(
            Arc::new(BallistaLogicalExtensionCodec::default()),
            Arc::new(StepCodec::default()),
        );
        let failed = |error: ballista_core::error::BallistaError| ClusterError::Scheduler(error.to_string());
        let metrics = default_metrics_collector().map_err(failed)?;
        let mut server = Server::new("larder".to_owned(), cluster, codec, Arc::new(config), metrics);
        server.init().await.map_err(failed)?;
        Ok(Self(server))
    }

    /// Returns the service that workers call.
    pub(super) fn service(&self) -> SchedulerGrpcServer<Server> {
        SchedulerGrpcServer::new(self.0.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// Starts the work on `plan`.
    pub(super) async fn submit(&self, step: &str, plan: Arc<dyn ExecutionPlan>) -> Result<Job, ClusterError> {
        let config = SessionConfig::new_with_ballista()
            .set_str("ballista.planner.adaptive.enabled", "false")
            .set_str("ballista.scheduler.max_partitions_per_task", "1");
        let state =
            default_session_builder(config).map_err(|error| ClusterError::Scheduler(error.to_string()))?;
        let session = Arc::new(SessionContext::new_with_state(state));
        let (send, notices) = mpsc::channel(64);
        let id = self.0.submit_physical_plan(step, session, plan, Some(send)).await;
        let id = id.map_err(|error| ClusterError::Scheduler(error.to_string()))?;
        Ok(Job { id, notices })
    }

    /// Tells the scheduler that `worker` is lost: its tasks are given to others.
    pub(super) async fn lose(&self, worker: String) {
        let lost = ExecutorStoppedParams { executor_id: worker, reason: "connection closed".to_owned() };
        if let Err(error) = self.0.executor_stopped(tonic::Request::new(lost)).await {
            tracing::warn!(%error, "the scheduler does not take note of a lost worker");
        }
    }

    /// Waits until `job` has ended, and returns the reason of a failure.
    pub(super) async fn ended(&self, job: &mut Job) -> Result<(), String> {
        loop {
            let notice = tokio::time::timeout(LOOK_INTERVAL, job.notices.recv()).await;
            let status = match notice {
                Ok(Some(notice)) => Some(notice),
                Ok(None) | Err(_) => {
                    self.0.state.task_manager.get_job_status(&job.id).await.map_err(|e| e.to_string())?
                }
            };
            match status.and_then(|status| status.status) {
                Some(Status::Successful(_)) => return Ok(()),
                Some(Status::Failed(failed)) => return Err(failed.error),
                _ => {}
            }
        }
    }

    /// Ends `job` early.
    pub(super) async fn cancel(&self, job: &Job) {
        if let Err(error) = self.0.cancel_job(job.id.clone()).await {
            tracing::warn!(%error, "cannot cancel a step");
        }
    }
}
