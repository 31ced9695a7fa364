//! Changes between two snapshots: who entered and left a segment, and whose value of a feature changed.

use std::collections::{BTreeMap, BTreeSet};

use larder::{
    config::{Config, Scope},
    snapshot::SnapshotId,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    callers::{Caller, key, keys},
    shop::{Answer, Service, Shop, corners, corners_with, eventually},
};

const CALLERS: &[Caller<'_>] = &[
    ("features", &[Scope::Features, Scope::Export]),
    ("reader", &[Scope::Features, Scope::Pii, Scope::Export]),
];

const AS_OF: [&str; 3] = ["2024-02-05T00:00:00Z", "2024-02-25T00:00:00Z", "2024-03-10T11:30:00Z"];

/// Builds a snapshot at each time of [`AS_OF`] and publishes the last one.
async fn build(shop: &Shop) -> Vec<SnapshotId> {
    let mut ids = Vec::new();
    for as_of in AS_OF {
        ids.push(shop.try_build(Some(as_of)).await.unwrap().manifest.id);
    }
    shop.publish(&ids[2]).await;
    ids
}

async fn get(service: &Service, path: &str, caller: &str) -> Answer {
    let request = service.client.request(Method::GET, format!("{}{path}", service.url));
    service.send(request.bearer_auth(key(caller))).await
}

/// Reads all pages of a list of changes; returns the first page and all customers.
async fn pages(service: &Service, path: &str, limit: usize) -> (Value, Vec<Value>) {
    let (mut found, mut cursor, mut first) = (Vec::new(), String::new(), Value::Null);
    loop {
        let answer = service.get(&format!("{path}limit={limit}{cursor}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let page = answer.json();
        found.extend(page["customers"].as_array().unwrap().iter().cloned());
        let next = page["next"].as_str().map(|next| format!("&cursor={next}"));
        if first.is_null() {
            first = page;
        }
        match next {
            Some(next) => cursor = next,
            None => return (first, found),
        }
    }
}

/// Returns `rfm.segment` of every customer in the snapshot, by other means than comparisons.
async fn segments(shop: &Shop, id: &SnapshotId) -> BTreeMap<String, String> {
    let current = shop.publish(id).await;
    assert_eq!(current.snapshot, *id);
    let service = shop.serve().await;
    let body = json!({"where": "rfm.segment is not null", "limit": 1000, "views": ["rfm"]});
    let answer = service.post("/v1/audiences", body.to_string()).await.json();
    let customers = answer["customers"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    customers.map(|one| (text(&one["customer_id"]), text(&one["views"]["rfm"]["segment"]))).collect()
}

/// Ids of customers with the direction and the snapshot that lacks them.
type Changes = BTreeSet<(String, String, Option<String>)>;

fn changes(customers: &[Value]) -> Changes {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let change = |one: &Value| {
        (text(&one["customer_id"]), text(&one["change"]), one["absent_in"].as_str().map(str::to_owned))
    };
    customers.iter().map(change).collect()
}

#[tokio::test]
async fn changes_of_a_segment_are_the_difference_of_its_members() {
    let shop = corners();
    let ids = build(&shop).await;
    let mut then = Vec::new();
    for id in &ids {
        then.push(segments(&shop, id).await);
    }
    let service = shop.serve().await;
    let names: BTreeSet<&String> = then.iter().flat_map(BTreeMap::values).collect();
    let mut total = 0;
    for (from, to) in [(0, 1), (1, 2), (0, 2)] {
        for name in &names {
            let is_in = |at: usize, id: &String| then[at].get(id) == Some(*name);
            let mut expected = Changes::new();
            for id in then[from].keys().chain(then[to].keys()) {
                let absent = |at: usize, end: &str| {
                    if then[at].contains_key(id) { None } else { Some(end.to_owned()) }
                };
                match (is_in(from, id), is_in(to, id)) {
                    (false, true) => {
                        expected.insert((id.clone(), "entered".to_owned(), absent(from, "from")))
                    }
                    (true, false) => expected.insert((id.clone(), "left".to_owned(), absent(to, "to"))),
                    _ => false,
                };
            }
            let path = format!("/v1/segments/{name}/changes?from={}&to={}&", ids[from], ids[to]);
            let (first, customers) = pages(&service, &path, 2).await;
            assert_eq!(changes(&customers), expected, "{path}");
            let count = |word: &str| expected.iter().filter(|(_, change, _)| change == word).count() as u64;
            assert_eq!(
                [&first["entered"], &first["left"]],
                [&json!(count("entered")), &json!(count("left"))]
            );
            assert_eq!(first["total"], json!(expected.len()), "{first}");
            assert_eq!(first["from"]["snapshot"], json!(ids[from]));
            assert_eq!([&first["to"]["snapshot"], &first["snapshot"]], [&json!(ids[to]); 2]);
            let ranks: Vec<u64> = customers.iter().map(|one| one["rank"].as_u64().unwrap()).collect();
            assert_eq!(ranks, (1..=ranks.len() as u64).collect::<Vec<_>>());
            for word in ["entered", "left"] {
                let (_, one) = pages(&service, &format!("{path}direction={word}&"), 3).await;
                let of: Changes = expected.iter().filter(|(_, change, _)| change == word).cloned().collect();
                assert_eq!(changes(&one), of, "{path} {word}");
            }
            total += expected.len();
        }
    }
    assert!(total > 10, "{total}");
    // By default, the current snapshot is compared with the one before; times stand for snapshots.
    let by_default = service.get("/v1/segments/champions/changes").await;
    let by_times =
        service.get("/v1/segments/champions/changes?from=2024-02-25&to=2024-03-10&views=rfm").await.json();
    assert_eq!(by_default.json()["from"]["snapshot"], json!(ids[1]));
    assert_eq!(by_times["from"], by_default.json()["from"]);
    for customer in by_times["customers"].as_array().unwrap() {
        let id = customer["customer_id"].as_str().unwrap();
        assert_eq!(customer["views"]["rfm"]["segment"], json!(then[2].get(id)), "{customer}");
    }
    let again = service.client.get(format!("{}/v1/segments/champions/changes", service.url));
    let again = service.send(again.header("if-none-match", by_default.header("etag"))).await;
    assert_eq!(again.status, 304);
}

#[tokio::test]
async fn bad_changes_are_problems() {
    let mut shop = corners();
    let first = shop.try_build(Some(AS_OF[0])).await.unwrap().manifest.id;
    shop.publish(&first).await;
    let service = shop.serve().await;
    let alone = service.get("/v1/segments/champions/changes").await;
    assert_eq!((alone.status, alone.problem().as_str()), (404, "snapshot-not-found"));
    let toml = "[audiences.spenders]\nwhere = \"rfm.monetary >= 20\"\n";
    shop.config.audiences = Config::parse(toml, "audiences", []).unwrap().audiences;
    let last = shop.try_build(Some(AS_OF[2])).await.unwrap().manifest.id;
    shop.publish(&last).await;
    let service = shop.serve().await;
    let missing = service.get("/v1/segments/spenders/changes").await;
    assert!(missing.problem() == "segment-not-found" && missing.text.contains(first.as_str()), "{missing:?}");
    let cursor = service.get("/v1/changes?feature=rfm.segment&limit=1").await.json()["next"].clone();
    let cursor = cursor.as_str().unwrap();
    for (path, status, kind) in [
        ("/v1/segments/nope/changes", 404, "segment-not-found"),
        ("/v1/segments/champions/changes?direction=up", 400, "bad-parameter"),
        ("/v1/segments/champions/changes?limit=0", 400, "bad-parameter"),
        ("/v1/segments/champions/changes?from=soon", 400, "bad-parameter"),
        (&format!("/v1/segments/champions/changes?from={last}&to={first}"), 400, "bad-parameter"),
        ("/v1/segments/champions/changes?views=nope", 400, "unknown-view"),
        ("/v1/segments/champions/changes?cursor=x", 400, "bad-cursor"),
        (&format!("/v1/segments/champions/changes?cursor={cursor}"), 400, "bad-cursor"),
        (&format!("/v1/changes?feature=rfm.monetary&cursor={cursor}"), 400, "bad-cursor"),
        ("/v1/changes", 400, "bad-parameter"),
        ("/v1/changes?feature=rfm", 400, "unknown-feature"),
        ("/v1/changes?feature=rfm.nope", 400, "unknown-feature"),
        ("/v1/changes?feature=recommendations.products", 400, "unknown-feature"),
        ("/v1/changes?feature=rfm.segment&to=2023-01-01", 404, "snapshot-not-found"),
        ("/v1/segments/champions/changes/export?direction=up", 400, "bad-parameter"),
        ("/v1/segments/champions/changes/export?columns=changed", 400, "bad-parameter"),
        ("/v1/segments/champions/export?columns=change", 400, "bad-parameter"),
        ("/v1/segments/spenders/changes/export", 404, "segment-not-found"),
    ] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{path}: {}", answer.text);
    }
    // The snapshot of the cursor is removed.
    std::fs::remove_dir_all(shop.path().join(format!("lake/snapshots/{first}"))).unwrap();
    let service = shop.serve().await;
    let gone = service.get(&format!("/v1/changes?feature=rfm.segment&cursor={cursor}")).await;
    assert_eq!((gone.status, gone.problem().as_str()), (410, "cursor-gone"), "{}", gone.text);
}

#[tokio::test]
async fn changed_values_are_listed_with_old_and_new() {
    let shop = corners();
    let ids = build(&shop).await;
    let mut then = Vec::new();
    for id in &ids {
        then.push(segments(&shop, id).await);
    }
    let service = shop.serve().await;
    let mut expected = BTreeMap::new();
    for id in then[0].keys().chain(then[2].keys()) {
        let (old, new) = (then[0].get(id), then[2].get(id));
        if old != new {
            let absent = if old.is_none() { json!("from") } else { Value::Null };
            expected.insert(id.clone(), [json!(old), json!(new), absent]);
        }
    }
    assert!(expected.len() > 5, "{expected:?}");
    let path = format!("/v1/changes?feature=rfm.segment&from={}&", ids[0]);
    let (first, customers) = pages(&service, &path, 3).await;
    let found: BTreeMap<String, [Value; 3]> = customers
        .iter()
        .map(|one| {
            let values = ["old", "new", "absent_in"].map(|name| one[name].clone());
            (one["customer_id"].as_str().unwrap().to_owned(), values)
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!((&first["feature"], &first["total"]), (&json!("rfm.segment"), &json!(expected.len())));
    // Numbers, times and floats; a customer whose value is the same is not listed.
    for feature in ["rfm.monetary", "rfm.frequency", "behavior.last_purchase_at", "churn.probability"] {
        let (_, customers) =
            pages(&service, &format!("/v1/changes?feature={feature}&from={}&", ids[1]), 100).await;
        for one in &customers {
            assert_ne!(one["old"], one["new"], "{feature}: {one}");
            let id = one["customer_id"].as_str().unwrap().replace('/', "%2F").replace(' ', "%20");
            let (view, name) = feature.split_once('.').unwrap();
            let now = service.get(&format!("/v1/customers/{id}?views={view}")).await.json();
            let now = if now["views"][view].is_null() { &Value::Null } else { &now["views"][view][name] };
            assert_eq!(&one["new"], now, "{feature}: {one}");
        }
        assert!(!customers.is_empty(), "{feature}");
    }
}

#[tokio::test]
async fn export_of_changes_has_every_change_in_each_format() {
    let mut shop = corners();
    let ids = build(&shop).await;
    // The last snapshot lacks a customer of the first two.
    let lines = crate::support::shop::CORNERS.lines().filter(|line| !line.starts_with("edge-1,"));
    shop.raw("transactions/all.csv", lines.collect::<Vec<_>>().join("\n"));
    shop.config.quality = larder::config::QualityConfig::default();
    let last = shop.try_build(Some(AS_OF[2])).await.unwrap().manifest.id;
    shop.publish(&last).await;
    let service = shop.serve().await;
    let all = service.get("/v1/segments").await.json();
    let (mut gone, mut rows) = (0, 0);
    for name in all["segments"].as_array().unwrap().iter().map(|segment| segment["name"].as_str().unwrap()) {
        for direction in ["entered", "left", "both"] {
            let asked = format!("from={}&direction={direction}", ids[0]);
            let (first, listed) =
                pages(&service, &format!("/v1/segments/{name}/changes?{asked}&"), 100).await;
            let export = format!("/v1/segments/{name}/changes/export?{asked}");
            for order in ["id", "rank"] {
                let csv = service
                    .get(&format!(
                        "{export}&order={order}&columns=rank,customer_id,change,absent_in,rfm.segment"
                    ))
                    .await;
                assert_eq!(csv.status, 200, "{}", csv.text);
                assert_eq!(
                    (csv.header("larder-rows"), csv.header("larder-from")),
                    (first["total"].to_string().as_str(), ids[0].as_str())
                );
                let mut lines: Vec<Vec<String>> = csv
                    .text
                    .lines()
                    .skip(1)
                    .map(|line| line.split(',').map(str::to_owned).collect())
                    .collect();
                if order == "id" {
                    lines.sort_by_key(|line| line[0].parse::<u64>().unwrap());
                }
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let expected: Vec<Vec<String>> = listed
                    .iter()
                    .map(|one| {
                        vec![
                            one["rank"].to_string(),
                            text(&one["customer_id"]),
                            text(&one["change"]),
                            text(&one["absent_in"]),
                        ]
                    })
                    .collect();
                assert_eq!(
                    lines.iter().map(|line| line[..4].to_vec()).collect::<Vec<_>>(),
                    expected,
                    "{export}"
                );
                assert!(lines.iter().all(|line| line[4].is_empty() == (line[3] == "to")), "{}", csv.text);
                gone += lines.iter().filter(|line| line[3] == "to").count();
                rows += lines.len();
                let ndjson = service.get(&format!("{export}&order={order}&format=ndjson")).await;
                assert_eq!(ndjson.text.lines().count(), listed.len());
                for line in ndjson.text.lines() {
                    let line: Value = serde_json::from_str(line).unwrap();
                    let one = &listed[usize::try_from(line["rank"].as_u64().unwrap()).unwrap() - 1];
                    for field in ["customer_id", "change", "absent_in"] {
                        assert_eq!(line[field], one[field], "{line}");
                    }
                }
                let parquet =
                    service.client.get(format!("{}{export}&order={order}&format=parquet", service.url));
                let bytes = parquet.send().await.unwrap().bytes().await.unwrap();
                let found = parquet_rows(bytes);
                assert_eq!(found.len(), listed.len(), "{export}");
                for (id, rank, change, absent) in found {
                    let one = &listed[usize::try_from(rank).unwrap() - 1];
                    assert_eq!(
                        json!([id, change, absent]),
                        json!([one["customer_id"], one["change"], one["absent_in"]])
                    );
                }
            }
        }
    }
    assert!(gone > 0 && rows > gone, "{gone} of {rows}");
}

/// Reads id, rank, change and missing snapshot of each row.
fn parquet_rows(bytes: bytes::Bytes) -> Vec<(String, i64, String, Option<String>)> {
    use arrow::array::{Array, AsArray};
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let mut found = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (ids, changes, absent) = (text("customer_id"), text("change"), text("absent_in"));
        let ranks = batch.column_by_name("rank").unwrap();
        let ranks = ranks.as_primitive::<arrow::datatypes::Int64Type>();
        for row in 0..batch.num_rows() {
            let missing = absent.is_valid(row).then(|| absent.value(row).to_owned());
            found.push((ids.value(row).to_owned(), ranks.value(row), changes.value(row).to_owned(), missing));
        }
    }
    found
}

#[tokio::test]
async fn changes_of_personal_features_and_audiences_need_pii() {
    let shop = corners_with(&format!(
        "[audiences.mailable]\nwhere = \"profile.email is not null\"\n{}",
        keys(CALLERS)
    ));
    build(&shop).await;
    let service = shop.serve().await;
    for path in [
        "/v1/changes?feature=profile.email",
        "/v1/segments/mailable/changes",
        "/v1/segments/mailable/changes/export",
    ] {
        let refused = get(&service, path, "features").await;
        assert_eq!((refused.status, refused.problem().as_str()), (403, "forbidden"), "{path}");
        let shown = get(&service, path, "reader").await;
        assert_eq!((shown.status, shown.header("cache-control")), (200, "no-store"), "{}", shown.text);
    }
    let plain = get(&service, "/v1/changes?feature=rfm.segment&views=profile", "features").await.json();
    assert_eq!(plain["masked"], json!(["profile.email"]));
}

#[tokio::test]
async fn few_changes_are_withheld_by_min_count() {
    let shop = corners_with(&format!("[privacy]\nmin_count = 4\n{}", keys(CALLERS)));
    build(&shop).await;
    let service = shop.serve().await;
    let (mut refused, mut shown) = (0, 0);
    let all = get(&service, "/v1/segments", "reader").await.json();
    for segment in all["segments"].as_array().unwrap() {
        let path = format!("/v1/segments/{}/changes", segment["name"].as_str().unwrap());
        let whole = get(&service, &path, "reader").await.json();
        let few = ["entered", "left"].iter().any(|name| (1..4).contains(&whole[name].as_u64().unwrap()));
        let answer = get(&service, &path, "features").await;
        let export = get(&service, &format!("{path}/export"), "features").await;
        assert!(!few || answer.status == 403, "{whole}");
        assert_eq!(answer.status, export.status);
        refused += usize::from(answer.status == 403);
        shown += usize::from(answer.status == 200);
    }
    assert!(refused > 0 && shown > 0, "{refused} {shown}");
    let total = |answer: &Answer| answer.json()["total"].as_u64().unwrap();
    for feature in ["profile.country", "rfm.monetary"] {
        let path = format!("/v1/changes?feature={feature}&from=2024-02-25");
        let whole = total(&get(&service, &path, "reader").await);
        let expected = if (1..4).contains(&whole) { 403 } else { 200 };
        assert_eq!(get(&service, &path, "features").await.status, expected, "{feature}: {whole}");
    }
}

#[tokio::test]
async fn erased_customers_are_in_no_changes() {
    let shop = corners();
    build(&shop).await;
    let service = shop.serve().await;
    let paths = [
        "/v1/changes?feature=rfm.monetary&limit=1000",
        "/v1/segments/champions/changes?from=2024-02-05",
        "/v1/segments/champions/changes/export?from=2024-02-05&columns=customer_id",
    ];
    for path in paths {
        assert!(service.get(path).await.text.contains("loyal"), "{path}");
    }
    assert!(shop.larder(&["forget", "--keep-snapshots", "loyal"]).status.success());
    for path in paths {
        let answer = eventually(|| service.get(path), |answer| !answer.text.contains("loyal")).await;
        assert_eq!(answer.status, 200);
    }
}
