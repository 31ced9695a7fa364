//! The gate before the scheduler: workers may ask for work if they are of the same identity as the driver.
//! All other methods of the scheduler, by which clients submit plans, are closed.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    metadata::MetadataValue,
    server::NamedService,
};

use super::{
    connections::{ConnectedWorkers, Peer},
    identity::Identity,
};

/// Header with the id of a worker.
pub(super) const WORKER: &str = "larder-worker";
/// Header with the identity of a worker, as JSON.
pub(super) const IDENTITY: &str = "larder-identity";
/// Header of a refusal that is final, with the reason.
pub(super) const VERDICT: &str = "larder-verdict";
/// Verdict of a build that has ended.
pub(super) const ENDED: &str = "ended";
/// Verdict about a worker that must not work for the build.
pub(super) const REFUSED: &str = "refused";
/// The only open method.
const POLL: &str = "/ballista.protobuf.SchedulerGrpc/PollWork";

/// State of the gate.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) identity: Identity,
    pub(super) workers: Arc<ConnectedWorkers>,
    pub(super) has_ended: AtomicBool,
}

impl Gate {
    /// Returns the refusal of a request, or `None` if the request may pass.
    fn refuses(&self, path: &str, headers: &http::HeaderMap, peer: Option<&Peer>) -> Option<Status> {
        if path != POLL {
            return Some(Status::permission_denied("only workers have access"));
        }
        if self.has_ended.load(Ordering::Relaxed) {
            return Some(verdict(ENDED, "the build has ended"));
        }
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let worker = header(WORKER).unwrap_or("without an id");
        let identity = header(IDENTITY).and_then(|text| serde_json::from_str::<Identity>(text).ok());
        let why = match &identity {
            Some(identity) => self.identity.refuses(identity),
            None => Some("it does not say its version".to_owned()),
        };
        if let Some(why) = why {
            if self.workers.refuse(worker, &why) {
                tracing::warn!(worker, why, "worker refused");
            }
            return Some(verdict(REFUSED, &why));
        }
        if let Some(peer) = peer {
            peer.accept(worker);
        }
        None
    }
}

fn verdict(verdict: &'static str, why: &str) -> Status {
    let mut status = Status::new(Code::FailedPrecondition, why);
    status.metadata_mut().insert(VERDICT, MetadataValue::from_static(verdict));
    status
}

/// The scheduler behind the gate.
#[derive(Debug, Clone)]
pub(super) struct Gated<S> {
    pub(super) scheduler: S,
    pub(super) gate: Arc<Gate>,
}

impl<S: NamedService> NamedService for Gated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Gated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Send,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.scheduler.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = Peer::of(request.extensions());
        match self.gate.refuses(request.uri().path(), request.headers(), peer) {
            Some(refusal) => Box::pin(std::future::ready(Ok(refusal.into_http()))),
            None => Box::pin(self.scheduler.call(request)),
        }
    }
}
