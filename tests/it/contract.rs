//! The OpenAPI document against the service: schemathesis sends valid and invalid requests to every operation
//! and compares each response with the document.
//!
//! For a longer run: `SECONDS=300 cargo test --test it -- contract --nocapture`.

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
    // Without `SECONDS`, a few examples per operation.
    match std::env::var("SECONDS") {
        Ok(seconds) => command.args(["--max-time", &seconds, "--continue-on-failure"]),
        Err(_) => command.args(["--max-examples=5", "--seed=1", "--phases=examples,coverage,fuzzing"]),
    };
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
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
