//! Erasure: an erased customer is gone from every endpoint, tier, build and publish; other customers are
//! unchanged.

use std::{collections::BTreeMap, process::Output};

use serde_json::{Value, json};

use crate::support::shop::{Service, Shop, eventually};

mod cli;
mod races;
mod store;
mod traces;
mod worlds;

/// Creates a shop with `customers` customers in a few segments, with churn and recommendations.
fn shop_with_customers(toml: &str, customers: usize) -> Shop {
    let shop = Shop::new(toml);
    let mut lines =
        String::from("customer_id,order_id,product_id,product_name,quantity,unit_price,ordered_at\n");
    for at in 0..customers {
        use std::fmt::Write as _;
        for order in 0..=at % 4 {
            let (price, product, month) = (1 + at % 7, (at + order) % 9, 1 + (at / 5 + order * 3) % 12);
            let line = format!(
                "who-{at:04},o{at}-{order},p{product},Thing {product},1,{price}.00,2024-{month:02}-15"
            );
            writeln!(lines, "{line}").unwrap();
        }
    }
    shop.raw("transactions/x.csv", lines);
    shop
}

/// Runs `larder forget`.
fn forget(shop: &Shop, args: &[&str]) -> Output {
    shop.larder(&[&["forget"], args].concat())
}

/// Runs `larder forget`, which leaves old snapshots as they are.
fn forget_only(shop: &Shop, args: &[&str]) -> Output {
    forget(shop, &[&["--keep-snapshots"], args].concat())
}

/// Returns the text on standard output and standard error.
fn output_text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Asserts success and returns the output text.
fn assert_success(output: &Output) -> String {
    assert!(output.status.success(), "{}", output_text(output));
    output_text(output)
}

/// List name to members with their ranks.
type Lists = BTreeMap<String, Vec<(u64, String)>>;

/// Reads a list page by page and checks the total.
async fn list(service: &Service, path: &str, limit: usize) -> Vec<(u64, String)> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    let glue = if path.contains('?') { '&' } else { '?' };
    loop {
        let answer = service.get(&format!("{path}{glue}limit={limit}{cursor}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let page = answer.json();
        let customers = page["customers"].as_array().unwrap();
        let member = |c: &Value| (c["rank"].as_u64().unwrap(), c["customer_id"].as_str().unwrap().to_owned());
        found.extend(customers.iter().map(member));
        match &page["next"] {
            Value::Null => {
                assert_eq!(page["total"].as_u64().unwrap(), found.len() as u64, "{path}");
                return found;
            }
            next => cursor = format!("&cursor={}", next.as_str().unwrap()),
        }
        assert_eq!(customers.len(), limit, "a page with a successor must be full");
    }
}

/// Reads all segments and churn lists and checks the sizes.
async fn lists(service: &Service, limit: usize) -> Lists {
    let mut all = Lists::new();
    let segments = service.get("/v1/segments").await.json();
    for segment in segments["segments"].as_array().unwrap() {
        let name = segment["name"].as_str().unwrap();
        let members = list(service, &format!("/v1/segments/{name}/customers"), limit).await;
        assert_eq!(segment["size"].as_u64().unwrap(), members.len() as u64, "{segment}");
        all.insert(name.to_owned(), members);
    }
    for path in
        ["/v1/churn", "/v1/churn?risk=high", "/v1/churn?min_probability=0.2", "/v1/churn?min_value=0.01"]
    {
        all.insert(path.to_owned(), list(service, path, limit).await);
    }
    let rfm = segments["segments"].as_array().unwrap().iter().filter(|segment| segment["kind"] == "rfm");
    let sizes: u64 = rfm.map(|segment| segment["size"].as_u64().unwrap()).sum();
    assert_eq!(Some(sizes), segments["customers"].as_u64());
    all
}

/// Returns `lists` without the members `ids`, ranked without gaps.
fn without(lists: &Lists, ids: &[&str]) -> Lists {
    let alive = |members: &Vec<(u64, String)>| {
        let alive = members.iter().map(|(_, id)| id).filter(|id| !ids.contains(&id.as_str()));
        (1..).zip(alive.cloned()).collect()
    };
    lists.iter().map(|(name, members)| (name.clone(), alive(members))).collect()
}

/// Asserts that no endpoint returns `id`, whatever `ETag` the request sends, and that every endpoint returns
/// `other`.
async fn assert_gone(service: &Service, id: &str, other: &str, tags: &[String]) {
    for suffix in ["", "/segments", "/recommendations", "?views=rfm", "?segments=true", "/history"] {
        let path = format!("/v1/customers/{id}{suffix}");
        let answer = service.get(&path).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (404, "customer-not-found"),
            "{path}: {}",
            answer.text
        );
        for tag in tags.iter().map(String::as_str).chain(["*"]) {
            let request = service.client.get(format!("{}{path}", service.url)).header("if-none-match", tag);
            assert_eq!(service.send(request).await.status, 404, "{path}, {tag}");
        }
        assert_eq!(service.get(&format!("/v1/customers/{other}{suffix}")).await.status, 200);
    }
    let batch =
        service.post("/v1/customers/batch", json!({"ids": [other, id, other]}).to_string()).await.json();
    let found: Vec<&Value> =
        batch["results"].as_array().unwrap().iter().map(|result| &result["found"]).collect();
    assert_eq!(found, [&json!(true), &json!(false), &json!(true)]);
    let body = json!({"features": ["rfm:segment"], "entities": {"customer_id": [other, id]}}).to_string();
    let feast = service.post("/get-online-features", body).await.json();
    assert_eq!(feast["results"][1]["statuses"], json!(["PRESENT", "NOT_FOUND"]), "{feast}");
    assert_eq!(feast["results"][1]["values"][1], Value::Null);
}

/// Returns the tier that answers for `id`.
async fn tier(service: &Service, id: &str) -> Value {
    service.get(&format!("/v1/customers/{id}")).await.json()["tier"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_customers_disappear_from_every_endpoint() {
    let shop = shop_with_customers("", 300);
    let service = shop.open().await;
    let before = lists(&service, 7).await;
    assert!(before.values().filter(|members| members.len() > 20).count() > 4, "{before:?}");
    // First and last of a list, neighbors, a whole page of the largest list, and one in the memory tier.
    let (largest, _) =
        before.iter().max_by_key(|(name, members)| (name.starts_with("churn_"), members.len())).unwrap();
    let of = |at: usize| before[largest][at].1.as_str();
    let last = before[largest].len() - 1;
    let mut gone: Vec<&str> = [0, 1, last].into_iter().chain(7..14).map(of).collect();
    gone.extend(["who-0003"]);
    let other = before[largest][20].1.as_str();
    assert!(!gone.contains(&other));
    let mut tags = Vec::new();
    for id in &gone {
        for _ in 0..2 {
            let answer = service.get(&format!("/v1/customers/{id}")).await;
            assert_eq!(answer.status, 200);
            tags = vec![answer.header("etag").to_owned()];
        }
    }
    assert_eq!(tier(&service, gone[0]).await, "memory");
    // A cursor from before the erasure stays valid.
    let path = format!("/v1/segments/{largest}/customers?limit=20");
    let cursor = service.get(&path).await.json()["next"].as_str().unwrap().to_owned();

    let file = shop.path().join("ids.txt");
    std::fs::write(&file, format!("{}\n\n  {}\n", gone[1..].join("\n"), gone[1])).unwrap();
    let output = assert_success(&forget_only(&shop, &[gone[0], "--file", file.to_str().unwrap()]));
    assert!(output.contains("erasure list: 11 customers, 11 of them new"), "{output}");
    assert!(output.contains("raw/transactions/x.csv") && output.contains("current"), "{output}");
    let first = format!("/v1/customers/{}", gone[0]);
    eventually(|| service.get(&first), |answer| answer.status == 404).await;
    tags.push(service.get(&format!("/v1/customers/{other}")).await.header("etag").to_owned());
    assert_ne!(tags[0], tags[1]);
    for id in &gone {
        assert_gone(&service, id, other, &tags).await;
    }
    let expected = without(&before, &gone);
    for limit in [1, 7, 1_000] {
        assert_eq!(lists(&service, limit).await, expected);
    }
    // The list goes back by as many members as were erased, so that it leaves out none of the others.
    let rest = service.get(&format!("{path}&cursor={cursor}")).await.json();
    assert_eq!(rest["customers"][0]["rank"], 20 - gone.len() + 1, "{rest}");
    assert!(rest["customers"].as_array().unwrap().iter().any(|c| c["customer_id"] == other), "{rest}");
    assert_eq!(service.metric("larder_forgotten_customers").await, 11.0);
    assert_eq!(service.metric("larder_snapshot_customers").await, 289.0);
    let snapshot = service.get("/v1/segments").await.json()["snapshot"].as_str().unwrap().to_owned();
    let manifest = service.get(&format!("/v1/snapshots/{snapshot}")).await.text;
    assert!(manifest.contains("rows/part-00000.parquet") && !gone.iter().any(|id| manifest.contains(id)));
    // A new replica starts with the erasure list.
    let replica = shop.serve().await;
    assert_gone(&replica, gone[0], other, &tags).await;
    assert_eq!(lists(&replica, 11).await, expected);

    // Erasing again changes nothing; an unknown id is reported; a file with an invalid id is rejected.
    let unknown = forget_only(&shop, &[gone[0], "who-9999"]);
    let output = output_text(&unknown);
    assert!(!unknown.status.success() && output.contains("--allow-unknown"), "{output}");
    assert!(output.contains("erasure list: 12 customers, 1 of them new"), "{output}");
    assert!(
        output.contains("no snapshot contains `who-9999`")
            && !output.contains(&format!("contains `{}`", gone[0])),
        "{output}"
    );
    // Ids from a spreadsheet are normalized like raw data; ids already on the list are not new.
    std::fs::write(&file, "\u{feff}customer_id;name\r\n\"who-9999\";x\r\nwho-9998;y\r\n").unwrap();
    let output = assert_success(&forget_only(&shop, &["--allow-unknown", "--file", file.to_str().unwrap()]));
    assert!(output.contains("erasure list: 13 customers, 1 of them new"), "{output}");
    assert_success(&forget(&shop, &["--undo", "who-9998"]));
    std::fs::write(&file, format!("who-0050\n{}\n", "x".repeat(300))).unwrap();
    let refused = forget(&shop, &["--file", file.to_str().unwrap()]);
    assert!(
        !refused.status.success() && output_text(&refused).contains("line 2"),
        "{}",
        output_text(&refused)
    );
    let output = assert_success(&forget(&shop, &["--list"]));
    assert!(output.contains("who-9999") && output.contains("erasure list: 12 customers"), "{output}");

    // Two customers are taken off the list.
    assert!(!forget(&shop, &["--undo", "who-0050"]).status.success());
    assert_success(&forget(&shop, &["--undo", gone[0], "who-9999"]));
    eventually(|| service.get(&first), |answer| answer.status == 200).await;
    assert_eq!(lists(&service, 7).await, without(&before, &gone[1..]));
    assert_gone(&service, gone[1], gone[0], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_erasure_list_blocks_start_and_keeps_known_erasures() {
    let shop = shop_with_customers("", 30);
    let service = shop.open().await;
    assert_success(&forget_only(&shop, &["who-0001"]));
    eventually(|| service.get("/v1/customers/who-0001"), |answer| answer.status == 404).await;
    // With an unreadable object the service keeps its erasure list, and a new service does not become ready.
    let broken = shop.path().join("lake/forgotten/20240101T000000000Z-00000000.json");
    std::fs::write(&broken, "{\"ids\": [\"who-0002\"").unwrap();
    let polls = "larder_current_polls_total{outcome=\"error\"}";
    let before = service.metric(polls).await;
    eventually(|| service.metric(polls), |errors| *errors > before + 1.0).await;
    assert_eq!(service.get("/v1/customers/who-0001").await.status, 404);
    assert_eq!(service.get("/v1/customers/who-0002").await.status, 200);
    let late = shop.serve().await;
    let answer = late.get("/v1/customers/who-0003").await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "no-snapshot"), "{}", answer.text);
    assert_eq!(late.get("/readyz").await.status, 503);
    let refused = forget(&shop, &["who-0004"]);
    assert!(!refused.status.success() && output_text(&refused).contains("20240101T000000000Z-00000000.json"));
    std::fs::remove_file(&broken).unwrap();
    eventually(|| late.get("/v1/customers/who-0003"), |answer| answer.status == 200).await;
    assert_eq!(late.get("/v1/customers/who-0001").await.status, 404);
    // The service follows a new publish and still omits the erased customer.
    let built = shop.build().await.manifest.id;
    shop.publish(&built).await;
    eventually(|| service.get("/v1/segments"), |answer| answer.json()["snapshot"] == built.to_string()).await;
    assert_eq!(service.get("/v1/customers/who-0001").await.status, 404);
}
