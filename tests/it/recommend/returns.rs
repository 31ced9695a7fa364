//! Products that were bought and returned: neither new nor to be bought again.

use serde_json::Value;

use super::{HEADER, ids, planted_pairs, shop_of};
use crate::support::shop::{Service, Shop};

/// Returns the ids of both lists of a customer.
async fn lists(service: &Service, id: &str) -> [Vec<String>; 2] {
    let body: Value = service.get(&format!("/v1/customers/{id}/recommendations")).await.json();
    ["products", "buy_again"].map(|list| ids(&body[list]).into_iter().map(str::to_owned).collect())
}

#[tokio::test]
async fn product_returned_in_full_is_neither_new_nor_to_be_bought_again() {
    let mut lines = planted_pairs();
    // Customers of `left-0`, for whom `right-0` is the best new product, until they have sent it back.
    for (id, after) in [
        ("kept", vec!["1,2024-11-02"]),
        ("returned", vec!["1,2024-11-02", "-1,2024-11-09"]),
        ("in-parts", vec!["3,2024-11-02", "-1,2024-11-09", "-2,2024-11-10"]),
        ("one-of-two", vec!["2,2024-11-02", "-1,2024-11-09"]),
        ("again", vec!["1,2024-11-02", "-1,2024-11-09", "1,2024-11-20"]),
        ("before-the-data", vec!["-1,2024-11-09"]),
        ("never", vec![]),
    ] {
        lines.push(format!("{id},{id}-0,left-0,Left 0,1,2.50,2024-11-01,UK"));
        for (at, line) in after.iter().enumerate() {
            let (quantity, day) = line.split_once(',').unwrap();
            lines.push(format!("{id},{id}-r{at},right-0,\"Right, 0\",{quantity},2.50,{day},UK"));
        }
    }
    let service = shop_of(&lines, "").open().await;
    for (id, is_new, is_own) in [
        ("kept", false, true),
        ("returned", false, false),
        ("in-parts", false, false),
        ("one-of-two", false, true),
        ("again", false, true),
        ("before-the-data", false, false),
        ("never", true, false),
    ] {
        let [new, own] = lists(&service, id).await;
        let has = |list: &[String]| list.iter().any(|product| product == "right-0");
        assert_eq!((has(&new), has(&own)), (is_new, is_own), "{id}: {new:?} {own:?}");
        assert_eq!(new.len(), 10, "{id}: {new:?}");
    }
    let [new, _] = lists(&service, "never").await;
    assert_eq!(new[0], "right-0");
}

#[tokio::test]
async fn return_after_as_of_is_not_known_yet() {
    let lines = "a,1,cup,,1,2.50,2024-01-01,UK\na,2,cup,,-1,2.50,2024-03-01,UK\n\
        b,3,cup,,1,2.50,2024-01-01,UK\nb,4,pot,,1,2.50,2024-03-02,UK\n";
    let shop = Shop::new("");
    shop.raw("transactions/a.csv", format!("{HEADER}{lines}"));
    for (as_of, own) in [("2024-02-01T00:00:00Z", vec!["cup"]), ("2024-03-02T00:00:00Z", vec![])] {
        let built = shop.try_build(Some(as_of)).await.unwrap();
        shop.publish(&built.manifest.id).await;
        let [new, again] = lists(&shop.serve().await, "a").await;
        assert_eq!(again, own, "{as_of}");
        assert!(!new.contains(&"cup".to_owned()), "{as_of}: {new:?}");
    }
}
