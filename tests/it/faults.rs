//! Failures of the tiers under constant reads: no wrong value, no failed read of a known customer while one
//! tier is up, and recovery without intervention.

use std::{
    process::Stdio,
    sync::{Arc, atomic::Ordering},
};

use larder::{
    publish::{Options, Publisher},
    snapshot::SnapshotId,
};

use crate::support::{
    bucket::Bucket,
    readers::{Readers, Truth, truth},
    redis::{Fault, Proxy, Redis, Refusing},
    shop::{CORNERS, CORNERS_TOML, MORE, PEOPLE, Service, Shop, assert_clean, corners_with, eventually},
};

/// Creates a shop with a Tair at `url` and without the memory tier, so that every read reaches the tiers
/// behind it.
fn shop_with(url: &str) -> Shop {
    corners_with(&format!("[tair]\nurl = \"{url}\"\nlease = \"2s\"\n[serving]\nmemory = 0\n"))
}

struct Scene {
    shop: Shop,
    first: SnapshotId,
    service: Arc<Service>,
    truth: Arc<Truth>,
}

/// Publishes one snapshot into `redis` and serves the shop with the Tair at `url`.
async fn scene(redis: &Redis, url: &str) -> Scene {
    let mut shop = shop_with(&redis.url());
    let first = shop.build().await.manifest.id;
    shop.publish(&first).await;
    let truth = Arc::new(truth(&shop, &[&first]).await);
    url.clone_into(&mut shop.config.tair.as_mut().unwrap().url);
    let service = Arc::new(shop.serve().await);
    Scene { shop, first, service, truth }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn network_faults_fall_back_to_snapshot() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port).await;
    let scene = scene(&redis, &proxy.url()).await;
    let readers = Readers::start(&scene.service, &scene.truth);
    readers.until("tair", true).await;
    for fault in [Fault::Stall, Fault::Slow(200), Fault::Reset, Fault::Cut] {
        proxy.set(fault);
        readers.until("snapshot", true).await;
        assert_eq!(scene.service.get("/readyz").await.status, 200, "{fault:?}");
        proxy.set(Fault::None);
        readers.until("tair", true).await;
    }
    readers.end().await;
    assert!(scene.service.metric("larder_tair_fallbacks_total{reason=\"timeout\"}").await > 0.0);
    assert!(scene.service.metric("larder_tair_fallbacks_total{reason=\"breaker\"}").await > 0.0);
    assert!(proxy.answers.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_batch_counts_once_for_breaker() {
    let redis = Redis::start();
    let proxy = Proxy::before(redis.port).await;
    let scene = scene(&redis, &proxy.url()).await;
    let body = serde_json::json!({ "ids": vec!["loyal"; 50] }).to_string();
    let batch = || async { scene.service.post("/v1/customers/batch", body.as_str()).await.json() };
    let tier = |answer: &serde_json::Value| answer["results"][0]["tier"].clone();
    eventually(batch, |answer| tier(answer) == "tair").await;
    proxy.set(Fault::Slow(200));
    eventually(batch, |answer| tier(answer) == "snapshot").await;
    assert!(scene.service.metric("larder_tair_fallbacks_total{reason=\"timeout\"}").await > 49.0);
    assert_eq!(scene.service.metric("larder_tair_breaker_open").await, 0.0);
    eventually(
        || async {
            batch().await;
            scene.service.metric("larder_tair_breaker_open").await
        },
        |open| *open == 1.0,
    )
    .await;
    proxy.set(Fault::None);
    eventually(batch, |answer| tier(answer) == "tair").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tair_paused_killed_flushed_and_restored() {
    let redis = Redis::start();
    let scene = scene(&redis, &redis.url()).await;
    let readers = Readers::start(&scene.service, &scene.truth);
    readers.until("tair", true).await;

    redis.stop();
    readers.until("snapshot", true).await;
    redis.resume();
    readers.until("tair", true).await;

    redis.cli(&["save"]);
    redis.kill();
    readers.until("snapshot", true).await;
    redis.run_again();
    readers.until("tair", true).await;

    // A key of another type affects its own customer only.
    redis.cli(&["set", "larder:customer:loyal", "something else"]);
    let answer = scene.service.get("/v1/customers/loyal").await;
    assert_eq!((answer.status, &answer.json()["tier"]), (200, &"snapshot".into()));
    readers.until("tair", false).await;

    redis.cli(&["flushall"]);
    readers.until("snapshot", true).await;
    readers.end().await;
    eventually(|| scene.service.get("/readyz"), |ready| ready.json()["tiers"]["tair"]["used"] == false).await;

    // Tair is restored with the first publish, while CURRENT names the second one.
    republish(&scene.shop, &scene.first, true).await;
    let backup = redis.save();
    scene.shop.raw("transactions/more.csv", MORE);
    let second = scene.shop.build().await.manifest.id;
    scene.shop.publish(&second).await;
    let both = Arc::new(truth(&scene.shop, &[&scene.first, &second]).await);
    eventually(|| scene.service.get("/v1/customers/new"), |answer| answer.status == 200).await;
    let only_second: Truth = both
        .iter()
        .filter(|(id, _)| **id == second.to_string())
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect();
    let readers = Readers::start(&scene.service, &Arc::new(only_second));
    readers.until("tair", true).await;
    redis.kill();
    std::fs::copy(backup, redis.folder().join("dump.rdb")).unwrap();
    redis.run_again();
    // The old rows must not be used.
    eventually(
        || scene.service.get("/readyz"),
        |ready| {
            ready.json()["tiers"]["tair"]["publish"].as_u64() < Some(3)
                && ready.json()["tiers"]["tair"]["connected"] == 2
        },
    )
    .await;
    readers.until("snapshot", true).await;
    assert!(scene.service.metric("larder_tair_fallbacks_total{reason=\"behind\"}").await > 0.0);
    // Another publish of the same snapshot repairs Tair.
    republish(&scene.shop, &second, false).await;
    readers.until("tair", true).await;
    readers.end().await;
    assert_clean(&scene.shop).await;
}

async fn republish(shop: &Shop, id: &SnapshotId, full: bool) {
    let options = Options { force: true, full, ..Options::default() };
    Publisher::new(shop.lake(), shop.config.tair.clone(), options).publish(Some(id)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_tair_serves_and_publish_reports_reason() {
    let redis = Redis::start();
    let scene = scene(&redis, &redis.url()).await;
    let readers = Readers::start(&scene.service, &scene.truth);
    readers.until("tair", true).await;
    scene.shop.raw("transactions/more.csv", MORE);
    let second = scene.shop.build().await.manifest.id;
    for (set, unset, word) in [
        (vec!["config", "set", "maxmemory", "1"], vec!["config", "set", "maxmemory", "0"], "OOM"),
        (vec!["replicaof", "127.0.0.1", "1"], vec!["replicaof", "no", "one"], "READONLY"),
    ] {
        redis.cli(&set);
        let options = Options { force: true, ..Options::default() };
        let publisher = Publisher::new(scene.shop.lake(), scene.shop.config.tair.clone(), options);
        let error = format!("{:?}", publisher.publish(Some(&second)).await.unwrap_err());
        assert!(error.contains(word), "{error}");
        readers.until("tair", false).await;
        assert_eq!(scene.service.get("/v1/customers/new").await.status, 404, "readers see another snapshot");
        redis.cli(&unset);
    }
    readers.end().await;
    scene.shop.publish(&second).await;
    assert_clean(&scene.shop).await;
    eventually(|| scene.service.get("/v1/customers/new"), |answer| answer.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_starts_without_tair_and_uses_it_later() {
    let redis = Redis::start();
    let scene = scene(&redis, &redis.url()).await;
    redis.cli(&["save"]);
    redis.kill();
    let service = Arc::new(scene.shop.serve().await);
    let readers = Readers::start(&service, &scene.truth);
    readers.until("snapshot", true).await;
    redis.run_again();
    readers.until("tair", true).await;
    readers.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tair_serves_while_lake_fails() {
    let (redis, bucket) = (Redis::start(), Bucket::open().await);
    let tair = format!(
        "[tair]\nurl = \"{}\"\n[serving]\nmemory = 0\ncache = 0\nlake_timeout = \"500ms\"\n",
        redis.url()
    );
    let shop = Shop::new(&format!("{}{CORNERS_TOML}{tair}", bucket.toml("shop")));
    let lake = shop.lake();
    lake.put(&"raw/transactions/all.csv".into(), CORNERS.into()).await.unwrap();
    lake.put(&"raw/customers/people.jsonl".into(), PEOPLE.into()).await.unwrap();
    let built = shop.build().await.manifest;
    shop.publish(&built.id).await;
    let truth = Arc::new(truth(&shop, &[&built.id]).await);
    let service = Arc::new(shop.serve().await);
    let readers = Readers::start(&service, &truth);
    readers.until("tair", true).await;

    bucket.faults.slow.store(2_000, Ordering::Relaxed);
    assert_eq!(readers.some_more().await.into_iter().collect::<Vec<_>>(), ["tair"]);
    assert_eq!(service.get("/readyz").await.status, 200);
    bucket.faults.slow.store(0, Ordering::Relaxed);

    bucket.faults.forbidding.store(true, Ordering::Relaxed);
    assert_eq!(readers.some_more().await.into_iter().collect::<Vec<_>>(), ["tair"]);
    readers.end().await;
    // Missing in Tair while the lake fails: unavailable rather than not found.
    redis.cli(&["del", "larder:customer:loyal"]);
    let unknown = service.get("/v1/customers/loyal").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (503, "unavailable"), "{}", unknown.text);
    let batch = service.post("/v1/customers/batch", r#"{"ids":["whale","loyal"]}"#).await.json();
    assert_eq!(
        (&batch["results"][0]["found"], &batch["results"][1]["error"]),
        (&true.into(), &"unavailable".into())
    );
    bucket.faults.forbidding.store(false, Ordering::Relaxed);
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.status == 200).await;

    let rows = bucket.file(&format!("shop/snapshots/{}/rows/part-00000.parquet", built.id));
    let whole = std::fs::read(&rows).unwrap();
    std::fs::write(&rows, &whole[..whole.len() / 2]).unwrap();
    let service = Arc::new(shop.serve().await);
    eventually(|| service.get("/v1/customers/whale"), |answer| answer.status == 200).await;
    assert_eq!(service.get("/v1/customers/whale").await.json()["tier"], "tair");
    assert_eq!(service.get("/v1/customers/loyal").await.status, 503);

    // The service is not ready while both tiers are down.
    redis.kill();
    bucket.faults.forbidding.store(true, Ordering::Relaxed);
    let gone = eventually(|| service.get("/readyz"), |ready| ready.status == 503).await.json();
    assert_eq!(
        (&gone["tiers"]["tair"]["used"], &gone["tiers"]["snapshot"]["lake_answers"]),
        (&false.into(), &false.into())
    );
    bucket.faults.forbidding.store(false, Ordering::Relaxed);
    eventually(|| service.get("/readyz"), |ready| ready.status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejecting_tair_is_logged_once() {
    let tair = Refusing::with("LOADING Redis is loading the dataset in memory").await;
    let shop = Shop::new(&format!("[tair]\nurl = \"redis://127.0.0.1:{}\"\n", tair.port));
    let mut serve = shop.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut child = serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(|| async { tair.commands.load(Ordering::Relaxed) }, |commands| *commands > 60).await;
    let stopped = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(stopped.success());
    let output = tokio::task::spawn_blocking(move || {
        let mut log = String::new();
        std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut log).unwrap();
        child.wait().unwrap();
        log
    });
    let log = output.await.unwrap();
    assert_eq!(
        log.lines().filter(|line| line.contains("WARN") && line.contains("LOADING")).count(),
        1,
        "{log}"
    );
    assert_eq!(log.lines().filter(|line| line.contains("WARN")).count(), 1, "{log}");
}
