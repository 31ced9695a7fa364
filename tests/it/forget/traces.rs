//! Traces of an erased customer in answers about other customers: hints, entity tags, figures.

use std::{collections::BTreeSet, fmt::Write as _};

use larder::{feature::CustomerId, snapshot::Forgotten};
use serde_json::{Value, json};

use super::shop_with_customers;
use crate::support::shop::{Service, Shop, eventually};

/// Puts `ids` on the erasure list; snapshots keep their rows. Returns when `service` has applied the list.
async fn erase(shop: &Shop, service: &Service, ids: &[&str]) {
    let erased: BTreeSet<CustomerId> = ids.iter().map(|id| CustomerId::parse(id).unwrap()).collect();
    Forgotten::add(&shop.lake(), &erased).await.unwrap();
    for id in ids {
        let path = format!("/v1/customers/{id}");
        eventually(|| service.get(&path), |answer| answer.status == 404).await;
    }
}

async fn count(service: &Service, expression: &str) -> Value {
    let body = json!({"where": expression, "limit": 0}).to_string();
    let answer = service.post("/v1/audiences", body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_know_no_text_that_only_erased_customers_have() {
    let shop = shop_with_customers("[raw.customers]\npersonal = [\"email\"]\n", 30);
    let mut people = String::from("customer_id,email,city\n");
    for at in 0..30 {
        let city = if at == 7 { "Uniqueville" } else { ["Oslo", "Bergen"][at % 2] };
        writeln!(people, "who-{at:04},secret{at}@example.com,{city}").unwrap();
    }
    shop.raw("customers/people.csv", people);
    let service = shop.open().await;
    let typo = "profile.city:Uniquevill";
    let message = |answer: &Value| answer["hints"][0]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message(&count(&service, typo).await).contains("did you mean `Uniqueville`?"));
    let exact = count(&service, "profile.city:Uniqueville").await;
    assert_eq!((&exact["total"], &exact["hints"]), (&json!(1), &json!([])), "{exact}");

    erase(&shop, &service, &["who-0007"]).await;
    let after = message(&count(&service, typo).await);
    assert!(after.contains("no customer has") && !after.contains("Uniqueville"), "{after}");
    // A text that only the erased customer has is treated as one that no customer ever had.
    let exact = count(&service, "profile.city:Uniqueville").await;
    let never = count(&service, "profile.city:Nowhereville").await;
    assert_eq!(
        (&exact["total"], message(&exact).as_str()),
        (&json!(0), message(&never).replace("Nowhereville", "Uniqueville").as_str(),)
    );
    let email = message(&count(&service, "profile.email:\"secret7@example.co\"").await);
    assert!(email.contains("no customer has") && !email.contains("secret7@example.com"), "{email}");
    // Other texts are known as before.
    assert_eq!(count(&service, "profile.city:Oslo").await["hints"], json!([]));
    assert!(message(&count(&service, "profile.city:Osol").await).contains("did you mean `Oslo`?"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entity_tags_do_not_tell_erased_from_unknown_customers() {
    let shop = shop_with_customers("", 60);
    let service = shop.open().await;
    let tag = service.get("/v1/customers/who-0001").await.header("etag").to_owned();
    erase(&shop, &service, &["who-0002"]).await;
    let new_tag = service.get("/v1/customers/who-0001").await.header("etag").to_owned();
    for suffix in ["", "?views=rfm", "/history", "/recommendations"] {
        let ask = async |id: &str, known: &str| {
            let url = format!("{}/v1/customers/{id}{suffix}", service.url);
            service.send(service.client.get(url).header("if-none-match", known)).await
        };
        for known in ["*", &tag, &new_tag] {
            let [unknown, erased] = [ask("who-9999", known).await, ask("who-0002", known).await];
            assert_eq!((unknown.status, erased.status), (404, 404), "{suffix} {known}");
            assert_eq!(unknown.text.replace("who-9999", "who-0002"), erased.text);
        }
        assert_eq!(ask("who-0001", "*").await.status, 304, "{suffix}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_of_segments_are_those_of_audiences_without_erased_customers() {
    let shop = shop_with_customers("[audiences.spenders]\nwhere = \"rfm.monetary >= 5\"\n", 200);
    shop.try_build(Some("2024-08-01T00:00:00Z")).await.unwrap();
    let service = shop.open().await;
    let gone = ["who-0006", "who-0013", "who-0027", "who-0100"];
    let before = service.get("/v1/segments").await.json();
    let history = "/v1/segments/spenders/history";
    let then = service.get(history).await.json()["history"].clone();
    erase(&shop, &service, &gone).await;
    let after = service.get("/v1/segments").await.json();
    assert_ne!(after["segments"], before["segments"]);
    for segment in after["segments"].as_array().unwrap() {
        let name = segment["name"].as_str().unwrap();
        let audience = count(&service, &format!("segment:{name}")).await;
        assert_eq!(audience["total"], segment["size"], "{name}");
        let one = service.get(&format!("/v1/segments/{name}")).await.json();
        for figure in ["share", "revenue", "mean_r_score", "mean_f_score", "mean_m_score"] {
            assert_eq!(audience[figure], segment[figure], "{name} {figure}");
            assert_eq!(one[figure], segment[figure], "{name} {figure}");
        }
        let answer = service.get(&format!("/v1/segments/{name}/history")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer = answer.json();
        let newest = answer["history"].as_array().unwrap().last().unwrap().clone();
        for figure in ["size", "share", "revenue"] {
            assert_eq!(newest[figure], segment[figure], "{name} {figure}: {answer}");
        }
        assert_eq!(newest["customers"], after["customers"], "{answer}");
    }
    // The older snapshot too: its figures are reduced by the same customers.
    let now = service.get(history).await.json()["history"].clone();
    assert!(now[0]["size"].as_u64() < then[0]["size"].as_u64(), "{then} {now}");
    assert!(now[0]["revenue"].as_f64() < then[0]["revenue"].as_f64(), "{then} {now}");

    let migration = service.get("/v1/migration").await.json();
    let cells = migration["cells"].as_array().unwrap();
    let sum = |side: &str| {
        let counted = cells.iter().filter(|cell| cell[side] != "absent");
        counted.map(|cell| cell["customers"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(sum("to"), after["customers"].as_u64().unwrap(), "{migration}");
    assert_eq!(sum("from"), migration["from"]["customers"].as_u64().unwrap(), "{migration}");
    assert_eq!(migration["to"]["customers"], after["customers"], "{migration}");
    let revenue: f64 = cells.iter().map(|cell| cell["revenue"].as_f64().unwrap()).sum();
    let all = count(&service, "rfm.monetary is not null").await["revenue"].as_f64().unwrap();
    assert!((revenue - all).abs() < 1e-6, "{revenue} {all}");
}
