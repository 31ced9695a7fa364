//! Snapshots of earlier formats stay readable: a committed snapshot gives the responses of the version that
//! built the snapshot.
//!
//! `tests/fixtures/snapshot-format-1` and `-2` are folder lakes without raw data. Larder 0.1.0 (commits
//! c947040 and ee9a6de) built the snapshots with `larder build` from a hundred generated transactions of ten
//! customers, a file of customer attributes with a personal column, a view with a personal column, and a
//! named audience. The view of format 2 also counts days. `responses.json` holds responses of the same
//! version. Never write these files again: they stand for the lakes of all installations with their format.
//! A new format gets a fixture of its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use crate::support::{
    program::Program,
    shop::{Shop, eventually},
};

/// A request and its expected response.
#[derive(Deserialize)]
struct Case {
    method: String,
    path: String,
    body: Option<Value>,
    status: u16,
    response: Value,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn fixture(format: u32) -> PathBuf {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    fixtures.join(format!("snapshot-format-{format}"))
}

/// Returns a shop without Tair whose lake is a copy of the fixture of `format`.
fn shop(format: u32) -> Shop {
    let shop = Shop::new("");
    copy(&fixture(format).join("lake"), &shop.path().join("lake"));
    shop
}

/// Checks that `actual` has all values of `expected`; objects may have further fields, as `/v1` may get.
fn assert_contains(actual: &Value, expected: &Value, at: &str) {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            for (name, value) in expected {
                let field = actual.get(name).unwrap_or_else(|| panic!("{at}.{name} is missing"));
                assert_contains(field, value, &format!("{at}.{name}"));
            }
        }
        (Value::Array(actual), Value::Array(expected)) => {
            assert_eq!(actual.len(), expected.len(), "{at} has another length");
            for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
                assert_contains(actual, expected, &format!("{at}[{index}]"));
            }
        }
        _ => assert_eq!(actual, expected, "{at}"),
    }
}

/// Checks that the snapshot of `format` gives the recorded responses.
async fn assert_served_as_when_built(format: u32) {
    let shop = shop(format);
    let program = Program::start(shop.command(&["serve", "--listen", "127.0.0.1:0"]));
    let client = reqwest::Client::new();
    let cases: Vec<Case> =
        serde_json::from_slice(&fs::read(fixture(format).join("responses.json")).unwrap()).unwrap();
    assert!(cases.len() >= 13, "{}", cases.len());
    for case in cases {
        let method = reqwest::Method::from_bytes(case.method.as_bytes()).unwrap();
        let mut request = client.request(method, format!("{}{}", program.url, case.path));
        if let Some(body) = &case.body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), case.status, "{}", case.path);
        assert_contains(&response.json().await.unwrap(), &case.response, &case.path);
    }
}

#[tokio::test]
async fn snapshot_of_format_1_is_served_as_when_it_was_built() {
    assert_served_as_when_built(1).await;
}

#[tokio::test]
async fn snapshot_of_format_2_is_served_as_when_it_was_built() {
    assert_served_as_when_built(2).await;
}

#[test]
fn the_current_format_has_a_fixture() {
    assert!(fixture(larder::snapshot::FORMAT).join("responses.json").exists());
}

#[tokio::test]
async fn snapshot_of_a_newer_format_is_refused_by_name() {
    let shop = shop(1);
    let id = "20250604T100000Z-36e4bb00";
    let manifest = shop.path().join(format!("lake/snapshots/{id}/manifest.json"));
    let text = fs::read_to_string(&manifest).unwrap();
    let newer = larder::snapshot::FORMAT + 1;
    fs::write(&manifest, text.replacen("\"format\": 1,", &format!("\"format\": {newer},"), 1)).unwrap();
    let refusal = format!("{id}/manifest.json has format {newer}, this version reads the formats 1 to");

    let evaluate = shop.larder(&["evaluate"]);
    let error = String::from_utf8_lossy(&evaluate.stderr).into_owned();
    assert!(!evaluate.status.success() && error.contains(&refusal), "{error}");

    let log = shop.path().join("log");
    let program = Program::serve(&shop, &log);
    let text =
        eventually(async || fs::read_to_string(&log).unwrap(), |text: &String| text.contains(&refusal));
    assert!(text.await.contains("ERROR"));
    let ready = reqwest::get(format!("{}/readyz", program.url)).await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
}

#[tokio::test]
async fn files_of_unknown_kinds_are_ignored_but_not_rewritten() {
    let shop = crate::support::shop::corners();
    let built = shop.build().await.manifest;
    let path = shop.path().join("lake/snapshots").join(built.id.as_str()).join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let files = manifest["files"].as_array_mut().unwrap();
    let mut file = files[0].clone();
    (file["kind"], file["path"]) = ("vectors".into(), "vectors/part-00000.bin".into());
    files.push(file);
    fs::write(&path, manifest.to_string()).unwrap();
    shop.publish(&built.id).await;
    let service = shop.serve().await;
    assert_eq!(service.get("/v1/customers/loyal").await.status, 200);
    let output = shop.larder(&["forget", "loyal"]);
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("vectors/part-00000.bin is of a kind that this version does not know"), "{error}");
    // The customer is on the erasure list all the same.
    eventually(|| service.get("/v1/customers/loyal"), |answer| answer.status == 404).await;
}
