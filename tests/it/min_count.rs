//! `[privacy] min_count`: counts of few customers are withheld from callers without the scope `pii`.

use std::collections::BTreeMap;

use larder::config::Scope;
use serde_json::{Value, json};

use crate::support::{
    callers::{Caller, key, keys},
    shop::{Answer, Service, corners_with},
};

const CALLERS: &[Caller<'_>] = &[
    ("features", &[Scope::Features, Scope::Export, Scope::Admin]),
    ("reader", &[Scope::Features, Scope::Pii, Scope::Export, Scope::Admin]),
];

async fn query(service: &Service, caller: &str, body: &Value) -> Answer {
    let request = service.client.post(format!("{}/v1/audiences", service.url)).json(body);
    service.send(request.bearer_auth(key(caller))).await
}

#[tokio::test]
async fn small_counts_are_withheld_without_the_scope_pii() {
    let toml = format!("[privacy]\nmin_count = 4\n{}", keys(CALLERS));
    let service = corners_with(&toml).open().await;
    let small = json!({"where": "profile.country:France", "limit": 0});
    let answer = query(&service, "features", &small).await;
    assert_eq!((answer.status, answer.problem().as_str()), (403, "forbidden"), "{}", answer.text);
    assert!(answer.text.contains("min_count"), "{}", answer.text);
    let reader = query(&service, "reader", &small).await.json();
    assert!(reader["total"].as_u64().unwrap() < 4, "{reader}");

    let by_segment = json!({"where": "rfm.monetary is not null", "limit": 0,
        "breakdown": {"feature": "rfm.segment"}});
    let all = query(&service, "reader", &by_segment).await.json();
    let counts = |answer: &Value| {
        let values = answer["breakdown"]["values"].as_array().unwrap().clone();
        values.iter().map(|value| value["customers"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert!(counts(&all).iter().any(|count| *count < 4), "{all}");
    assert_eq!(all["breakdown"]["min_count"], Value::Null);
    let shown = query(&service, "features", &by_segment).await.json();
    assert!(counts(&shown).iter().all(|count| *count >= 4), "{shown}");
    assert_eq!((&shown["breakdown"]["min_count"], &shown["total"]), (&json!(4), &all["total"]));
    let other = shown["breakdown"]["other"]["customers"].as_u64().unwrap();
    assert!(other >= 4, "{shown}");
    assert_eq!(Some(counts(&shown).iter().sum::<u64>() + other), shown["total"].as_u64(), "{shown}");

    let buckets = json!({"where": "rfm.monetary is not null", "limit": 0,
        "breakdown": {"feature": "rfm.monetary", "buckets": 6}});
    let shown = query(&service, "features", &buckets).await.json();
    let ranges = shown["breakdown"]["buckets"].as_array().unwrap();
    assert!(ranges.iter().all(|range| range["customers"].as_u64().unwrap() >= 4), "{shown}");
}

async fn get(service: &Service, caller: &str, path: &str) -> Answer {
    service.send(service.client.get(format!("{}{path}", service.url)).bearer_auth(key(caller))).await
}

/// Collects the counts in an answer, as pairs of place and value.
fn numbers(json: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    const COUNTS: [&str; 7] = ["size", "size_a", "size_b", "customers", "total", "added", "dropped"];
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{path}/{name}");
                if COUNTS.contains(&name.as_str()) && !value.is_array() {
                    found.push((path, value.clone()));
                } else {
                    numbers(value, &path, found);
                }
            }
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(at, value)| numbers(value, &format!("{path}/{at}"), found));
        }
        _ => {}
    }
}

/// A shop with small segments and two snapshots.
async fn small_segments() -> (Service, Vec<(String, u64)>) {
    let toml = format!(
        "[privacy]\nmin_count = 4\n[audiences.spenders]\nwhere = \"rfm.monetary >= 10\"\n\
         [audiences.french]\nwhere = \"profile.country:France\"\n{}",
        keys(CALLERS)
    );
    let shop = corners_with(&toml);
    shop.try_build(Some("2024-02-20T00:00:00Z")).await.unwrap();
    let service = shop.open().await;
    let segments = get(&service, "reader", "/v1/segments").await.json();
    let sizes: Vec<(String, u64)> = segments["segments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|segment| (segment["name"].as_str().unwrap().to_owned(), segment["size"].as_u64().unwrap()))
        .collect();
    assert!(sizes.iter().any(|(_, size)| (1..4).contains(size)), "{sizes:?}");
    (service, sizes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_counts_of_segments_are_withheld_everywhere() {
    let (service, sizes) = small_segments().await;
    let mut paths: Vec<String> =
        ["/v1/segments", "/v1/migration", "/v1/migration?kind=churn"].map(str::to_owned).into();
    for (name, _) in &sizes {
        paths.push(format!("/v1/segments/{name}"));
        paths.push(format!("/v1/segments/{name}/history"));
        paths.push(
            format!("/v1/overlap?segments=spenders,prospect,french,{name}")
                .replace("spenders,prospect,french,spenders", "spenders,prospect")
                .replace("french,prospect", "french")
                .replace("french,french", "french"),
        );
    }
    let (mut withheld, mut shown) = (0, 0);
    for path in &paths {
        let [all, some] = [get(&service, "reader", path).await, get(&service, "features", path).await];
        assert_eq!((all.status, some.status), (200, 200), "{path}: {} {}", all.text, some.text);
        let (all, some) = (all.json(), some.json());
        assert_eq!((&all["min_count"], &some["min_count"]), (&Value::Null, &json!(4)), "{path}");
        let (mut before, mut after) = (Vec::new(), Vec::new());
        numbers(&all, "", &mut before);
        numbers(&some, "", &mut after);
        assert_eq!(before.len(), after.len(), "{path}");
        for ((place, before), (same, after)) in before.iter().zip(&after) {
            assert_eq!(place, same);
            assert!(after.is_null() || before == after, "{path} {place}: {before} {after}");
            assert!(!(1..4).contains(&after.as_u64().unwrap_or(0)), "{path} {place}: {after}");
            let counted = if before == after { &mut shown } else { &mut withheld };
            *counted += 1;
        }
        // No number of a row or a column follows from the others and the sum, which is the size of a segment.
        for end in ["from", "to"] {
            let mut lines: BTreeMap<String, Vec<(u64, bool)>> = BTreeMap::new();
            let cells = |answer: &Value| answer["cells"].as_array().cloned().unwrap_or_default();
            for (all, some) in cells(&all).iter().zip(&cells(&some)) {
                let line = lines.entry(all[end].to_string()).or_default();
                line.push((all["customers"].as_u64().unwrap(), some["customers"].is_null()));
            }
            for (line, cells) in &lines {
                let hidden: u64 =
                    cells.iter().filter(|(_, is_hidden)| *is_hidden).map(|(count, _)| count).sum();
                let is_safe = !(1..4).contains(&hidden) || cells.iter().all(|(_, is_hidden)| *is_hidden);
                assert!(is_safe, "{path} {end} {line}: {cells:?}");
            }
        }
        for cell in some["cells"].as_array().into_iter().flatten() {
            assert_eq!(cell["customers"].is_null(), cell["revenue"].is_null(), "{cell}");
        }
        for pair in some["pairs"].as_array().into_iter().flatten() {
            assert!(!pair["customers"].is_null() || pair["jaccard"].is_null(), "{pair}");
        }
    }
    assert!(withheld > 20 && shown > 20, "{withheld} {shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_exports_and_manifests_of_few_customers_are_withheld() {
    let (service, sizes) = small_segments().await;
    for (name, size) in &sizes {
        let expected = if (1..4).contains(size) { 403 } else { 200 };
        for path in ["customers", "export"] {
            let path = format!("/v1/segments/{name}/{path}");
            assert_eq!(get(&service, "reader", &path).await.status, 200, "{path}");
            let answer = get(&service, "features", &path).await;
            assert_eq!(answer.status, expected, "{path}: {}", answer.text);
            assert!(expected == 200 || answer.text.contains("min_count"), "{}", answer.text);
        }
    }
    for filter in ["", "?risk=high", "?min_value=10", "?segment=champions", "?min_value=1e9"] {
        for path in ["/v1/churn", "/v1/churn/export"] {
            let total = get(&service, "reader", &format!("/v1/churn{filter}")).await.json()["total"].as_u64();
            let expected = if (1..4).contains(&total.unwrap()) { 403 } else { 200 };
            assert_eq!(
                get(&service, "features", &format!("{path}{filter}")).await.status,
                expected,
                "{path}{filter}"
            );
        }
    }
    // A limit does not make a list small, and an audience of nobody is refused like one of few.
    for (expression, limit, expected) in [
        ("rfm.monetary > 0", json!(2), 200),
        ("profile.country:France", json!(null), 403),
        ("rfm.monetary > 1e9", json!(5), 403),
    ] {
        let body = json!({"where": expression, "limit": limit});
        for (caller, expected) in [("features", expected), ("reader", 200)] {
            let request = service.client.post(format!("{}/v1/audiences/export", service.url)).json(&body);
            let answer = service.send(request.bearer_auth(key(caller))).await;
            assert_eq!(answer.status, expected, "{caller} {expression}: {}", answer.text);
        }
    }
    let segments = get(&service, "reader", "/v1/segments").await.json();
    let snapshot = segments["snapshot"].as_str().unwrap();
    let manifest = get(&service, "features", &format!("/v1/snapshots/{snapshot}")).await.json();
    for segment in manifest["segments"].as_array().unwrap() {
        assert!(!(1..4).contains(&segment["size"].as_u64().unwrap()), "{segment}");
    }
}
