//! History, migration and overlap, checked against the rows of every customer in each snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use larder::snapshot::SnapshotId;
use serde_json::{Value, json};

use crate::support::shop::{Service, Shop};

/// Number of customers: more than one column batch holds.
const CUSTOMERS: usize = 8_500;

/// Returns transactions of the customers whose number passes `keep`.
fn lines(keep: impl Fn(usize) -> bool) -> String {
    let mut lines = String::from("customer_id,order_id,product_id,quantity,unit_price,ordered_at\n");
    for at in (0..CUSTOMERS).filter(|at| keep(*at)) {
        let (day, price) = (at * 7 % 60, 1 + at % 97);
        let mut order = |number: usize, day: usize| {
            let date = chrono::NaiveDate::from_ymd_opt(2024, 1, 1).unwrap() + chrono::Days::new(day as u64);
            writeln!(lines, "c{at},o{at}-{number},p{},1,{price}.{:04},{date}", at % 5, at % 10_000).unwrap();
        };
        order(1, day);
        (0..at % 4).for_each(|number| order(2 + number, day + 9 * (number + 1)));
    }
    lines
}

/// Row of a customer.
struct CustomerRow {
    segment: Option<String>,
    /// `rfm.monetary` in ten-thousandths.
    monetary: i64,
    risk: Option<String>,
}

/// Rows of a snapshot by customer id.
type SnapshotRows = BTreeMap<String, CustomerRow>;

/// Publishes the snapshot `id`, and reads the rows of all customers.
async fn read_rows(shop: &Shop, id: &SnapshotId) -> SnapshotRows {
    shop.publish(id).await;
    let service = shop.serve().await;
    let mut rows = SnapshotRows::new();
    let ids: Vec<String> = (0..CUSTOMERS).map(|at| format!("c{at}")).collect();
    for ids in ids.chunks(1_000) {
        let body = json!({"ids": ids, "features": ["rfm.segment", "rfm.monetary", "churn.risk"]});
        let batch = service.post("/v1/customers/batch", body.to_string()).await.json();
        for result in batch["results"].as_array().unwrap() {
            if result["found"] == true {
                let text = |value: &Value| value.as_str().map(str::to_owned);
                let (rfm, churn) = (&result["views"]["rfm"], &result["views"]["churn"]);
                #[expect(clippy::cast_possible_truncation, reason = "amounts are small")]
                let monetary = (rfm["monetary"].as_f64().unwrap() * 10_000.0).round() as i64;
                let row =
                    CustomerRow { segment: text(&rfm["segment"]), monetary, risk: text(&churn["risk"]) };
                rows.insert(result["customer_id"].as_str().unwrap().to_owned(), row);
            }
        }
    }
    rows
}

/// Returns the members of a segment, computed from the rows.
fn members(rows: &SnapshotRows, segment: &str) -> BTreeSet<String> {
    let is_member = |row: &CustomerRow| {
        let risk = row.risk.as_deref();
        match segment {
            "spenders" => (500_000..900_000).contains(&row.monetary),
            "best" => row.monetary >= 900_000,
            // A customer without a risk level does not match `not churn.risk:low`.
            "slow" => row.segment.as_deref() == Some("hibernating") || risk.is_some_and(|risk| risk != "low"),
            _ => match segment.strip_prefix("churn_") {
                Some(level) => risk == Some(level),
                None => row.segment.as_deref() == Some(segment),
            },
        }
    };
    rows.iter().filter(|(_, row)| is_member(row)).map(|(id, _)| id.clone()).collect()
}

/// Named audiences. The audiences with a priority share no customers.
const AUDIENCES: &str = "\
[audiences.spenders]
where = \"rfm.monetary >= 50\"
priority = 2
[audiences.best]
where = \"rfm.monetary >= 90\"
priority = 1
[audiences.slow]
where = \"segment:hibernating or not churn.risk:low\"
";

/// Creates a shop with three snapshots. The second snapshot is built twice, and the last one lacks some
/// customers.
async fn shop_with_three_snapshots() -> (Shop, Vec<SnapshotId>, Vec<SnapshotRows>) {
    let shop = Shop::new(AUDIENCES);
    shop.raw("transactions/x.csv", lines(|_| true));
    let mut ids = Vec::new();
    for as_of in ["2024-01-31T00:00:00Z", "2024-02-20T00:00:00Z"] {
        ids.push(shop.try_build(Some(as_of)).await.unwrap().manifest.id);
    }
    // The second build of the same as-of time replaces the first.
    ids[1] = shop.try_build(Some("2024-02-20T00:00:00Z")).await.unwrap().manifest.id;
    shop.raw("transactions/x.csv", lines(|at| at % 11 != 0));
    ids.push(shop.try_build(Some("2024-03-10T00:00:00Z")).await.unwrap().manifest.id);
    // A later snapshot that is not published is not part of the history.
    shop.build().await;
    let mut rows = Vec::new();
    for id in &ids {
        rows.push(read_rows(&shop, id).await);
    }
    (shop, ids, rows)
}

/// Converts an amount in ten-thousandths to the number that is expected in JSON.
fn amount(ten_thousandths: i64) -> f64 {
    format!("{ten_thousandths}e-4").parse().unwrap()
}

/// Compares a migration matrix with the rows of both snapshots. `kind` is `rfm` or `churn`.
fn check_migration(response: &Value, before: &SnapshotRows, after: &SnapshotRows, kind: &str) {
    let placement = |rows: &SnapshotRows, id: &String| match rows.get(id) {
        None => json!("absent"),
        Some(row) if kind == "churn" => json!(row.risk.as_ref().map(|risk| format!("churn_{risk}"))),
        Some(row) => json!(row.segment),
    };
    let monetary = |rows: &SnapshotRows, id: &String| rows.get(id).map_or(0, |row| row.monetary);
    // Number of customers, revenue, and change of revenue.
    let mut totals: BTreeMap<(String, String), (u64, i64, i64)> = BTreeMap::new();
    for id in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let key = (placement(before, id).to_string(), placement(after, id).to_string());
        let (customers, revenue, change) = totals.entry(key).or_default();
        *customers += 1;
        *revenue += monetary(after, id);
        *change += monetary(after, id) - monetary(before, id);
    }
    let expected: BTreeMap<_, _> = totals
        .into_iter()
        .map(|(key, (customers, revenue, change))| (key, (customers, amount(revenue), amount(change))))
        .collect();
    let cell_of = |cell: &Value| {
        let key = (cell["from"].to_string(), cell["to"].to_string());
        let [revenue, change] = ["revenue", "revenue_change"].map(|name| cell[name].as_f64().unwrap());
        (key, (cell["customers"].as_u64().unwrap(), revenue, change))
    };
    let found: BTreeMap<_, _> = response["cells"].as_array().unwrap().iter().map(cell_of).collect();
    assert_eq!(found, expected);
}

/// Compares the histories of all segments with the rows of the snapshots.
async fn check_histories(service: &Service, ids: &[SnapshotId], rows: &[SnapshotRows]) {
    let segments = service.get("/v1/segments").await.json()["segments"].clone();
    let mut moves = 0;
    for segment in segments.as_array().unwrap() {
        let name = segment["name"].as_str().unwrap();
        let answer = service.get(&format!("/v1/segments/{name}/history")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let history = answer.json()["history"].as_array().unwrap().clone();
        let snapshots: Vec<&Value> = history.iter().map(|entry| &entry["snapshot"]).collect();
        assert_eq!(json!(snapshots), json!(ids));
        for (at, entry) in history.iter().enumerate() {
            let now = members(&rows[at], name);
            assert_eq!(entry["size"], json!(now.len()), "{name} {entry}");
            assert_eq!(entry["customers"], json!(rows[at].len()), "{name} {entry}");
            let revenue = now.iter().map(|id| rows[at][id].monetary).sum();
            assert_eq!(entry["revenue"].as_f64().unwrap(), amount(revenue), "{name}");
            let Some(before) = at.checked_sub(1).map(|before| members(&rows[before], name)) else {
                assert_eq!((&entry["added"], &entry["dropped"]), (&Value::Null, &Value::Null));
                continue;
            };
            assert_eq!(entry["added"], json!(now.difference(&before).count()), "{name} {entry}");
            assert_eq!(entry["dropped"], json!(before.difference(&now).count()), "{name} {entry}");
            moves += now.difference(&before).count();
        }
        assert_eq!(history[2]["size"], segment["size"]);
    }
    assert!(moves > 1_000, "{moves}");
    let slow = service.get("/v1/segments/slow/history").await.json();
    assert_eq!(slow["kind"], "audience", "{slow}");
    assert!(slow["history"][2]["dropped"].as_u64() > Some(100), "{slow}");
}

/// Compares the overlap of segments in the snapshot `id` with its rows.
async fn check_overlaps(service: &Service, id: &SnapshotId, rows: &SnapshotRows) {
    let names =
        ["hibernating", "at_risk", "churn_high", "champions", "churn_low", "spenders", "best", "slow"];
    let path = format!("/v1/overlap?segments={}&snapshot={id}", names.join(","));
    let overlap = service.get(&path).await.json();
    let pairs = overlap["pairs"].as_array().unwrap();
    assert_eq!((pairs.len(), &overlap["as_of"]), (28, &json!("2024-02-20T00:00:00Z")));
    #[expect(clippy::cast_precision_loss, reason = "shares")]
    for pair in pairs {
        let [a, b] = ["a", "b"].map(|side| members(rows, pair[side].as_str().unwrap()));
        let both = a.intersection(&b).count();
        assert_eq!(
            (&pair["size_a"], &pair["size_b"], &pair["customers"]),
            (&json!(a.len()), &json!(b.len()), &json!(both))
        );
        // A number parsed from JSON may differ in the last bit.
        let is_share_of = |found: &Value, whole: usize| match found.as_f64() {
            None => found.is_null() && whole == 0,
            Some(found) => (found - both as f64 / whole as f64).abs() < 1e-15,
        };
        assert!(is_share_of(&pair["share_of_a"], a.len()), "{pair}");
        assert!(is_share_of(&pair["share_of_b"], b.len()), "{pair}");
        assert!(is_share_of(&pair["jaccard"], a.union(&b).count()), "{pair}");
    }
    let both = |a: &str, b: &str| {
        pairs.iter().find(|pair| pair["a"] == a && pair["b"] == b).unwrap()["customers"].clone()
    };
    assert!(both("hibernating", "slow").as_u64() > Some(0) && both("spenders", "best") == 0, "{overlap}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_migration_and_overlap_match_rows() {
    let (shop, ids, rows) = shop_with_three_snapshots().await;
    let service = shop.serve().await;
    let lost = rows[1].keys().filter(|id| !rows[2].contains_key(*id)).count();
    assert!(rows[0].len() < rows[1].len() && lost > 500, "{lost}");
    check_histories(&service, &ids, &rows).await;

    let rfm = service.get("/v1/migration").await.json();
    assert_eq!((&rfm["from"]["snapshot"], &rfm["to"]["snapshot"]), (&json!(ids[1]), &json!(ids[2])));
    check_migration(&rfm, &rows[1], &rows[2], "rfm");
    let churn = service.get("/v1/migration?kind=churn&from=2024-01-31&to=2024-02-28").await.json();
    assert_eq!((&churn["from"]["snapshot"], &churn["to"]["snapshot"]), (&json!(ids[0]), &json!(ids[1])));
    check_migration(&churn, &rows[0], &rows[1], "churn");
    let first_to_last = format!("/v1/migration?from={}&to={}", ids[0], ids[2]);
    check_migration(&service.get(&first_to_last).await.json(), &rows[0], &rows[2], "rfm");

    check_overlaps(&service, &ids[1], &rows[1]).await;

    // The comparison is cached, so it is served although the columns are removed.
    std::fs::remove_dir_all(shop.path().join(format!("lake/snapshots/{}/customers", ids[0]))).unwrap();
    check_migration(&service.get(&first_to_last).await.json(), &rows[0], &rows[2], "rfm");
    let unreadable = shop.serve().await.get(&first_to_last).await;
    assert_eq!((unreadable.status, unreadable.problem().as_str()), (503, "unavailable"));
    std::fs::remove_dir_all(shop.path().join(format!("lake/snapshots/{}", ids[0]))).unwrap();
    let replica = shop.serve().await;
    let gone = replica.get(&first_to_last).await;
    assert_eq!((gone.status, gone.problem().as_str()), (404, "snapshot-not-found"));
    let rest = replica.get("/v1/segments/champions/history").await.json();
    assert_eq!((rest["history"].as_array().unwrap().len(), &rest["history"][0]["added"]), (2, &Value::Null));
}
