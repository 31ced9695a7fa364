//! Named audiences: computed by a build and served as segments.

use serde_json::{Value, json};

use crate::support::{
    redis::Redis,
    shop::{Service, corners_with},
};

const AUDIENCES: &str = "\
[audiences.spenders]
where = \"rfm.monetary >= 20 and profile.country:UK\"
description = \"Worth a call\"
priority = 2
[audiences.loyal_spenders]
where = \"segment:spenders_all and behavior.items > 3\"
priority = 1
[audiences.spenders_all]
where = \"rfm.monetary >= 20\"
[audiences.nobody]
where = \"rfm.monetary > 1e9\"
";

async fn members(service: &Service, name: &str) -> Vec<String> {
    let answer = service.get(&format!("/v1/segments/{name}/customers")).await.json();
    let customers = answer["customers"].as_array().unwrap().iter();
    customers.map(|customer| customer["customer_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn named_audiences_are_segments() {
    let redis = Redis::start();
    let shop = corners_with(&format!("{AUDIENCES}[tair]\nurl = \"{}\"\n", redis.url()));
    let service = shop.open().await;
    let segments = service.get("/v1/segments").await.json();
    let of = |name: &str| -> Value {
        segments["segments"]
            .as_array()
            .unwrap()
            .iter()
            .find(|segment| segment["name"] == name)
            .unwrap()
            .clone()
    };
    let spenders = of("spenders");
    assert_eq!(spenders["kind"], "audience");
    assert_eq!(spenders["definition"], "Worth a call: rfm.monetary >= 20 and profile.country:UK; priority 2");
    assert_eq!(of("nobody")["size"], 0);
    assert_eq!(members(&service, "nobody").await, [""; 0]);
    // Sorted by monetary value and id, from Tair. Audiences with a priority exclude members of earlier ones;
    // an audience without a priority has all matching customers.
    assert_eq!(members(&service, "spenders_all").await, ["loyal", "tie-b", "17850", "tie-a"]);
    assert_eq!(members(&service, "loyal_spenders").await, ["loyal", "17850"]);
    assert_eq!(members(&service, "spenders").await, ["tie-b", "tie-a"]);
    assert_eq!(of("spenders_all")["revenue"], 170);
    for name in ["spenders", "loyal_spenders", "spenders_all", "nobody"] {
        let body = json!({"where": format!("segment:{name}")}).to_string();
        let answer = service.post("/v1/audiences", body).await.json();
        for figure in ["share", "revenue", "mean_r_score", "mean_f_score", "mean_m_score"] {
            assert_eq!(answer[figure], of(name)[figure], "{name} {figure}");
        }
        let listed: Vec<&Value> =
            answer["customers"].as_array().unwrap().iter().map(|c| &c["customer_id"]).collect();
        assert_eq!(json!(listed), json!(members(&service, name).await), "{name}");
    }
}

#[tokio::test]
async fn invalid_audience_fails_the_build_with_its_name() {
    for (toml, parts) in [
        (
            "[audiences.vip]\nwhere = \"rfm.monetary >\"\n",
            ["audience vip", "at character 14", "expected a value"],
        ),
        (
            "[audiences.vip]\nwhere = \"rfm.monetari > 1\"\n",
            ["audience vip", "at character 0", "did you mean monetary?"],
        ),
        (
            "[audiences.vip]\nwhere = \"segment:vips\"\n",
            ["audience vip", "at character 8", "did you mean vip?"],
        ),
        ("[audiences.loyal]\nwhere = \"segment:new\"\n", ["audience loyal", "the name", "another kind"]),
    ] {
        let shop = corners_with(toml);
        let error = shop.try_build(None).await.expect_err(toml);
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        // No complete snapshot is left.
        assert!(shop.snapshot_folders().iter().all(|folder| !folder.join("manifest.json").exists()));
    }
    let shop = corners_with("[audiences.typo]\nwhere = \"not profile.country:Frnace\"\n");
    let warnings = shop.build().await.warnings();
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("audience typo, at character 20") && text.contains("`France`")),
        "{warnings:?}"
    );
}
