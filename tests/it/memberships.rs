//! Segments of a customer: from every tier, in customer reads and batches, for Feast, in expressions, and
//! without those that a caller may not see.

use std::fs;

use larder::config::{ColumnRef, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    callers::{Caller, key, keys},
    redis::Redis,
    shop::{Answer, Service, Shop, corners, corners_with, eventually},
};

const AUDIENCES: &str = "\
[audiences.win_back]
where = \"rfm.monetary >= 20\"
priority = 2
[audiences.best]
where = \"segment:champions\"
priority = 1
[audiences.mailable]
where = \"profile.email is not null\"
[audiences.heirs]
where = \"segment:mailable and rfm.monetary > 0\"
";

const CALLERS: &[Caller<'_>] =
    &[("features", &[Scope::Features, Scope::Export]), ("reader", &[Scope::Features, Scope::Pii])];

async fn get(service: &Service, path: &str, caller: &str) -> Answer {
    let request = service.client.request(Method::GET, format!("{}{path}", service.url));
    service.send(request.bearer_auth(key(caller))).await
}

async fn segments(service: &Service, id: &str) -> Value {
    let answer = service.get(&format!("/v1/customers/{id}/segments")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// Returns the segments of each customer by the lists of members.
async fn listed(service: &Service, id: &str) -> Vec<String> {
    let all = service.get("/v1/segments").await.json();
    let mut found = Vec::new();
    for segment in all["segments"].as_array().unwrap() {
        let name = segment["name"].as_str().unwrap();
        let members = service.get(&format!("/v1/segments/{name}/customers?limit=1000")).await.json();
        if members["customers"].as_array().unwrap().iter().any(|member| member["customer_id"] == id) {
            found.push(name.to_owned());
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn customer_has_the_segments_whose_lists_have_the_customer() {
    let redis = Redis::start();
    let tair = format!("{AUDIENCES}[tair]\nurl = \"{}\"\n[serving]\nmemory = 0\n", redis.url());
    for (toml, tier) in [(AUDIENCES, "snapshot"), (&tair, "tair")] {
        let service = corners_with(toml).open().await;
        for id in ["loyal", "17850", "tie-a", "prospect", "returner", "batch"] {
            let answer = eventually(|| segments(&service, id), |answer| answer["tier"] == tier).await;
            assert_eq!(answer["segments"], json!(listed(&service, id).await), "{id} {tier}");
            assert!(answer["snapshot"].is_string() && answer["as_of"].is_string(), "{answer}");
        }
    }
    let service = corners_with(AUDIENCES).open().await;
    let loyal = segments(&service, "loyal").await;
    let names: Vec<&str> =
        loyal["segments"].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
    // A segment of each kind. The audience with the first priority takes the customer.
    assert!(
        names.contains(&"champions") && names.contains(&"best") && !names.contains(&"win_back"),
        "{loyal}"
    );
    assert!(names.iter().any(|name| name.starts_with("churn_")), "{loyal}");
    assert_eq!(segments(&service, "loyal").await["tier"], "memory");
    let asked = service.get("/v1/customers/loyal/segments?in=win_back,best,best").await.json();
    assert_eq!(asked["in"], json!({"best": true, "win_back": false}));
    assert_eq!(asked.get("segments"), None);
    for (path, status, kind) in [
        ("/v1/customers/loyal/segments?in=best,bset", 404, "segment-not-found"),
        ("/v1/customers/nobody/segments", 404, "customer-not-found"),
        ("/v1/customers/%20/segments", 400, "bad-customer-id"),
        ("/v1/customers/loyal/segments?of=x", 400, "bad-parameter"),
        ("/v1/customers/loyal?segments=yes", 400, "bad-parameter"),
    ] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{path}: {}", answer.text);
    }
    let etag = service.get("/v1/customers/loyal/segments").await.header("etag").to_owned();
    let again = service.client.get(format!("{}/v1/customers/loyal/segments", service.url));
    assert_eq!(service.send(again.header("if-none-match", etag)).await.status, 304);
}

#[tokio::test]
async fn customer_reads_and_batches_have_segments_only_on_request() {
    let service = corners_with(AUDIENCES).open().await;
    let expected = segments(&service, "loyal").await["segments"].clone();
    for path in ["/v1/customers/loyal", "/v1/customers/loyal?segments=false"] {
        let plain = service.get(path).await.json();
        assert_eq!((plain.get("segments"), plain["views"].get("segments")), (None, None), "{plain}");
    }
    for (query, views) in [("segments=true", 6), ("views=rfm&segments=true", 1)] {
        let answer = service.get(&format!("/v1/customers/loyal?{query}")).await.json();
        assert_eq!(answer["segments"], expected, "{answer}");
        assert_eq!(answer["views"].as_object().unwrap().len(), views, "{answer}");
    }
    let view = service.get("/v1/customers/loyal?views=segments").await.json();
    let names = view["views"]["segments"]["names"].as_array().unwrap();
    let personal = view["views"]["segments"]["personal_names"].as_array().unwrap();
    assert_eq!(names.len() + personal.len(), expected.as_array().unwrap().len(), "{view}");
    let body = json!({"ids": ["loyal", "nobody"], "features": ["rfm.segment"], "segments": true});
    let batch = service.post("/v1/customers/batch", body.to_string()).await.json();
    assert_eq!(batch["results"][0]["segments"], expected, "{batch}");
    assert_eq!(batch["results"][0]["views"], json!({"rfm": {"segment": "champions"}}));
    assert_eq!(batch["results"][1], json!({"customer_id": "nobody", "found": false}));

    let feast = json!({"entities": {"customer_id": ["loyal"]}, "features": ["segments:names"]});
    let feast = service.post("/get-online-features", feast.to_string()).await.json();
    assert_eq!(feast["results"][1]["values"][0], json!(names), "{feast}");
    let history = service.get("/v1/customers/loyal/history?features=segments.names").await.json();
    assert_eq!(history["history"][0]["views"]["segments"]["names"], json!(names), "{history}");
    let export = service.get("/v1/segments/best/export?columns=customer_id,segments.names").await;
    assert!(export.text.contains("champions"), "{}", export.text);
    let parquet = service.get("/v1/segments/best/export?format=parquet&columns=segments").await;
    assert_eq!(parquet.status, 200);
}

#[tokio::test]
async fn audiences_over_personal_features_need_pii() {
    let service = corners_with(&format!("{AUDIENCES}{}", keys(CALLERS))).open().await;
    let whole = get(&service, "/v1/customers/17850/segments", "reader").await;
    let names = whole.json()["segments"].as_array().unwrap().clone();
    assert!(names.contains(&json!("heirs")) && names.contains(&json!("mailable")), "{}", whole.text);
    assert_eq!((whole.header("cache-control"), whole.json().get("masked")), ("no-store", None));
    let masked = get(&service, "/v1/customers/17850/segments", "features").await.json();
    let shown: Vec<Value> =
        names.into_iter().filter(|name| !["heirs", "mailable"].contains(&name.as_str().unwrap())).collect();
    assert_eq!(masked["segments"], json!(shown));
    assert_eq!(masked["masked"], json!(["segments.personal_names"]));
    let read = get(&service, "/v1/customers/17850?segments=true&views=rfm", "features").await.json();
    assert_eq!(
        (&read["segments"], &read["masked"]),
        (&json!(shown), &json!(["segments.personal_names"])),
        "{read}"
    );
    let plain = get(&service, "/v1/customers/17850", "features").await.json();
    assert_eq!(plain["masked"], json!(["profile.email"]));
    let view = get(&service, "/v1/customers/17850?views=segments", "features").await.json();
    assert_eq!(view["views"]["segments"]["personal_names"], Value::Null);
    for path in ["?in=heirs", "?in=win_back,mailable"] {
        let path = format!("/v1/customers/17850/segments{path}");
        assert_eq!(get(&service, &path, "features").await.problem(), "forbidden", "{path}");
        let asked = get(&service, &path, "reader").await;
        assert_eq!((asked.status, asked.header("cache-control")), (200, "no-store"));
    }
    let asked = get(&service, "/v1/customers/17850/segments?in=win_back", "features").await.json();
    assert_eq!(asked["in"], json!({"win_back": true}));
}

#[tokio::test]
async fn feature_declared_personal_later_hides_its_audiences_in_older_snapshots() {
    let mut shop =
        corners_with(&format!("[audiences.grown]\nwhere = \"profile.age > 30\"\n{}", keys(CALLERS)));
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    let path = "/v1/customers/17850/segments";
    let grown = json!("grown");
    let has = |answer: &Answer| answer.json()["segments"].as_array().unwrap().contains(&grown);
    assert!(has(&get(&service, path, "features").await));
    shop.config.views.personal = vec![ColumnRef::try_from("profile.age".to_owned()).unwrap()];
    let service = shop.serve().await;
    let masked = get(&service, path, "features").await;
    assert!(!has(&masked) && masked.json()["masked"] == json!(["segments.names"]), "{}", masked.text);
    let view = get(&service, "/v1/customers/17850?views=segments", "features").await.json();
    assert_eq!(view["views"]["segments"]["names"], Value::Null, "{view}");
    assert!(has(&get(&service, path, "reader").await));
}

#[tokio::test]
async fn erased_customer_leaves_no_segments() {
    let shop = corners_with(AUDIENCES);
    let service = shop.open().await;
    let before = service.get("/v1/customers/17850/segments").await;
    assert_eq!(before.status, 200);
    assert!(shop.larder(&["forget", "--keep-snapshots", "17850"]).status.success());
    for path in ["/v1/customers/17850/segments", "/v1/customers/17850/segments?in=best"] {
        eventually(|| service.get(path), |answer| answer.status == 404).await;
        let conditional = service.client.get(format!("{}{path}", service.url));
        let conditional = conditional.header("if-none-match", before.header("etag"));
        assert_eq!(service.send(conditional).await.status, 404, "{path}");
    }
    let body = json!({"ids": ["17850"], "segments": true}).to_string();
    let batch = service.post("/v1/customers/batch", body).await.json();
    assert_eq!(batch["results"][0], json!({"customer_id": "17850", "found": false}));
    // A rewritten snapshot still has the segments of the others.
    let loyal = segments(&service, "loyal").await["segments"].clone();
    assert!(shop.larder(&["forget", "tie-a"]).status.success());
    let rewritten = eventually(
        || service.get("/v1/segments/best"),
        |answer| answer.json()["snapshot"] != before.json()["snapshot"],
    );
    drop(rewritten.await);
    assert_eq!(segments(&service, "loyal").await["segments"], loyal);
}

/// Removes the view `segments` from the manifest of a snapshot, as builds of earlier versions wrote it.
fn remove_view(shop: &Shop, id: &str) {
    let file = shop.path().join(format!("lake/snapshots/{id}/manifest.json"));
    let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    manifest["views"].as_array_mut().unwrap().retain(|view| view["name"] != "segments");
    fs::write(&file, manifest.to_string()).unwrap();
}

#[tokio::test]
async fn snapshot_without_the_view_is_an_error_that_names_the_view() {
    let shop = corners();
    let built = shop.build().await;
    remove_view(&shop, built.manifest.id.as_str());
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    for path in ["/v1/customers/loyal/segments", "/v1/customers/loyal?segments=true"] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "unknown-view"), "{}", answer.text);
        assert!(answer.text.contains("`segments`"), "{}", answer.text);
    }
    assert_eq!(service.get("/v1/customers/loyal").await.json()["views"].as_object().unwrap().len(), 6);
}
