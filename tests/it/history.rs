//! History, migration and overlap: nulls, parameters, entity tags, erased customers and suggestions.

use std::collections::BTreeMap;

use larder::config::Config;
use serde_json::{Value, json};

use crate::support::shop::{Answer, Service, corners, eventually};

mod rows;

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
    assert!(shop.larder(&["forget", "--keep-snapshots", "loyal"]).status.success());
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
    assert!(shop.larder(&["forget", "--keep-snapshots", "loyal"]).status.success());
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
    assert!(
        far.text.contains("there is no segment `whales`; GET /v1/segments lists all segments"),
        "{}",
        far.text
    );
}
