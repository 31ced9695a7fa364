//! A bucket on an S3 server in this process, with the differences of OSS from S3 and with faults on demand.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use larder::config::LakeConfig;
use s3s::{auth::SimpleAuth, host::SingleDomain, service::S3Service, service::S3ServiceBuilder};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

use crate::support::ram_policy::RamPolicy;

type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Faults of the server, which tests switch on and off.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Number of requests to answer with 503, each after 30 ms.
    pub(crate) busy: AtomicU64,
    /// Whether to refuse all requests with 403.
    pub(crate) forbidding: AtomicBool,
    /// Delay of each response in milliseconds.
    pub(crate) slow: AtomicU64,
    /// Number of objects whose bodies are cut in half.
    pub(crate) cutting: AtomicU64,
    /// Number of requests received.
    pub(crate) requests: AtomicU64,
    /// Request to hold, which goes on when the test lets it.
    pub(crate) held: Mutex<Option<HeldRequest>>,
    /// Policy of the caller; without a policy all requests are permitted.
    pub(crate) policy: Mutex<Option<RamPolicy>>,
}

/// First request with a method for an object whose path ends in a name.
#[derive(Debug)]
pub(crate) struct HeldRequest {
    pub(crate) method: Method,
    pub(crate) name: String,
    /// Notified when the request has arrived.
    pub(crate) arrived: Arc<Notify>,
    /// Notified when the request may go on.
    pub(crate) released: Arc<Notify>,
}

impl Faults {
    /// Holds the next request `method` for an object whose path ends in `name`. Returns what is notified when
    /// the request has arrived, and what lets it go on.
    pub(crate) fn hold(&self, method: Method, name: &str) -> (Arc<Notify>, Arc<Notify>) {
        let (arrived, released) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let notified = (Arc::clone(&arrived), Arc::clone(&released));
        *self.held.lock().unwrap() = Some(HeldRequest { method, name: name.to_owned(), arrived, released });
        notified
    }

    /// Waits while the request is held.
    async fn wait_if_held(&self, request: &Request<Incoming>) {
        let is_held = |held: &mut HeldRequest| {
            held.method == *request.method() && request.uri().path().ends_with(&held.name)
        };
        let held = self.held.lock().unwrap().take_if(is_held);
        if let Some(held) = held {
            held.arrived.notify_one();
            held.released.notified().await;
        }
    }
}

/// A bucket named `lake`.
pub(crate) struct Bucket {
    folder: TempDir,
    pub(crate) faults: Arc<Faults>,
    port: u16,
    server: JoinHandle<()>,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Bucket {
    /// Starts a server with an empty bucket.
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("objects/lake")).unwrap();
        let keys = "[default]\naws_access_key_id = key\naws_secret_access_key = verysecret\n";
        std::fs::write(folder.path().join("keys"), keys).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut builder =
            S3ServiceBuilder::new(s3s_fs::FileSystem::new(folder.path().join("objects")).unwrap());
        builder.set_auth(SimpleAuth::from_single("key", "verysecret"));
        builder.set_host(SingleDomain::new(&format!("oss.test:{port}")).unwrap());
        let (service, faults) = (builder.build(), Arc::new(Faults::default()));
        let (objects, shared) = (folder.path().join("objects"), Arc::clone(&faults));
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (service, faults, objects) = (service.clone(), Arc::clone(&shared), objects.clone());
                let answer = service_fn(move |request| {
                    let (service, faults, objects) = (service.clone(), Arc::clone(&faults), objects.clone());
                    async move { Ok::<_, Infallible>(answer(service, &faults, &objects, request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        Self { folder, faults, port, server }
    }

    /// Returns the configuration of a lake below `prefix` in the bucket.
    pub(crate) fn config(&self, prefix: &str) -> LakeConfig {
        LakeConfig {
            url: format!("s3://lake/{prefix}"),
            endpoint: Some(format!("http://oss.test:{}", self.port)),
            region: Some("cn-hangzhou".to_owned()),
            path_style: false,
            credentials_file: Some(self.folder.path().join("keys")),
            resolve: Some("127.0.0.1".parse().unwrap()),
        }
    }

    /// Returns the same configuration as TOML.
    pub(crate) fn toml(&self, prefix: &str) -> String {
        format!(
            "[lake]\nurl = \"s3://lake/{prefix}\"\nendpoint = \"http://oss.test:{}\"\n\
             region = \"cn-hangzhou\"\ncredentials_file = \"{}\"\nresolve = \"127.0.0.1\"\n",
            self.port,
            self.folder.path().join("keys").display()
        )
    }

    /// Returns the file in which the server keeps the object at `path`.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join("objects/lake").join(path)
    }
}

/// Returns an error response in the form of OSS.
fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>refused</Message></Error>");
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml").body(body).unwrap()
}

async fn answer(
    service: S3Service,
    faults: &Faults,
    objects: &Path,
    request: Request<Incoming>,
) -> Response<Body> {
    faults.requests.fetch_add(1, Ordering::Relaxed);
    faults.wait_if_held(&request).await;
    tokio::time::sleep(Duration::from_millis(faults.slow.load(Ordering::Relaxed))).await;
    if faults.forbidding.load(Ordering::Relaxed) {
        return refusal(StatusCode::FORBIDDEN, "AccessDenied");
    }
    if faults.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        tokio::time::sleep(Duration::from_millis(30)).await;
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    }
    let text =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let host = text("host").to_owned();
    let Some(bucket) = host.split_once(".oss.test").map(|(bucket, _)| bucket) else {
        return refusal(StatusCode::FORBIDDEN, "SecondLevelDomainForbidden");
    };
    if faults.policy.lock().unwrap().as_ref().is_some_and(|policy| !policy.permits(bucket, &request)) {
        return refusal(StatusCode::FORBIDDEN, "AccessDenied");
    }
    if text("content-encoding").contains("aws-chunked")
        || text("x-amz-content-sha256").starts_with("STREAMING")
    {
        return refusal(StatusCode::BAD_REQUEST, "InvalidArgument");
    }
    if request.method() == Method::PUT && !(text("if-none-match").is_empty() && text("if-match").is_empty()) {
        return refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented");
    }
    let path = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
    let file = objects.join(bucket).join(path.trim_start_matches('/'));
    // A bucket has no folders; the server keeps objects in folders and would fail for the name of one.
    if matches!(*request.method(), Method::GET | Method::HEAD) && path != "/" && file.is_dir() {
        return refusal(StatusCode::NOT_FOUND, "NoSuchKey");
    }
    let is_read = request.method() == Method::GET && file.is_file();
    let last = text("range").rsplit('-').next().and_then(|last| last.parse::<u64>().ok());
    if is_read
        && last.is_some_and(|last| !text("range").contains("=-") && last >= file.metadata().unwrap().len())
    {
        let all = std::fs::read(&file).unwrap();
        let length = all.len();
        let body = Full::new(Bytes::from(all)).map_err(|never| match never {}).boxed_unsync();
        return Response::builder().header(header::CONTENT_LENGTH, length).body(body).unwrap();
    }
    let answer = service.call(request.map(s3s::Body::from)).await;
    let Ok(answer) = answer else { return refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError") };
    let cut = is_read
        && faults
            .cutting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok();
    let (parts, body) = answer.into_parts();
    if !cut {
        return Response::from_parts(parts, body.map_err(Into::into).boxed_unsync());
    }
    let whole = body.collect().await.unwrap().to_bytes();
    let half: Vec<Result<_, Box<dyn std::error::Error + Send + Sync>>> =
        vec![Ok(hyper::body::Frame::data(whole.slice(..whole.len() / 2))), Err("cut".into())];
    let body = http_body_util::StreamBody::new(futures::stream::iter(half)).boxed_unsync();
    Response::from_parts(parts, body)
}
