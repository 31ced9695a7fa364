//! Metrics: their form, values before the first event, and unknown values.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{
    redis::Redis,
    shop::{MORE, PATIENCE, Shop, corners, corners_with, eventually},
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

/// Returns the value of the metric whose line begins with `name`.
fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn metrics_file_keeps_the_last_success() {
    let shop = corners();
    let file = shop.path().join("build.prom");
    let run = |args: &[&str]| {
        let status = shop.larder(&[args, &["--metrics-file", file.to_str().unwrap()]].concat()).status;
        let text = fs::read_to_string(&file).unwrap();
        assert_accepted_by_promtool(&text);
        (status.code().unwrap(), text)
    };
    let success = "larder_batch_last_success_timestamp_seconds{command=\"build\"}";
    let last_run = "larder_batch_last_run_timestamp_seconds{command=\"build\"}";
    let code = "larder_batch_last_exit_code{command=\"build\"}";
    let (exit, good) = run(&["build"]);
    assert_eq!((exit, value(&good, code)), (0, Some(0.0)));
    assert_eq!(value(&good, success), value(&good, last_run));
    assert!(value(&good, success).unwrap() > 1.7e9);
    assert!(value(&good, "larder_batch_duration_seconds{command=\"build\"}").unwrap() > 0.0);
    for stage in ["raw", "publish"] {
        let stage = format!("larder_batch_stage_duration_seconds{{command=\"build\",stage=\"{stage}\"}}");
        assert!(value(&good, &stage).is_some(), "{stage}\n{good}");
    }
    assert_eq!(value(&good, "larder_build_lines{fate=\"no_customer\",table=\"transactions\"}"), Some(2.0));
    assert_eq!(value(&good, "larder_build_customers"), Some(15.0));
    assert_eq!(value(&good, "larder_build_rejected"), Some(0.0));

    // A build that fails, and one that the publish gate holds back.
    let raw = shop.path().join("lake/raw/transactions/all.csv");
    fs::rename(&raw, shop.path().join("all.csv")).unwrap();
    let (exit, failed) = run(&["build"]);
    assert_eq!((exit, value(&failed, code)), (1, Some(1.0)));
    assert_eq!(value(&failed, success), value(&good, success));
    assert!(
        value(&failed, last_run) > value(&good, last_run) && !failed.contains("larder_build_"),
        "{failed}"
    );
    shop.raw("transactions/more.csv", MORE);
    let (exit, rejected) = run(&["build"]);
    assert_eq!((exit, value(&rejected, code)), (3, Some(3.0)));
    assert_eq!(value(&rejected, "larder_build_rejected"), Some(1.0));
    assert_eq!(value(&rejected, success), value(&good, success));
    let left = fs::read_dir(shop.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.to_string_lossy().starts_with("build.prom")).count(), 1);

    // Also of an invalid configuration, and of other commands.
    fs::write(shop.path().join("larder.toml"), "[nothing]\n").unwrap();
    let (exit, invalid) = run(&["publish"]);
    assert_eq!(exit, 1);
    assert_eq!(value(&invalid, "larder_batch_last_exit_code{command=\"publish\"}"), Some(1.0));
}

/// Answers one request with `status`, and returns its head and body.
fn receive(listener: &TcpListener, status: &str) -> (String, String) {
    let deadline = Instant::now() + PATIENCE;
    listener.set_nonblocking(true).unwrap();
    let mut stream = loop {
        match listener.accept() {
            Ok((stream, _)) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "no request came: {error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    stream.set_nonblocking(false).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nfine").unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn metrics_are_sent_to_the_pushgateway() {
    let gateway = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/base/", gateway.local_addr().unwrap());
    let shop = Shop::new(&format!("[metrics]\npushgateway = \"{url}\"\n"));
    let run = |args: &[&str], status: &str| {
        let running = shop.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let received = receive(&gateway, status);
        (received, running.wait_with_output().unwrap())
    };
    let ((head, body), output) = run(&["snapshots"], "200 OK");
    assert!(head.starts_with("PUT /base/metrics/job/larder/command/snapshots HTTP/1.1\r\n"), "{head}");
    assert_eq!(value(&body, "larder_batch_last_exit_code{command=\"snapshots\"}"), Some(0.0));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    // Metrics of a failure do not replace the time of the last success.
    let ((head, body), output) = run(&["publish"], "500 Oops");
    assert!(head.starts_with("POST /base/metrics/job/larder/command/publish HTTP/1.1\r\n"), "{head}");
    assert!(!body.contains("last_success"), "{body}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("cannot send the metrics") && message.contains("500"), "{message}");
}
