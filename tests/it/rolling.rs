//! Rolling restarts: replicas behind a proxy are replaced one after the other under load, and no request is
//! lost.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::support::{
    program::Program,
    shop::{MORE, PATIENCE, Shop, corners_with, eventually},
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

    /// Sends a request to one of the replicas that are ready.
    async fn get(&self, path: &str) -> Result<u16, String> {
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
        answer.bytes().await.map_err(|error| format!("{error:?}"))?;
        Ok(status)
    }
}

fn start(shop: &Shop) -> Program {
    Program::start(shop.command(&["serve", "--listen", "127.0.0.1:0"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restart_under_load_loses_no_request() {
    let shop = corners_with("[http]\ndrain_delay = \"300ms\"\n[log]\nlevel = \"warn\"\n");
    shop.publish(&shop.build().await.manifest.id).await;
    let proxy = Proxy::new();
    let mut running = Vec::new();
    for _ in 0..2 {
        let replica = start(&shop);
        proxy.add(&replica.url).await;
        running.push(replica);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (proxy, is_over) = (Arc::clone(&proxy), Arc::clone(&is_over));
            let path = ["/v1/customers/loyal", "/v1/segments/prospect/customers?views=rfm"][number % 2];
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    answers.push(proxy.get(path).await);
                }
                answers
            })
        })
        .collect();
    // Each replica is replaced twice; a snapshot is published in between.
    for round in 0..4 {
        if round == 2 {
            shop.raw("transactions/more.csv", MORE);
            shop.publish(&shop.build().await.manifest.id).await;
        }
        let new = start(&shop);
        proxy.add(&new.url).await;
        let mut old = running.remove(0);
        running.push(new);
        let url = old.url.clone();
        tokio::task::spawn_blocking(move || old.stop()).await.unwrap();
        proxy.remove(&url);
    }
    is_over.store(true, Ordering::SeqCst);
    let mut answers = Vec::new();
    for client in clients {
        answers.extend(client.await.unwrap());
    }
    let lost: Vec<_> = answers.iter().filter(|answer| **answer != Ok(200)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {:?}", lost.len(), answers.len(), &lost[..lost.len().min(3)]);
    assert!(answers.len() > 100, "{}", answers.len());
}
