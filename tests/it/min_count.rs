//! `[privacy] min_count`: counts of few customers are withheld from callers without the scope `pii`.

use larder::config::Scope;
use serde_json::{Value, json};

use crate::support::{
    callers::{Caller, key, keys},
    shop::{Answer, Service, corners_with},
};

const CALLERS: &[Caller<'_>] =
    &[("features", &[Scope::Features]), ("reader", &[Scope::Features, Scope::Pii])];

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
