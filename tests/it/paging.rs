//! Property tests of paging: pages of any size give every member once and in order, also across publishes.

use std::sync::OnceLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::shop::{Service, Shop, corners};

/// Creates a shop with many customers and few distinct values, so that segments are large and have ties.
async fn large_shop(customers: usize) -> (Shop, Service) {
    let shop = Shop::new("");
    let mut lines = String::from("customer_id,order_id,product_id,quantity,unit_price,ordered_at\n");
    for at in 0..customers {
        use std::fmt::Write as _;
        writeln!(lines, "c{at},o{at},p,1,{}.00,2024-01-{:02}", 1 + at % 7, 1 + at % 28).unwrap();
    }
    shop.raw("transactions/x.csv", lines);
    let service = shop.open().await;
    (shop, service)
}

/// Reads all pages of a segment, with the page sizes `limits`. Returns ranks and ids.
async fn pages(
    service: &Service,
    segment: &str,
    mut limits: impl Iterator<Item = usize>,
) -> Vec<(u64, String)> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let limit = limits.next().unwrap();
        let page =
            service.get(&format!("/v1/segments/{segment}/customers?limit={limit}{cursor}")).await.json();
        let customers = page["customers"].as_array().unwrap();
        assert!(customers.len() <= limit);
        found.extend(
            customers
                .iter()
                .map(|c| (c["rank"].as_u64().unwrap(), c["customer_id"].as_str().unwrap().to_owned())),
        );
        match &page["next"] {
            Value::Null => {
                assert_eq!(page["total"].as_u64().unwrap(), found.len() as u64);
                return found;
            }
            next => cursor = format!("&cursor={}", next.as_str().unwrap()),
        }
        assert!(!customers.is_empty(), "an empty page has a next page");
    }
}

#[test]
fn pages_of_any_size_return_every_member_in_order() {
    static LARGE_SHOP: OnceLock<(tokio::runtime::Runtime, Shop, Service)> = OnceLock::new();
    // More members than one block of a ranking holds.
    let (runtime, _shop, service) = LARGE_SHOP.get_or_init(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (shop, service) = runtime.block_on(large_shop(24_000));
        (runtime, shop, service)
    });
    let segments = runtime.block_on(service.get("/v1/segments")).json()["segments"].clone();
    let largest =
        segments.as_array().unwrap().iter().max_by_key(|segment| segment["size"].as_u64()).unwrap().clone();
    let (name, size) = (largest["name"].as_str().unwrap(), largest["size"].as_u64().unwrap());
    assert!(size > 4_096, "{largest}");
    let whole = runtime.block_on(pages(service, name, std::iter::repeat(1_000)));
    let mut ids: Vec<&String> = whole.iter().map(|(_, id)| id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len() as u64, size);
    assert!(whole.iter().enumerate().all(|(at, (rank, _))| *rank == at as u64 + 1));
    let config = ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let limits = prop::collection::vec(150_usize..=1_000, 1..12);
    runner
        .run(&limits, |limits| {
            let found = runtime.block_on(pages(service, name, limits.iter().copied().cycle()));
            prop_assert_eq!(&found, &whole);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn cursor_stays_on_its_snapshot_after_publish() {
    let (shop, service) = large_shop(300).await;
    let first = service.get("/v1/segments/hibernating/customers?limit=1000").await.json();
    let all: Vec<Value> = first["customers"].as_array().unwrap().clone();
    let page = service.get("/v1/segments/hibernating/customers?limit=5").await.json();
    let cursor = page["next"].as_str().unwrap().to_owned();
    let audience = json!({"where": "rfm.frequency > 0", "limit": 5});
    let page = service.post("/v1/audiences", audience.to_string()).await.json();
    let audience = json!({"where": "rfm.frequency > 0", "limit": 5, "cursor": page["next"]});
    shop.raw(
        "transactions/y.csv",
        "customer_id,order_id,product_id,quantity,unit_price,ordered_at\nc1,n1,p,1,900.00,2024-03-01\n",
    );
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let current = built.manifest.id.to_string();
    crate::support::shop::eventually(
        || service.get("/v1/segments"),
        |answer| answer.json()["snapshot"] == current,
    )
    .await;
    let rest =
        service.get(&format!("/v1/segments/hibernating/customers?limit=1000&cursor={cursor}")).await.json();
    assert_eq!(rest["snapshot"], first["snapshot"]);
    assert_eq!(rest["customers"].as_array().unwrap()[..], all[5..]);
    // A replica that never served the old snapshot continues the cursor, and returns 410 once the snapshot is
    // removed.
    let replica = shop.serve().await;
    let same = replica
        .get(&format!("/v1/segments/hibernating/customers?limit=1000&cursor={cursor}&views=rfm"))
        .await;
    assert_eq!(same.json()["customers"].as_array().unwrap().len(), all.len() - 5);
    std::fs::remove_dir_all(shop.path().join("lake/snapshots").join(first["snapshot"].as_str().unwrap()))
        .unwrap();
    let third = shop.serve().await;
    let gone = third.get(&format!("/v1/segments/hibernating/customers?cursor={cursor}")).await;
    assert_eq!((gone.status, gone.problem().as_str()), (410, "cursor-gone"));
    // Likewise a replica that has the snapshot open.
    let gone = replica.post("/v1/audiences", audience.to_string()).await;
    assert_eq!((gone.status, gone.problem().as_str()), (410, "cursor-gone"), "{}", gone.text);
}

#[tokio::test]
async fn first_page_of_a_removed_snapshot_is_to_be_asked_for_again() {
    let shop = corners();
    let service = shop.open().await;
    let snapshot = service.get("/v1/segments").await.json()["snapshot"].as_str().unwrap().to_owned();
    std::fs::remove_dir_all(shop.path().join("lake/snapshots").join(&snapshot)).unwrap();
    let body = json!({"where": "bought(product:p3)"});
    let lost = service.post("/v1/audiences", body.to_string()).await;
    assert_eq!((lost.status, lost.problem().as_str()), (503, "unavailable"), "{}", lost.text);
    assert!(lost.text.contains(&format!("snapshot {snapshot} is being replaced")), "{}", lost.text);
    assert_eq!(lost.header("retry-after"), "1");
}

#[tokio::test]
async fn cursor_with_an_overlong_snapshot_id_is_refused() {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    let (_shop, service) = large_shop(10).await;
    let cursor = |snapshot: &str| URL_SAFE_NO_PAD.encode(format!("2 {snapshot} segment:new 1 0"));
    let ask = async |snapshot: &str| {
        service.get(&format!("/v1/segments/new/customers?cursor={}", cursor(snapshot))).await
    };
    let long = ask(&format!("{}T125000Z-5f0c2a9e", "2".repeat(5_000))).await;
    assert_eq!((long.status, long.problem().as_str()), (400, "bad-cursor"), "{}", long.text);
    for _ in 0..2 {
        let unknown = ask("20111209T125000Z-5f0c2a9e").await;
        assert_eq!((unknown.status, unknown.problem().as_str()), (410, "cursor-gone"), "{}", unknown.text);
    }
}
