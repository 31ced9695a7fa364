//! Metrics: their form, values before the first event, and unknown values.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use crate::support::{
    redis::Redis,
    shop::{MORE, Shop, corners, corners_with, eventually},
};

/// Fails unless `promtool check metrics` accepts `text`.
fn assert_accepted_by_promtool(text: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checking = command.spawn().expect("promtool, which tests/run.sh installs");
    checking.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = checking.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}\n{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_accepts_the_metrics_of_a_service() {
    let redis = Redis::start();
    let shop = corners_with(&format!("[tair]\nurl = \"{}\"\n", redis.url()));
    let service = shop.open().await;
    for path in ["/v1/customers/loyal", "/v1/customers/nobody", "/none", "/v1/segments"] {
        service.get(path).await;
    }
    eventually(|| service.metric("larder_tair_publish_number"), |number| *number == 1.0).await;
    assert_accepted_by_promtool(&service.get("/metrics").await.text);
}

#[tokio::test]
async fn known_labels_are_counted_from_zero() {
    let service = corners().open().await;
    let text = service.get("/metrics").await.text;
    for (name, label, values) in [
        (
            "tair_fallbacks_total",
            "reason",
            "miss timeout unreachable refused content breaker behind reconnected unknown ahead foreign other",
        ),
        ("lake_errors_total", "reason", "missing damaged timeout store"),
        ("current_polls_total", "outcome", "unchanged swapped forgot error"),
        ("exports_total", "outcome", "finished left idle failed"),
        ("http_requests_shed_total", "reason", "connections queue bodies"),
        ("cache_limit_bytes", "cache", "blocks audiences memory comparisons"),
    ] {
        for value in values.split(' ') {
            let line = format!("larder_{name}{{{label}=\"{value}\"}} ");
            assert!(text.contains(&line), "{line}\n{text}");
        }
        let lines = text.lines().filter(|line| line.starts_with(&format!("larder_{name}{{")));
        assert_eq!(lines.count(), values.split(' ').count(), "{name}");
    }
    for tier in ["memory", "tair", "snapshot"] {
        for outcome in ["hit", "miss", "error"] {
            let line = format!("larder_reads_total{{outcome=\"{outcome}\",tier=\"{tier}\"}} 0\n");
            assert!(text.contains(&line), "{line}");
        }
    }
    let version = format!(
        "larder_build_info{{features=\"build,delta\",version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    assert!(!cfg!(feature = "delta") || text.contains(&version), "{text}");
}

#[tokio::test]
async fn unknown_values_are_absent() {
    let unpublished = Shop::new("").serve().await;
    let text = unpublished.get("/metrics").await.text;
    for absent in [
        "larder_snapshot",
        "larder_publish",
        "larder_forgotten",
        "larder_build_stage",
        "larder_raw",
        "larder_tair_p",
    ] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    let published = corners().open().await;
    for (name, least) in [
        ("snapshot_age_seconds", 0.0),
        ("snapshot_published_timestamp_seconds", 1.7e9),
        ("snapshot_as_of_timestamp_seconds", 1.7e9),
        ("snapshot_customers", 15.0),
        ("publish_number", 1.0),
    ] {
        assert!(published.metric(&format!("larder_{name} ")).await >= least, "{name}");
    }
    assert!(published.metric("larder_snapshot_age_seconds").await < 600.0, "the age begins with the publish");
    let text = published.get("/metrics").await.text;
    assert!(text.contains("larder_forgotten_customers 0\n"), "{text}");
    assert!(!text.contains("larder_tair_used") && !text.contains("larder_tair_publish_number"), "{text}");
}

#[tokio::test]
async fn raw_files_that_no_build_has_read_are_counted() {
    let shop = corners();
    let id = shop.build().await.manifest.id;
    shop.publish(&id).await;
    shop.raw("transactions/more.csv", MORE);
    shop.raw("customers/people.jsonl", "{\"customer_id\": \"changed\"}\n");
    shop.raw("transactions/_SUCCESS", "");
    let service = shop.serve().await;
    eventually(|| service.metric("larder_raw_pending_files"), |files| *files == 2.0).await;
}
