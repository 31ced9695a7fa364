//! `larder forget` as a user runs it: a build that runs meanwhile, old snapshots, exports, and unknown ids.

use std::sync::Arc;

use larder::{
    pipeline,
    snapshot::{self, Forgotten, Manifest, SnapshotError, SnapshotId},
    telemetry::Progress,
};

use super::{assert_success, forget, output_text, shop_with_customers, store::objects_with};
use crate::support::shop::{Shop, eventually};

/// Returns the only snapshot of the shop, as the command line lists it.
async fn only_snapshot(shop: &Shop) -> Manifest {
    let mut all = larder::snapshot::list(&shop.lake()).await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn traces(shop: &Shop, id: &str, of: &SnapshotId) -> usize {
    objects_with(shop, id, Some(of)).len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn build_leaves_out_customers_who_are_erased_while_it_runs() {
    let shop = shop_with_customers("", 300);
    let progress = Arc::new(Progress::default());
    let (lake, config, watched) = (shop.lake(), shop.config.clone(), Arc::clone(&progress));
    let building = tokio::spawn(async move { pipeline::build(&lake, &config, None, &watched).await });
    // The erasure list has been read, and the customers' lines are being processed.
    eventually(|| async { progress.stage() }, |stage| !stage.is_empty()).await;
    let gone = ["who-0000", "who-0100", "who-0299"];
    let ids = gone.iter().map(|id| larder::feature::CustomerId::parse(id).unwrap()).collect();
    Forgotten::add(&shop.lake(), &ids).await.unwrap();
    let built = building.await.unwrap().unwrap().manifest;
    assert_eq!(built.customers, 297);
    assert!(built.warnings.iter().any(|warning| warning.kind == "forgotten_meanwhile"), "{built:?}");
    let stored = only_snapshot(&shop).await;
    assert_eq!((&stored.id, stored.fingerprint), (&built.id, built.fingerprint));
    assert!(stored.rewritten_from.is_none());
    for id in gone {
        assert_eq!(traces(&shop, id, &built.id), 0, "{id}");
    }
    assert!(traces(&shop, "who-0101", &built.id) > 2);
    assert_eq!(shop.snapshot_folders().len(), 1, "no files of the first attempt are left");
    assert_success(&forget(&shop, &[]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_rewritten_unless_they_are_to_be_kept() {
    let shop = shop_with_customers("[serving]\npoll = \"20ms\"\n", 40);
    let built = shop.build().await.manifest.id;
    shop.publish(&built).await;
    let output = assert_success(&forget(&shop, &["--keep-snapshots", "who-0001"]));
    assert!(output.contains(built.as_str()), "{output}");
    assert_eq!(only_snapshot(&shop).await.id, built);
    assert!(traces(&shop, "who-0001", &built) > 0);
    let output = assert_success(&forget(&shop, &["who-0002"]));
    assert!(output.contains(&format!("removed {built}")), "{output}");
    let new = only_snapshot(&shop).await;
    assert_eq!(new.rewritten_from, Some(built));
    for id in ["who-0001", "who-0002"] {
        assert_eq!(traces(&shop, id, &new.id), 0, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_in_the_lake_are_named() {
    let shop = shop_with_customers("[serving]\npoll = \"20ms\"\n", 40);
    let built = shop.build().await.manifest.id;
    shop.publish(&built).await;
    let export = ["export", "churn", "--pii", "--out", "lake:exports/july/churn.csv"];
    assert_success(&shop.larder(&export));
    let output = assert_success(&forget(&shop, &["who-0003"]));
    assert!(output.contains("exports/july/churn.csv") && output.contains("may contain erased"), "{output}");
    assert!(output.contains("erasure list: 1 customer, 1 of them new"), "{output}");
    assert!(output.contains("without 1 customer\n") && output.contains("clean these files"), "{output}");
    // An id that no snapshot contains tells nothing about the exports.
    let output = assert_success(&forget(&shop, &["nobody", "--allow-unknown"]));
    assert!(output.contains("exports in the lake are not searched"), "{output}");
    std::fs::remove_file(shop.path().join("lake/exports/july/churn.csv")).unwrap();
    let output = assert_success(&forget(&shop, &[]));
    assert!(!output.contains("exports"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_ids_are_reported_with_similar_ids_on_standard_error() {
    let shop = shop_with_customers("[serving]\npoll = \"20ms\"\n", 40);
    let built = shop.build().await.manifest.id;
    shop.publish(&built).await;
    for (wrong, hint) in [
        ("WHO-0004", "did you mean `who-0004`?"),
        ("who-4", "did you mean `who-0004`?"),
        ("someone", "check the spelling"),
    ] {
        let output = forget(&shop, &[wrong]);
        assert_eq!(output.status.code(), Some(1), "{}", output_text(&output));
        let message = format!("no snapshot contains `{wrong}`; {hint}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(&message), "{}", output_text(&output));
        assert!(!String::from_utf8_lossy(&output.stdout).contains("no snapshot contains `"), "{output:?}");
    }
    let output = assert_success(&forget(&shop, &["nobody", "--allow-unknown"]));
    assert!(output.contains("may still hold") && !output.contains("clean these files"), "{output}");
    assert_eq!(only_snapshot(&shop).await.id, built, "no snapshot had to be rewritten");
}

#[tokio::test]
async fn removal_and_publish_of_a_snapshot_exclude_each_other() {
    let shop = shop_with_customers("", 20);
    let lake = shop.lake();
    let mut built = Vec::new();
    for _ in 0..3 {
        built.push(shop.build().await.manifest);
    }
    shop.publish(&built[0].id).await;
    shop.publish(&built[1].id).await;
    for in_use in &built[..2] {
        assert!(!snapshot::remove_unused(&lake, &in_use.id).await.unwrap());
    }
    assert!(snapshot::remove_unused(&lake, &built[2].id).await.unwrap());
    // A publisher that read the manifest before the removal.
    let late = snapshot::publish_to_lake(&lake, &built[2], None, true).await;
    assert!(matches!(late, Err(SnapshotError::Unknown { .. })), "{late:?}");
    assert_eq!(snapshot::read_current(&lake).await.unwrap().unwrap().snapshot, built[1].id);
}
