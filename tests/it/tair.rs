//! Publishing into Tair and reading from it: killed publishes, concurrent publishers, activation under load.

use std::{process::Stdio, sync::Arc};

use larder::{
    publish::{Options, PublishError, Published, Publisher},
    snapshot::{SnapshotId, read_current},
    tair::TairError,
};

use crate::support::{
    readers::{Readers, truth},
    redis::Redis,
    shop::{MORE, Shop, assert_clean, corners_with, eventually},
};

mod connections;

fn shop_with(url: &str, lease: &str) -> Shop {
    corners_with(&format!("[tair]\nurl = \"{url}\"\nlease = \"{lease}\"\n[serving]\nmemory = 0\n"))
}

async fn publish(shop: &Shop, id: &SnapshotId) -> Result<Published, PublishError> {
    let options = Options { force: true, ..Options::default() };
    Publisher::new(shop.lake(), shop.config.tair.clone(), options).publish(Some(id)).await
}

/// Builds three snapshots: with one customer less, as is, and with one customer more.
async fn three(shop: &Shop) -> [SnapshotId; 3] {
    let fewer = shop.try_build(Some("2024-03-05T12:00:00Z")).await.unwrap().manifest.id;
    let plain = shop.build().await.manifest.id;
    shop.raw("transactions/more.csv", MORE);
    [fewer, plain, shop.build().await.manifest.id]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_is_incremental_unless_tair_is_uncertain() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let [fewer, plain, more] = three(&shop).await;
    let written = publish(&shop, &plain).await.unwrap().written.unwrap();
    let all = written.rows;
    assert!(written.full_reason.is_some() && all > 10, "{written:?}");
    assert_clean(&shop).await;
    // Another build of the same data has no differences.
    std::fs::remove_file(shop.path().join("lake/raw/transactions/more.csv")).unwrap();
    let same = shop.build().await.manifest.id;
    let written = publish(&shop, &same).await.unwrap().written.unwrap();
    assert_eq!((written.rows, written.unchanged, written.full_reason), (0, all, None), "{written:?}");
    assert_clean(&shop).await;
    let written = publish(&shop, &fewer).await.unwrap().written.unwrap();
    assert!(written.removed > 0 && written.full_reason.is_none(), "{written:?}");
    assert_clean(&shop).await;
    assert_eq!(redis.cli(&["exists", "larder:customer:batch"]), "0");
    let written = publish(&shop, &more).await.unwrap().written.unwrap();
    assert!(written.rows > 0 && written.full_reason.is_none(), "{written:?}");
    assert_clean(&shop).await;
    // The index of the previous publish is kept, older ones are dropped.
    assert_eq!(indexes(&redis), ["3", "4"]);
    assert_eq!(redis.cli(&["exists", "larder:segment:4:prospect", "larder:segment:3:prospect"]), "2");
    assert_eq!(redis.cli(&["exists", "larder:segment:2:prospect", "larder:ranking:2:prospect:0"]), "0");
    assert_eq!(redis.cli(&["lrange", "larder:ranking:4:prospect:0", "0", "0"]), "prospect");
    assert_eq!(redis.cli(&["exists", "larder:publishing", "larder:lease:{larder:current}"]), "0");
    // After a publish into the lake only, the content of Tair is uncertain.
    let lake_only = Options { force: true, lake_only: true, ..Options::default() };
    let publisher = Publisher::new(shop.lake(), shop.config.tair.clone(), lake_only);
    assert_eq!(publisher.publish(Some(&plain)).await.unwrap().current.publish, 5);
    let report = publisher.verify(false, false).await.unwrap();
    assert!(report.differences == 1 && report.messages[0].contains("CURRENT 5"), "{report:?}");
    let written = publish(&shop, &more).await.unwrap().written.unwrap();
    assert!(written.full_reason.is_some(), "{written:?}");
    assert_clean(&shop).await;
    redis.cli(&["flushall"]);
    let written = publish(&shop, &more).await.unwrap().written.unwrap();
    assert!(written.full_reason.is_some(), "{written:?}");
    assert_clean(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_refuses_namespace_of_another_lake() {
    let redis = Redis::start();
    let (ours, theirs) = (shop_with(&redis.url(), "10s"), shop_with(&redis.url(), "10s"));
    theirs.raw("transactions/more.csv", MORE);
    let service = ours.open().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    let (before, other) = (redis.cli(&["get", "larder:current"]), theirs.build().await.manifest.id);
    // A refused publish changes nothing.
    let refused = publish(&theirs, &other).await.unwrap_err();
    assert!(matches!(&refused, PublishError::OtherLake { publish: 1, .. }), "{refused}");
    assert_eq!(
        (redis.cli(&["get", "larder:current"]), redis.cli(&["exists", "larder:publishing"])),
        (before, "0".into())
    );
    assert!(read_current(&theirs.lake()).await.unwrap().is_none());
    assert_clean(&ours).await;
    // A full publish replaces the data, and the other service answers from its own snapshot.
    let full = Options { full: true, ..Options::default() };
    let publisher = Publisher::new(theirs.lake(), theirs.config.tair.clone(), full);
    publisher.publish(Some(&other)).await.unwrap();
    assert_clean(&theirs).await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "snapshot").await;
    let expected = service.get("/v1/segments").await.json()["snapshot"].clone();
    for id in ["loyal", "batch", "prospect"] {
        let answer = service.get(&format!("/v1/customers/{id}")).await;
        assert_eq!((answer.status, &answer.json()["snapshot"]), (200, &expected), "{}", answer.text);
    }
    let fallbacks = || async {
        service.get("/v1/customers/loyal").await;
        service.metric("larder_tair_fallbacks_total{reason=\"foreign\"}").await
    };
    eventually(fallbacks, |count| *count > 0.0).await;
    let forgotten = larder::snapshot::Forgotten::read(&ours.lake()).await.unwrap();
    let erased =
        Publisher::new(ours.lake(), ours.config.tair.clone(), Options::default()).erase(&forgotten).await;
    assert!(matches!(erased, Err(PublishError::OtherLake { publish: 2, .. })), "{erased:?}");
    let verify = ours.larder(&["verify"]);
    assert!(!verify.status.success() && String::from_utf8(verify.stdout).unwrap().contains("another lake"));
    // A customer of this lake is erased from the snapshots all the same.
    let forget = ours.larder(&["forget", "loyal", "--rewrite"]);
    let output = String::from_utf8([forget.stdout, forget.stderr].concat()).unwrap();
    assert!(output.contains("nothing removed from Tair") && output.contains("rewrote"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lake_name_survives_lost_current_file() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let id = shop.build().await.manifest.id;
    publish(&shop, &id).await.unwrap();
    let there = || {
        let marker: serde_json::Value = serde_json::from_str(&redis.cli(&["get", "larder:current"])).unwrap();
        marker["lake"].as_str().unwrap().to_owned()
    };
    let name = there();
    assert_eq!(read_current(&shop.lake()).await.unwrap().unwrap().lake, Some(name.clone()));
    // First publish that died before it wrote `CURRENT`.
    let current = shop.path().join("lake/CURRENT");
    std::fs::remove_file(&current).unwrap();
    publish(&shop, &id).await.unwrap();
    assert_eq!(
        (there(), read_current(&shop.lake()).await.unwrap().unwrap().lake),
        (name.clone(), Some(name.clone()))
    );
    // As before, followed by a publish into the lake only, which makes up another name.
    std::fs::remove_file(&current).unwrap();
    let lake_only = Options { lake_only: true, ..Options::default() };
    Publisher::new(shop.lake(), shop.config.tair.clone(), lake_only).publish(Some(&id)).await.unwrap();
    publish(&shop, &id).await.unwrap();
    assert!(there() != name && read_current(&shop.lake()).await.unwrap().unwrap().lake == Some(there()));
    assert_clean(&shop).await;
    // Records of older versions have no name. Their lake is identified by the snapshot.
    let unnamed = |text: &str| {
        let mut record: serde_json::Value = serde_json::from_str(text).unwrap();
        record.as_object_mut().unwrap().remove("lake");
        record.to_string()
    };
    std::fs::write(&current, unnamed(&std::fs::read_to_string(&current).unwrap())).unwrap();
    redis.cli(&["set", "larder:current", &unnamed(&redis.cli(&["get", "larder:current"]))]);
    let other = shop_with(&redis.url(), "10s");
    other.raw("transactions/more.csv", MORE);
    let refused = publish(&other, &other.build().await.manifest.id).await;
    assert!(matches!(refused, Err(PublishError::OtherLake { .. })), "{refused:?}");
    let again = shop.build().await.manifest.id;
    let written = publish(&shop, &again).await.unwrap().written.unwrap();
    assert_eq!(written.full_reason, None);
    assert_clean(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_another_lakes_unfinished_publish_are_ignored() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let service = shop.open().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    // The lake's own publish is in progress, after a publish of another lake that was killed while writing
    // rows.
    let record = |publish: u64, lake: &str| {
        serde_json::json!({
            "publish": publish, "snapshot": "20240101T000000Z-0000000a", "as_of": "2024-01-01T00:00:00Z",
            "lake": lake,
        })
    };
    let name = read_current(&shop.lake()).await.unwrap().unwrap().lake.unwrap();
    let mut publishing = record(3, &name);
    publishing["unfinished"] = serde_json::json!([record(2, "another")]);
    redis.cli(&["set", "larder:publishing", &publishing.to_string()]);
    redis.cli(&["hset", "larder:customer:loyal", "_publish", "2"]);
    let ahead = || async {
        let answer = service.get("/v1/customers/loyal").await;
        assert_ne!(answer.json()["snapshot"], "20240101T000000Z-0000000a", "{}", answer.text);
        service.metric("larder_tair_fallbacks_total{reason=\"ahead\"}").await
    };
    eventually(ahead, |count| *count > 20.0).await;
    // A row of the lake's own publish is used.
    redis.cli(&["hset", "larder:customer:loyal", "_publish", "3"]);
    let own =
        |answer: &crate::support::shop::Answer| answer.json()["snapshot"] == "20240101T000000Z-0000000a";
    eventually(|| service.get("/v1/customers/loyal"), own).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_current_refills_flushed_tair() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let [_, plain, _] = three(&shop).await;
    publish(&shop, &plain).await.unwrap();
    redis.cli(&["flushall"]);
    let verify = shop.larder(&["verify", "--all", "--repair"]);
    let output = String::from_utf8(verify.stdout).unwrap();
    assert!(
        !verify.status.success() && output.contains("publish --current") && !output.contains("repaired"),
        "{output}"
    );
    assert!(shop.larder(&["publish", "--current"]).status.success());
    assert_eq!(read_current(&shop.lake()).await.unwrap().unwrap().snapshot, plain);
    assert_clean(&shop).await;
    // Without an id, the newest build is published, which here is older than the current snapshot.
    shop.try_build(Some("2024-03-05T12:00:00Z")).await.unwrap();
    let refused = shop.larder(&["publish"]);
    assert!(
        String::from_utf8(refused.stderr).unwrap().contains("--current publishes the current snapshot again")
    );
}

/// Returns the numbers of all indexes, sorted.
fn indexes(redis: &Redis) -> Vec<String> {
    let mut numbers: Vec<String> =
        redis.cli(&["hkeys", "larder:indexes"]).lines().map(str::to_owned).collect();
    numbers.sort();
    numbers
}

/// Makes the current publish five minutes old.
fn age(shop: &Shop) {
    let file = shop.path().join("lake/CURRENT");
    let mut current: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let before = chrono::Utc::now() - chrono::TimeDelta::minutes(5);
    current["published_at"] = before.format("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    std::fs::write(file, current.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn complete_older_index_is_reused() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let [fewer, plain, more] = three(&shop).await;
    let calls = |command: &str| {
        let done = redis.cli(&["info", "commandstats"]);
        done.lines().any(|line| line.starts_with(&format!("cmdstat_{command}:")))
    };
    let clear = || redis.cli(&["config", "resetstat"]);
    // Without another index, a spare one is left for the next publish.
    publish(&shop, &fewer).await.unwrap();
    assert!(calls("copy") && !calls("rename"));
    assert_eq!(indexes(&redis), ["0", "1"]);
    clear();
    publish(&shop, &plain).await.unwrap();
    assert!(calls("rename") && !calls("copy"), "the spare index is used up");
    assert_clean(&shop).await;
    assert_eq!(indexes(&redis), ["1", "2"]);
    assert_eq!(redis.cli(&["keys", "larder:*:0:*"]), "");
    clear();
    publish(&shop, &more).await.unwrap();
    assert!(calls("copy") && !calls("rename"), "the index is too young to be used up");
    assert_clean(&shop).await;
    assert_eq!(redis.cli(&["exists", "larder:segment:2:prospect"]), "1");
    age(&shop);
    // A Set that lost a member is not reused.
    assert_eq!(redis.cli(&["srem", "larder:segment:2:prospect", "prospect"]), "1");
    publish(&shop, &fewer).await.unwrap();
    assert!(calls("rename"));
    assert_clean(&shop).await;
    assert_eq!(redis.cli(&["exists", "larder:segment:2:prospect", "larder:ranking:2:prospect:0"]), "0");
    age(&shop);
    // A Set with another member instead is reused, and `verify` finds the difference.
    assert_eq!(redis.cli(&["srem", "larder:segment:3:prospect", "prospect"]), "1");
    assert_eq!(redis.cli(&["sadd", "larder:segment:3:prospect", "somebody"]), "1");
    publish(&shop, &plain).await.unwrap();
    let publisher = Publisher::new(shop.lake(), shop.config.tair.clone(), Options::default());
    let report = publisher.verify(true, true).await.unwrap();
    assert!(report.differences == 1 && report.messages[0].contains("segment prospect"), "{report:?}");
    assert_clean(&shop).await;
    assert_eq!(redis.cli(&["hkeys", "larder:indexes:whole"]).lines().count(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_view_misses_until_rows_are_rewritten() {
    let redis = Redis::start();
    let mut shop = shop_with(&redis.url(), "10s");
    let first = shop.build().await.manifest.id;
    publish(&shop, &first).await.unwrap();
    let views = shop.path().join("views");
    std::fs::create_dir(&views).unwrap();
    std::fs::write(
        views.join("size.sql"),
        "-- How many orders\nSELECT customer_id, count(*) AS orders FROM orders GROUP BY customer_id\n",
    )
    .unwrap();
    shop.config.views.folder = Some(views);
    let second = shop.build().await.manifest.id;
    let service = shop.serve().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    let written = publish(&shop, &second).await.unwrap().written.unwrap();
    assert_eq!(written.full_reason, Some("the columns changed"));
    assert_clean(&shop).await;
    let is_new =
        |answer: &serde_json::Value| answer["views"]["size"]["orders"] == 4 && answer["tier"] == "tair";
    eventually(|| service.get("/v1/customers/loyal"), |answer| is_new(&answer.json())).await;
    // No field of the old columns is left.
    assert_eq!(redis.cli(&["hlen", "larder:customer:loyal"]), "9");
    assert_eq!(redis.cli(&["hlen", "larder:views"]), "8");
}

fn is_publishing(redis: &Redis) -> bool {
    redis.cli(&["exists", "larder:publishing"]) == "1"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_killed_at_any_point_can_be_repeated() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "800ms");
    let [fewer, plain, more] = three(&shop).await;
    publish(&shop, &plain).await.unwrap();
    let mut interrupted = 0;
    for round in 0..14_u64 {
        let target = [&more, &fewer][usize::try_from(round % 2).unwrap()];
        let args = ["publish", target.as_str(), "--force", "--max-ops", "60", "--full"];
        // Without `--full`, an old index is used up.
        let args = if round % 3 == 0 { &args[..5] } else { &args };
        age(&shop);
        let mut child = shop.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Kills the publish a while after it began, which is counted in calls of redis-cli.
        let mut calls = 3 * round;
        while calls > 0 && child.try_wait().unwrap().is_none() {
            calls -= u64::from(is_publishing(&redis));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        interrupted += u32::from(is_publishing(&redis));
        // Sometimes the next publish is of another snapshot than the interrupted one.
        let next = [target, &plain][usize::try_from(round / 2 % 2).unwrap()];
        publish(&shop, next).await.unwrap();
        assert_clean(&shop).await;
        assert_eq!(read_current(&shop.lake()).await.unwrap().unwrap().snapshot, *next);
    }
    assert!(interrupted > 2, "no publish was interrupted in the middle");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publish_killed_while_preparing_spare_index_is_complete() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "800ms");
    let [fewer, plain, _] = three(&shop).await;
    let args = ["publish", plain.as_str(), "--force", "--max-ops", "60"];
    let mut child = shop.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually(|| async { indexes(&redis) }, |there| there == &["0", "1"]).await;
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(redis.cli(&["hkeys", "larder:indexes:whole"]), "1", "the publish had ended already");
    assert_clean(&shop).await;
    let written = publish(&shop, &fewer).await.unwrap().written.unwrap();
    assert_eq!(written.full_reason, None);
    assert_clean(&shop).await;
    assert_eq!(indexes(&redis), ["1", "2"]);
    assert_eq!(redis.cli(&["keys", "larder:*:0:*"]), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_excludes_second_publisher_and_stops_paused_publisher() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "800ms");
    let [fewer, plain, more] = three(&shop).await;
    publish(&shop, &plain).await.unwrap();
    let slow = ["publish", more.as_str(), "--force", "--full", "--max-ops", "20"];
    let first = shop.command(&slow).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(|| async { redis.cli(&["exists", "larder:publishing"]) }, |there| there == "1").await;
    assert!(matches!(publish(&shop, &fewer).await, Err(PublishError::Tair(TairError::Busy))));
    // A paused publisher loses the lease. Another takes over, and the first one can change nothing
    // afterwards.
    let signal = |name: &str| {
        std::process::Command::new("kill").args([name, &first.id().to_string()]).status().unwrap().success()
    };
    assert!(signal("-STOP"));
    let written = publish(&shop, &fewer).await.unwrap().written.unwrap();
    assert_eq!(written.full_reason, Some("the previous publisher did not finish"));
    assert!(signal("-CONT"));
    let ended = tokio::task::spawn_blocking(move || {
        let output = first.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    });
    let (success, text) = ended.await.unwrap();
    assert!(!success && text.contains("lease"), "{text}");
    assert_clean(&shop).await;
    assert_eq!(read_current(&shop.lake()).await.unwrap().unwrap().snapshot, fewer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_never_mix_snapshots() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let [fewer, plain, more] = three(&shop).await;
    publish(&shop, &plain).await.unwrap();
    let truth = Arc::new(truth(&shop, &[&fewer, &plain, &more]).await);
    let service = Arc::new(shop.serve().await);
    let readers = Readers::start(&service, &truth);
    readers.until("tair", true).await;
    for round in 0..6_usize {
        let options = Options { force: true, full: round % 3 == 2, max_ops: Some(150), ..Options::default() };
        let publisher = Publisher::new(shop.lake(), shop.config.tair.clone(), options);
        if round == 3 {
            publisher.rollback().await.unwrap();
        } else {
            publisher.publish(Some([&more, &fewer, &plain][round % 3])).await.unwrap();
        }
        readers.some_more().await;
    }
    readers.until("tair", true).await;
    readers.end().await;
    assert_clean(&shop).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_report_publish_and_progress() {
    let redis = Redis::start();
    // Uses another database than 0.
    let shop = shop_with(&format!("{}/2", redis.url()), "10s");
    let [_, plain, more] = three(&shop).await;
    publish(&shop, &plain).await.unwrap();
    let service = shop.serve().await;
    let metric = |name: &'static str| service.metric(name);
    eventually(|| metric("larder_tair_publish_number"), |number| *number == 1.0).await;
    assert!(metric("larder_tair_snapshot_as_of_timestamp_seconds").await > 1e9);
    let options = Options { force: true, full: true, max_ops: Some(10), ..Options::default() };
    let publisher = Publisher::new(shop.lake(), shop.config.tair.clone(), options);
    let publishing = async { publisher.publish(Some(&more)).await.unwrap() };
    let watching = async {
        let share = eventually(|| metric("larder_tair_publishing_ratio"), |share| *share > 0.0).await;
        assert!(share <= 1.0);
        assert_eq!(metric("larder_tair_publishing_number").await, 2.0);
        assert_eq!(metric("larder_tair_publishing_failed").await, 0.0);
    };
    tokio::join!(publishing, watching);
    eventually(|| metric("larder_tair_publish_number"), |number| *number == 2.0).await;
    assert_eq!(metric("larder_tair_publishing_number").await, 0.0);
    // A failed publish is reported.
    let rows = shop.path().join(format!("lake/snapshots/{plain}/rows/part-00000.parquet"));
    std::fs::write(rows, "nothing of use").unwrap();
    publish(&shop, &plain).await.unwrap_err();
    eventually(|| metric("larder_tair_publishing_failed"), |failed| *failed == 1.0).await;
    assert_eq!(metric("larder_tair_publishing_number").await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segment_cursor_continues_across_tiers() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let service = shop.open().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    let path = "/v1/segments/hibernating/customers?limit=1&views=rfm";
    let is_from_tair = |answer: &crate::support::shop::Answer| answer.json()["tier"] == "tair";
    let from_tair = eventually(|| service.get(path), is_from_tair).await.json();
    assert!(from_tair["total"].as_u64() > Some(1), "{from_tair}");
    let next = from_tair["next"].as_str().unwrap().to_owned();
    let second_path = format!("{path}&cursor={next}");
    let second = eventually(|| service.get(&second_path), is_from_tair).await.json();
    redis.kill();
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "snapshot").await;
    for (path, mut expected) in [(path.to_owned(), from_tair), (second_path, second)] {
        expected["tier"] = "snapshot".into();
        assert_eq!(service.get(&path).await.json(), expected);
    }
}
