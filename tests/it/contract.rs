//! The OpenAPI document against the service: schemathesis sends valid and invalid requests to every operation
//! and compares each response with the document.
//!
//! For a longer run: `CASES=10000 cargo test --test it -- contract --nocapture` sends at least so many
//! requests to each service, with another seed each time.

use std::process::Command;

use crate::support::{callers, python, shop::Service};

/// Runs schemathesis against `service`; `keys` says whether the service has API keys.
fn schemathesis(service: &Service, keys: bool, arguments: &[&str]) {
    let mut command = Command::new(python::installed("contract").join("schemathesis"));
    command
        .arg("--config-file")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract/schemathesis.toml"));
    command.args([
        "run",
        &format!("{}/openapi.json", service.url),
        "--no-color",
        "--generation-database=none",
    ]);
    // `GET /v1/customers/batch` is documented as the read of a customer named `batch`.
    command.args(["--request-timeout=20", "--warnings=off"]).args(arguments);
    let without = if keys { "allow_header_conformance" } else { "allow_header_conformance,ignored_auth" };
    command.args(["--exclude-checks", without]);
    let folder = tempfile::tempdir().unwrap();
    command.current_dir(folder.path()).env("HOME", folder.path());
    let cases: Option<usize> =
        std::env::var("CASES").ok().map(|text| text.parse().expect("CASES is a number"));
    match cases {
        // Examples per operation. A third of the operations have few different requests.
        Some(cases) => {
            command.args([&format!("--max-examples={}", cases.div_ceil(15)), "--continue-on-failure"])
        }
        None => command.args(["--max-examples=5", "--seed=1"]),
    };
    command.arg("--phases=examples,coverage,fuzzing");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    let sent = text.lines().find_map(|line| line.trim().split_once(" generated")?.0.parse::<usize>().ok());
    assert!(sent.unwrap() >= cases.unwrap_or(500), "{sent:?} requests were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_match_the_openapi_document() {
    let service = callers::shop("").open().await;
    schemathesis(&service, false, &[]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn responses_match_the_openapi_document_with_keys() {
    let service = callers::shop(&callers::keys(&[("all", &larder::config::Scope::ALL)])).open().await;
    let header = format!("Authorization: Bearer {}", callers::key("all"));
    schemathesis(&service, true, &["--header", &header]);
}
