//! Continuous reads during faults: every response must match its snapshot, and no read of a known customer
//! may fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use larder::{
    config::ServingConfig,
    serving::Serving,
    snapshot::{Manifest, SnapshotId},
    telemetry::Metrics,
};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::support::shop::{Service, Shop, eventually};

/// Expected views by snapshot id and customer id.
pub(crate) type Truth = BTreeMap<String, BTreeMap<String, Value>>;

/// Reads the default views of all customers from the snapshots `ids`, without Tair.
pub(crate) async fn truth(shop: &Shop, ids: &[&SnapshotId]) -> Truth {
    let mut truth = Truth::new();
    for id in ids {
        let manifest = Manifest::read(&shop.lake(), id).await.unwrap();
        let serving = Serving::new(shop.lake(), &ServingConfig::default(), Metrics::new().unwrap().into());
        let served = serving.snapshot(id).await.unwrap();
        let mut customers = BTreeMap::new();
        for segment in &manifest.segments {
            for (_, customer) in serving.members(&served, &segment.name, 0, 1_000).await.unwrap().customers {
                let row = serving.customer(&served, &customer).await.unwrap().row.unwrap();
                let mut views = Vec::new();
                row.write(&served.keys[..served.default_views()], false, &mut views);
                customers.insert(customer.to_string(), serde_json::from_slice(&views).unwrap());
            }
        }
        assert_eq!(customers.len() as u64, manifest.customers);
        truth.insert(id.to_string(), customers);
    }
    truth
}

/// Tasks that read from one service continuously.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    pub(crate) reads: Arc<AtomicU64>,
    tiers: Arc<Mutex<BTreeSet<String>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts tasks that read the customers known to all snapshots of `truth`, one by one and in batches.
    pub(crate) fn start(service: &Arc<Service>, truth: &Arc<Truth>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicU64::new(0));
        let tiers = Arc::new(Mutex::new(BTreeSet::new()));
        let mut known: Vec<String> = truth.values().next().unwrap().keys().cloned().collect();
        known.retain(|id| truth.values().all(|customers| customers.contains_key(id)));
        let tasks = (0..3_usize)
            .map(|number| {
                let (service, truth, known) = (Arc::clone(service), Arc::clone(truth), known.clone());
                let (stop, reads, tiers) = (Arc::clone(&stop), Arc::clone(&reads), Arc::clone(&tiers));
                tokio::spawn(async move {
                    let mut at = number;
                    while !stop.load(Ordering::Relaxed) {
                        at += 1;
                        let found = if at.is_multiple_of(4) {
                            batch(&service, &truth, &known).await
                        } else {
                            vec![one(&service, &truth, &known[at % known.len()]).await]
                        };
                        reads.fetch_add(found.len() as u64, Ordering::Relaxed);
                        tiers.lock().unwrap().extend(found);
                    }
                })
            })
            .collect();
        Self { stop, reads, tiers, tasks }
    }

    /// Waits for some more reads, and returns the tiers that answered them.
    pub(crate) async fn some_more(&self) -> BTreeSet<String> {
        self.tiers.lock().unwrap().clear();
        let before = self.reads.load(Ordering::Relaxed);
        eventually(
            || async { self.reads.load(Ordering::Relaxed) },
            |reads| *reads > before + 60 || self.tasks.iter().any(JoinHandle::is_finished),
        )
        .await;
        self.tiers.lock().unwrap().clone()
    }

    /// Waits until `tier` answers, and with `alone` until no other tier does.
    pub(crate) async fn until(&self, tier: &str, alone: bool) {
        for _ in 0..200 {
            let tiers = self.some_more().await;
            if tiers.contains(tier) && (!alone || tiers.len() == 1) {
                return;
            }
        }
        panic!("{tier} does not answer (alone: {alone})");
    }

    /// Stops the readers. Panics if a reader panicked.
    pub(crate) async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

fn check(truth: &Truth, snapshot: &Value, id: &str, views: &Value) {
    let of_snapshot =
        truth.get(snapshot.as_str().unwrap()).unwrap_or_else(|| panic!("unknown snapshot {snapshot}"));
    assert_eq!(Some(views), of_snapshot.get(id), "{id} of {snapshot}");
}

async fn one(service: &Service, truth: &Truth, id: &str) -> String {
    let path: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
    let answer = service.get(&format!("/v1/customers/{}", path.replace('+', "%20"))).await;
    assert_eq!(answer.status, 200, "{id}: {}", answer.text);
    let body = answer.json();
    check(truth, &body["snapshot"], id, &body["views"]);
    body["tier"].as_str().unwrap().to_owned()
}

async fn batch(service: &Service, truth: &Truth, ids: &[String]) -> Vec<String> {
    let answer = service.post("/v1/customers/batch", serde_json::json!({ "ids": ids }).to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    let results = body["results"].as_array().unwrap();
    let tier = |(id, result): (&String, &Value)| {
        assert_eq!(result["found"], true, "{result}");
        let own = &result["snapshot"];
        check(truth, if own.is_null() { &body["snapshot"] } else { own }, id, &result["views"]);
        result["tier"].as_str().unwrap().to_owned()
    };
    ids.iter().zip(results).map(tier).collect()
}
