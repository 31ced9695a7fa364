//! Purchases of a customer, and conditions on what customers bought and did.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::shop::{Service, Shop, corners, corners_with, eventually};

const INTERACTIONS: &str = "\
customer_id,event,product_id,at
loyal,view,p1,2024-03-09 10:00:00
loyal,view,p2,2024-03-01 10:00:00
prospect,view,p1,2024-03-10 11:30:00
prospect,wishlist,,2024-01-01 00:00:00
";

/// Returns the members of an audience.
async fn members(service: &Service, expression: &str) -> Vec<String> {
    let body = json!({"where": expression, "limit": 1000, "order_by": "rfm.recency_days asc"});
    let answer = service.post("/v1/audiences", body.to_string()).await;
    assert_eq!(answer.status, 200, "{expression}: {}", answer.text);
    let customers = answer.json()["customers"].as_array().unwrap().clone();
    let mut ids: Vec<String> =
        customers.iter().map(|one| one["customer_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

async fn purchases(service: &Service, id: &str, query: &str) -> Value {
    let answer = service.get(&format!("/v1/customers/{id}/purchases{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn purchases_are_listed_newest_first() {
    let service = corners().open().await;
    let loyal = purchases(&service, "loyal", "").await;
    assert_eq!(
        (&loyal["total"], &loyal["next"], &loyal["tier"]),
        (&json!(4), &json!(null), &json!("snapshot"))
    );
    assert!(loyal["snapshot"].is_string() && loyal["as_of"].is_string(), "{loyal}");
    let line = |at: &str, order: &str, product: (&str, &str), quantity: u32, amount: Value| {
        json!({"at": at, "order_id": order, "product_id": product.0, "product": product.1,
            "quantity": quantity, "amount": amount})
    };
    assert_eq!(
        loyal["purchases"],
        json!([
            line("2024-03-08T10:00:00Z", "L4", ("p1", "Lamp"), 1, json!(30)),
            line("2024-02-20T10:00:00Z", "L3", ("p3", "Bowl"), 1, json!(3.5)),
            line("2024-02-10T10:00:00Z", "L2", ("p2", "Mug, large"), 2, json!(11)),
            line("2024-02-01T10:00:00Z", "L1", ("p1", "Lamp"), 1, json!(30)),
        ])
    );
    // Returns and gifts are not purchases, and an id may have spaces and slashes.
    assert_eq!(purchases(&service, "whale", "").await["total"], 1);
    for id in ["returner", "zero", "prospect"] {
        assert_eq!(purchases(&service, id, "").await["purchases"], json!([]), "{id}");
    }
    let odd = purchases(&service, "a%2Fb%20c%2Bd", "").await;
    assert_eq!((&odd["customer_id"], &odd["total"]), (&json!("a/b c+d"), &json!(1)));
    let unknown = service.get("/v1/customers/nobody/purchases").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "customer-not-found"));
    for bad in ["limit=0", "limit=1001", "cursor=x", "page=2"] {
        assert_eq!(service.get(&format!("/v1/customers/loyal/purchases?{bad}")).await.status, 400, "{bad}");
    }
}

/// Returns a shop with a customer of 20,000 lines, which take several blocks, between others.
fn large_shop() -> Shop {
    let shop = Shop::new("[churn]\nenabled = false\n[value]\nenabled = false\n");
    let mut text = "customer_id,order_id,product_id,quantity,unit_price,ordered_at\n".to_owned();
    for line in 0..20_000 {
        let (day, minute) = (1 + line / 1_000, line % 1_000);
        writeln!(
            text,
            "b,o{},p{},1,0.01,2024-01-{day:02} {:02}:{:02}:00",
            line / 2,
            line % 7,
            minute / 60,
            minute % 60
        )
        .unwrap();
    }
    for id in ["a", "c"] {
        writeln!(text, "{id},x{id},p1,1,1,2024-01-05").unwrap();
    }
    shop.raw("transactions/x.csv", text);
    shop
}

#[tokio::test]
async fn pages_of_many_purchases_hold_every_line_once() {
    let service = large_shop().open().await;
    let (mut lines, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let next = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = purchases(&service, "b", &format!("?limit=999{next}")).await;
        assert_eq!(page["total"], 20_000);
        lines.extend(page["purchases"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(lines.len(), 20_000);
    let time = |line: &Value| line["at"].as_str().unwrap().to_owned();
    assert!(lines.windows(2).all(|two| time(&two[0]) >= time(&two[1])));
    let mut keys: Vec<String> = lines.iter().map(ToString::to_string).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 20_000);
    for id in ["a", "c"] {
        assert_eq!(purchases(&service, id, "").await["total"], 1, "{id}");
    }
    // The cursor of one customer is none of another.
    let page = purchases(&service, "b", "?limit=1").await;
    let path = format!("/v1/customers/a/purchases?cursor={}", page["next"].as_str().unwrap());
    assert_eq!(service.get(&path).await.problem(), "bad-cursor");
    // A product of 2,857 lines in orders of two lines.
    assert_eq!(members(&service, "bought(product:p1)").await, ["a", "b", "c"]);
    assert_eq!(members(&service, "bought(product:p1, times = 2858)").await, Vec::<String>::new());
    assert_eq!(members(&service, "bought(product:p1, times = 2857)").await, ["b"]);
    assert_eq!(members(&service, "bought(times = 10000)").await, ["b"]);
}

#[tokio::test]
async fn audiences_count_what_customers_bought_and_did() {
    let shop = corners();
    shop.raw("interactions/all.csv", INTERACTIONS);
    let service = shop.open().await;
    let all = members(&service, "bought() or not bought()").await;
    // As of 2024-03-10 11:30.
    for (expression, expected) in [
        ("bought(product:p3)", vec!["loyal", "one-order"]),
        ("bought(product:p1, times >= 2)", vec!["17850", "loyal"]),
        ("bought(product:p1, since:-2d)", vec!["a/b c+d", "batch"]),
        ("bought(product:p1, since:2024-03-08T10:00:00Z)", vec!["a/b c+d", "batch", "loyal"]),
        (
            "bought(product:p1, since:2024-02-15, before:2024-03-08T10:00:00Z)",
            vec!["17850", "tie-a", "tie-b"],
        ),
        ("bought(before:\"2024-01-11\")", vec!["17850", "edge-1"]),
        // Two lines of one order are one time; what was returned was bought.
        ("bought(product:p1, times = 2) and not bought(times > 2)", vec!["17850"]),
        ("bought(product:\"p5\")", vec!["whale"]),
        ("did(event:view)", vec!["loyal", "prospect"]),
        ("did(event:view, times >= 2)", vec!["loyal"]),
        ("did(event:wishlist, since:-7d)", vec![]),
        ("did(event:view, since:1 days ago)", vec!["prospect"]),
        ("not bought() and not did(event:view)", vec!["returner", "zero"]),
        ("bought(category:Kitchen)", vec![]),
    ] {
        assert_eq!(members(&service, expression).await, expected, "{expression}");
    }
    let never = members(&service, "bought(times < 1)").await;
    assert_eq!(never, members(&service, "not bought()").await);
    assert_eq!(never.len() + members(&service, "bought()").await.len(), all.len());
}

#[tokio::test]
async fn mistakes_in_conditions_on_events_are_named() {
    let service = corners().open().await;
    for (expression, position, part) in [
        ("bought(event:view)", 7, "expected `product`, `category`, `since`, `before` or `times`"),
        ("did(product:p1)", 4, "expected `event`, `since`, `before` or `times`"),
        ("did(since:-7d)", 14, "`did` needs an event"),
        ("bought(product:p1, category:x)", 19, "give one `product` or one `category`"),
        ("bought(since:-1d, since:-2d)", 18, "`since` is given twice"),
        ("bought(product p1)", 15, "expected `:`"),
        ("bought(product:)", 15, "expected a text"),
        ("bought(times 2)", 13, "expected a comparison such as `>= 2`"),
        ("bought(times >= -1)", 16, "expected a whole number, found `-1`"),
        ("bought(product:p1 times > 1)", 18, "expected `,` or `)`"),
        ("bought", 6, "expected `(`"),
        ("bought(since:soon)", 13, "\"soon\" is no time; write a date"),
        ("bought(since:12)", 13, "12 is no time; write a date"),
    ] {
        let answer = service.post("/v1/audiences", json!({"where": expression}).to_string()).await;
        assert_eq!(answer.status, 400, "{expression}: {}", answer.text);
        let answer = answer.json();
        assert_eq!(answer["position"], position, "{expression}: {answer}");
        assert!(answer["detail"].as_str().unwrap().contains(part), "{expression}: {answer}");
    }
    let body = json!({"where": "segment:new or bought(product:\"p77\") or did(event:jump)", "limit": 0});
    let answer = service.post("/v1/audiences", body.to_string()).await.json();
    assert_eq!(
        answer["hints"],
        json!([{"position": 15, "message": "no customer bought product `p77`"},
            {"position": 40, "message": "no customer has an event `jump`"}])
    );
}

#[tokio::test]
async fn named_audiences_and_exports_use_purchases() {
    let shop = corners_with(
        "[audiences.lamps]\nwhere = \"bought(product:p1, times >= 2)\"\n\
         [audiences.lost]\nwhere = \"segment:lamps and not bought(since:-3d) or bought(product:nothing)\"\n",
    );
    let built = shop.build().await;
    let warnings = built.warnings();
    let expected = "audience lost, at character 43: no customer bought product `nothing`";
    assert!(warnings.iter().any(|warning| warning == expected), "{warnings:?}");
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    assert_eq!(members(&service, "segment:lamps").await, ["17850", "loyal"]);
    assert_eq!(members(&service, "segment:lost").await, ["17850"]);
    let body = json!({"where": "bought(product:p3)", "format": "csv", "columns": ["customer_id"]});
    let export = service.post("/v1/audiences/export", body.to_string()).await;
    let mut lines: Vec<&str> = export.text.lines().skip(1).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["loyal", "one-order"]);
}

#[tokio::test]
async fn snapshots_without_purchases_say_so() {
    let shop = corners_with("[build]\npurchases = false\n");
    let built = shop.build().await;
    assert!(!shop.snapshot_folders().is_empty());
    let folder = shop.path().join("lake/snapshots").join(built.manifest.id.as_str());
    assert!(!folder.join("purchases").exists());
    shop.publish(&built.manifest.id).await;
    let service = shop.serve().await;
    let answer = service.get("/v1/customers/loyal/purchases").await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("built without purchases"), "{}", answer.text);
    let answer = service.post("/v1/audiences", json!({"where": "bought()"}).to_string()).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("`purchases = true` in [build]"), "{}", answer.text);
}

#[tokio::test]
async fn decimal_quantities_and_snapshots_without_customers_of_a_table() {
    let shop = Shop::new(
        "[raw.transactions]\ndecimal_quantities = true\n[churn]\nenabled = false\n[value]\nenabled = false\n",
    );
    shop.raw(
        "transactions/x.csv",
        "customer_id,order_id,product_id,quantity,unit_price,ordered_at\na,1,flour,0.75,2.00,2024-01-01\n",
    );
    let service = shop.open().await;
    let line = &purchases(&service, "a", "").await["purchases"][0];
    assert_eq!(
        (&line["quantity"], &line["amount"], &line["product"]),
        (&json!(0.75), &json!(1.5), &json!(null))
    );
    // No customer has interactions.
    assert_eq!(members(&service, "did(event:view)").await, Vec::<String>::new());
}

#[tokio::test]
async fn purchases_do_not_depend_on_threads_and_partitions() {
    let mut fingerprints = Vec::new();
    for threads in [1, 3] {
        let mut shop = large_shop();
        shop.config.build.threads = Some(threads);
        fingerprints.push(shop.build().await.manifest.fingerprint);
    }
    assert_eq!(fingerprints[0], fingerprints[1]);
}

#[tokio::test]
async fn erased_customers_have_no_purchases_in_kept_and_rewritten_snapshots() {
    let shop = corners();
    let service = shop.open().await;
    let before = members(&service, "bought(product:p1)").await;
    assert!(before.contains(&"17850".to_owned()) && before.contains(&"loyal".to_owned()));
    for (arguments, id) in [
        (["forget", "17850", "--keep-snapshots"].as_slice(), "17850"),
        (&["forget", "one-order"], "one-order"),
    ] {
        assert!(shop.larder(arguments).status.success());
        let path = format!("/v1/customers/{id}/purchases");
        let ask = || service.get(&path);
        eventually(ask, |answer| answer.status == 404).await;
    }
    let ids = |ids: Vec<String>| ids.into_iter().filter(|id| id != "17850").collect::<Vec<_>>();
    // The second call rewrote the snapshot, so that customers have other numbers than before. Until the
    // service has found the new snapshot, the files of the old one are gone.
    let body = json!({"where": "bought(product:p3)"}).to_string();
    let ask = || service.post("/v1/audiences", body.clone());
    eventually(ask, |answer| answer.status == 200).await;
    let ask = || members(&service, "bought(product:p3)");
    eventually(ask, |members| *members == ["loyal"]).await;
    assert_eq!(members(&service, "bought(product:p1)").await, ids(before));
    assert_eq!(members(&service, "bought(product:p5)").await, ["whale"]);
    assert_eq!(purchases(&service, "loyal", "").await["total"], 4);
}
