//! `GET /v1/audiences` and `GET /v1/audiences/export`: the answers of POST, for programs that send no body.

use larder::config::Scope;
use serde_json::{Value, json};

use crate::support::{
    callers::{Caller, key, keys},
    shop::{corners, corners_with},
};

/// Encodes a query.
fn query(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| {
        let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
        format!("{name}={value}")
    };
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

#[tokio::test]
async fn answer_by_address_is_that_of_the_body() {
    let service = corners().open().await;
    let expression = "profile.country:UK and rfm.monetary > 5";
    for (pairs, body) in [
        (vec![], json!({})),
        (vec![("limit", "2"), ("views", "rfm,profile")], json!({"limit": 2, "views": ["rfm", "profile"]})),
        (vec![("order_by", "rfm.recency_days asc")], json!({"order_by": "rfm.recency_days asc"})),
        (
            vec![("limit", "0"), ("breakdown", "rfm.segment"), ("top", "1")],
            json!({"limit": 0, "breakdown": {"feature": "rfm.segment", "top": 1}}),
        ),
        (
            vec![("breakdown", "rfm.monetary"), ("buckets", "3")],
            json!({"breakdown": {"feature": "rfm.monetary", "buckets": 3}}),
        ),
        (vec![("compare", "true"), ("limit", "1")], json!({"compare": true, "limit": 1})),
    ] {
        let mut body = body;
        body["where"] = json!(expression);
        let posted = service.post("/v1/audiences", body.to_string()).await.json();
        let asked = query(&[&[("where", expression)], &pairs[..]].concat());
        let got = service.get(&format!("/v1/audiences?{asked}")).await;
        assert_eq!(got.status, 200, "{}", got.text);
        let mut got = got.json();
        // Tiers differ between the first and later reads.
        got["tier"] = posted["tier"].clone();
        assert_eq!(got, posted, "{body}");
        if let Some(next) = got["next"].as_str() {
            let page = service.get(&format!("/v1/audiences?{asked}&cursor={next}")).await.json();
            assert_eq!(
                page["customers"][0]["rank"],
                json!(got["customers"].as_array().unwrap().len() + 1),
                "{page}"
            );
        }
    }
    let asked = query(&[("where", expression)]);
    let etag = service.get(&format!("/v1/audiences?{asked}")).await.header("etag").to_owned();
    let again = service.client.get(format!("{}/v1/audiences?{asked}", service.url));
    assert_eq!(service.send(again.header("if-none-match", etag)).await.status, 304);
    for (pairs, kind) in [
        (&[("limit", "1001")][..], "bad-parameter"),
        (&[("limit", "two")], "bad-parameter"),
        (&[("top", "2")], "bad-parameter"),
        (&[("breakdown", "rfm.segment"), ("top", "2"), ("buckets", "2")], "bad-parameter"),
        (&[("compare", "yes")], "bad-parameter"),
        (&[("order", "x")], "bad-parameter"),
        (&[("order_by", "rfm.monetary up")], "bad-parameter"),
        (&[("cursor", "x")], "bad-cursor"),
        (&[("views", "nope")], "unknown-view"),
    ] {
        let asked = query(&[&[("where", expression)], pairs].concat());
        let answer = service.get(&format!("/v1/audiences?{asked}")).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, kind), "{asked}: {}", answer.text);
    }
    let bad = service.get("/v1/audiences?where=segment%3Achampion").await;
    assert_eq!((bad.problem().as_str(), bad.json()["position"].clone()), ("bad-expression", json!(8)));
    assert_eq!(service.get("/v1/audiences").await.problem(), "bad-parameter");
}

#[tokio::test]
async fn export_by_address_is_that_of_the_body() {
    let service = corners().open().await;
    let expression = "rfm.monetary > 5";
    for (pairs, body) in [
        (vec![], json!({})),
        (
            vec![
                ("order_by", "rfm.recency_days"),
                ("limit", "3"),
                ("columns", "customer_id,rank"),
                ("bom", "true"),
            ],
            json!({"order_by": "rfm.recency_days", "limit": 3, "columns": ["customer_id", "rank"],
                "bom": true}),
        ),
        (vec![("format", "ndjson"), ("order", "rank")], json!({"format": "ndjson", "order": "rank"})),
    ] {
        let mut body: Value = body;
        body["where"] = json!(expression);
        let posted = service.post("/v1/audiences/export", body.to_string()).await;
        let asked = query(&[&[("where", expression)], &pairs[..]].concat());
        let got = service.get(&format!("/v1/audiences/export?{asked}")).await;
        assert_eq!((got.status, &got.text), (200, &posted.text), "{asked}");
        assert_eq!(got.header("larder-rows"), posted.header("larder-rows"));
    }
    let answer = service.get("/v1/audiences/export?where=rfm.monetary%3E5&limit=0").await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "bad-parameter"));
}

#[tokio::test]
async fn addresses_do_not_ask_by_personal_features() {
    const CALLERS: &[Caller<'_>] = &[("features", &[Scope::Features, Scope::Export]), ("all", &Scope::ALL)];
    let named = "[audiences.ours]\nwhere = 'profile.email:\"new@example.com\"'\n";
    let service = corners_with(&format!("{named}{}", keys(CALLERS))).open().await;
    for pairs in [
        &[("where", "profile.email:\"new@example.com\"")][..],
        &[("where", "segment:ours")],
        &[("where", "rfm.monetary > 0"), ("breakdown", "profile.email")],
    ] {
        for path in ["/v1/audiences", "/v1/audiences/export"] {
            if path.ends_with("export") && pairs.len() > 1 {
                continue;
            }
            let url = format!("{}{path}?{}", service.url, query(pairs));
            let refused = service.send(service.client.get(&url).bearer_auth(key("features"))).await;
            assert_eq!((refused.status, refused.problem().as_str()), (403, "forbidden"), "{url}");
            let refused = service.send(service.client.get(&url).bearer_auth(key("all"))).await;
            assert_eq!((refused.status, refused.problem().as_str()), (400, "bad-parameter"), "{url}");
            assert!(
                refused.text.contains("use POST") && refused.text.contains("profile.email"),
                "{}",
                refused.text
            );
            assert!(!refused.text.contains("new@example.com"), "{}", refused.text);
        }
    }
}
