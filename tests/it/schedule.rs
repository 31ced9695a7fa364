//! Scheduled builds: `larder build --watch` and `--every`, `larder serve --build`, and what `GET /v1/builds`
//! tells.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use larder::snapshot::{BuildOutcome, BuildRecord, BuildTrigger, read_current};
use serde_json::{Value, json};

use crate::support::{
    program::Program,
    shop::{CORNERS, CORNERS_TOML, MORE, Shop, corners, eventually},
};

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the `larder` binary.
fn start(shop: &Shop, args: &[&str]) -> Running {
    let mut command = shop.command(args);
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn signal(running: &Running, name: &str) {
    let status = std::process::Command::new("kill").args([name, &running.0.id().to_string()]).status();
    assert!(status.unwrap().success());
}

async fn records(shop: &Shop) -> Vec<BuildRecord> {
    BuildRecord::list(&shop.lake(), 100).await.unwrap()
}

async fn customers(shop: &Shop) -> Option<u64> {
    let current = read_current(&shop.lake()).await.unwrap()?;
    let manifest = larder::snapshot::Manifest::read(&shop.lake(), &current.snapshot).await.unwrap();
    Some(manifest.customers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watched_files_are_built_when_they_change_and_by_one_process() {
    let shop = Shop::new(CORNERS_TOML);
    let running =
        [start(&shop, &["build", "--watch", "1s", "--keep", "3"]), start(&shop, &["build", "--watch", "1s"])];
    shop.raw("transactions/all.csv", CORNERS);
    eventually(|| customers(&shop), Option::is_some).await;
    let first = customers(&shop).await.unwrap();
    shop.raw("transactions/more.csv", MORE);
    eventually(|| customers(&shop), |found| *found == Some(first + 1)).await;
    // A file that cannot be read: the failure is told, and the next change is built at once.
    shop.raw("transactions/wrong.csv", "Customer,Invoice\nx,1\n");
    let failed = eventually(|| records(&shop), |records| records[0].outcome == BuildOutcome::Failed).await;
    assert!(failed[0].error.as_ref().unwrap().contains("wrong.csv"), "{failed:?}");
    assert_eq!((failed[0].trigger, &failed[0].snapshot), (BuildTrigger::Watch, &None));
    std::fs::remove_file(shop.path().join("lake/raw/transactions/wrong.csv")).unwrap();
    shop.raw("transactions/more.csv", MORE.replace("new,N1", "newer,N1"));
    let records =
        eventually(|| records(&shop), |records| records[0].outcome == BuildOutcome::Published).await;
    assert!(records.iter().all(|record| record.trigger == BuildTrigger::Watch));
    // Both processes saw every change; each change was built once.
    let built = records.iter().filter(|record| record.outcome == BuildOutcome::Published).count();
    assert_eq!(built, 3, "{records:?}");
    for mut process in running {
        signal(&process, "-TERM");
        let status = tokio::task::spawn_blocking(move || process.0.wait().unwrap()).await.unwrap();
        assert!(status.success(), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_with_a_schedule_builds_and_tells() {
    let shop = corners();
    let service =
        Program::start(shop.command(&["serve", "--listen", "127.0.0.1:0", "--build", "--watch", "1s"]));
    let url = &service.url;
    let client = reqwest::Client::new();
    let ask = async || {
        let answer = client.get(format!("{url}/v1/builds")).send().await.ok()?;
        answer.json::<Value>().await.ok()
    };
    let told =
        eventually(ask, |answer| answer.as_ref().is_some_and(|answer| answer["builds"][0].is_object())).await;
    let build = &told.unwrap()["builds"][0];
    assert_eq!((&build["outcome"], &build["trigger"]), (&json!("published"), &json!("watch")), "{build}");
    assert_eq!(build["error"], json!(null));
    let current = read_current(&shop.lake()).await.unwrap().unwrap();
    assert_eq!(build["snapshot"], json!(current.snapshot.to_string()));
    let loyal = async || client.get(format!("{url}/v1/customers/loyal")).send().await.unwrap().status();
    eventually(loyal, |status| status.as_u16() == 200).await;
}

#[tokio::test]
async fn builds_by_command_are_recorded_and_metrics_show_the_last() {
    let shop = corners();
    assert!(shop.larder(&["build", "--no-publish"]).status.success());
    assert!(shop.larder(&["build"]).status.success());
    assert!(!shop.larder(&["build", "--as-of", "2001-01-01"]).status.success());
    let records = records(&shop).await;
    let outcomes: Vec<BuildOutcome> = records.iter().map(|record| record.outcome).collect();
    assert_eq!(outcomes, [BuildOutcome::Failed, BuildOutcome::Published, BuildOutcome::Built]);
    assert!(records.iter().all(|record| record.trigger == BuildTrigger::Command));
    assert!(records.iter().all(|record| record.ended_at >= record.started_at && !record.host.is_empty()));
    let service = shop.serve().await;
    let metrics =
        eventually(|| service.get("/metrics"), |metrics| metrics.text.contains("larder_last_build_failed 1"));
    let metrics = metrics.await.text;
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is missing: {metrics}")).parse().unwrap()
    };
    let good = value("larder_last_good_build_timestamp_seconds");
    assert!(value("larder_last_build_timestamp_seconds") >= good && good > 1.7e9);
    assert_eq!(service.get("/v1/builds").await.json()["builds"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn old_records_are_removed() {
    let shop = Shop::new("");
    let at = chrono::DateTime::parse_from_rfc3339("2011-12-09T12:50:00Z").unwrap().to_utc();
    for second in 0..103 {
        let started_at = at + Duration::from_secs(second);
        let record = BuildRecord {
            started_at,
            ended_at: started_at,
            outcome: BuildOutcome::Published,
            trigger: BuildTrigger::Every,
            snapshot: None,
            error: None,
            host: "here".to_owned(),
        };
        record.write(&shop.lake()).await.unwrap();
    }
    let records = BuildRecord::list(&shop.lake(), 1_000).await.unwrap();
    assert_eq!(records.len(), 100);
    assert_eq!(records[0].started_at, at + Duration::from_secs(102));
    assert_eq!(BuildRecord::list(&shop.lake(), 2).await.unwrap(), records[..2]);
}

#[test]
fn wrong_schedules_are_refused() {
    let shop = Shop::new("");
    for (args, part) in [
        (&["build", "--every", "0 3 * *"][..], "--every"),
        (&["build", "--every", "0 0 3 * * *"], "five fields"),
        (&["build", "--every", "0 3 * * *", "--watch", "60s"], "cannot be used with"),
        (&["build", "--watch", "soon"], "--watch"),
        (&["build", "--keep", "3"], "--keep needs --every or --watch"),
        (&["build", "--every", "0 3 * * *", "--as-of", "2011-12-09"], "--as-of stands for one build"),
        (&["serve", "--build"], "--build needs --every or --watch"),
        (&["serve", "--watch", "60s"], "--every and --watch need --build"),
    ] {
        let output = shop.larder(args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(part), "{args:?}: {error}");
    }
}
