//! Limits of audience queries: what they keep in memory, and how much they compute.

use serde_json::{Value, json};

use crate::support::shop::{Answer, Service, corners};

async fn query(service: &Service, expression: &str) -> Answer {
    service.post("/v1/audiences", json!({"where": expression, "limit": 0}).to_string()).await
}

async fn cached_bytes(service: &Service) -> f64 {
    service.metric("larder_cache_bytes{cache=\"audiences\"}").await
}

/// Returns an expression with a list of `count` texts of 100 characters each, which `number` distinguishes.
fn list_of_texts(number: usize, count: usize) -> String {
    let texts: Vec<String> = (0..count).map(|at| format!("\"{:0>100}\"", format!("{number}-{at}"))).collect();
    format!("profile.country in ({})", texts.join(","))
}

#[tokio::test]
async fn cached_sets_weigh_their_keys() {
    let service = corners().open().await;
    assert_eq!(query(&service, &list_of_texts(0, 40)).await.status, 200);
    let before = cached_bytes(&service).await;
    for number in 1..=20 {
        assert_eq!(query(&service, &list_of_texts(number, 40)).await.status, 200);
    }
    let grown = cached_bytes(&service).await - before;
    assert!(grown >= 20.0 * 40.0 * 100.0, "20 sets with keys of 4 KB weigh {grown} bytes");
}

#[tokio::test]
async fn long_lists_are_not_cached_and_equal_lists_are_one_set() {
    let service = corners().open().await;
    assert_eq!(query(&service, "rfm.frequency in (1,2,3)").await.status, 200);
    let before = cached_bytes(&service).await;
    for same in ["rfm.frequency in (3,2,1)", "rfm.frequency in (1,1,2,3,3,2.0)"] {
        assert_eq!(query(&service, same).await.status, 200);
    }
    let numbers: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    let long = query(&service, &format!("rfm.frequency in ({})", numbers.join(","))).await.json();
    assert_eq!(long["total"], query(&service, "rfm.frequency is not null").await.json()["total"], "{long}");
    // The set of `is null` is new.
    assert!(cached_bytes(&service).await - before < 2_048.0);
    let answer = query(&service, &format!("rfm.frequency in ({},1000)", numbers.join(","))).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-expression"), "{}", answer.text);
    assert!(answer.text.contains("at most 1000 values"), "{}", answer.text);
}

#[tokio::test]
async fn conditions_and_hints_are_bounded() {
    let service = corners().open().await;
    let conditions = |count: usize| {
        let all: Vec<String> = (0..count).map(|at| format!("rfm.frequency>{at}")).collect();
        all.join(" or ")
    };
    assert_eq!(query(&service, &conditions(128)).await.status, 200);
    let answer = query(&service, &conditions(129)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-expression"), "{}", answer.text);
    // Each hint is a search among all values, so only the first texts get one.
    for expression in [
        list_of_texts(1, 70),
        (0..100).map(|at| format!("profile.country:c{at}")).collect::<Vec<_>>().join(" or "),
    ] {
        let answer = query(&service, &expression).await.json();
        let hints = answer["hints"].as_array().unwrap();
        let positions: Vec<&Value> = hints.iter().map(|hint| &hint["position"]).collect();
        assert_eq!(hints.len(), 5, "{answer}");
        assert!(positions.is_sorted_by_key(|position| position.as_u64()), "{answer}");
    }
}
