//! Traces: spans of requests, builds and publishes, as a collector receives them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
    time::{Duration, Instant},
};

use larder::{config::Scope, snapshot::read_current};
use serde_json::Value;

use crate::support::{
    callers::{key, keys},
    collector::{Collector, ReceivedSpan},
    program::{Program, json_lines},
    redis::{Redis, free_port},
    shop::{MORE, Shop, corners_with, eventually},
};

/// Traces of callers: one that the caller records, and one that it does not.
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-1111111111111111111111111111cafe-00f067aa0ba902b7-00";

/// A running server and a caller with a key of all scopes.
struct Scene {
    shop: Shop,
    program: Program,
    client: reqwest::Client,
}

impl Scene {
    /// Publishes the corners, and serves them with the settings `toml` and with `variables`.
    async fn start(toml: &str, variables: impl FnOnce(Command) -> Command) -> Self {
        let shop = corners_with(&format!("{toml}{}", keys(&[("all", &Scope::ALL)])));
        shop.publish(&shop.build().await.manifest.id).await;
        let mut command = variables(shop.command(&["serve", "--listen", "127.0.0.1:0"]));
        command.stderr(fs::File::create(shop.path().join("log")).unwrap());
        let program = Program::start(command);
        Self { shop, program, client: reqwest::Client::new() }
    }

    /// Sends `GET path`, with a `traceparent` unless it is empty. Returns the status and the body.
    async fn get(&self, path: &str, parent: &str) -> (u16, String) {
        let request = self.client.get(format!("{}{path}", self.program.url)).bearer_auth(key("all"));
        let request = if parent.is_empty() { request } else { request.header("traceparent", parent) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics", UNSAMPLED).await.1;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).trim().parse().unwrap()
    }

    /// Stops the server, which sends the last spans, and returns the lines of its log.
    fn stop(mut self) -> Vec<Value> {
        drop(self.client);
        self.program.stop();
        json_lines(&self.shop.path().join("log"))
    }
}

/// Returns the trace ids in the access log, in order.
fn logged_traces<'a>(log: &'a [Value], name: &str) -> Vec<&'a str> {
    let requests = log.iter().filter(|line| line["message"] == "request");
    requests.filter_map(|line| line[name].as_str()).collect()
}

fn children<'a>(spans: &'a [ReceivedSpan], parent: &ReceivedSpan) -> Vec<&'a ReceivedSpan> {
    spans.iter().filter(|span| span.parent == parent.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_is_a_span_of_the_callers_trace_with_tiers_below() {
    let (collector, redis) = (Collector::start().await, Redis::start());
    let toml = format!("[log]\nformat = \"json\"\n[tair]\nurl = \"{}\"\ntimeout = \"1s\"\n", redis.url());
    let scene = Scene::start(&toml, |command| {
        let mut command = collector.collects(command);
        command.env("OTEL_SERVICE_NAME", "shop").env("OTEL_RESOURCE_ATTRIBUTES", "zone=a%20b");
        command.env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret");
        command
    })
    .await;
    eventually(|| scene.metric("larder_tair_used"), |used| *used == 1).await;
    let loyal = "/v1/customers/loyal?views=rfm";
    for (path, status) in [(loyal, 200), (loyal, 200), ("/v1/customers/nobody", 404), ("/v1/none", 404)] {
        assert_eq!(scene.get(path, SAMPLED).await.0, status, "{path}");
    }
    assert_eq!(scene.get(loyal, UNSAMPLED).await.0, 200);
    let (port, log) = (redis.port.to_string(), scene.stop());

    let spans = collector.spans();
    let requests: Vec<_> = spans.iter().filter(|span| span.kind == 2).collect();
    let [from_tair, from_memory, unknown, unmatched] = requests[..] else { panic!("{requests:?}") };
    let is = |span: &ReceivedSpan, expected: &[(&str, &str)]| {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        assert_eq!(span.attributes, expected.iter().map(pair).collect::<BTreeMap<_, _>>(), "{}", span.name);
    };
    for (span, status) in [(from_tair, "200"), (from_memory, "200"), (unknown, "404")] {
        assert_eq!(span.name, "GET /v1/customers/{id}");
        is(
            span,
            &[
                ("http.request.method", "GET"),
                ("http.response.status_code", status),
                ("http.route", "/v1/customers/{id}"),
            ],
        );
    }
    assert_eq!(unmatched.name, "GET");
    is(unmatched, &[("http.request.method", "GET"), ("http.response.status_code", "404")]);
    for span in &requests {
        let parent = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", true);
        assert_eq!((&*span.trace, &*span.parent, span.is_parent_remote), parent, "{span:?}");
        assert!(span.resource["service.name"] == "shop" && span.resource["zone"] == "a b", "{span:?}");
    }

    // The tiers, and the requests to the stores below them.
    let [tair] = children(&spans, from_tair)[..] else { panic!("{spans:?}") };
    is(tair, &[("larder.tier", "tair"), ("larder.outcome", "hit")]);
    let [round_trip] = children(&spans, tair)[..] else { panic!("{spans:?}") };
    is(
        round_trip,
        &[
            ("db.system.name", "redis"),
            ("db.operation.name", "HMGET"),
            ("server.address", "127.0.0.1"),
            ("server.port", &port),
        ],
    );
    assert_eq!((round_trip.kind, &*round_trip.name), (3, "HMGET"));
    assert!(tair.nanos.start <= round_trip.nanos.start && round_trip.nanos.end <= from_tair.nanos.end);
    let [memory] = children(&spans, from_memory)[..] else { panic!("{spans:?}") };
    is(memory, &[("larder.tier", "memory"), ("larder.outcome", "hit")]);
    let [missed, snapshot] = children(&spans, unknown)[..] else { panic!("{spans:?}") };
    is(missed, &[("larder.tier", "tair"), ("larder.outcome", "miss")]);
    is(snapshot, &[("larder.tier", "snapshot"), ("larder.outcome", "miss")]);
    let reads = children(&spans, snapshot);
    assert!(!reads.is_empty());
    for read in reads {
        assert_eq!((read.kind, &*read.name), (3, "lake get_range"));
        assert!(read.attributes["larder.lake.bytes"].parse::<u64>().unwrap() > 0, "{read:?}");
    }

    // No span has personal data or a secret; the collector got the header.
    let shown = format!("{spans:?}");
    for secret in ["loyal", "nobody", "lrd_", "s3cret", "\"all\""] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
    assert!(collector.headers().iter().all(|headers| headers["authorization"] == "Bearer s3cret"));

    // The access log has the caller's trace, recorded or not.
    let traces = logged_traces(&log, "trace_id");
    let of = |id: &str| traces.iter().filter(|trace| **trace == id).count();
    assert_eq!(of("4bf92f3577b34da6a3ce929d0e0e4736"), 4, "{traces:?}");
    assert!(of("1111111111111111111111111111cafe") > 0, "{traces:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_of_exports_and_comparisons_are_below_their_requests() {
    let collector = Collector::start().await;
    let scene = Scene::start("", |command| collector.collects(command)).await;
    scene.shop.raw("transactions/more.csv", MORE);
    let first = read_current(&scene.shop.lake()).await.unwrap().unwrap().snapshot;
    let second = scene.shop.build().await.manifest.id;
    for path in ["/v1/segments/prospect/export".to_owned(), format!("/v1/migration?from={first}&to={second}")]
    {
        let (status, body) = scene.get(&path, SAMPLED).await;
        assert_eq!(status, 200, "{path}: {body}");
    }
    scene.stop();
    let spans = collector.spans();
    for route in ["GET /v1/segments/{name}/export", "GET /v1/migration"] {
        let request = spans.iter().find(|span| span.name == route).unwrap();
        let reads = children(&spans, request).into_iter().filter(|span| span.name == "lake get_range");
        assert!(reads.count() > 0, "{route}: {spans:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_of_the_caller_is_logged_while_traces_are_off() {
    let scene = Scene::start("[log]\nformat = \"ecs\"\n", |command| command).await;
    for parent in ["", SAMPLED, "00-malformed"] {
        scene.get("/v1/customers/loyal", parent).await;
    }
    assert_eq!(logged_traces(&scene.stop(), "trace.id"), ["4bf92f3577b34da6a3ce929d0e0e4736"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sampler_decides_which_requests_are_recorded() {
    // Spans that are expected of a request without a parent, with a sampled one, and with an unsampled one.
    for (sampler, argument, expected) in [
        ("always_on", "", [4, 4, 4]),
        ("always_off", "", [0, 0, 0]),
        ("parentbased_always_on", "", [4, 4, 0]),
        ("parentbased_traceidratio", "0", [0, 4, 0]),
    ] {
        let collector = Collector::start().await;
        let scene = Scene::start("[log]\nformat = \"json\"\n", |command| {
            let mut command = collector.collects(command);
            command.env("OTEL_TRACES_SAMPLER", sampler).env("OTEL_TRACES_SAMPLER_ARG", argument);
            command
        })
        .await;
        for parent in ["", SAMPLED, UNSAMPLED] {
            for _ in 0..4 {
                assert_eq!(scene.get("/v1/segments", parent).await.0, 200);
            }
        }
        // Probes are never recorded.
        for probe in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(scene.get(probe, SAMPLED).await.0, 200);
        }
        let log = scene.stop();
        let spans: Vec<_> = collector.spans().into_iter().filter(|span| span.kind == 2).collect();
        let with_trace = |id: &str| spans.iter().filter(|span| span.trace.ends_with(id)).count();
        let (sampled, unsampled) = (with_trace("4736"), with_trace("cafe"));
        assert_eq!([spans.len() - sampled - unsampled, sampled, unsampled], expected, "{sampler}");
        // Own traces are different, and the log names those that are recorded.
        let own: BTreeSet<&str> =
            spans.iter().filter(|span| span.parent.is_empty()).map(|span| &*span.trace).collect();
        assert_eq!(own.len(), expected[0], "{sampler}");
        let logged: BTreeSet<&str> = logged_traces(&log, "trace_id").into_iter().collect();
        assert!(own.is_subset(&logged), "{own:?} {logged:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_while_the_collector_fails() {
    // One collector refuses connections, the other accepts them and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = [free_port(), silent.local_addr().unwrap().port()];
    for (port, outcome) in ports.into_iter().zip(["failed", "dropped"]) {
        let scene = Scene::start("[log]\nformat = \"json\"\n", |mut command| {
            command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://127.0.0.1:{port}/in"));
            command.env("OTEL_BSP_SCHEDULE_DELAY", "10").env("OTEL_BSP_MAX_QUEUE_SIZE", "4");
            // No batch is sent twice.
            command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "500").env("OTEL_BSP_EXPORT_TIMEOUT", "1");
            command
        })
        .await;
        let metric = format!("larder_trace_spans_total{{outcome=\"{outcome}\"}}");
        let begun = Instant::now();
        let lost = || async {
            let answer = scene.get("/v1/customers/loyal", SAMPLED).await;
            assert_eq!(answer.0, 200);
            scene.metric(&metric).await
        };
        eventually(lost, |lost| *lost > 0).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        // The end of the process is not kept up either.
        let begun = Instant::now();
        let log = scene.stop();
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        let warnings: Vec<_> = log.iter().filter(|line| line["level"] == "WARN").collect();
        let [warning] = warnings[..] else { panic!("{warnings:?}") };
        assert!(warning["message"].as_str().unwrap().contains("traces"), "{warning}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_may_speak_https_with_a_certificate_that_the_system_trusts() {
    let (collector, certificate) = Collector::start_tls().await;
    let shop = corners_with("");
    let id = shop.build().await.manifest.id;
    let publish = |trusted: Option<&str>| {
        let mut command = collector.collects(shop.command(&["publish", id.as_str()]));
        command.env("OTEL_BSP_EXPORT_TIMEOUT", "1");
        if let Some(trusted) = trusted {
            let file = shop.path().join("trusted.pem");
            fs::write(&file, trusted).unwrap();
            command.env("SSL_CERT_FILE", file);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let log = publish(None);
    assert!(log.contains("cannot send traces") && log.contains("certificate"), "{log}");
    assert!(collector.spans().is_empty());
    publish(Some(&certificate));
    let names: BTreeSet<String> = collector.spans().into_iter().map(|span| span.name).collect();
    assert!(names.contains("publish") && names.contains("publish: activate"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stages_of_a_build_and_of_its_publish_are_children_of_one_span() {
    let (collector, redis) = (Collector::start().await, Redis::start());
    let shop = corners_with(&format!("[tair]\nurl = \"{}\"\n", redis.url()));
    let output = collector.collects(shop.command(&["build"])).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let spans = collector.spans();
    let [build] = spans.iter().filter(|span| span.name == "build").collect::<Vec<_>>()[..] else {
        panic!("{spans:?}")
    };
    assert!(build.parent.is_empty() && build.kind == 1 && !build.has_failed, "{build:?}");
    assert!(spans.iter().all(|span| span.trace == build.trace), "{spans:?}");
    let stages = children(&spans, build);
    let names: Vec<&str> = stages.iter().map(|span| &*span.name).collect();
    for stage in ["raw", "staging", "view rfm", "model churn", "rows", "statistics"] {
        assert!(names.contains(&stage), "{stage} is not in {names:?}");
    }
    for stage in ["lease", "plan", "rows", "lists", "activate", "clean up"] {
        assert!(names.contains(&&*format!("publish: {stage}")), "{stage} is not in {names:?}");
    }
    for stage in &stages {
        assert!(build.nanos.start <= stage.nanos.start && stage.nanos.end <= build.nanos.end, "{stage:?}");
    }

    // A failure is marked, and its spans are sent too.
    fs::remove_dir_all(shop.path().join("lake/raw")).unwrap();
    let output = collector.collects(shop.command(&["build"])).output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    let failed: Vec<_> = collector.spans().into_iter().filter(|span| span.has_failed).collect();
    assert!(failed.iter().any(|span| span.name == "build"), "{failed:?}");
}
