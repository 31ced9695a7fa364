//! Audiences compared with all customers: means, medians, shares, order, and small numbers.

use std::fmt::Write as _;

use larder::config::Scope;
use serde_json::{Value, json};

use crate::support::{
    callers::{Caller, key, keys},
    lists::csv,
    shop::{Service, Shop},
};

const CALLERS: &[Caller<'_>] =
    &[("features", &[Scope::Features]), ("reader", &[Scope::Features, Scope::Pii])];

/// A shop with 120 customers, of whom every fourth is from Peru, and whose spending and age grow.
fn shop(toml: &str) -> Shop {
    let shop = Shop::new(&format!("[raw.customers]\npersonal = [\"age\"]\n{toml}"));
    let line = |at: usize| {
        format!("c{at:03},o{at},p{},1,{}.00,2024-03-{:02}T10:00:00Z", at % 7, at + 1, 1 + at % 28)
    };
    shop.raw("transactions/all.csv", csv(&(0..120).map(line).collect::<Vec<_>>()));
    let mut people = String::new();
    for at in 0..120 {
        let (country, vip) = (if at % 4 == 0 { "Peru" } else { "Chile" }, at >= 110);
        let person = json!({"customer_id": format!("c{at:03}"), "age": at, "land": country, "vip": vip,
            "town": format!("T{at}")});
        writeln!(people, "{person}").unwrap();
    }
    shop.raw("customers/people.jsonl", people);
    shop
}

async fn compare(service: &Service, caller: &str, expression: &str) -> (u16, Value) {
    let body = json!({"where": expression, "limit": 0, "compare": true});
    let request = service.client.post(format!("{}/v1/audiences", service.url)).json(&body);
    let answer = service.send(request.bearer_auth(key(caller))).await;
    (answer.status, answer.json())
}

fn feature<'a>(answer: &'a Value, name: &str) -> Option<&'a Value> {
    let mut features = answer["comparison"]["features"].as_array().unwrap().iter();
    features.find(|feature| feature["feature"] == name)
}

#[tokio::test]
async fn features_are_compared_and_ordered_by_strength() {
    let service = shop(&keys(CALLERS)).open().await;
    let (status, answer) = compare(&service, "reader", "rfm.monetary > 60 and profile.land:Peru").await;
    assert_eq!(status, 200, "{answer}");
    // Spending is 1 to 120; members spend 61, 65, … 117: fifteen values with the mean 89.
    let spending = &feature(&answer, "rfm.monetary").unwrap()["numbers"];
    assert_eq!([&spending["mean"], &spending["mean_all"]], [&json!(89.0), &json!(60.5)], "{spending}");
    assert_eq!([&spending["median"], &spending["median_all"]], [&json!(89), &json!(60)], "{spending}");
    let difference = spending["difference"].as_f64().unwrap();
    assert!((difference - 28.5 / ((120.0_f64 * 120.0 - 1.0) / 12.0).sqrt()).abs() < 1e-9, "{spending}");
    let land = feature(&answer, "profile.land").unwrap();
    let values: Vec<Value> = land["values"].as_array().unwrap().clone();
    assert_eq!(
        values[0],
        json!({"value": "Peru", "customers": 15, "customers_all": 30, "share": 1.0, "share_all": 0.25,
            "lift": 4.0})
    );
    assert_eq!(
        (&values[1]["value"], &values[1]["customers"], &values[1]["lift"]),
        (&json!("Chile"), &json!(0), &json!(0.0))
    );
    assert!(feature(&answer, "profile.age").is_some(), "{answer}");
    // Each town has one customer, which says nothing about shares.
    assert!(feature(&answer, "profile.town").is_none(), "{answer}");
    let strengths: Vec<f64> = answer["comparison"]["features"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["strength"].as_f64().unwrap())
        .collect();
    assert!(strengths.is_sorted_by(|a, b| a >= b) && strengths.len() <= 20, "{strengths:?}");
    assert_eq!(answer["comparison"]["left_out"], 0);
    assert_eq!(feature(&answer, "segments.names"), None);
    let plain = json!({"where": "rfm.monetary > 60", "limit": 0});
    let request = service.client.post(format!("{}/v1/audiences", service.url)).json(&plain);
    assert_eq!(service.send(request.bearer_auth(key("reader"))).await.json().get("comparison"), None);
}

#[tokio::test]
async fn personal_features_are_compared_only_with_pii() {
    let service = shop(&keys(CALLERS)).open().await;
    let (_, answer) = compare(&service, "features", "rfm.monetary > 60").await;
    assert!(
        feature(&answer, "profile.age").is_none() && feature(&answer, "rfm.monetary").is_some(),
        "{answer}"
    );
    let body = json!({"where": "rfm.monetary > 60", "limit": 0, "compare": true});
    let request = service.client.post(format!("{}/v1/audiences", service.url)).json(&body);
    let shown = service.send(request.bearer_auth(key("reader"))).await;
    assert_eq!(shown.header("cache-control"), "no-store");
}

#[tokio::test]
async fn comparisons_tell_of_no_few_members_nor_of_few_others() {
    let service = shop(&format!("[privacy]\nmin_count = 12\n{}", keys(CALLERS))).open().await;
    // Ten customers are no members, so what is told of all would tell of them.
    let (status, _) = compare(&service, "features", "rfm.monetary > 10").await;
    assert_eq!(status, 403);
    assert_eq!(compare(&service, "reader", "rfm.monetary > 10").await.0, 200);
    let (status, answer) = compare(&service, "features", "rfm.monetary > 60").await;
    assert_eq!((status, &answer["comparison"]["min_count"]), (200, &json!(12)), "{answer}");
    // Ten customers are VIPs: neither that number nor that of the others is told.
    assert!(feature(&answer, "profile.vip").is_none(), "{answer}");
    let whole = compare(&service, "reader", "rfm.monetary > 60").await.1;
    assert!(feature(&whole, "profile.vip").is_some(), "{whole}");
    for feature in answer["comparison"]["features"].as_array().unwrap() {
        for value in feature["values"].as_array().into_iter().flatten() {
            let [of, all] = ["customers", "customers_all"].map(|name| value[name].as_u64().unwrap());
            assert!([of, all - of].iter().all(|count| !(1..12).contains(count)), "{feature}");
        }
    }
}
