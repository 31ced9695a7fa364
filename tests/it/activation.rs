//! Changes of the current snapshot: activation under constant reads, damaged parts, pruning, rollback.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use larder::{
    publish::{Options, Publisher},
    snapshot::{Current, FileKind, Manifest, prune, read_current},
};

use crate::support::shop::{Shop, corners, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_snapshot_is_activated_without_failed_reads() {
    let shop = corners();
    let service = Arc::new(shop.open().await);
    let (stop, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (service, stop, reads) = (Arc::clone(&service), Arc::clone(&stop), Arc::clone(&reads));
            tokio::spawn(async move {
                let mut last = String::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = service.get("/v1/customers/loyal").await;
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    let body = answer.json();
                    // The features are those of the snapshot in the answer.
                    let recency = body["views"]["rfm"]["recency_days"].as_i64().unwrap();
                    let expected = if body["as_of"] == "2024-03-10T11:30:00Z" { 2 } else { 23 };
                    assert_eq!(recency, expected, "{body}");
                    assert!(
                        last != "2024-03-31T10:00:00Z" || body["as_of"] == last.as_str(),
                        "went back: {body}"
                    );
                    body["as_of"].as_str().unwrap().clone_into(&mut last);
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    shop.raw(
        "transactions/more.csv",
        format!(
            "{}\nnew,N1,p1,Lamp,1,5.00,2024-03-31 10:00:00,UK\n",
            crate::support::shop::CORNERS.lines().next().unwrap()
        ),
    );
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    eventually(|| service.get("/v1/customers/new"), |answer| answer.status == 200).await;
    let after = reads.load(Ordering::Relaxed);
    eventually(|| async { reads.load(Ordering::Relaxed) }, |reads| *reads > after + 20).await;
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

/// Returns the path of the file of a kind in a snapshot.
fn file_of(shop: &Shop, manifest: &Manifest, kind: FileKind, segment: Option<&str>) -> PathBuf {
    let file =
        manifest.files.iter().find(|file| file.kind == kind && file.segment.as_deref() == segment).unwrap();
    shop.path().join("lake/snapshots").join(manifest.id.as_str()).join(&file.path)
}

#[tokio::test]
async fn damaged_part_is_unavailable_and_counted() {
    type Damage = fn(&[u8]) -> Option<Vec<u8>>;
    let flipped_text: Damage = |bytes| {
        let mut bytes = bytes.to_vec();
        // Inside the first block.
        bytes[40] ^= 1;
        Some(bytes)
    };
    let flipped_footer: Damage = |bytes| {
        let mut bytes = bytes.to_vec();
        let at = bytes.len() - 60;
        bytes[at] ^= 1;
        Some(bytes)
    };
    let truncated: Damage = |bytes| Some(bytes[..bytes.len() / 2].to_vec());
    let missing: Damage = |_| None;
    for (name, damage, reason) in [
        ("flipped text", flipped_text, "damaged"),
        ("flipped footer", flipped_footer, "damaged"),
        ("truncated", truncated, "damaged"),
        ("missing", missing, "missing"),
    ] {
        let shop = corners();
        let built = shop.build().await;
        shop.publish(&built.manifest.id).await;
        let rows = file_of(&shop, &built.manifest, FileKind::Rows, None);
        let whole = std::fs::read(&rows).unwrap();
        match damage(&whole) {
            Some(bytes) => std::fs::write(&rows, bytes).unwrap(),
            None => std::fs::remove_file(&rows).unwrap(),
        }
        let service = shop.serve().await;
        let answer = service.get("/v1/customers/loyal").await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (503, "unavailable"),
            "{name}: {}",
            answer.text
        );
        assert!(answer.text.contains("rows/part-00000.parquet"), "{name}: {}", answer.text);
        let batch = service.post("/v1/customers/batch", r#"{"ids":["loyal","0 is before all ids"]}"#).await;
        let results = batch.json()["results"].clone();
        assert_eq!(results[0]["found"], serde_json::Value::Null, "{name}");
        assert_eq!(
            (&results[0]["error"], &results[1]["found"]),
            (&"unavailable".into(), &false.into()),
            "{name}"
        );
        let errors = service.metric(&format!("larder_lake_errors_total{{reason=\"{reason}\"}}")).await;
        assert!(errors > 0.0, "{name} is not counted");
        // Other parts are served meanwhile, and this part is served again once it is repaired.
        assert_eq!(
            service.get("/v1/segments/champions/customers").await.json()["customers"][0]["customer_id"],
            "loyal"
        );
        assert_eq!(service.get("/readyz").await.status, 200);
        std::fs::write(&rows, whole).unwrap();
        assert_eq!(service.get("/v1/customers/loyal").await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn unreadable_new_snapshot_keeps_old_one_serving() {
    let shop = corners();
    let service = shop.open().await;
    let built = shop.build().await;
    let manifest = shop.path().join("lake/snapshots").join(built.manifest.id.as_str()).join("manifest.json");
    shop.publish(&built.manifest.id).await;
    // The manifest is damaged before the service reads it, or after, in which case nothing happens.
    std::fs::write(&manifest, "{").unwrap();
    for _ in 0..20 {
        assert_eq!(service.get("/v1/customers/loyal").await.status, 200);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(service.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn prune_keeps_needed_snapshots() {
    let shop = corners();
    let lake = shop.lake();
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(shop.build().await.manifest.id);
    }
    for id in &ids[..3] {
        shop.publish(id).await;
    }
    // A build that died long ago, and a build in progress.
    let dead = shop.path().join("lake/snapshots/20240101T000000Z-00000001/rows");
    let live = shop.path().join("lake/snapshots/20240101T000000Z-00000002/rows");
    for folder in [&dead, &live] {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("part-00000.parquet"), "x").unwrap();
    }
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(25);
    let file = std::fs::File::options().write(true).open(dead.join("part-00000.parquet")).unwrap();
    file.set_modified(old).unwrap();
    let pruned = prune(&lake, Some(1), &[]).await.unwrap();
    // Kept: the current and the previous snapshot, the first one, which was current within the hour, and the
    // newest of the unpublished ones.
    assert_eq!(pruned.snapshots.len(), 1, "{pruned:?}");
    assert!(ids[3..].contains(&pruned.snapshots[0]));
    assert_eq!(pruned.abandoned, ["20240101T000000Z-00000001"]);
    assert!(live.exists() && !dead.exists());
    // An hour later the first snapshot is pruned too.
    let mut current: Current = read_current(&lake).await.unwrap().unwrap();
    assert_eq!(current.recent.len(), 2);
    for retired in &mut current.recent {
        retired.until -= chrono::TimeDelta::hours(2);
    }
    std::fs::write(shop.path().join("lake/CURRENT"), serde_json::to_vec(&current).unwrap()).unwrap();
    let pruned = prune(&lake, Some(1), &[]).await.unwrap();
    assert_eq!(pruned.snapshots, [ids[0].clone()]);
    let left: Vec<_> =
        larder::snapshot::list(&lake).await.unwrap().into_iter().map(|manifest| manifest.id).collect();
    assert!(left.contains(&ids[1]) && left.contains(&ids[2]));
}

#[tokio::test]
async fn memory_tier_drops_rows_of_older_publish() {
    let shop = corners();
    let service = shop.open().await;
    service.get("/v1/customers/loyal").await;
    assert!(service.metric("larder_cache_bytes{cache=\"memory\"}").await > 0.0);
    shop.publish(&shop.build().await.manifest.id).await;
    eventually(|| service.metric("larder_cache_bytes{cache=\"memory\"}"), |bytes| *bytes == 0.0).await;
    let answer = service.get("/v1/customers/loyal").await;
    assert_eq!((answer.status, answer.json()["tier"].as_str()), (200, Some("snapshot")), "{}", answer.text);
}

#[tokio::test]
async fn rollback_publishes_previous_snapshot_with_new_number() {
    let shop = corners();
    let service = shop.open().await;
    let first = service.get("/v1/segments").await.json()["snapshot"].clone();
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let second = built.manifest.id.to_string();
    eventually(|| service.get("/v1/segments"), |answer| answer.json()["snapshot"] == second).await;
    let current = Publisher::new(shop.lake(), None, Options::default()).rollback().await.unwrap().current;
    assert_eq!(current.publish, 3);
    eventually(|| service.get("/v1/segments"), |answer| answer.json()["snapshot"] == first).await;
    let ready = service.get("/readyz").await.json();
    assert_eq!(ready["tiers"]["snapshot"]["publish"], 3);
}
