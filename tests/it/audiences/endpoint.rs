//! `POST /v1/audiences`: response, pages, errors.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::shop::{Answer, Service, corners, corners_with, eventually};

async fn query(service: &Service, body: Value) -> Answer {
    service.post("/v1/audiences", body.to_string()).await
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["customers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|customer| customer["customer_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn audience_has_total_members_figures_and_breakdown() {
    let service = corners().open().await;
    let asked = json!({"where": "profile.country:UK and rfm.monetary > 5", "views": ["rfm"], "limit": 2,
        "breakdown": {"feature": "rfm.segment", "top": 1}});
    let answer = query(&service, asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.text.contains("\"revenue\":168.4999,"), "{}", answer.text);
    let answer = answer.json();
    assert_eq!((&answer["total"], ids(&answer)), (&json!(6), vec!["loyal", "tie-b"]), "{answer}");
    assert_eq!(answer["customers"][0]["rank"], 1);
    assert_eq!(answer["customers"][0]["views"]["rfm"]["monetary"], 74.5);
    let top = &answer["breakdown"]["values"];
    let counted =
        top[0]["customers"].as_u64().unwrap() + answer["breakdown"]["other"]["customers"].as_u64().unwrap();
    assert_eq!(
        (top.as_array().unwrap().len(), counted, &answer["breakdown"]["null"]),
        (1, 6, &json!(0)),
        "{answer}"
    );
    assert_eq!(answer["hints"], json!([]));
    let all = service.get("/v1/snapshots").await.json();
    assert_eq!(answer["snapshot"], all["snapshots"][0]["id"]);

    // Figures of segments equal those of /v1/segments.
    for segment in service.get("/v1/segments").await.json()["segments"].as_array().unwrap() {
        let name = segment["name"].as_str().unwrap();
        let answer = query(&service, json!({"where": format!("segment:{name}"), "limit": 0})).await.json();
        assert_eq!(answer["total"], segment["size"], "{name}");
        for figure in ["share", "revenue", "mean_r_score", "mean_f_score", "mean_m_score"] {
            assert_eq!(answer[figure], segment[figure], "{name} {figure}");
        }
        assert_eq!((&answer["customers"], &answer["next"]), (&json!([]), &json!(null)), "{name}");
    }

    // A comparison with null is never true, nor is its negation.
    let count = async |expression: &str| {
        query(&service, json!({"where": expression, "limit": 0})).await.json()["total"].clone()
    };
    assert_eq!(count("profile.age > 30").await, 2);
    assert_eq!(count("not profile.age > 30").await, 0);
    assert_eq!(
        count("profile.age is null or not profile.age > 30").await,
        json!(all["snapshots"][0]["customers"].as_u64().unwrap() - 2)
    );
    assert_eq!(count("profile.vip : true").await, 1);

    let buckets = json!({"where": "rfm.monetary is not null", "limit": 0,
        "breakdown": {"feature": "rfm.monetary", "buckets": 2}});
    let buckets = query(&service, buckets).await.json();
    let buckets = buckets["breakdown"]["buckets"].as_array().unwrap();
    assert_eq!((buckets.len(), &buckets[1]["to"]), (2, &json!(74.5)), "{buckets:?}");
    assert!(buckets[0]["to"].as_f64() < buckets[1]["from"].as_f64());
}

/// Returns `cursor` with another `offset`.
fn with_offset(cursor: &Value, offset: &str) -> String {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor.as_str().unwrap()).unwrap()).unwrap();
    let mut fields: Vec<&str> = text.split(' ').collect();
    fields[3] = offset;
    URL_SAFE_NO_PAD.encode(fields.join(" "))
}

#[tokio::test]
async fn pages_have_each_member_once_in_every_order() {
    let shop = corners();
    let service = shop.open().await;
    // Cursors are stateless: another replica accepts them, also after a new snapshot.
    let other = shop.serve().await;
    for order in ["rfm.monetary desc", "rfm.monetary", "profile.age desc", "behavior.first_purchase_at asc"] {
        let mut body = json!({"where": "rfm.monetary < 1000000 or rfm.monetary is null",
            "order_by": order, "limit": 1000});
        let whole = query(&service, body.clone()).await.json();
        let whole = ids(&whole);
        body["limit"] = json!(3);
        let mut seen = Vec::new();
        for turn in 0.. {
            let page = query(if turn % 2 == 0 { &service } else { &other }, body.clone()).await.json();
            assert_eq!(page["total"], whole.len(), "{page}");
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            if page["next"].is_null() {
                break;
            }
            body["cursor"] = page["next"].clone();
        }
        assert_eq!(seen, whole, "{order}");
        assert_eq!(whole.len(), 15, "{order}");
    }
    let first = query(&service, json!({"where": "rfm.monetary > 0", "limit": 1})).await.json();
    let cursor = &first["next"];
    // An equal expression in another spelling is accepted.
    let same = query(&service, json!({"where": "( rfm.monetary>0.0 )", "cursor": cursor})).await;
    assert_eq!(same.status, 200, "{}", same.text);
    let built = shop.build().await;
    shop.publish(&built.manifest.id).await;
    let older =
        query(&shop.serve().await, json!({"where": "rfm.monetary > 0", "cursor": cursor})).await.json();
    assert_eq!(older["snapshot"], first["snapshot"]);
    for body in [
        json!({"where": "rfm.monetary > 1", "cursor": cursor}),
        json!({"where": "rfm.monetary > 0", "order_by": "rfm.monetary", "cursor": cursor}),
        json!({"where": "rfm.monetary > 0", "cursor": "x"}),
        json!({"where": "rfm.monetary > 0", "cursor": with_offset(cursor, "18446744073709551616")}),
    ] {
        assert_eq!(query(&service, body).await.problem(), "bad-cursor");
    }
    // Pages beyond the end are empty.
    for offset in ["1000", "18446744073709551614", "18446744073709551615"] {
        let page =
            query(&service, json!({"where": "rfm.monetary > 0", "cursor": with_offset(cursor, offset)}))
                .await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert_eq!((ids(&page.json()), &page.json()["next"]), (vec![""; 0], &Value::Null), "{}", page.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_customers_are_neither_counted_nor_listed() {
    let shop = corners();
    let service = shop.open().await;
    let body = json!({"where": "rfm.monetary > 0", "limit": 2, "breakdown": {"feature": "rfm.segment"}});
    let before = query(&service, body.clone()).await.json();
    assert_eq!(ids(&before), ["loyal", "tie-b"]);
    // One customer of the page that was read, and one of the next page.
    assert!(shop.larder(&["forget", "--keep-snapshots", "loyal", "17850"]).status.success());
    let (total, share) = (before["total"].as_u64().unwrap(), before["share"].as_f64().unwrap());
    let fewer = |answer: &Answer| answer.json()["total"] == total - 2;
    let after = eventually(|| query(&service, body.clone()), fewer).await.json();
    assert_eq!(ids(&after), ["tie-b", "tie-a"], "{after}");
    assert_eq!((&after["customers"][0]["rank"], &after["customers"][1]["rank"]), (&json!(1), &json!(2)));
    let revenue = before["revenue"].as_f64().unwrap() - 74.5 - 35.5;
    assert!((after["revenue"].as_f64().unwrap() - revenue).abs() < 1e-9, "{after}");
    assert_ne!(after["share"].as_f64().unwrap(), share);
    let counted = after["breakdown"]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value["customers"].as_u64().unwrap());
    assert_eq!(counted.sum::<u64>(), total - 2, "{after}");
    // An older cursor goes back by as many members as were erased, so that none is left out.
    let mut next = body;
    next["cursor"] = before["next"].clone();
    assert_eq!(ids(&query(&service, next).await.json()), ["tie-b", "tie-a"]);
}

#[tokio::test]
async fn errors_have_positions_and_suggestions() {
    let service = corners_with("[serving]\naudience_memory = \"1KiB\"\n").open().await;
    for (expression, position, part) in [
        ("rfm.monetary >= and", 16, "expected a value"),
        ("segment:champoins", 8, "did you mean champions?"),
        ("churn.risk:high and chrun.risk:high", 20, "did you mean churn.risk?"),
        ("rmf.monetary > 1", 0, "did you mean rfm.monetary?"),
        ("rfm.monetarry > 1", 0, "did you mean monetary?"),
        ("rfm.country:UK", 0, "did you mean profile.country?"),
        ("rfm.monetary > lots", 15, "rfm.monetary is a number and cannot be compared with \"lots\""),
        (
            "profile.country = 1",
            18,
            "profile.country is text and cannot be compared with 1; put text in quotes, or set the column's \
             type by `types`",
        ),
        ("behavior.first_purchase_at < 2011", 29, "is a time"),
        ("profile.vip > true", 0, "true or false, which have no order"),
        ("recommendations.products = x", 27, "is a list; write `recommendations.products has \"x\"`"),
        ("recommendations.products has 7", 29, "cannot be compared with 7; put text in quotes"),
        ("churn.reasons has x", 0, "`has` needs a list of texts or numbers"),
        ("churn.reasons = x", 16, "can only be compared with null"),
        ("rfm.monetary contains x", 0, "is a number; `contains` needs a text"),
        ("rfm.monetary > -30d", 15, "is a number and cannot be compared with -30d"),
        ("behavior.first_purchase_at < -9999y", 29, "a time before the as-of time"),
        ("profile.country:\u{201c}United Kingdom\u{201d}", 16, "straight quotes"),
        ("profile.country:United Kingdom", 23, "put text of several words in quotes"),
        ("profile.country in (UK, United Kingdom)", 31, "put text of several words in quotes"),
        ("behavior.first_purchase_at > \"2011-12-09 12:50\"", 29, "a time with its zone"),
    ] {
        let answer = query(&service, json!({ "where": expression })).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (400, "bad-expression"),
            "{expression}: {}",
            answer.text
        );
        let problem = answer.json();
        assert_eq!(problem["position"], position, "{expression}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{expression}: {problem}");
    }
    for (body, kind, part) in [
        (json!({}), "bad-body", "where"),
        (json!({"where": "segment:new", "limit": 1001}), "bad-body", "`limit`"),
        (json!({"where": "segment:new", "limit": -1}), "bad-body", "-1"),
        (json!({"where": "segment:new", "nope": 1}), "bad-body", "nope"),
        (json!({"where": "segment:new", "views": ["nope"]}), "unknown-view", "nope"),
        (json!({"where": "segment:new", "order_by": "rfm.segment"}), "unknown-feature", "neither"),
        (
            json!({"where": "segment:new", "order_by": "rfm.monetari"}),
            "unknown-feature",
            "did you mean monetary?",
        ),
        (json!({"where": "segment:new", "order_by": "rfm.monetary down"}), "bad-body", "`asc` or `desc`"),
        (
            json!({"where": "segment:new", "breakdown": {"feature": "rfm.monetary"}}),
            "unknown-feature",
            "buckets",
        ),
        (
            json!({"where": "segment:new", "breakdown": {"feature": "rfm.segment", "buckets": 3}}),
            "unknown-feature",
            "only numbers and times",
        ),
        (
            json!({"where": "segment:new", "breakdown": {"feature": "rfm.segment", "top": 0}}),
            "bad-body",
            "breakdown.top",
        ),
    ] {
        let answer = query(&service, body.clone()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, kind), "{body}: {}", answer.text);
        assert!(answer.json()["detail"].as_str().unwrap().contains(part), "{body}: {}", answer.text);
    }
    // A value that no customer has is a hint, not an error: later snapshots may have it.
    let answer = query(&service, json!({"where": "not profile.country in (UK, Farnce)"})).await.json();
    assert_eq!(answer["hints"][0]["position"], 28, "{answer}");
    assert!(answer["hints"][0]["message"].as_str().unwrap().contains("did you mean `France`?"), "{answer}");
    assert_eq!(answer["total"], 1, "{answer}");
}
