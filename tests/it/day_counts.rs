//! Features that count days from an instant to `as_of`: readers get the same bytes as from rows that hold the
//! numbers, and a publish of a day later has nothing to write.
//!
//! Two shops have the same data. The views of the one call `days_since`, so its rows hold instants. The views
//! of the other compute the numbers with arithmetic, so its rows hold numbers.

use std::{fmt::Write as _, sync::Arc};

use arrow::{
    array::{Array, AsArray},
    datatypes::Int64Type,
};
use larder::{
    config::{Scope, TairConfig},
    publish::{Options, Publisher, WriteSummary},
    snapshot::SnapshotId,
    views::built_in,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::support::{
    callers::{Caller, key, keys},
    redis::Redis,
    shop::{CORNERS, CORNERS_TOML, PEOPLE, Service, Shop, assert_clean, corners, corners_with, eventually},
};

/// Two as-of times between which no order leaves a window of 30, 90, 180 or 365 days.
const DAYS: [&str; 2] = ["2024-03-12T12:00:00.25Z", "2024-03-13T12:00:00.25Z"];

/// A view with instants after `as_of`, nulls, a number of another kind, and customers without a row.
const ORDERING: &str = "\
-- Orders of a customer.
--
-- last_days (personal): Days since the last order.
SELECT customer_id, 'a,\"[' AS text, days_since(max(ordered_at)) AS last_days,
    days_since(CASE WHEN count(*) > 1 THEN min(ordered_at) END) AS first_days, count(*) AS orders,
    days_since(max(ordered_at) + INTERVAL '9 days 12 hours') AS due_days
FROM orders
GROUP BY customer_id
";

/// A view that reads the day counts of other views, as numbers.
const READER: &str = "\
-- Day counts of other views.
SELECT o.customer_id, r.recency_days - o.last_days AS difference
FROM ordering o JOIN rfm r ON r.customer_id = o.customer_id
";

/// Replaces the calls of `days_since` in `sql` with arithmetic.
fn with_arithmetic(sql: &str) -> String {
    let mut parts = sql.split("days_since(");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let mut depth = 1;
        let end = part.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let (time, rest) = part.split_at(end.unwrap());
        let time = format!("CAST(CAST({time} AS TIMESTAMP) AS BIGINT) / 1000");
        write!(text, "((CAST($as_of AS BIGINT) - {time}) / 86400000000{rest}").unwrap();
    }
    text
}

/// A shop with its snapshots of [`DAYS`], and what each publish wrote.
struct Published {
    shop: Shop,
    ids: [SnapshotId; 2],
    written: Vec<WriteSummary>,
}

impl Published {
    /// Builds and publishes the snapshots of [`DAYS`]. Rows hold instants, or numbers.
    async fn new(redis: &Redis, instants: bool) -> Self {
        let namespace = if instants { "instants" } else { "numbers" };
        let shop = Shop::new(&format!(
            "churn.enabled = false\nvalue.enabled = false\nviews.folder = \"views\"\n{CORNERS_TOML}\
             [tair]\nurl = \"{}\"\nnamespace = \"{namespace}\"\n",
            redis.url()
        ));
        shop.raw("transactions/all.csv", CORNERS);
        shop.raw("customers/people.jsonl", PEOPLE);
        let folder = shop.path().join("views");
        std::fs::create_dir(&folder).unwrap();
        let rfm = built_in().into_iter().filter(|view| view.name.starts_with("rfm"));
        let own =
            [("ordering", ORDERING), ("reader", READER)].map(|(name, sql)| (name.to_owned(), sql.to_owned()));
        for (name, sql) in rfm.map(|view| (view.name, view.sql)).chain(own) {
            let sql = if instants { sql } else { with_arithmetic(&sql) };
            std::fs::write(folder.join(format!("{name}.sql")), sql).unwrap();
        }
        let mut written = Vec::new();
        let mut ids = Vec::new();
        for as_of in DAYS {
            let id = shop.try_build(Some(as_of)).await.unwrap().manifest.id;
            written.push(publish(&shop, &id).await);
            ids.push(id);
        }
        assert_clean(&shop).await;
        Self { shop, ids: ids.try_into().unwrap(), written }
    }

    /// Serves the last snapshot from `tair`, if given, with `memory` bytes for rows.
    async fn serve(&self, tair: Option<TairConfig>, memory: u64) -> Service {
        let mut shop = Shop { folder: Arc::clone(&self.shop.folder), config: self.shop.config.clone() };
        (shop.config.tair, shop.config.serving.memory) = (tair, memory);
        shop.serve().await
    }

    /// Returns the answers of a service to requests of every kind, without the names of the
    /// snapshots and of the tiers.
    async fn answers(&self, service: &Service) -> Vec<String> {
        let [from, to] = &self.ids;
        let mut answers = Vec::new();
        for path in [
            "/v1/customers/17850".to_owned(),
            "/v1/customers/prospect?views=rfm,ordering".to_owned(),
            "/v1/customers/returner?views=reader,rfm,profile".to_owned(),
            "/v1/customers/loyal?segments=true".to_owned(),
            "/v1/customers/loyal/history".to_owned(),
            "/v1/customers/loyal/history?features=rfm.recency_days,ordering.due_days,rfm.segment".to_owned(),
            "/v1/segments/prospect/customers?views=rfm".to_owned(),
            "/v1/segments/hibernating/customers?views=rfm,ordering".to_owned(),
            "/v1/segments/hibernating/export?format=csv".to_owned(),
            "/v1/audiences/export?where=rfm.recency_days>=0&format=ndjson".to_owned(),
            "/v1/audiences/export?where=rfm.recency_days>=0&format=csv&order=rank\
             &columns=customer_id,rank,ordering.due_days,rfm.recency_days,profile.country"
                .to_owned(),
            "/v1/views/rfm/statistics".to_owned(),
            "/v1/views/ordering/statistics".to_owned(),
            format!("/v1/changes?feature=rfm.recency_days&from={from}&to={to}&views=rfm"),
            format!("/v1/changes?feature=ordering.due_days&from={from}&to={to}"),
            format!("/v1/segments/hibernating/changes?from={from}&to={to}&views=rfm,ordering"),
        ] {
            answers.push(service.get(&path).await);
        }
        for (path, body) in [
            ("/v1/customers/batch", json!({"ids": ["loyal", "nobody", "17850", "tie-a", "prospect"]})),
            (
                "/v1/customers/batch",
                json!({"ids": ["whale", "batch"], "features": ["rfm.recency_days", "ordering.first_days"]}),
            ),
            (
                "/v1/audiences",
                json!({"where": "rfm.recency_days > 20 or ordering.due_days < 0",
                    "views": ["rfm", "ordering"], "order_by": "rfm.recency_days desc"}),
            ),
            (
                "/get-online-features",
                json!({"features": ["rfm:recency_days", "rfm:segment", "ordering:due_days"],
                    "entities": {"customer_id": ["loyal", "nobody", "edge-1", "prospect", "tie-b"]}}),
            ),
        ] {
            answers.push(service.post(path, body.to_string()).await);
        }
        let mut texts = Vec::new();
        for answer in answers {
            assert_eq!(answer.status, 200, "{}", answer.text);
            let text = answer.text.replace(from.as_str(), "FROM").replace(to.as_str(), "TO");
            let of_tier = ["memory", "tair"].map(|tier| format!("\"tier\":\"{tier}\""));
            texts.push(of_tier.iter().fold(text, |text, tier| text.replace(tier, "\"tier\":\"snapshot\"")));
        }
        texts
    }
}

async fn publish(shop: &Shop, id: &SnapshotId) -> WriteSummary {
    let options = Options { force: true, ..Options::default() };
    let publisher = Publisher::new(shop.lake(), shop.config.tair.clone(), options);
    publisher.publish(Some(id)).await.unwrap().written.unwrap()
}

/// Returns the days from `instant` to `as_of`, both in RFC 3339.
fn days(instant: &str, as_of: &str) -> i64 {
    let [instant, as_of] = [instant, as_of].map(|text| chrono::DateTime::parse_from_rfc3339(text).unwrap());
    (as_of - instant).num_days()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_later_writes_nothing_and_every_tier_answers_as_from_numbers() {
    let redis = Redis::start();
    let (instants, numbers) = (Published::new(&redis, true).await, Published::new(&redis, false).await);
    // Every customer with an order is a day older, but only rows with numbers say so.
    let [_, numbered] = &numbers.written[..] else { panic!("two publishes") };
    assert!(numbered.full_reason.is_none() && numbered.rows == 12, "{numbered:?}");
    let [_, later] = &instants.written[..] else { panic!("two publishes") };
    assert_eq!((later.rows, later.removed, later.full_reason), (0, 0, None), "{later:?}");
    assert!(later.unchanged == 15, "{later:?}");

    let service = numbers.serve(None, 0).await;
    let expected = numbers.answers(&service).await;
    let tair = instants.shop.config.tair.clone();
    for (tair, memory, tier) in [(None, 0, "snapshot"), (tair.clone(), 0, "tair"), (tair, 1 << 20, "memory")]
    {
        let service = instants.serve(tair, memory).await;
        for id in ["17850", "prospect", "returner", "loyal", "tie-a", "whale", "batch"] {
            // The first answers fill the memory.
            let path = format!("/v1/customers/{id}");
            eventually(|| service.get(&path), |answer| answer.json()["tier"] == tier).await;
        }
        for (found, expected) in instants.answers(&service).await.iter().zip(&expected) {
            assert_eq!(found, expected, "{tier}");
        }
    }

    // The two shops agree on the right numbers.
    let customer: Value = serde_json::from_str(&expected[0]).unwrap();
    let views = &customer["views"];
    let last = views["behavior"]["last_purchase_at"].as_str().unwrap();
    assert_eq!(views["rfm"]["recency_days"], days(last, DAYS[1]));
    assert_eq!(views["ordering"]["due_days"], 2);
}

/// Writes the view `name` into the folder of views of `shop`.
fn write_view(shop: &Shop, name: &str, sql: &str) {
    let folder = shop.path().join("views");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.sql")), sql).unwrap();
}

const OWN_VIEWS: &str = "churn.enabled = false\nvalue.enabled = false\nrecommendations.enabled = false\n\
                         views.folder = \"views\"\n";

/// Builds a snapshot with the view `name`, and returns the error.
async fn refusal(name: &str, sql: &str) -> String {
    let shop = Shop::new(&format!("{OWN_VIEWS}{CORNERS_TOML}"));
    shop.raw("transactions/all.csv", CORNERS);
    write_view(&shop, name, sql);
    let error = shop.try_build(None).await.map(|built| built.manifest.id).unwrap_err();
    assert!(shop.snapshot_folders().is_empty());
    error
}

#[tokio::test]
async fn wrong_day_counts_are_refused_by_name() {
    let error =
        refusal("worth", "SELECT customer_id, days_since(sum(revenue)) AS d FROM orders GROUP BY 1").await;
    assert!(error.contains("view worth") && error.contains("days_since"), "{error}");
    let error = refusal("two", "SELECT customer_id, days_since($as_of, $as_of) AS d FROM customers").await;
    assert!(error.contains("view two") && error.contains("days_since"), "{error}");
    let far = "SELECT customer_id, days_since(arrow_cast(-9223372036854775807, \
               'Timestamp(Microsecond, Some(\"UTC\"))')) AS d FROM customers";
    let error = refusal("far", far).await;
    assert!(error.contains("view far") && error.contains("too far from as_of"), "{error}");
    let error = refusal("own", "SELECT customer_id, 5 AS a, 7 AS \"a since\" FROM customers").await;
    assert!(error.contains("view own, column `a since`: names must be unique"), "{error}");
    let dice = "SELECT customer_id, days_since(arrow_cast(CAST(random() * 1e15 AS BIGINT), \
                'Timestamp(Microsecond, Some(\"UTC\"))')) AS d FROM customers";
    let error = refusal("dice", dice).await;
    assert!(
        error.contains("view dice, column `d`: the time of days_since(time) has another value"),
        "{error}"
    );
    assert!(error.contains("for 1") && error.contains("such as "), "{error}");
}

#[tokio::test]
async fn day_counts_whose_times_cannot_be_selected_are_stored_as_numbers() {
    let shop = Shop::new(&format!("{OWN_VIEWS}{CORNERS_TOML}"));
    shop.raw("transactions/all.csv", CORNERS);
    let plain = "SELECT customer_id, Days_Since(max(ordered_at)) AS d FROM orders GROUP BY customer_id";
    write_view(&shop, "plain", &format!("WITH o AS (SELECT * FROM orders) {plain} ORDER BY d LIMIT 1000"));
    // A step may have any columns.
    write_view(&shop, "any", "-- step\nSELECT customer_id, 7 AS \"a since\" FROM customers");
    write_view(&shop, "of_step", "SELECT customer_id, \"a since\" AS a FROM any WHERE \"a since\" = 7");
    write_view(&shop, "copied", "SELECT * FROM plain");
    write_view(
        &shop,
        "joined",
        "SELECT p.*, c.d AS other FROM plain p JOIN copied c ON c.customer_id = p.customer_id",
    );
    write_view(
        &shop,
        "united",
        &format!("{plain} UNION ALL SELECT customer_id, 1 FROM customers WHERE false"),
    );
    write_view(&shop, "distinct_days", &plain.replace("SELECT", "SELECT DISTINCT"));
    write_view(
        &shop,
        "grouped",
        "SELECT customer_id, days_since(ordered_at) AS d FROM \
         (SELECT customer_id, max(ordered_at) AS ordered_at FROM orders GROUP BY customer_id \
          UNION ALL SELECT customer_id, ordered_at FROM orders WHERE items < 0) \
         GROUP BY customer_id, days_since(ordered_at)",
    );
    let manifest = shop.build().await.manifest;
    let views = ["plain", "copied", "joined", "united", "distinct_days", "grouped"];
    let counts = views.map(|name| {
        let features = &manifest.views[manifest.view(name).unwrap()].features;
        assert_eq!(features.len(), 1 + usize::from(name == "joined"), "{name}: {features:?}");
        features.iter().map(|feature| feature.days_since).collect::<Vec<_>>()
    });
    assert_eq!(counts, [vec![true], vec![false], vec![false; 2], vec![false], vec![false], vec![false]]);
    shop.publish(&manifest.id).await;
    let views = shop.serve().await.get("/v1/customers/loyal").await.json()["views"].clone();
    for (name, feature) in
        [("plain", "d"), ("copied", "d"), ("joined", "other"), ("united", "d"), ("grouped", "d")]
    {
        assert_eq!(views[name][feature], 2, "{name}: {views}");
    }
    assert_eq!([&views["rfm"]["recency_days"], &views["of_step"]["a"]], [2, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_count_that_is_newly_stored_as_instant_is_never_misread() {
    let redis = Redis::start();
    let shop =
        Shop::new(&format!("{OWN_VIEWS}serving.memory = 0\ntair.url = \"{}\"\n{CORNERS_TOML}", redis.url()));
    shop.raw("transactions/all.csv", CORNERS);
    let sql = "SELECT customer_id, days_since(max(ordered_at)) AS d FROM orders GROUP BY customer_id";
    write_view(&shop, "own", &with_arithmetic(sql));
    let numbers = shop.try_build(Some(DAYS[0])).await.unwrap().manifest;
    write_view(&shop, "own", sql);
    let instants = shop.try_build(Some(DAYS[1])).await.unwrap().manifest;
    assert!(publish(&shop, &numbers.id).await.full_reason.is_some());
    let service = shop.serve().await;
    let read = async || service.get("/v1/customers/loyal?views=own,rfm").await;
    let before = eventually(read, |answer| answer.json()["tier"] == "tair").await;
    assert_eq!(before.json()["views"], json!({"own": {"d": 4}, "rfm": before.json()["views"]["rfm"]}));
    assert_eq!(before.json()["views"]["rfm"]["recency_days"], 4);
    let written = publish(&shop, &instants.id).await;
    assert_eq!(written.full_reason, Some("the columns changed"), "{written:?}");
    let is_new = |answer: &crate::support::shop::Answer| {
        let answer = answer.json();
        answer["snapshot"] == json!(instants.id) && answer["tier"] == "tair"
    };
    let after = eventually(read, is_new).await;
    assert_eq!([&after.json()["views"]["own"]["d"], &after.json()["views"]["rfm"]["recency_days"]], [5, 5]);
    // Back to the numbers, as after a rollback to a snapshot of an older version.
    let written = publish(&shop, &numbers.id).await;
    assert_eq!(written.full_reason, Some("the columns changed"), "{written:?}");
    let back = eventually(read, |answer| answer.json()["snapshot"] == json!(numbers.id)).await;
    assert_eq!(back.json()["views"], before.json()["views"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_with_a_damaged_instant_is_answered_by_the_snapshot() {
    let redis = Redis::start();
    let shop = corners_with(&format!("[tair]\nurl = \"{}\"\n[serving]\nmemory = 0\n", redis.url()));
    let service = shop.open().await;
    let read = async || service.get("/v1/customers/loyal").await;
    let answer = eventually(read, |answer| answer.json()["tier"] == "tair").await.json();
    let entry: Value = serde_json::from_str(&redis.cli(&["hget", "larder:views", "rfm"])).unwrap();
    assert_eq!(entry["days_since"], json!(["recency_days"]), "{entry}");
    let field = entry["field"].as_str().unwrap();
    let stored = redis.cli(&["hget", "larder:customer:loyal", field]);
    assert!(stored.starts_with("[1709892000000000,"), "{stored}");
    redis.cli(&["hset", "larder:customer:loyal", field, &stored.replacen("1709892000000000", "2.5", 1)]);
    let damaged = read().await.json();
    assert_eq!([&damaged["tier"], &damaged["views"]], [&json!("snapshot"), &answer["views"]]);
    assert_eq!(service.metric("larder_tair_fallbacks_total{reason=\"content\"}").await, 1.0);
}

#[tokio::test]
async fn entity_tags_change_and_personal_day_counts_are_masked() {
    const CALLERS: &[Caller<'_>] =
        &[("features", &[Scope::Features]), ("reader", &[Scope::Features, Scope::Pii])];
    let shop = Shop::new(&format!("{OWN_VIEWS}{CORNERS_TOML}{}", keys(CALLERS)));
    shop.raw("transactions/all.csv", CORNERS);
    write_view(&shop, "ordering", ORDERING);
    let mut ids = Vec::new();
    for as_of in DAYS {
        ids.push(shop.try_build(Some(as_of)).await.unwrap().manifest.id);
    }
    shop.publish(&ids[0]).await;
    let service = shop.serve().await;
    let read = async |caller: &str, tag: &str| {
        let request = service.client.get(format!("{}/v1/customers/loyal?views=ordering", service.url));
        service.send(request.bearer_auth(key(caller)).header("if-none-match", tag)).await
    };
    for (caller, days) in [("features", Value::Null), ("reader", json!(4))] {
        assert_eq!(read(caller, "").await.json()["views"]["ordering"]["last_days"], days);
    }
    let tag = read("reader", "").await.header("etag").to_owned();
    assert_eq!(read("reader", &tag).await.status, 304);
    shop.publish(&ids[1]).await;
    let answer = eventually(async || read("reader", &tag).await, |answer| answer.status == 200).await;
    assert_eq!(answer.json()["views"]["ordering"]["last_days"], 5);
    assert_eq!(read("features", &tag).await.json()["views"]["ordering"]["last_days"], Value::Null);
}

#[tokio::test]
async fn features_and_subject_count_days() {
    let shop = corners();
    shop.publish(&shop.try_build(Some(DAYS[1])).await.unwrap().manifest.id).await;
    let output = shop.larder(&["subject", "loyal"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let subject: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(subject["snapshots"][0]["views"]["rfm"]["recency_days"], 5);
    let file = shop.path().join("features.parquet");
    let output = shop.larder(&["features", "--as-of", DAYS[0], "--out", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = std::fs::File::open(&file).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(read).unwrap();
    let schema = format!("{:?}", reader.schema());
    assert!(schema.contains("recency_days") && !schema.contains("since"), "{schema}");
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    let ids = batch["customer_id"].as_string::<i32>();
    let at = (0..ids.len()).find(|at| ids.value(*at) == "loyal").unwrap();
    let days = batch["rfm"].as_struct().column_by_name("recency_days").unwrap();
    assert_eq!(days.as_primitive::<Int64Type>().value(at), 4);
}
