//! `/docs` and `/openapi.json`: stored compressed, with entity tags, and not served if switched off.

use std::io::Read;

use larder::config::Scope;

use crate::support::{
    callers::{keys, shop},
    shop::{MORE, Service, corners, corners_with, eventually},
};

const BUNDLE: &str = "/docs/swagger-ui-bundle.js";

struct Bytes {
    encoding: String,
    tag: String,
    cache_control: String,
    body: Vec<u8>,
}

async fn fetch(service: &Service, path: &str, encoding: &str) -> Bytes {
    let request = service.client.get(format!("{}{path}", service.url)).header("accept-encoding", encoding);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let header =
        |name: &str| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (encoding, tag, cache_control) =
        (header("content-encoding"), header("etag"), header("cache-control"));
    assert_eq!(header("vary"), "accept-encoding", "{path}");
    Bytes { encoding, tag, cache_control, body: response.bytes().await.unwrap().to_vec() }
}

async fn status_with_tag(service: &Service, path: &str, tag: &str) -> u16 {
    let request = service.client.get(format!("{}{path}", service.url)).header("if-none-match", tag);
    service.send(request).await.status
}

#[tokio::test]
async fn documentation_is_stored_compressed_with_entity_tags() {
    let service = corners().open().await;
    for path in [BUNDLE, "/docs/", "/openapi.json"] {
        let gzip = fetch(&service, path, "br, gzip").await;
        let plain = fetch(&service, path, "identity").await;
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&gzip.body[..]).read_to_end(&mut text).unwrap();
        assert_eq!((gzip.encoding.as_str(), plain.encoding.as_str()), ("gzip", ""), "{path}");
        assert!(text == plain.body, "{path}");
        // No other encoding is made on request.
        assert_eq!(fetch(&service, path, "zstd").await.encoding, "", "{path}");
        assert!(gzip.tag == plain.tag && gzip.tag.starts_with("W/\""), "{path}: {}", gzip.tag);
        let cache_control = if path == "/openapi.json" { "no-cache" } else { "public, max-age=3600" };
        assert_eq!(gzip.cache_control, cache_control, "{path}");
        assert_eq!(status_with_tag(&service, path, &gzip.tag).await, 304, "{path}");
        assert_eq!(status_with_tag(&service, path, "W/\"other\"").await, 200, "{path}");
    }
    assert_eq!(service.get("/docs/nothing.js").await.problem(), "path-not-found");
}

#[tokio::test]
async fn openapi_tag_changes_with_the_views_of_the_snapshot() {
    let shop = corners();
    let service = shop.open().await;
    let tag = fetch(&service, "/openapi.json", "gzip").await.tag;
    shop.raw("customers/more.jsonl", "{\"customer_id\": \"loyal\", \"newly\": 1}\n");
    shop.raw("transactions/more.csv", MORE);
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    eventually(|| fetch(&service, "/openapi.json", "gzip"), |document| document.tag != tag).await;
    assert!(service.get("/openapi.json").await.text.contains("newly"));
}

#[tokio::test]
async fn documentation_can_be_switched_off() {
    let service = corners_with("[http]\ndocs = false\n").open().await;
    for path in ["/docs", "/docs/", BUNDLE, "/openapi.json"] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (404, "path-not-found"), "{path}");
        assert!(!answer.text.contains("/docs lists"), "{}", answer.text);
    }
}

#[tokio::test]
async fn public_answers_of_a_service_with_keys_name_no_personal_features_and_no_snapshot() {
    let shop = shop(&keys(&[("all", &Scope::ALL)]));
    let service = shop.open().await;
    let document = service.get("/openapi.json").await;
    assert!(document.status == 200 && !document.text.contains("Personal:"), "{}", document.text);
    let ready = service.get("/readyz").await.json();
    let snapshot = &ready["tiers"]["snapshot"];
    assert!(ready["ready"] == true && snapshot["lake_answers"] == true, "{ready}");
    assert!(snapshot["snapshot"].is_null() && snapshot["publish"].is_null(), "{ready}");
    // Without keys, everybody who can ask may know.
    let service = corners().open().await;
    assert!(service.get("/openapi.json").await.text.contains("Personal:"));
    assert!(service.get("/readyz").await.json()["tiers"]["snapshot"]["snapshot"].is_string());
}
