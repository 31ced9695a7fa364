//! A shop for tests: raw files and a lake in a temporary folder, and a service on a free port that serves
//! them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use larder::{
    config::Config,
    http::{self, App, Tls},
    lake::Lake,
    pipeline::{self, Built},
    publish::{Options, Publisher},
    serving::Serving,
    snapshot::{Current, SnapshotId},
    tair::Tair,
    telemetry::{Metrics, Progress},
    workers::Workers,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

/// Longest time that a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Settings without models, which need more than a few lines and take time.
pub(crate) const NO_MODELS: &str =
    "[churn]\nenabled = false\n[recommendations]\nenabled = false\n[value]\nenabled = false\n";

/// A temporary folder with `larder.toml` and a lake.
pub(crate) struct Shop {
    pub(crate) folder: Arc<TempDir>,
    pub(crate) config: Config,
}

impl Shop {
    /// Creates a shop with the settings `toml` and an empty lake.
    pub(crate) fn new(toml: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let file = folder.path().join("larder.toml");
        std::fs::write(&file, toml).unwrap();
        let mut config = Config::load(Some(&file), []).unwrap();
        config.build.staging = Some(folder.path().join("staging"));
        config.serving.poll = Duration::from_millis(20);
        Self { folder, config }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a raw file into the lake.
    pub(crate) fn raw(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let file = self.path().join("lake/raw").join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        file
    }

    pub(crate) fn lake(&self) -> Lake {
        Lake::open(&self.config.lake, &self.config.base).unwrap()
    }

    /// Builds a snapshot; an error is returned as its text and those of its causes.
    pub(crate) async fn try_build(&self, as_of: Option<&str>) -> Result<Built, String> {
        let as_of = as_of.map(|text| text.parse::<DateTime<Utc>>().unwrap());
        let built = pipeline::build(&self.lake(), &self.config, as_of, &Progress::default()).await;
        built.map_err(|error| {
            let causes =
                std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        })
    }

    /// Builds a snapshot.
    pub(crate) async fn build(&self) -> Built {
        self.try_build(None).await.unwrap()
    }

    /// Publishes the snapshot `id`, even if it is older than the current one.
    pub(crate) async fn publish(&self, id: &SnapshotId) -> Current {
        let options = Options { force: true, ..Options::default() };
        Publisher::new(self.lake(), self.config.tair.clone(), options)
            .publish(Some(id))
            .await
            .unwrap()
            .current
    }

    /// Builds a snapshot, publishes it and serves it.
    pub(crate) async fn open(&self) -> Service {
        let built = self.build().await;
        self.publish(&built.manifest.id).await;
        self.serve().await
    }

    /// Serves the current snapshot, if there is one.
    pub(crate) async fn serve(&self) -> Service {
        self.serve_on(Arc::new(Workers::start(2).unwrap())).await
    }

    /// Serves the current snapshot, if there is one, with the given threads.
    pub(crate) async fn serve_on(&self, workers: Arc<Workers>) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let metrics = Arc::new(Metrics::new().unwrap());
        let tair =
            self.config.tair.as_ref().map(|config| (Tair::connect(config, Some(&workers)).unwrap(), config));
        let serving = Serving::with_tair(self.lake(), tair, &self.config.serving, Arc::clone(&metrics));
        let serving = Arc::new(serving.declaring(self.config.personal()));
        let _ = serving.refresh().await;
        let poll = self.config.serving.poll;
        let polled = Arc::clone(&serving);
        let polling = tokio::spawn(async move { polled.poll(poll).await });
        let app = App::new(serving, metrics, &self.config);
        let tls = self.config.http.tls.as_ref().map(|config| Tls::open(config).unwrap());
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            http::serve(listener, tls, app, &workers, async {
                let _ = stopped.await;
            })
            .await;
        });
        let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        Service {
            url,
            client,
            stop: Some(stop),
            server: Some(server),
            polling,
            _folder: Arc::clone(&self.folder),
        }
    }

    /// Runs the `larder` binary with the configuration of this shop.
    pub(crate) fn larder(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Returns a command that runs the `larder` binary with the configuration of this shop.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.arg("--config").arg(self.path().join("larder.toml")).args(args);
        command.env("LARDER_BUILD_STAGING", self.path().join("staging"));
        command
    }

    /// Lists the folders of all snapshots, complete or not.
    pub(crate) fn snapshot_folders(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path().join("lake/snapshots"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }
}

/// A service in this process; it stops when dropped.
pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
    polling: JoinHandle<()>,
    /// Keeps the folder while it is served.
    _folder: Arc<TempDir>,
}

/// A response with its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the last part of the type of a problem: `not-found`.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        problem["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
    }
}

impl Service {
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<String>) -> Answer {
        let request =
            self.client.post(format!("{}{path}", self.url)).header("content-type", "application/json");
        self.send(request.body(body.into())).await
    }

    /// Returns the value of the first metric whose line begins with `name`, or 0 if there is none.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text;
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Shuts the service down; the returned task ends when it has stopped.
    pub(crate) fn stop(&mut self) -> JoinHandle<()> {
        let _ = self.stop.take().unwrap().send(());
        self.server.take().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.polling.abort();
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// Calls `ask` until `ready` accepts its result, and returns that result.
pub(crate) async fn eventually<T, F: Future<Output = T>>(
    mut ask: impl FnMut() -> F,
    ready: impl Fn(&T) -> bool,
) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if ready(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("timed out: the expected result never came")
}

/// A few customers that cover every edge case of the definitions, with column names as an old cash register
/// would use.
pub(crate) const CORNERS: &str = "\
Customer,Invoice,Item,Name,Qty,Price,When,Land
17850.0,A1,p1,Lamp,2,10.00,2024-01-01 10:00:00,UK
17850,A1,p2,\"Mug, large\",1,5.50,2024-01-01 10:00:00,UK
17850.0,A2,p1,Lamp,1,10.00,2024-03-01 09:30:00,France
one-order,B1,p3,Bowl,3,3.3333,2024-02-01T08:00:00Z,UK
tie-a,C1,p1,Lamp,1,20.00,2024-02-15 12:00:00,UK
tie-b,C2,p1,Lamp,1,20.00,2024-02-15 12:00:00,UK
tie-b,C2,p1,Lamp,1,20.00,2024-02-15 12:00:00,UK
edge-1,D1,p4,Fork,1,1.00,2024-01-10 00:00:00,UK
edge-2,D2,p4,Fork,1,1.00,2024-01-20 00:00:00,UK
edge-3,D3,p4,Fork,1,1.00,2024-01-30 00:00:00,UK
edge-4,D4,p4,Fork,1,1.00,2024-02-09 00:00:00,UK
returner,R1,p2,\"Mug, large\",-1,5.50,2024-02-20 15:00:00,UK
zero,Z1,p9,Gift,1,0.00,2024-02-21 15:00:00,UK
whale,W1,p5,Statue,100,99.99,2024-03-05 10:00:00,UK
whale,CW1,p5,Statue,-100,99.99,2024-03-05 10:05:00,UK
loyal,L1,p1,Lamp,1,30.00,2024-02-01 10:00:00,UK
loyal,L2,p2,\"Mug, large\",2,5.50,2024-02-10 10:00:00,UK
loyal,L3,p3,Bowl,1,3.50,2024-02-20 10:00:00,UK
loyal,L4,p1,Lamp,1,30.00,2024-03-08 10:00:00,UK
,G1,p1,Lamp,1,10.00,2024-03-09 10:00:00,UK
,G1,p1,Lamp,1,10.00,2024-03-09 10:00:00,UK
a/b c+d,S1,p1,Lamp,1,12.00,2024-03-10 10:00:00,UK
batch,S2,p1,Lamp,1,12.00,2024-03-10 11:30:00,UK
";

/// Settings that map the columns of [`CORNERS`].
pub(crate) const CORNERS_TOML: &str = "\
[raw.transactions]
columns.customer_id = \"Customer\"
columns.order_id = \"Invoice\"
columns.product_id = \"Item\"
columns.product_name = \"Name\"
columns.quantity = \"Qty\"
columns.unit_price = \"Price\"
columns.ordered_at = \"When\"
columns.country = \"Land\"
[raw.customers]
personal = [\"email\"]
";

/// Customer attributes: of a prospect, who bought nothing, and of two customers of [`CORNERS`].
pub(crate) const PEOPLE: &str = "\
{\"customer_id\": \"prospect\", \"email\": \"p@example.com\", \"age\": 41}
{\"customer_id\": \"17850\", \"email\": \"old@example.com\", \"age\": 30}
{\"customer_id\": \"17850\", \"email\": \"new@example.com\", \"age\": 31, \"vip\": true}
{\"customer_id\": \"loyal\", \"age\": null}
";

/// Creates a shop with [`CORNERS`] and [`PEOPLE`].
pub(crate) fn corners() -> Shop {
    corners_with("")
}

/// Creates a shop with [`CORNERS`], [`PEOPLE`] and the settings `toml`.
pub(crate) fn corners_with(toml: &str) -> Shop {
    let shop = Shop::new(&format!("{CORNERS_TOML}{toml}"));
    shop.raw("transactions/all.csv", CORNERS);
    shop.raw("customers/people.jsonl", PEOPLE);
    shop
}

/// One more customer, whose order is so late that the recency of every customer changes.
pub(crate) const MORE: &str = "\
Customer,Invoice,Item,Name,Qty,Price,When,Land
new,N1,p1,Lamp,1,5.00,2024-03-31 10:00:00,UK
";

/// Checks that the rows and lists in Tair equal those of the published snapshot.
pub(crate) async fn assert_clean(shop: &Shop) {
    let publisher = Publisher::new(shop.lake(), shop.config.tair.clone(), Options::default());
    let report = publisher.verify(true, false).await.unwrap();
    assert_eq!(report.differences, 0, "{report:?}");
    assert!(report.compared > 10 && report.segments > 5, "{report:?}");
}
