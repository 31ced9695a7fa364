//! Publishing into Tair: killed anywhere, two at a time, back and forth under constant reads, in a cluster, over TLS.

use std::{process::Stdio, sync::Arc, time::Duration};

use larder::{
    config::TairConfig,
    publish::{Options, PublishError, Published, Publisher},
    snapshot::{SnapshotId, read_current},
    tair::{TairError, Writer},
};

use crate::{
    faults::{MORE, assert_clean},
    readers::{Readers, truth},
    redis::{Redis, Refusing, free_port},
    shop::{Shop, corners_with, eventually},
};

fn shop_with(url: &str, lease: &str) -> Shop {
    corners_with(&format!("[tair]\nurl = \"{url}\"\nlease = \"{lease}\"\n[serving]\nmemory = 0\n"))
}

async fn publish(shop: &Shop, id: &SnapshotId) -> Result<Published, PublishError> {
    let options = Options { force: true, ..Options::default() };
    Publisher::new(shop.lake(), shop.config.tair.clone(), options).publish(Some(id)).await
}

/// Three snapshots: with a customer less, as it is, and with a customer more.
async fn three(shop: &Shop) -> [SnapshotId; 3] {
    let fewer = shop.try_build(Some("2024-03-05T12:00:00Z")).await.unwrap().manifest.id;
    let plain = shop.build().await.manifest.id;
    shop.raw("transactions/more.csv", MORE);
    [fewer, plain, shop.build().await.manifest.id]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_differs_is_written_and_everything_where_nothing_is_certain() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let [fewer, plain, more] = three(&shop).await;
    let written = publish(&shop, &plain).await.unwrap().written.unwrap();
    let all = written.rows;
    assert!(written.full_reason.is_some() && all > 10, "{written:?}");
    assert_clean(&shop).await;
    // Another build of the same data differs in nothing.
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
    // The index of the publish before stays, those before it go.
    assert_eq!(indexes(&redis), ["3", "4"]);
    assert_eq!(redis.cli(&["exists", "larder:segment:4:prospect", "larder:segment:3:prospect"]), "2");
    assert_eq!(redis.cli(&["exists", "larder:segment:2:prospect", "larder:ranking:2:prospect:0"]), "0");
    assert_eq!(redis.cli(&["lrange", "larder:ranking:4:prospect:0", "0", "0"]), "prospect");
    assert_eq!(redis.cli(&["exists", "larder:publishing", "larder:lease:{larder:current}"]), "0");
    // Only the lake: Tair is not asked until it is published to again, and then nothing is certain.
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
async fn two_lakes_do_not_mix_in_one_namespace() {
    let redis = Redis::start();
    let (ours, theirs) = (shop_with(&redis.url(), "10s"), shop_with(&redis.url(), "10s"));
    theirs.raw("transactions/more.csv", MORE);
    let service = ours.open().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    let (before, other) = (redis.cli(&["get", "larder:current"]), theirs.build().await.manifest.id);
    // A publish that is refused touches nothing.
    let refused = publish(&theirs, &other).await.unwrap_err();
    assert!(matches!(&refused, PublishError::OtherLake { publish: 1, .. }), "{refused}");
    assert_eq!(
        (redis.cli(&["get", "larder:current"]), redis.cli(&["exists", "larder:publishing"])),
        (before, "0".into())
    );
    assert!(read_current(&theirs.lake()).await.unwrap().is_none());
    assert_clean(&ours).await;
    // Where it is told to, it takes Tair over, and the other service answers from its own snapshot.
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
    let told = || async {
        service.get("/v1/customers/loyal").await;
        service.metric("larder_tair_fallbacks_total{reason=\"foreign\"}").await
    };
    eventually(told, |count| *count > 0.0).await;
    let forgotten = larder::snapshot::Forgotten::read(&ours.lake()).await.unwrap();
    let erased =
        Publisher::new(ours.lake(), ours.config.tair.clone(), Options::default()).erase(&forgotten).await;
    assert!(matches!(erased, Err(PublishError::OtherLake { publish: 2, .. })), "{erased:?}");
    let verify = ours.larder(&["verify"]);
    assert!(!verify.status.success() && String::from_utf8(verify.stdout).unwrap().contains("another lake"));
    // A customer of this lake is forgotten all the same, in the snapshots too.
    let forget = ours.larder(&["forget", "loyal", "--rewrite"]);
    let told = String::from_utf8([forget.stdout, forget.stderr].concat()).unwrap();
    assert!(told.contains("nothing was removed from Tair") && told.contains("written anew"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_knows_its_own_customers_whatever_names_were_lost() {
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
    // A first publish that died before `CURRENT` was written.
    let current = shop.path().join("lake/CURRENT");
    std::fs::remove_file(&current).unwrap();
    publish(&shop, &id).await.unwrap();
    assert_eq!(
        (there(), read_current(&shop.lake()).await.unwrap().unwrap().lake),
        (name.clone(), Some(name.clone()))
    );
    // The same, and then one into the lake alone, which makes up another name.
    std::fs::remove_file(&current).unwrap();
    let lake_only = Options { lake_only: true, ..Options::default() };
    Publisher::new(shop.lake(), shop.config.tair.clone(), lake_only).publish(Some(&id)).await.unwrap();
    publish(&shop, &id).await.unwrap();
    assert!(there() != name && read_current(&shop.lake()).await.unwrap().unwrap().lake == Some(there()));
    assert_clean(&shop).await;
    // What an older version has left has no names, and is known by its snapshot.
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
async fn rows_that_another_lakes_publish_left_behind_are_not_believed() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let service = shop.open().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    // The lake's own publish goes on after one of another lake, which was killed among the rows.
    let record = |publish: u64, lake: &str| {
        serde_json::json!({
            "publish": publish, "snapshot": "20240101T000000Z-0000000a", "as_of": "2024-01-01T00:00:00Z", "lake": lake,
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
    // Of its own it is.
    redis.cli(&["hset", "larder:customer:loyal", "_publish", "3"]);
    let own = |answer: &crate::shop::Answer| answer.json()["snapshot"] == "20240101T000000Z-0000000a";
    eventually(|| service.get("/v1/customers/loyal"), own).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_tair_gets_the_current_snapshot_and_not_the_newest_build() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let [_, plain, _] = three(&shop).await;
    publish(&shop, &plain).await.unwrap();
    redis.cli(&["flushall"]);
    let verify = shop.larder(&["verify", "--all", "--repair"]);
    let told = String::from_utf8(verify.stdout).unwrap();
    assert!(
        !verify.status.success() && told.contains("publish --current") && !told.contains("repaired"),
        "{told}"
    );
    assert!(shop.larder(&["publish", "--current"]).status.success());
    assert_eq!(read_current(&shop.lake()).await.unwrap().unwrap().snapshot, plain);
    assert_clean(&shop).await;
    // Without a name it is the newest build, here one that is older than what readers have.
    shop.try_build(Some("2024-03-05T12:00:00Z")).await.unwrap();
    let refused = shop.larder(&["publish"]);
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--current publishes the current one again"));
}

/// The numbers of the indexes there are.
fn indexes(redis: &Redis) -> Vec<String> {
    let mut numbers: Vec<String> =
        redis.cli(&["hkeys", "larder:indexes"]).lines().map(str::to_owned).collect();
    numbers.sort();
    numbers
}

/// Lets the current publish be some minutes old.
fn age(shop: &Shop) {
    let file = shop.path().join("lake/CURRENT");
    let mut current: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let before = chrono::Utc::now() - chrono::TimeDelta::minutes(5);
    current["published_at"] = before.format("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    std::fs::write(file, current.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_of_before_is_taken_over_where_it_is_whole() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let [fewer, plain, more] = three(&shop).await;
    let calls = |command: &str| {
        let done = redis.cli(&["info", "commandstats"]);
        done.lines().any(|line| line.starts_with(&format!("cmdstat_{command}:")))
    };
    let clear = || redis.cli(&["config", "resetstat"]);
    // Where there is no other, a spare one is left for the next publish.
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
    // One that has lost a member is not taken over.
    assert_eq!(redis.cli(&["srem", "larder:segment:2:prospect", "prospect"]), "1");
    publish(&shop, &fewer).await.unwrap();
    assert!(calls("rename"));
    assert_clean(&shop).await;
    assert_eq!(redis.cli(&["exists", "larder:segment:2:prospect", "larder:ranking:2:prospect:0"]), "0");
    age(&shop);
    // One that has another member instead is, and a comparison finds it.
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
async fn a_changed_view_makes_old_rows_a_miss_until_they_are_written_anew() {
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
    // Nothing is left of what the fields were called before.
    assert_eq!(redis.cli(&["hlen", "larder:customer:loyal"]), "7");
    assert_eq!(redis.cli(&["hlen", "larder:views"]), "6");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_killed_at_any_point_can_be_run_again() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "800ms");
    let [fewer, plain, more] = three(&shop).await;
    publish(&shop, &plain).await.unwrap();
    let mut interrupted = 0;
    for round in 0..14_u64 {
        let target = [&more, &fewer][usize::try_from(round % 2).unwrap()];
        let args = ["publish", target.as_str(), "--force", "--max-ops", "60", "--full"];
        // Without the last, an old index is used up.
        let args = if round % 3 == 0 { &args[..5] } else { &args };
        age(&shop);
        let mut child = shop.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(100 + round * 90)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        interrupted += u32::from(redis.cli(&["exists", "larder:publishing"]) == "1");
        // Now and then with another snapshot than the one that was interrupted.
        let next = [target, &plain][usize::try_from(round / 2 % 2).unwrap()];
        publish(&shop, next).await.unwrap();
        assert_clean(&shop).await;
        assert_eq!(read_current(&shop.lake()).await.unwrap().unwrap().snapshot, *next);
    }
    assert!(interrupted > 2, "no publish was interrupted in the middle");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_killed_while_it_leaves_a_spare_index_is_whole() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "800ms");
    let [fewer, plain, _] = three(&shop).await;
    let args = ["publish", plain.as_str(), "--force", "--max-ops", "60"];
    let mut child = shop.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually(|| async { indexes(&redis) }, |there| there == &["0", "1"]).await;
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(redis.cli(&["hkeys", "larder:indexes:whole"]), "1", "it had ended already");
    assert_clean(&shop).await;
    let written = publish(&shop, &fewer).await.unwrap().written.unwrap();
    assert_eq!(written.full_reason, None);
    assert_clean(&shop).await;
    assert_eq!(indexes(&redis), ["1", "2"]);
    assert_eq!(redis.cli(&["keys", "larder:*:0:*"]), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_publishers_one_waits_or_gives_up_and_a_stopped_one_does_no_harm() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "800ms");
    let [fewer, plain, more] = three(&shop).await;
    publish(&shop, &plain).await.unwrap();
    let slow = ["publish", more.as_str(), "--force", "--full", "--max-ops", "20"];
    let first = shop.command(&slow).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    eventually(|| async { redis.cli(&["exists", "larder:publishing"]) }, |there| there == "1").await;
    assert!(matches!(publish(&shop, &fewer).await, Err(PublishError::Tair(TairError::Busy))));
    // Stopped, it loses the lease; another takes over, and what the first one does afterwards counts for nothing.
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
async fn readers_never_see_a_customer_of_two_snapshots() {
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
async fn metrics_tell_what_tair_holds_and_how_far_a_publish_is() {
    let redis = Redis::start();
    // In another database than the first, for once.
    let shop = shop_with(&format!("{}/2", redis.url()), "10s");
    let [_, plain, more] = three(&shop).await;
    publish(&shop, &plain).await.unwrap();
    let service = shop.serve().await;
    let metric = |name: &'static str| service.metric(name);
    eventually(|| metric("larder_tair_publish_number"), |number| *number == 1.0).await;
    assert!(metric("larder_tair_snapshot_age_seconds").await > 0.0);
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
    // One that cannot go on says so.
    let rows = shop.path().join(format!("lake/snapshots/{plain}/rows/part-00000.parquet"));
    std::fs::write(rows, "nothing of use").unwrap();
    publish(&shop, &plain).await.unwrap_err();
    eventually(|| metric("larder_tair_publishing_failed"), |failed| *failed == 1.0).await;
    assert_eq!(metric("larder_tair_publishing_number").await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_come_from_tair_and_cursors_go_on_across_tiers() {
    let redis = Redis::start();
    let shop = shop_with(&redis.url(), "10s");
    let service = shop.open().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    let path = "/v1/segments/hibernating/customers?limit=1&views=rfm";
    let from_tair = service.get(path).await.json();
    assert!(from_tair["total"].as_u64() > Some(1), "{from_tair}");
    let next = from_tair["next"].as_str().unwrap().to_owned();
    let second = service.get(&format!("{path}&cursor={next}")).await.json();
    redis.kill();
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "snapshot").await;
    for (path, mut expected) in [(path.to_owned(), from_tair), (format!("{path}&cursor={next}"), second)] {
        assert_eq!(expected["tier"], "tair");
        expected["tier"] = "snapshot".into();
        assert_eq!(service.get(&path).await.json(), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_published_to_and_read_from() {
    let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let nodes: Vec<Redis> = (0..3).map(|_| Redis::with(&args, &[])).collect();
    let mut create = std::process::Command::new("redis-cli");
    create.args(["--cluster", "create"]).args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
    assert!(create.args(["--cluster-yes"]).stdout(Stdio::null()).status().unwrap().success());
    eventually(
        || async { nodes.iter().all(|node| node.cli(&["cluster", "info"]).contains("cluster_state:ok")) },
        |ok| *ok,
    )
    .await;
    let shop = shop_with(&format!("redis-cluster://127.0.0.1:{}", nodes[0].port), "10s");
    let [fewer, plain, more] = three(&shop).await;
    for id in [&plain, &fewer, &more] {
        publish(&shop, id).await.unwrap();
        assert_clean(&shop).await;
    }
    // A client that is sent from one node to another without knowing of a cluster is told so.
    let mut hints = 0;
    for node in &nodes {
        let config = TairConfig { url: node.url(), ..TairConfig::default() };
        let told = Writer::connect(&config).await.unwrap().marker().await.map_err(|error| error.to_string());
        hints +=
            u32::from(told.is_err_and(|told| told.contains("use a URL that begins with redis-cluster://")));
    }
    assert_eq!(hints, 2, "one node has the key");
    let spread = nodes.iter().filter(|node| node.cli(&["dbsize"]) != "0").count();
    assert_eq!(spread, 3, "the keys lie on one node");
    let truth = Arc::new(truth(&shop, &[&more]).await);
    let service = Arc::new(shop.serve().await);
    let readers = Readers::start(&service, &truth);
    readers.until("tair", true).await;
    nodes[1].stop();
    readers.until("snapshot", false).await;
    nodes[1].go_on();
    readers.until("tair", true).await;
    readers.end().await;
}

/// A node that never met another does not know its own address, and tells clients none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_node_that_knows_no_address_is_published_to_and_read_from() {
    let redis = Redis::with(&["--cluster-enabled", "yes"], &[]);
    redis.cli(&["cluster", "addslotsrange", "0", "16383"]);
    eventually(|| async { redis.cli(&["cluster", "info"]) }, |info| info.contains("cluster_state:ok")).await;
    assert!(redis.cli(&["cluster", "nodes"]).contains(&format!(" :{}@", redis.port)), "it knows its address");
    let shop = shop_with(&format!("redis-cluster://127.0.0.1:{}", redis.port), "10s");
    let [fewer, plain, _] = three(&shop).await;
    for id in [&plain, &fewer] {
        publish(&shop, id).await.unwrap();
        assert_clean(&shop).await;
    }
    let service = shop.serve().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    let members = "/v1/segments/prospect/customers";
    eventually(|| service.get(members), |answer| answer.json()["tier"] == "tair").await;
    // It finds the node again, also where there is nobody to ask for a while.
    redis.kill();
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "snapshot").await;
    redis.run_again();
    eventually(|| async { redis.cli(&["cluster", "info"]) }, |info| info.contains("cluster_state:ok")).await;
    publish(&shop, &plain).await.unwrap();
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_and_a_user_who_may_only_read_are_enough_to_serve() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (certificate, secret) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, key.cert.pem()).unwrap();
    std::fs::write(&secret, key.signing_key.serialize_pem()).unwrap();
    let (certificate, secret) = (certificate.display().to_string(), secret.display().to_string());
    let args = [
        "--port",
        "0",
        "--tls-port",
        "PORT",
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &secret,
        "--tls-ca-cert-file",
        &certificate,
        "--tls-auth-clients",
        "no",
    ];
    let redis = Redis::with(&args, &["--tls", "--cacert", &certificate, "-h", "localhost"]);
    assert_ne!(redis.port, free_port());
    let rules = ["~larder:*", "&*", "+@all"];
    redis.cli(&[&["acl", "setuser", "writer", "on", ">w:rite@r"][..], &rules].concat());
    redis.cli(&[
        "acl",
        "setuser",
        "reader",
        "on",
        ">r",
        "~larder:*",
        "+@read",
        "+@connection",
        "+@fast",
        "-@write",
        "+info",
    ]);
    redis.cli(&["acl", "setuser", "default", "nopass", "on", "+@all", "~*"]);
    let url = |user: &str| format!("rediss://{user}@localhost:{}", redis.port);
    let mut shop = shop_with(&url("writer:w%3Arite%40r"), "10s");
    shop.config.tair.as_mut().unwrap().ca_file = Some(certificate.into());
    let id = shop.build().await.manifest.id;
    publish(&shop, &id).await.unwrap();
    assert_clean(&shop).await;
    let writer = shop.config.tair.clone();
    shop.config.tair.as_mut().unwrap().url = url("reader:r");
    let service = shop.serve().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    // The reader may not publish, and a wrong password is told without it.
    let error = publish(&shop, &id).await.unwrap_err().to_string();
    assert!(error.contains("NOPERM") || error.contains("permission"), "{error}");
    let wrong = TairConfig { url: url("writer:topsecret"), ..writer.unwrap() };
    let error =
        Publisher::new(shop.lake(), Some(wrong), Options::default()).verify(false, false).await.unwrap_err();
    assert!(!error.to_string().contains("topsecret"), "{error}");
}

/// Why there is no connection to `url`.
async fn why_not(url: String) -> String {
    let config = TairConfig { url, ..TairConfig::default() };
    let error = Writer::connect(&config).await.unwrap_err();
    assert!(matches!(error, TairError::Unreachable(_)), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_says_reaches_whoever_waits_in_vain() {
    let locked = Redis::with(&["--requirepass", "open-sesame"], &["-a", "open-sesame", "--no-auth-warning"]);
    let answers = [
        "LOADING Redis is loading the dataset in memory",
        "MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist to disk.",
        "ERR max number of clients reached",
        "CLUSTERDOWN Hash slot not served",
        "DENIED Redis is running in protected mode because protected mode is enabled",
    ];
    let servers = futures::future::join_all(answers.map(Refusing::with)).await;
    let mut asked = vec![
        (locked.url(), "NOAUTH Authentication required."),
        (format!("redis://:wrong-secret@127.0.0.1:{}", locked.port), "WRONGPASS"),
        (format!("rediss://:wrong-secret@127.0.0.1:{}", locked.port), "the server does not answer"),
        (format!("redis://127.0.0.1:{}", free_port()), "Connection refused"),
    ];
    for (server, answer) in servers.iter().zip(answers) {
        for scheme in ["redis", "redis-cluster"] {
            asked.push((format!("{scheme}://127.0.0.1:{}", server.port), answer));
        }
    }
    // Each takes as long as a publisher waits.
    let told = futures::future::join_all(asked.iter().map(|(url, _)| why_not(url.clone()))).await;
    for ((url, word), told) in asked.iter().zip(told) {
        assert!(told.contains("within 5 s: ") && told.contains(word), "{url}: {told}");
        assert!(!told.contains("secret"), "{told}");
    }
    let url = format!("redis-cluster://:open-sesame@127.0.0.1:{}", locked.port);
    let error = Writer::connect(&TairConfig { url, ..TairConfig::default() }).await.unwrap_err().to_string();
    assert!(error.contains("use a URL that begins with redis://") && !error.contains("sesame"), "{error}");
}
