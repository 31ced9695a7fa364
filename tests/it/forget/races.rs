//! Erasure while a build or a publish runs, without Tair: the customer does not come back, and `CURRENT`
//! names snapshots that the lake has.

use std::{collections::BTreeSet, sync::Arc};

use hyper::Method;
use larder::{
    lake::Lake,
    pipeline,
    publish::{Options, Publisher},
    snapshot::{self, Forgotten, Manifest, SnapshotId, holdings, read_current},
    telemetry::Progress,
};

use super::{assert_success, output_text, shop_with_customers, store::objects_with};
use crate::support::{
    bucket::Bucket,
    shop::{Shop, eventually},
};

/// Asserts that no snapshot of the lake holds an erased customer, and that `CURRENT` names snapshots of the
/// lake. Returns the current one.
async fn assert_erased(lake: &Lake) -> SnapshotId {
    let forgotten = Forgotten::read(lake).await.unwrap();
    for holding in holdings(lake, &forgotten).await.unwrap() {
        assert_eq!(holding.customers.unwrap(), [], "{}", holding.manifest.id);
    }
    let current = read_current(lake).await.unwrap().unwrap();
    for id in current.previous.iter().chain([&current.snapshot]) {
        Manifest::read(lake, id).await.unwrap();
    }
    current.snapshot
}

async fn larder(shop: &Shop, args: &[&str]) -> std::process::Output {
    let mut command = shop.command(args);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builds_in_a_folder_do_not_bring_back_customers_who_are_erased_meanwhile() {
    let shop = shop_with_customers("[serving]\npoll = \"20ms\"\n", 120);
    let before = shop.build().await.manifest.id;
    shop.publish(&before).await;
    // One customer in every stage that is seen: the calls overlap with the build and its publish. A call may
    // take as long as a build, so there are several builds.
    let (mut stages, mut erased, mut built) = (BTreeSet::new(), Vec::new(), before);
    for _ in 0..10 {
        let progress = Arc::new(Progress::default());
        let (lake, config, watched) = (shop.lake(), shop.config.clone(), Arc::clone(&progress));
        let building = tokio::spawn(async move { pipeline::build(&lake, &config, None, &watched).await });
        while !building.is_finished() {
            if stages.insert(progress.stage()) {
                let id = format!("who-{:04}", erased.len() * 7);
                let output = larder(&shop, &["forget", &id]).await;
                // A call that met the build half-way says so; its customers are on the list.
                let is_expected = output.status.success() || output.status.code() == Some(1);
                assert!(is_expected, "{}", output_text(&output));
                erased.push(id);
            }
            tokio::task::yield_now().await;
        }
        built = building.await.unwrap().unwrap().manifest.id;
        if erased.len() > 1 {
            break;
        }
    }
    assert!(erased.len() > 1, "{stages:?}");
    let last = larder(&shop, &["forget", "who-0119"]);
    let publisher = Publisher::new(shop.lake(), None, Options { force: true, ..Options::default() });
    let (published, last) = tokio::join!(publisher.publish(Some(&built)), last);
    if let Err(error) = published {
        assert!(error.to_string().contains("there is no snapshot"), "{error}");
    }
    if !last.status.success() {
        let text = output_text(&last);
        assert!(text.contains("run `larder forget` again"), "{text}");
        assert_success(&larder(&shop, &["forget"]).await);
    }
    assert_erased(&shop.lake()).await;
    erased.push("who-0119".to_owned());
    for id in &erased {
        assert_eq!(objects_with(&shop, id, None), Vec::<std::path::PathBuf>::new(), "{id}");
    }
}

/// Creates a shop in a bucket with a current snapshot and a newer one, which is not published.
async fn shop_in(bucket: &Bucket) -> (Shop, SnapshotId) {
    let raw = shop_with_customers("", 40);
    let shop = Shop::new(&format!("{}[serving]\npoll = \"20ms\"\n", bucket.toml("shop")));
    let file = std::fs::read(raw.path().join("lake/raw/transactions/x.csv")).unwrap();
    shop.lake().put(&"raw/transactions/x.csv".into(), file.into()).await.unwrap();
    let first = shop.build().await.manifest.id;
    shop.publish(&first).await;
    let second = shop.build().await.manifest.id;
    (shop, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_to_a_bucket_finds_its_snapshot_removed_by_an_erasure() {
    let bucket = Bucket::open().await;
    let (shop, second) = shop_in(&bucket).await;
    let lake = shop.lake();
    // The publish has looked for its snapshot, and is about to write `CURRENT`.
    let (arrived, released) = bucket.faults.hold(Method::PUT, "/CURRENT");
    let publisher = Publisher::new(shop.lake(), None, Options::default());
    let id = second.clone();
    let publishing = tokio::spawn(async move { publisher.publish(Some(&id)).await });
    arrived.notified().await;
    assert_success(&larder(&shop, &["forget", "who-0007"]).await);
    released.notify_one();
    let error = publishing.await.unwrap().unwrap_err().to_string();
    assert_eq!(error, format!("there is no snapshot {second}"));
    let current = assert_erased(&lake).await;
    assert_eq!(Manifest::read(&lake, &current).await.unwrap().rewritten_from, Some(second));
    let service = shop.serve().await;
    assert_eq!(service.get("/v1/customers/who-0008").await.status, 200);
    assert_eq!(service.get("/v1/customers/who-0007").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erasure_in_a_bucket_replaces_a_snapshot_that_was_published_while_it_was_removed() {
    let bucket = Bucket::open().await;
    let (shop, second) = shop_in(&bucket).await;
    let lake = shop.lake();
    // The erasure has looked at `CURRENT`, and is about to remove the snapshot.
    let (arrived, released) = bucket.faults.hold(Method::DELETE, &format!("{second}/manifest.json"));
    let mut command = shop.command(&["forget", "who-0007"]);
    let erasing = tokio::task::spawn_blocking(move || command.output().unwrap());
    arrived.notified().await;
    shop.publish(&second).await;
    let service = shop.serve().await;
    assert_eq!(service.get("/v1/customers/who-0007").await.status, 404);
    released.notify_one();
    assert_success(&erasing.await.unwrap());
    let current = assert_erased(&lake).await;
    assert_eq!(Manifest::read(&lake, &current).await.unwrap().rewritten_from, Some(second));
    let is_current = || service.get("/v1/segments");
    eventually(is_current, |answer| answer.json()["snapshot"] == current.to_string()).await;
    assert_eq!(service.get("/v1/customers/who-0007").await.status, 404);
    assert_eq!(snapshot::list(&lake).await.unwrap().len(), 2);
}
