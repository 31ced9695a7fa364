//! History, migration and overlap, checked against the rows of every customer in each snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use larder::{config::Config, snapshot::SnapshotId};
use serde_json::{Value, json};

use crate::shop::{Answer, Service, Shop, corners, eventually};

/// Number of customers: more than one column batch holds.
const CUSTOMERS: usize = 8_500;

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

/// Rows of a snapshot by customer: segment, `monetary` in ten-thousandths, risk level.
type Truth = BTreeMap<String, (Option<String>, i64, Option<String>)>;

async fn truth(shop: &Shop, id: &SnapshotId) -> Truth {
    shop.publish(id).await;
    let service = shop.serve().await;
    let mut truth = Truth::new();
    let ids: Vec<String> = (0..CUSTOMERS).map(|at| format!("c{at}")).collect();
    for ids in ids.chunks(1_000) {
        let asked = json!({"ids": ids, "features": ["rfm.segment", "rfm.monetary", "churn.risk"]});
        for result in
            service.post("/v1/customers/batch", asked.to_string()).await.json()["results"].as_array().unwrap()
        {
            if result["found"] == true {
                let text = |value: &Value| value.as_str().map(str::to_owned);
                let views = &result["views"];
                let monetary = (views["rfm"]["monetary"].as_f64().unwrap() * 10_000.0).round();
                #[expect(clippy::cast_possible_truncation, reason = "some thousands")]
                let standing =
                    (text(&views["rfm"]["segment"]), monetary as i64, text(&views["churn"]["risk"]));
                truth.insert(result["customer_id"].as_str().unwrap().to_owned(), standing);
            }
        }
    }
    truth
}

/// Returns the members of a segment, computed from the rows.
fn members(truth: &Truth, segment: &str) -> BTreeSet<String> {
    let here = |(place, monetary, risk): &(Option<String>, i64, Option<String>)| match segment {
        "spenders" => (500_000..900_000).contains(monetary),
        "best" => *monetary >= 900_000,
        // A customer without a risk level does not match `not churn.risk:low`.
        "slow" => {
            place.as_deref() == Some("hibernating") || risk.as_deref().is_some_and(|risk| risk != "low")
        }
        _ => match segment.strip_prefix("churn_") {
            Some(level) => risk.as_deref() == Some(level),
            None => place.as_deref() == Some(segment),
        },
    };
    truth.iter().filter(|(_, standing)| here(standing)).map(|(id, _)| id.clone()).collect()
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
async fn shop_with_three_snapshots() -> (Shop, Vec<SnapshotId>, Vec<Truth>, Service) {
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
    let mut truths = Vec::new();
    for id in &ids {
        truths.push(truth(&shop, id).await);
    }
    let service = shop.serve().await;
    (shop, ids, truths, service)
}

fn number(ten_thousandths: i64) -> f64 {
    format!("{ten_thousandths}e-4").parse().unwrap()
}

fn check_migration(answer: &Value, before: &Truth, after: &Truth, level: bool) {
    let place = |truth: &Truth, id: &String| {
        truth.get(id).map_or(json!("absent"), |(segment, _, risk)| {
            if level { json!(risk.as_ref().map(|risk| format!("churn_{risk}"))) } else { json!(segment) }
        })
    };
    let money = |truth: &Truth, id: &String| truth.get(id).map_or(0, |standing| standing.1);
    let mut cells: BTreeMap<(String, String), (u64, i64, i64)> = BTreeMap::new();
    for id in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let cell = cells.entry((place(before, id).to_string(), place(after, id).to_string())).or_default();
        let now = money(after, id);
        *cell = (cell.0 + 1, cell.1 + now, cell.2 + now - money(before, id));
    }
    let found = answer["cells"].as_array().unwrap().iter().map(|cell| {
        let key = (cell["from"].to_string(), cell["to"].to_string());
        (
            key,
            (
                cell["customers"].as_u64().unwrap(),
                cell["revenue"].as_f64().unwrap(),
                cell["revenue_change"].as_f64().unwrap(),
            ),
        )
    });
    let found: BTreeMap<_, _> = found.collect();
    let cells: BTreeMap<_, _> =
        cells.into_iter().map(|(key, (n, now, change))| (key, (n, number(now), number(change)))).collect();
    assert_eq!(found, cells);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_migration_and_overlap_match_rows() {
    let (shop, ids, truths, service) = shop_with_three_snapshots().await;
    let left = truths[1].keys().filter(|id| !truths[2].contains_key(*id)).count();
    assert!(truths[0].len() < truths[1].len() && left > 500, "{left}");
    let segments = service.get("/v1/segments").await.json()["segments"].clone();
    let mut moves = 0;
    for segment in segments.as_array().unwrap() {
        let name = segment["name"].as_str().unwrap();
        let answer = service.get(&format!("/v1/segments/{name}/history")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let history = answer.json()["history"].clone();
        let history = history.as_array().unwrap();
        assert_eq!(
            history.iter().map(|then| then["snapshot"].clone()).collect::<Vec<_>>(),
            ids.iter().map(|id| json!(id)).collect::<Vec<_>>()
        );
        for (at, then) in history.iter().enumerate() {
            let now = members(&truths[at], name);
            assert_eq!(
                (&then["size"], &then["customers"]),
                (&json!(now.len()), &json!(truths[at].len())),
                "{name} {then}"
            );
            assert_eq!(
                then["revenue"].as_f64().unwrap(),
                number(now.iter().map(|id| truths[at][id].1).sum()),
                "{name}"
            );
            let Some(before) = at.checked_sub(1).map(|before| members(&truths[before], name)) else {
                assert_eq!((&then["added"], &then["dropped"]), (&Value::Null, &Value::Null));
                continue;
            };
            assert_eq!(then["added"], json!(now.difference(&before).count()), "{name} {then}");
            assert_eq!(then["dropped"], json!(before.difference(&now).count()), "{name} {then}");
            moves += now.difference(&before).count();
        }
        assert_eq!(history[2]["size"], segment["size"]);
    }
    assert!(moves > 1_000, "{moves}");
    let slow = service.get("/v1/segments/slow/history").await.json();
    assert_eq!(
        (&slow["kind"], slow["history"][2]["dropped"].as_u64() > Some(100)),
        (&json!("audience"), true),
        "{slow}"
    );

    let matrix = service.get("/v1/migration").await.json();
    assert_eq!((&matrix["from"]["snapshot"], &matrix["to"]["snapshot"]), (&json!(ids[1]), &json!(ids[2])));
    check_migration(&matrix, &truths[1], &truths[2], false);
    let churn = service.get("/v1/migration?kind=churn&from=2024-01-31&to=2024-02-28").await.json();
    assert_eq!((&churn["from"]["snapshot"], &churn["to"]["snapshot"]), (&json!(ids[0]), &json!(ids[1])));
    check_migration(&churn, &truths[0], &truths[1], true);
    let far = format!("/v1/migration?from={}&to={}", ids[0], ids[2]);
    check_migration(&service.get(&far).await.json(), &truths[0], &truths[2], false);

    let names =
        ["hibernating", "at_risk", "churn_high", "champions", "churn_low", "spenders", "best", "slow"];
    let list = format!("/v1/overlap?segments={}&snapshot={}", names.join(","), ids[1]);
    let overlap = service.get(&list).await.json();
    let pairs = overlap["pairs"].as_array().unwrap();
    assert_eq!((pairs.len(), &overlap["as_of"]), (28, &json!("2024-02-20T00:00:00Z")));
    #[expect(clippy::cast_precision_loss, reason = "shares")]
    for pair in pairs {
        let [a, b] = ["a", "b"].map(|side| members(&truths[1], pair[side].as_str().unwrap()));
        let both = a.intersection(&b).count();
        assert_eq!(
            (&pair["size_a"], &pair["size_b"], &pair["customers"]),
            (&json!(a.len()), &json!(b.len()), &json!(both))
        );
        // A number parsed from JSON may differ in the last bit.
        let same = |found: &Value, whole: usize| match found.as_f64() {
            None => found.is_null() && whole == 0,
            Some(found) => (found - both as f64 / whole as f64).abs() < 1e-15,
        };
        assert!(same(&pair["share_of_a"], a.len()) && same(&pair["share_of_b"], b.len()), "{pair}");
        assert!(same(&pair["jaccard"], a.union(&b).count()), "{pair}");
    }
    let both = |a: &str, b: &str| {
        pairs.iter().find(|pair| pair["a"] == a && pair["b"] == b).unwrap()["customers"].clone()
    };
    assert!(both("hibernating", "slow").as_u64() > Some(0) && both("spenders", "best") == 0, "{overlap}");

    // The comparison is cached, so it is served although the columns are removed.
    std::fs::remove_dir_all(shop.path().join(format!("lake/snapshots/{}/customers", ids[0]))).unwrap();
    check_migration(&service.get(&far).await.json(), &truths[0], &truths[2], false);
    let fresh = shop.serve().await.get(&far).await;
    assert_eq!((fresh.status, fresh.problem().as_str()), (503, "unavailable"));
    std::fs::remove_dir_all(shop.path().join(format!("lake/snapshots/{}", ids[0]))).unwrap();
    let fresh = shop.serve().await;
    let gone = fresh.get(&far).await;
    assert_eq!((gone.status, gone.problem().as_str()), (404, "snapshot-not-found"));
    let rest = fresh.get("/v1/segments/champions/history").await.json();
    assert_eq!((rest["history"].as_array().unwrap().len(), &rest["history"][0]["added"]), (2, &Value::Null));
}

#[tokio::test]
async fn history_is_null_where_snapshot_lacks_segment_or_feature() {
    let shop = corners();
    let mut ids = Vec::new();
    for as_of in ["2024-02-05T00:00:00Z", "2024-02-25T00:00:00Z", "2024-03-10T11:30:00Z"] {
        ids.push(shop.try_build(Some(as_of)).await.unwrap().manifest.id);
    }
    // The first snapshot lacks the segment and the feature.
    let file = shop.path().join(format!("lake/snapshots/{}/manifest.json", ids[0]));
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    manifest["segments"].as_array_mut().unwrap().retain(|segment| segment["name"] != "champions");
    let rfm =
        manifest["views"].as_array_mut().unwrap().iter_mut().find(|view| view["name"] == "rfm").unwrap();
    rfm["features"].as_array_mut().unwrap().last_mut().unwrap()["name"] = json!("old_segment");
    std::fs::write(&file, manifest.to_string()).unwrap();
    shop.publish(&ids[2]).await;
    let service = shop.serve().await;
    let history = service.get("/v1/segments/champions/history").await.json()["history"].clone();
    for key in ["size", "share", "revenue", "added", "dropped"] {
        assert_eq!(history[0][key], Value::Null, "{history}");
    }
    assert_eq!((&history[1]["added"], history[1]["size"].is_u64()), (&Value::Null, true), "{history}");
    assert!(history[2]["added"].is_u64(), "{history}");
    let newest = service.get("/v1/segments/champions/history?limit=1").await.json()["history"].clone();
    assert_eq!(newest, json!([history[2]]));
    let middle =
        service.get("/v1/segments/champions/history?from=2024-02-25&to=2024-03-09").await.json()["history"]
            .clone();
    assert_eq!(middle, json!([history[1]]));

    let path = "/v1/customers/loyal/history?features=rfm.segment,rfm.frequency";
    let answer = service.get(path).await.json();
    let entry = |at: usize| answer["history"][at].clone();
    assert_eq!(entry(0)["snapshot"], json!(ids[2]), "newest first: {answer}");
    assert_eq!(entry(0)["views"], json!({"rfm": {"segment": "champions", "frequency": 4}}));
    assert_eq!(entry(2)["views"], json!({"rfm": {"segment": null, "frequency": 1}}));
    let whole = service.get("/v1/customers/loyal/history?limit=1").await.json();
    let now = service.get("/v1/customers/loyal?views=rfm,churn").await.json();
    assert_eq!(whole["history"][0]["views"], now["views"], "{whole}");
    let late = service.get("/v1/customers/batch/history").await.json();
    let found: Vec<&Value> = late["history"].as_array().unwrap().iter().map(|then| &then["found"]).collect();
    assert_eq!(found, [&json!(true), &json!(false), &json!(false)]);

    for (path, status, kind) in [
        ("/v1/segments/nope/history", 404, "segment-not-found"),
        ("/v1/segments/champions/history?limit=101", 400, "bad-parameter"),
        ("/v1/segments/champions/history?from=soon", 400, "bad-parameter"),
        ("/v1/segments/champions/history?from=2024-03-01&to=2024-02-01", 400, "bad-parameter"),
        ("/v1/migration?kind=audience", 400, "bad-parameter"),
        ("/v1/migration?to=2023-01-01", 404, "snapshot-not-found"),
        ("/v1/migration?to=2024-02-05", 404, "snapshot-not-found"),
        ("/v1/migration?from=20111209T125000Z-5f0c2a9e", 404, "snapshot-not-found"),
        (&format!("/v1/migration?from={}&to={}", ids[2], ids[1]), 400, "bad-parameter"),
        ("/v1/overlap?segments=champions", 400, "bad-parameter"),
        ("/v1/overlap", 400, "bad-parameter"),
        ("/v1/overlap?segments=champions,loyal,champions", 400, "bad-parameter"),
        ("/v1/overlap?segments=a,b,c,d,e,f,g,h,i,j,k", 400, "bad-parameter"),
        ("/v1/overlap?segments=champions,nope", 404, "segment-not-found"),
        ("/v1/overlap?segments=champions,%20%E2%80%AEnope%00", 404, "segment-not-found"),
        ("/v1/segments/%FF/history", 404, "segment-not-found"),
        ("/v1/segments/champions/history?from=99999-01-01", 400, "bad-parameter"),
        ("/v1/segments/champions/history?from=%2B262142-12-31&to=2024-01-01", 400, "bad-parameter"),
        ("/v1/migration?to=-262143-01-01", 404, "snapshot-not-found"),
        ("/v1/migration?from=%2B262142-12-31&to=2024-02-05", 400, "bad-parameter"),
        ("/v1/segments/champions/history?limit=0", 400, "bad-parameter"),
        ("/v1/segments/champions/history?since=2024-01-01", 400, "bad-parameter"),
        ("/v1/migration?kind=rfm&kind=churn", 400, "bad-parameter"),
        ("/v1/overlap?segments=champions,loyal&snapshot=nope", 404, "snapshot-not-found"),
        ("/v1/customers/nobody/history", 404, "customer-not-found"),
        ("/v1/customers/batch/history?to=2024-03-01", 404, "customer-not-found"),
        ("/v1/customers/%20/history", 400, "bad-customer-id"),
        ("/v1/customers/loyal/history?views=nope", 400, "unknown-view"),
        ("/v1/customers/loyal/history?features=rfm.nope", 400, "unknown-feature"),
    ] {
        let answer = service.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, kind), "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn audience_history_begins_when_audience_is_configured() {
    let mut shop = corners();
    let mut ids = Vec::new();
    for (as_of, toml) in [
        ("2024-02-05T00:00:00Z", ""),
        ("2024-02-25T00:00:00Z", "[audiences.spenders]\nwhere = \"rfm.monetary >= 20\"\n"),
        ("2024-03-10T11:30:00Z", "[audiences.spenders]\nwhere = \"rfm.monetary >= 12\"\n"),
    ] {
        shop.config.audiences = Config::parse(toml, "audiences", []).unwrap().audiences;
        ids.push(shop.try_build(Some(as_of)).await.unwrap().manifest.id);
    }
    shop.publish(&ids[2]).await;
    let service = shop.serve().await;
    let history = service.get("/v1/segments/spenders/history").await.json();
    assert_eq!(history["kind"], "audience", "{history}");
    let changes: Vec<[Value; 3]> = history["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|then| ["size", "added", "dropped"].map(|key| then[key].clone()))
        .collect();
    // 17850, loyal, tie-a and tie-b; later also two customers of the last day.
    let none = Value::Null;
    assert_eq!(
        changes,
        [
            [none.clone(), none.clone(), none.clone()],
            [json!(4), none.clone(), none],
            [json!(6), json!(2), json!(0)]
        ]
    );
    let overlap = service.get("/v1/overlap?segments=spenders,champions").await.json();
    assert_eq!(
        (&overlap["pairs"][0]["size_a"], &overlap["pairs"][0]["customers"]),
        (&json!(6), &json!(1)),
        "{overlap}"
    );
    let before = service.get(&format!("/v1/overlap?segments=spenders,champions&snapshot={}", ids[0])).await;
    assert_eq!(before.problem(), "segment-not-found");
    // Audiences may share customers, so they have no migration matrix.
    let matrix = service.get("/v1/migration?kind=audience").await;
    assert!(matrix.problem() == "bad-parameter" && matrix.text.contains("rfm or churn"), "{}", matrix.text);
}

#[tokio::test]
async fn overlap_leaves_out_erased_customers() {
    let mut shop = corners();
    let toml = "[audiences.spenders]\nwhere = \"rfm.monetary >= 12\"\n";
    shop.config.audiences = Config::parse(toml, "audiences", []).unwrap().audiences;
    let old = shop.try_build(Some("2024-02-25T00:00:00Z")).await.unwrap().manifest.id;
    let service = shop.open().await;
    let now = "/v1/overlap?segments=spenders,champions".to_owned();
    let then = format!("{now}&snapshot={old}");
    let sizes = |answer: &Answer| {
        let pair = answer.json()["pairs"][0].clone();
        ["size_a", "size_b", "customers"].map(|key| pair[key].as_u64().unwrap())
    };
    let [before, before_then] = [service.get(&now).await, service.get(&then).await];
    assert_eq!(sizes(&before)[2], 1, "{}", before.text);
    // `loyal` is a member of both segments.
    assert!(shop.larder(&["forget", "loyal"]).status.success());
    let after = eventually(|| service.get(&now), |after| after.header("etag") != before.header("etag")).await;
    assert_eq!(sizes(&after), sizes(&before).map(|size| size - 1), "{}", after.text);
    let segments = service.get("/v1/segments").await.json()["segments"].clone();
    let size = |name: &str| {
        let mut segments = segments.as_array().unwrap().iter();
        segments.find(|segment| segment["name"] == name).unwrap()["size"].as_u64().unwrap()
    };
    assert_eq!(sizes(&after)[..2], [size("spenders"), size("champions")]);
    let after_then = service.get(&then).await;
    assert_eq!(sizes(&after_then)[0], sizes(&before_then)[0] - 1, "{}", after_then.text);
}

#[tokio::test]
async fn etag_unchanged_returns_304() {
    let shop = corners();
    shop.try_build(Some("2024-02-05T00:00:00Z")).await.unwrap();
    let service = shop.open().await;
    let get_if_none_match = async |service: &Service, path: &str, tag: &str| {
        service.send(service.client.get(format!("{}{path}", service.url)).header("if-none-match", tag)).await
    };
    let over_time = ["/v1/segments/champions/history", "/v1/migration", "/v1/customers/loyal/history"];
    let overlap = "/v1/overlap?segments=champions,loyal";
    let mut tags = BTreeMap::new();
    // Another replica has the same tags.
    let replica = shop.serve().await;
    for path in over_time.into_iter().chain([overlap]) {
        let answer = service.get(path).await;
        let tag = answer.header("etag").to_owned();
        assert!(answer.status == 200 && tag.starts_with("W/\""), "{path}: {:?}", answer.headers);
        for (service, given) in
            [(&service, tag.clone()), (&replica, format!("\"x\", {tag}")), (&service, "*".to_owned())]
        {
            let again = get_if_none_match(service, path, &given).await;
            assert_eq!(
                (again.status, again.text.as_str(), again.header("etag")),
                (304, "", tag.as_str()),
                "{path}"
            );
        }
        assert_eq!(get_if_none_match(&service, path, "W/\"other\"").await.text, answer.text);
        tags.insert(path, tag);
    }
    for path in
        ["/v1/segments/nope/history", "/v1/overlap?segments=champions,nope", "/v1/migration?to=2023-01-01"]
    {
        assert_eq!(get_if_none_match(&service, path, "*").await.status, 404, "{path}");
    }
    // A new snapshot with an earlier as-of time changes histories and migrations, but not overlaps.
    shop.try_build(Some("2024-02-25T00:00:00Z")).await.unwrap();
    let service = shop.serve().await;
    for (path, tag) in &tags {
        let status = if *path == overlap { 304 } else { 200 };
        assert_eq!(get_if_none_match(&service, path, tag).await.status, status, "{path}");
    }
    // An erased customer is 404 even if the entity tag matches.
    let path = "/v1/customers/loyal/history";
    let tag = service.get(path).await.header("etag").to_owned();
    assert!(shop.larder(&["forget", "loyal"]).status.success());
    let gone = eventually(|| get_if_none_match(&service, path, &tag), |answer| answer.status != 304).await;
    assert_eq!(gone.problem(), "customer-not-found");
    assert_eq!(get_if_none_match(&service, path, "*").await.status, 404);
}

#[tokio::test]
async fn unknown_segment_suggests_similar_name_on_every_route() {
    let service = corners().open().await;
    for path in [
        "/v1/segments/champoins",
        "/v1/segments/champoins/customers",
        "/v1/segments/champoins/export",
        "/v1/segments/champoins/history",
        "/v1/segments/Champions/history",
        "/v1/overlap?segments=loyal,champoins",
        "/v1/churn?segment=champoins",
        "/v1/churn/export?segment=champoins",
    ] {
        let answer = service.get(path).await;
        assert!((400..=404).contains(&answer.status), "{path}");
        assert!(answer.text.contains("did you mean champions?"), "{path}: {}", answer.text);
    }
    let feature = service.get("/v1/customers/loyal/history?features=rfm.segmnt").await;
    assert!(feature.text.contains("in view rfm; did you mean segment?"), "{}", feature.text);
    let far = service.get("/v1/segments/whales").await;
    assert!(far.text.contains("there is no segment `whales`; GET /v1/segments lists them"), "{}", far.text);
}
