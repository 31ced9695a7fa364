//! A service has the metrics that rules and the dashboard name, and Prometheus scrapes the service and
//! evaluates them.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::{dashboard_queries, expressions, rules};
use crate::{
    deploy::file,
    support::{
        redis::{Redis, free_port},
        shop::{Service, Shop, corners_with, eventually},
    },
};

/// A time series that an expression selects.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Selector {
    metric: String,
    /// Label and value, for each value that an alternation lists.
    labels: Vec<(String, String)>,
}

/// Returns the selectors of metrics in an expression. Recorded series, and matchers with other patterns than
/// alternations, are left out.
fn selectors(expression: &str) -> Vec<Selector> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let word = rest[start..].split(|c: char| !is_name(c)).next().unwrap();
        let before = &rest[..start];
        rest = &rest[start + word.len()..];
        let is_metric = word.starts_with("larder_") || word.starts_with("process_");
        if !is_metric || word.contains(':') || before.ends_with('"') {
            continue;
        }
        let mut labels = Vec::new();
        if let Some(matchers) = rest.strip_prefix('{') {
            let matchers = braces(matchers);
            rest = &rest[matchers.len() + 2..];
            labels = matchers.split(", ").flat_map(matcher).collect();
        }
        found.push(Selector { metric: word.to_owned(), labels });
    }
    found
}

/// Returns the text before the brace that closes, where values may have braces.
fn braces(text: &str) -> &str {
    let mut quoted = false;
    let end = text.find(|c| {
        quoted ^= c == '"';
        c == '}' && !quoted
    });
    &text[..end.unwrap()]
}

/// Returns the label and the values that a matcher asks for.
fn matcher(matcher: &str) -> Vec<(String, String)> {
    let matcher = matcher.trim().trim_end_matches(',');
    let Some((label, value)) = matcher.split_once("=~").or_else(|| matcher.split_once('=')) else {
        return Vec::new();
    };
    let value = value.trim_matches('"');
    if label.ends_with('!')
        || ["job", "instance"].contains(&label)
        || value.contains(['.', '*', '+']) && label != "le"
    {
        return Vec::new();
    }
    value.split('|').map(|value| (label.to_owned(), value.to_owned())).collect()
}

/// Whether the text of `/metrics` has a series of `metric` with the label `label`, if any.
fn has(metrics: &str, metric: &str, label: Option<&(String, String)>) -> bool {
    metrics.lines().any(|line| {
        let of_metric = line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
        of_metric && label.is_none_or(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    })
}

/// Starts a service with Tair and asks for a little of everything.
async fn busy_service(redis: &Redis) -> (Shop, Service) {
    let mut shop = corners_with(&format!("[tair]\nurl = \"{}\"\n", redis.url()));
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    shop.config.http.anonymous = true;
    let service = shop.serve().await;
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.json()["tier"] == "tair").await;
    assert_eq!(service.post("/v1/audiences", r#"{"where": "rfm.frequency >= 1"}"#).await.status, 200);
    assert_eq!(service.get("/v1/segments/prospect/customers").await.status, 200);
    (shop, service)
}

/// Metrics of batch commands, which the service does not have.
fn is_of_command(metric: &str) -> bool {
    const OF_BUILDS: [&str; 3] = ["larder_build_lines", "larder_build_customers", "larder_build_rejected"];
    metric.starts_with("larder_batch_") || OF_BUILDS.contains(&metric)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_and_commands_have_every_metric_that_rules_and_dashboard_name() {
    let redis = Redis::start();
    let (shop, service) = busy_service(&redis).await;
    let of_service = service.get("/metrics").await.text;
    let path = shop.path().join("larder.prom");
    shop.larder(&["build", "--metrics-file", path.to_str().unwrap()]);
    let of_build = std::fs::read_to_string(&path).unwrap_or_default();
    let wanted: BTreeSet<Selector> = expressions().iter().flat_map(|text| selectors(text)).collect();
    assert!(wanted.len() > 60, "{wanted:?}");
    let mut missing = BTreeSet::new();
    for Selector { metric, labels } in &wanted {
        let metrics = if is_of_command(metric) { &of_build } else { &of_service };
        if !has(metrics, metric, None) {
            missing.insert(metric.clone());
        }
        for label in labels {
            if !has(metrics, metric, Some(label)) {
                missing.insert(format!("{metric}{{{}=\"{}\"}}", label.0, label.1));
            }
        }
    }
    assert!(missing.is_empty(), "missing: {missing:#?}");
}

/// A `prometheus` process; it is killed when dropped.
struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    /// Starts a server that scrapes `target` every second and evaluates the rules of this repository.
    fn start(folder: &Path, target: &str) -> Self {
        let rules = ["alerts.yml", "recording.yml"].map(|name| file(&format!("deploy/prometheus/{name}")));
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: {rules:?}\n\
             scrape_configs: [{{ job_name: larder, static_configs: [{{ targets: [\"{target}\"] }}] }}]\n"
        );
        let path = folder.join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        let port = free_port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(["--log.level=error"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("cannot run prometheus; install the Debian package prometheus");
        Self { child, url: format!("http://127.0.0.1:{port}/api/v1") }
    }

    /// Asks the API, or returns null while the server does not answer.
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = url::Url::parse_with_params(&format!("{}/{path}", self.url), parameters).unwrap();
        let Ok(response) = reqwest::get(url).await else { return Value::Null };
        let text = response.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_a_service_and_evaluates_all_rules() {
    let redis = Redis::start();
    let (_shop, service) = busy_service(&redis).await;
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path(), service.url.strip_prefix("http://").unwrap());
    let up = |answer: &Value| answer["data"]["result"][0]["value"][1] == "1";
    eventually(|| prometheus.ask("query", &[("query", "up")]), up).await;
    let all = rules("alerts.yml").len() + rules("recording.yml").len();
    let evaluated = |answer: &Value| {
        let groups = answer["data"]["groups"].as_array().into_iter().flatten();
        let rules: Vec<&Value> = groups.flat_map(|group| group["rules"].as_array().unwrap()).collect();
        for rule in &rules {
            assert!(rule["health"] != "err", "{rule}");
        }
        rules.len() == all && rules.iter().all(|rule| rule["health"] == "ok")
    };
    eventually(|| prometheus.ask("rules", &[]), evaluated).await;
    for query in dashboard_queries() {
        let answer = prometheus.ask("query", &[("query", &query)]).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
    }
    // Before the first scrape, `LarderDown` is pending.
    let alerts = prometheus.ask("query", &[("query", "ALERTS{alertstate=\"firing\"}")]).await;
    assert_eq!(alerts["data"]["result"], serde_json::json!([]));
}
