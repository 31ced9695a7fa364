//! Rolling restarts: replicas behind a proxy are replaced one after the other under load, also while
//! snapshots are published, and no request is lost.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::{
    program::Program,
    redis::Redis,
    shop::{MORE, PATIENCE, Shop, assert_clean, corners_with, eventually},
};

/// A proxy as load balancers are: it asks each replica for its readiness, and sends requests to those that
/// are ready. It tries no request again.
struct Proxy {
    client: reqwest::Client,
    /// Replicas, and whether each one is ready.
    replicas: Mutex<Vec<(String, Arc<AtomicBool>)>>,
    turn: AtomicUsize,
}

impl Proxy {
    fn new() -> Arc<Self> {
        // Without kept connections: a replica may close one at the moment that it is used again.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(PATIENCE).build().unwrap();
        Arc::new(Self { client, replicas: Mutex::default(), turn: AtomicUsize::new(0) })
    }

    /// Adds a replica, and waits until it is ready.
    async fn add(&self, url: &str) {
        let (client, probe) = (self.client.clone(), format!("{url}/readyz"));
        let ready = Arc::new(AtomicBool::new(false));
        let watched = Arc::downgrade(&ready);
        tokio::spawn(async move {
            while let Some(ready) = watched.upgrade() {
                let answer = client.get(&probe).send().await;
                ready.store(answer.is_ok_and(|answer| answer.status() == 200), Ordering::SeqCst);
                drop(ready);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        eventually(async || ready.load(Ordering::SeqCst), |is_ready| *is_ready).await;
        self.replicas.lock().unwrap().push((url.to_owned(), ready));
    }

    fn remove(&self, url: &str) {
        self.replicas.lock().unwrap().retain(|(known, _)| known != url);
    }

    /// Sends a request to one of the replicas that are ready. Returns the body of an answer of 200.
    async fn get(&self, path: &str) -> Result<String, String> {
        let url = {
            let replicas = self.replicas.lock().unwrap();
            let ready: Vec<&String> = replicas
                .iter()
                .filter(|(_, ready)| ready.load(Ordering::SeqCst))
                .map(|(url, _)| url)
                .collect();
            let turn = self.turn.fetch_add(1, Ordering::SeqCst);
            (*ready.get(turn % ready.len().max(1)).ok_or("no replica is ready")?).clone()
        };
        let answer =
            self.client.get(format!("{url}{path}")).send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status().as_u16();
        let body = answer.text().await.map_err(|error| format!("{error:?}"))?;
        if status == 200 { Ok(body) } else { Err(format!("{status}: {body}")) }
    }
}

/// Paths that clients read.
const PATHS: [&str; 2] = ["/v1/customers/loyal", "/v1/segments/prospect/customers?views=rfm"];

fn start(shop: &Shop) -> Program {
    let mut command = shop.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("LARDER_SERVING_POLL", "20ms");
    Program::start(command)
}

/// Snapshots that were published or are being published, in order, and how many of these every replica has
/// followed.
#[derive(Default)]
struct Published {
    snapshots: Mutex<Vec<String>>,
    followed: AtomicUsize,
}

/// Clients that send requests through a proxy until they are ended.
struct Clients {
    is_over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<Result<(), String>>>>,
}

impl Clients {
    /// Starts clients that check that each answer is from a snapshot in `published`, and from none before
    /// the one that all replicas had followed when the request was sent.
    fn start(proxy: &Arc<Proxy>, published: &Arc<Published>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let client = |number: usize| {
            let (proxy, published) = (Arc::clone(proxy), Arc::clone(published));
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    let followed = published.followed.load(Ordering::SeqCst);
                    let answer = proxy.get(PATHS[number % PATHS.len()]).await;
                    answers.push(answer.and_then(|body| {
                        let answer: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
                        let snapshots = published.snapshots.lock().unwrap();
                        let at = snapshots.iter().position(|snapshot| answer["snapshot"] == **snapshot);
                        match at {
                            Some(at) if at + 1 >= followed => Ok(()),
                            at => Err(format!("snapshot {at:?} after {followed}: {body}")),
                        }
                    }));
                }
                answers
            })
        };
        let tasks = (0..4).map(client).collect();
        Self { is_over, tasks }
    }

    /// Ends the clients, and checks that no request was lost.
    async fn end(self) {
        self.is_over.store(true, Ordering::SeqCst);
        let mut answers = Vec::new();
        for task in self.tasks {
            answers.extend(task.await.unwrap());
        }
        let lost: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
        assert!(
            lost.is_empty(),
            "{} of {} lost: {:?}",
            lost.len(),
            answers.len(),
            &lost[..lost.len().min(3)]
        );
        assert!(answers.len() > 100, "{}", answers.len());
    }
}

/// Replaces the oldest of the `running` replicas by a new one.
async fn replace_oldest(shop: &Shop, proxy: &Proxy, running: &mut Vec<Program>) {
    let new = start(shop);
    proxy.add(&new.url).await;
    let mut old = running.remove(0);
    running.push(new);
    let url = old.url.clone();
    tokio::task::spawn_blocking(move || old.stop()).await.unwrap();
    proxy.remove(&url);
}

/// Returns the number of the publish that a replica serves.
async fn publish_number(replica: &str) -> String {
    let metrics = reqwest::get(format!("{replica}/metrics")).await.unwrap().text().await.unwrap();
    let number = metrics.lines().find_map(|line| line.strip_prefix("larder_publish_number "));
    number.unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_under_load_loses_no_request() {
    let shop = corners_with("[http]\ndrain_delay = \"300ms\"\n[log]\nlevel = \"warn\"\n");
    let (proxy, published) = (Proxy::new(), Arc::new(Published::default()));
    let id = shop.build().await.manifest.id;
    published.snapshots.lock().unwrap().push(id.to_string());
    shop.publish(&id).await;
    let mut running = Vec::new();
    for _ in 0..2 {
        let replica = start(&shop);
        proxy.add(&replica.url).await;
        running.push(replica);
    }
    let clients = Clients::start(&proxy, &published);
    // Each replica is replaced twice; a snapshot is published in between.
    for round in 0..4 {
        if round == 2 {
            shop.raw("transactions/more.csv", MORE);
            let id = shop.build().await.manifest.id;
            published.snapshots.lock().unwrap().push(id.to_string());
            shop.publish(&id).await;
        }
        replace_oldest(&shop, &proxy, &mut running).await;
    }
    clients.end().await;
}

/// During an upgrade, publishers of both versions take turns. The earlier version is played by publishes that
/// write everything, as a version does that does not know what Tair holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_publishers_take_turns_during_a_rolling_restart() {
    let redis = Redis::start();
    let shop = corners_with(&format!(
        "[http]\ndrain_delay = \"300ms\"\n[log]\nlevel = \"warn\"\n[tair]\nurl = \"{}\"\n",
        redis.url()
    ));
    let (proxy, published) = (Proxy::new(), Arc::new(Published::default()));
    let publish = |id: &str, options: &[&str]| {
        published.snapshots.lock().unwrap().push(id.to_owned());
        let mut command = shop.command(&[&["publish", id], options].concat());
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let first = shop.build().await.manifest.id;
    assert!(publish(first.as_str(), &[]).await.unwrap().status.success());
    let mut running = Vec::new();
    for _ in 0..2 {
        let replica = start(&shop);
        proxy.add(&replica.url).await;
        running.push(replica);
    }
    published.followed.store(1, Ordering::SeqCst);
    let clients = Clients::start(&proxy, &published);
    for round in 0..4 {
        shop.raw(
            &format!("transactions/more-{round}.csv"),
            MORE.replace("03-31", &format!("04-0{}", round + 1)),
        );
        let next = shop.build().await.manifest.id;
        // The replica is replaced while the publisher runs.
        let publishing = publish(next.as_str(), if round % 2 == 0 { &["--full"] } else { &[] });
        replace_oldest(&shop, &proxy, &mut running).await;
        let output = publishing.await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let number = (round + 2).to_string();
        for replica in &running {
            eventually(|| publish_number(&replica.url), |served| *served == number).await;
        }
        published.followed.store(round + 2, Ordering::SeqCst);
    }
    clients.end().await;
    assert_clean(&shop).await;
}
