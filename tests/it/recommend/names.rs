//! Names of products beside their ids, in answers with the views of customers.

use larder::config::Scope;
use serde_json::{Value, json};

use super::{HEADER, planted_pairs, shop_of};
use crate::support::{
    callers::{key, keys},
    shop::{Service, Shop},
};

/// Keys of ids and of the names beside them, by view.
const KEYS: [(&str, &str, &str); 4] = [
    ("behavior", "favourite_product", "favourite_product_name"),
    ("recommendations", "products", "product_names"),
    ("recommendations", "product_because", "product_because_names"),
    ("recommendations", "buy_again", "buy_again_names"),
];

/// Returns the name of a product of [`planted_pairs`] by its id.
fn name_of(id: &Value) -> Value {
    let Some(id) = id.as_str() else { return Value::Null };
    match id.split_once('-') {
        None => json!("Tea"),
        Some(("right", pair)) => json!(format!("Right, {pair}")),
        Some(("left", pair)) => json!(format!("Left {pair}")),
        Some((_, number)) => json!(format!("Staple {}", number.parse::<u32>().unwrap())),
    }
}

/// Checks the names in `views`, and that without them the views equal `plain`.
fn check(views: &Value, plain: &Value) {
    let mut without = views.clone();
    for (view, ids, names) in KEYS {
        let of_view = &views[view];
        let expected = match &of_view[ids] {
            Value::Array(ids) => ids.iter().map(name_of).collect(),
            id => name_of(id),
        };
        assert!(!of_view[ids].is_null(), "{views}");
        assert_eq!(of_view[names], expected, "{names}");
        without[view].as_object_mut().unwrap().remove(names);
    }
    assert_eq!(&without, plain);
}

#[tokio::test]
async fn names_are_beside_ids_in_customers_batches_and_lists() {
    let shop = Shop::new("value.enabled = false\n");
    shop.raw("transactions/a.csv", format!("{HEADER}{}\n", planted_pairs().join("\n")));
    let service = shop.open().await;
    let plain = service.get("/v1/customers/c590").await.json()["views"].clone();
    // From the lake, then from memory.
    for _ in 0..2 {
        check(&service.get("/v1/customers/c590?names=true").await.json()["views"], &plain);
    }
    assert_eq!(service.get("/v1/customers/c590?names=false").await.json()["views"], plain);
    let two = "views=behavior,recommendations";
    let chosen = service.get(&format!("/v1/customers/c590?{two}")).await.json()["views"].clone();
    let body = json!({"ids": ["c590", "nobody"], "views": ["behavior", "recommendations"], "names": true});
    let batch = service.post("/v1/customers/batch", body.to_string()).await.json();
    check(&batch["results"][0]["views"], &chosen);
    assert_eq!(batch["results"][1]["found"], false);
    let one =
        json!({"ids": ["c590"], "features": ["recommendations.products", "rfm.frequency"], "names": true});
    let one = service.post("/v1/customers/batch", one.to_string()).await.json();
    let one = &one["results"][0]["views"];
    assert_eq!(one["recommendations"].as_object().unwrap().len(), 2, "{one}");
    assert_eq!(one["recommendations"]["product_names"][0], "Right, 0");
    assert_eq!(one["rfm"].as_object().unwrap().len(), 1);
    let member = |page: Value| {
        let customers = page["customers"].as_array().unwrap().clone();
        customers.into_iter().find(|one| one["customer_id"] == "c590").expect("a member")["views"].clone()
    };
    let segment = service.get("/v1/customers/c590").await.json()["views"]["rfm"]["segment"].clone();
    let segment = segment.as_str().unwrap().to_owned();
    let list = service.get(&format!("/v1/segments/{segment}/customers?limit=1000&{two}&names=true")).await;
    check(&member(list.json()), &chosen);
    let list = service.get(&format!("/v1/churn?limit=1000&{two}&names=true")).await;
    check(&member(list.json()), &chosen);
    let expression = "rfm.frequency%20%3E%200";
    let list = service.get(&format!("/v1/audiences?where={expression}&limit=1000&{two}&names=true")).await;
    check(&member(list.json()), &chosen);
    let body = json!({"where": "rfm.frequency > 0", "limit": 1000, "names": true,
        "views": ["behavior", "recommendations"]});
    check(&member(service.post("/v1/audiences", body.to_string()).await.json()), &chosen);
    for path in ["/v1/customers/c590?names=yes", "/v1/segments/champions/customers?names=1"] {
        assert_eq!(service.get(path).await.problem(), "bad-parameter", "{path}");
    }
}

/// Returns the number of reads of the lake.
async fn lake_reads(service: &Service) -> f64 {
    service.metric("larder_lake_reads_total").await
}

#[tokio::test]
async fn names_of_all_products_are_read_once_and_kept_in_memory() {
    let service = shop_of(&planted_pairs(), "").open().await;
    let ids: Vec<String> = (0..600).map(|customer| format!("c{customer:03}")).collect();
    let ask = async |names: bool| {
        let body = json!({"ids": ids, "views": ["recommendations"], "names": names});
        service.post("/v1/customers/batch", body.to_string()).await.json()
    };
    ask(false).await;
    let before = lake_reads(&service).await;
    let first = ask(true).await;
    let loaded = lake_reads(&service).await;
    assert!(loaded > before && loaded - before <= 3.0, "{before} {loaded}");
    assert_eq!(ask(true).await["results"], first["results"]);
    assert_eq!(lake_reads(&service).await.to_bits(), loaded.to_bits());
    // A view without ids of products needs no names.
    let fresh = shop_of(&planted_pairs(), "").open().await;
    fresh.get("/v1/customers/c001?views=rfm").await;
    let before = lake_reads(&fresh).await;
    fresh.get("/v1/customers/c001?views=rfm&names=true").await;
    assert_eq!(lake_reads(&fresh).await.to_bits(), before.to_bits());
}

#[tokio::test]
async fn names_that_cannot_be_read_are_null_and_not_cached_by_clients() {
    let service = shop_of(&planted_pairs(), "").open().await;
    let products = |body: &Value| body["views"]["recommendations"]["products"].clone();
    let known = service.get("/v1/customers/c001").await.json();
    let shop = shop_of(&planted_pairs(), "");
    let service_without = shop.open().await;
    std::fs::remove_dir_all(shop.snapshot_folders()[0].join("products")).unwrap();
    let answer = service_without.get("/v1/customers/c001?names=true").await;
    assert_eq!((answer.status, answer.header("etag")), (200, ""), "{}", answer.text);
    let body = answer.json();
    assert_eq!(products(&body), products(&known));
    assert_eq!(body["views"]["behavior"]["favourite_product_name"], Value::Null);
    let names = body["views"]["recommendations"]["product_names"].as_array().unwrap();
    assert!(names.len() == 10 && names.iter().all(Value::is_null), "{body}");
    assert_ne!(service.get("/v1/customers/c001?names=true").await.header("etag"), "");
}

#[tokio::test]
async fn names_of_personal_ids_are_masked_and_missing_names_are_null() {
    let personal = "[views]\npersonal = [\"recommendations.buy_again\"]\n";
    let toml = format!("{personal}{}", keys(&[("shop", &[Scope::Features])]));
    let shop = Shop::new(&toml);
    shop.raw("transactions/a.csv", format!("{HEADER}a,1,p,,1,2.50,2024-01-01,UK\n"));
    let service = shop.open().await;
    let request = service.client.get(format!("{}/v1/customers/a?names=true", service.url));
    let body = service.send(request.bearer_auth(key("shop"))).await.json();
    let views = &body["views"];
    assert_eq!(views["behavior"]["favourite_product"], "p", "{body}");
    assert_eq!(views["behavior"]["favourite_product_name"], Value::Null);
    assert_eq!(views["recommendations"]["buy_again"], Value::Null);
    assert_eq!(views["recommendations"]["buy_again_names"], Value::Null);
}
