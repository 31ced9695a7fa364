//! Statistics of views: values, personal features, small numbers, erased customers and earlier snapshots.

use std::fs;

use larder::config::Scope;
use serde_json::{Value, json};

use crate::support::{
    callers::{Caller, key, keys},
    shop::{Answer, Service, corners, corners_with, eventually},
};

const CALLERS: &[Caller<'_>] =
    &[("features", &[Scope::Features]), ("reader", &[Scope::Features, Scope::Pii])];

async fn get(service: &Service, caller: &str, view: &str) -> Answer {
    let request = service.client.get(format!("{}/v1/views/{view}/statistics", service.url));
    service.send(request.bearer_auth(key(caller))).await
}

/// Returns the values of a feature of all customers, without nulls.
async fn values(service: &Service, view: &str, feature: &str) -> (u64, Vec<Value>) {
    let body =
        json!({"where": "rfm.segment is not null or rfm.segment is null", "limit": 1000, "views": [view]});
    let answer = service.post("/v1/audiences", body.to_string()).await.json();
    let customers = answer["customers"].as_array().unwrap();
    let values = customers.iter().map(|one| one["views"][view][feature].clone());
    (customers.len() as u64, values.filter(|value| !value.is_null()).collect())
}

async fn check(service: &Service, view: &str) {
    let answer = service.get(&format!("/v1/views/{view}/statistics")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    for (feature, statistics) in answer["features"].as_object().unwrap() {
        let (customers, found) = values(service, view, feature).await;
        let name = format!("{view}.{feature}: {statistics}");
        assert_eq!(answer["customers"], json!(customers));
        assert_eq!(statistics["null"], json!(customers - found.len() as u64), "{name}");
        if found.iter().any(Value::is_array) {
            assert_eq!(statistics["distinct"], Value::Null);
            continue;
        }
        let mut texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        texts.sort();
        let count = |text: &str| texts.iter().filter(|other| *other == text).count();
        let distinct = {
            let mut distinct = texts.clone();
            distinct.dedup();
            distinct.len()
        };
        assert_eq!(statistics["distinct"], json!(distinct), "{name}");
        for top in statistics["top"].as_array().into_iter().flatten() {
            assert_eq!(top["customers"], json!(count(&top["value"].to_string())), "{name}");
        }
        let Some(quantiles) = statistics["quantiles"].as_array() else { continue };
        let mut numbers: Vec<f64> = found.iter().filter_map(Value::as_f64).collect();
        numbers.sort_by(f64::total_cmp);
        for quantile in quantiles.iter().filter(|_| !numbers.is_empty()) {
            let (share, value) = (quantile["share"].as_f64().unwrap(), quantile["value"].as_f64().unwrap());
            #[expect(clippy::cast_precision_loss, reason = "a share of few customers")]
            let share_of = |count: usize| count as f64 / numbers.len() as f64;
            assert!(share_of(numbers.iter().filter(|number| **number <= value).count()) >= share, "{name}");
            assert!(share_of(numbers.iter().filter(|number| **number < value).count()) <= share, "{name}");
        }
        let histogram = statistics["histogram"].as_array().unwrap();
        let total: u64 = histogram.iter().map(|range| range["customers"].as_u64().unwrap()).sum();
        assert_eq!(total, found.len() as u64, "{name}");
    }
}

#[tokio::test]
async fn statistics_describe_all_customers() {
    let service = corners().open().await;
    for view in ["profile", "rfm", "behavior", "churn", "segments"] {
        check(&service, view).await;
    }
    let answer = service.get("/v1/views/rfm/statistics").await;
    let segments = answer.json()["features"]["segment"]["top"].clone();
    assert!(segments.as_array().unwrap().iter().any(|top| top["value"] == "champions"), "{segments}");
    let again = service.client.get(format!("{}/v1/views/rfm/statistics", service.url));
    assert_eq!(service.send(again.header("if-none-match", answer.header("etag"))).await.status, 304);
    let unknown = service.get("/v1/views/nope/statistics").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (400, "unknown-view"));
}

#[tokio::test]
async fn personal_features_have_statistics_only_with_pii() {
    let service = corners_with(&keys(CALLERS)).open().await;
    let whole = get(&service, "reader", "profile").await;
    assert!(whole.text.contains("new@example.com") && whole.header("cache-control") == "no-store");
    let masked = get(&service, "features", "profile").await;
    assert!(!masked.text.contains("@example.com"), "{}", masked.text);
    assert_eq!(masked.json()["masked"], json!(["profile.email"]));
    assert!(masked.json()["features"].get("age").is_some());
}

#[tokio::test]
async fn small_numbers_are_withheld_by_min_count() {
    let service = corners_with(&format!("[privacy]\nmin_count = 4\n{}", keys(CALLERS))).open().await;
    for view in ["profile", "rfm", "behavior", "churn"] {
        let [all, some] =
            [get(&service, "reader", view).await.json(), get(&service, "features", view).await.json()];
        assert_eq!(some["min_count"], 4);
        for (feature, statistics) in some["features"].as_object().unwrap() {
            for list in ["top", "histogram"] {
                for one in statistics[list].as_array().into_iter().flatten() {
                    assert!(
                        !(1..4).contains(&one["customers"].as_u64().unwrap()),
                        "{view}.{feature}: {statistics}"
                    );
                }
            }
            assert!(
                !(1..4).contains(&statistics["null"].as_u64().unwrap_or(0)),
                "{view}.{feature}: {statistics}"
            );
            let of_all = &all["features"][feature];
            let valued = all["customers"].as_f64().unwrap() - of_all["null"].as_f64().unwrap();
            let inner = |quantile: &&Value| {
                let below = quantile["share"].as_f64().unwrap() * valued;
                below >= 4.0 && valued - below >= 4.0
            };
            let inner: Vec<&Value> =
                of_all["quantiles"].as_array().into_iter().flatten().filter(inner).collect();
            let shown: Vec<&Value> = statistics["quantiles"].as_array().into_iter().flatten().collect();
            assert!(shown.is_empty() || shown == inner, "{view}.{feature}: {statistics}");
        }
    }
}

#[tokio::test]
async fn erased_customers_are_in_no_statistics() {
    let shop = corners();
    let service = shop.open().await;
    let greatest = |answer: &Answer| answer.json()["features"]["monetary"]["quantiles"][10]["value"].clone();
    let before = service.get("/v1/views/rfm/statistics").await;
    // `loyal` has spent most.
    assert_eq!(greatest(&before), json!(74.5));
    for arguments in [&["forget", "--keep-snapshots", "loyal"][..], &["forget", "tie-b"]] {
        assert!(shop.larder(arguments).status.success());
        let count = before.json()["customers"].as_u64().unwrap() - if arguments.len() == 3 { 1 } else { 2 };
        let after = eventually(
            || service.get("/v1/views/rfm/statistics"),
            |answer| answer.status == 200 && answer.json()["customers"] == count,
        );
        assert_ne!(greatest(&after.await), json!(74.5));
        check(&service, "rfm").await;
    }
}

#[tokio::test]
async fn snapshot_without_statistics_is_named() {
    let shop = corners();
    let built = shop.build().await;
    let file = shop.path().join(format!("lake/snapshots/{}/manifest.json", built.manifest.id));
    let mut manifest: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert!(manifest.as_object_mut().unwrap().remove("statistics").is_some());
    fs::write(&file, manifest.to_string()).unwrap();
    shop.publish(&built.manifest.id).await;
    let answer = shop.serve().await.get("/v1/views/rfm/statistics").await;
    assert_eq!((answer.status, answer.problem().as_str()), (404, "snapshot-not-found"));
    assert!(answer.text.contains(built.manifest.id.as_str()), "{}", answer.text);
}
